"""Kill `cardiacseg propagate` at random moments and look at what it leaves; writes a table into docs/reliability.md.

    python Testing/benchmarks/kills.py [--kills 100] [--seed 0] [--write]

A run replaces the results of another one. Half of the kills fall anywhere in the command's time, half into the time in
which it writes; the time is that of the processor, so that a busy machine does not shift them. The last kills wait for
the moment at which the finished files are moved. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING.parent)]

from killing import Files, arguments, files, hidden, make_study, verdict  # noqa: E402

from benchmarks.common import ROOT, table, write_section  # noqa: E402
from CardiacSegLib.temporary import COMPLETE, PREFIX, sweep  # noqa: E402

MOVING = 20
"""Kills at the moment of moving, beside those that were asked for."""


def start(folder: Path, frame: int) -> subprocess.Popen:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "CardiacSegLib.cli", *arguments(folder / "study", frame, folder / "out")]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(process: subprocess.Popen, condition: Callable[[], object], pause: float = 0.001) -> float:
    """Wait until the condition holds or the process has ended; returns the seconds of processor that it used so far."""
    used = 0.0
    while not ended(process):
        used = processor_seconds(process)
        if condition():
            break
        time.sleep(pause)
    return used


def ended(process: subprocess.Popen) -> bool:
    """Whether it has ended; it stays a zombie, whose numbers can be read, until somebody waits for it."""
    return fields(process)[0] == "Z"


def processor_seconds(process: subprocess.Popen) -> float:
    """What the process has used of the processor."""
    return sum(map(int, fields(process)[11:13])) / os.sysconf("SC_CLK_TCK")


def fields(process: subprocess.Popen) -> list[str]:
    """What Linux tells about a process, from its state on."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()


def writing(out: Path) -> bool:
    """Whether the first file of results is there, hidden."""
    return any(out.glob(f"{PREFIX}*/*/*.json"))


def moving(out: Path) -> bool:
    """Whether the finished files are being moved."""
    return any(out.glob(f"{PREFIX}*/{COMPLETE}"))


def kill_one(folder: Path, references: list[Files], kind: str, delay: float) -> tuple[str, str, int, bool]:
    """Kill a run after some seconds of processor; returns what it left.

    That is whose files are there at once, whose after the next start, how much is hidden then, and whether it had ended
    before.
    """
    out = folder / "out"
    old = files(out)
    frame = 1 - references.index(old)
    process = start(folder, frame)
    if kind == "anywhere":
        until(process, lambda: processor_seconds(process) >= delay)
    elif kind == "while it writes":
        before = until(process, lambda: writing(out))
        until(process, lambda: processor_seconds(process) >= before + delay)
    else:
        until(process, lambda: moving(out), pause=0)
    late = ended(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    at_once = verdict(files(out), old, references[frame])
    sweep(out)
    return at_once, verdict(files(out), old, references[frame]), len(hidden(out)), late


def measure(folder: Path) -> tuple[list[Files], float, float]:
    """The two sets of results, the seconds of processor of a whole run, and those in which it writes."""
    (folder / "study").mkdir()
    make_study(folder / "study")
    references = []
    for frame in (0, 1):
        process = start(folder, frame)
        before = until(process, lambda: writing(folder / "out"))
        whole = until(process, lambda: False)
        if process.wait():
            raise SystemExit("The command failed without having been killed.")
        references.append(files(folder / "out"))
    return references, whole, whole - before


def row_of(kind: str, seen: list[tuple[str, str, int, bool]]) -> list[str]:
    """How often the old files, the new ones, or some of each were there, at once and after the next start."""
    counts = [Counter(each[column] for each in seen)[whose] for column in (0, 1) for whose in ("old", "new", "mixed")]
    late, left = sum(each[3] for each in seen), sum(each[2] for each in seen)
    return [kind, str(len(seen)), str(late), *map(str, counts), str(left)]


def main() -> None:
    """Kill, count, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        references, whole, writes = measure(folder)
        lengths = {"anywhere": whole, "while it writes": writes, "while it moves": 0.0}
        kinds = ["anywhere", "while it writes"] * (chosen.kills // 2) + ["while it moves"] * MOVING
        seen = [(kind, *kill_one(folder, references, kind, chance.uniform(0, lengths[kind]))) for kind in kinds]
    rows = [row_of(kind, [row[1:] for row in seen if row[0] == kind]) for kind in lengths]
    header = [
        "killed",
        "runs",
        "ended before",
        "old",
        "new",
        "mixed",
        "old then",
        "new then",
        "mixed then",
        "left behind then",
    ]
    text = table(header, rows) + f"\n\nA run takes {whole:.1f} s of one core; for {writes:.1f} s of them it writes."
    print(text)
    if chosen.write:
        write_section(ROOT / "docs" / "reliability.md", "kills", text)


if __name__ == "__main__":
    main()
