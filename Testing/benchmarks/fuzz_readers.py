"""Fuzz the readers: many damaged inputs, each with a limit of time and memory; prints a table for docs/reliability.md.

    python Testing/benchmarks/fuzz_readers.py [--inputs 10000] [--seed 0]

Batches run in child processes, so that a hang or a crash ends one batch and is counted. An input may take 5 s; a child
may hold 2 GB. Every failure is printed with the seed of its input.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING.parent)]

from damage import KINDS, Damage, inputs, verdict  # noqa: E402

SECONDS, BYTES, BATCH = 5.0, 2 * 1024**3, 500


def damages_of(seed: int) -> tuple[str, list[Damage]]:
    """What the seed stands for."""
    chance = random.Random(seed)
    damages = [
        Damage(chance.choice(KINDS), chance.random(), chance.random(), chance.getrandbits(64))
        for _ in range(chance.randint(1, 4))
    ]
    return chance.choice(sorted(inputs())), damages


def batch(first: int, count: int) -> None:
    """In a child: read inputs, telling each outcome on a line; a hang ends the process."""
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    for seed in range(first, first + count):
        name, damages = damages_of(seed)
        print(json.dumps({"seed": seed, "input": name}), flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        began = time.monotonic()
        try:
            outcome = verdict(name, damages)
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        faulthandler.cancel_dump_traceback_later()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"outcome": outcome, "seconds": time.monotonic() - began, "peak": peak}), flush=True)


def run(inputs_wanted: int, seed: int) -> tuple[list[dict], list[str]]:
    """All batches one after the other; a child that died goes on behind the input that killed it."""
    results, failures, at, end = [], [], seed, seed + inputs_wanted
    while at < end:
        command = [sys.executable, __file__, "--batch", str(at), str(min(BATCH, end - at))]
        child = subprocess.run(command, capture_output=True, text=True)
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        for begun, done in zip(lines[::2], lines[1::2], strict=False):
            results.append(begun | done)
        if len(lines) % 2:
            results.append(lines[-1] | {"outcome": f"ended with {child.returncode}", "seconds": SECONDS, "peak": 0})
            failures.append(child.stderr[-2000:])
        elif child.returncode:
            raise SystemExit(child.stderr)
        at = results[-1]["seed"] + 1
    return results, failures


def report(results: list[dict], failures: list[str]) -> None:
    """The table, then everything that went wrong."""
    fine = ("read", "remarked", "refused")
    print("| input | inputs | read | read, with a remark | refused | failed | slowest |\n|---|---|---|---|---|---|---|")
    for name in [*sorted(inputs()), "all"]:
        rows = [row for row in results if name in (row["input"], "all")]
        counts = Counter(row["outcome"] if row["outcome"] in fine else "failed" for row in rows)
        numbers = [len(rows), *(counts[outcome] for outcome in (*fine, "failed"))]
        slowest = max((row["seconds"] for row in rows), default=0.0)
        print(f"| {name} | {' | '.join(map(str, numbers))} | {slowest:.2f} s |")
    print(f"\nPeak memory of a child: {max(row['peak'] for row in results) / 1024**2:.0f} MB")
    for row in results:
        if row["outcome"] not in fine:
            print(f"seed {row['seed']} ({row['input']}): {row['outcome']}")
    print(*failures, sep="\n")


def main() -> None:
    """Fuzz and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.batch:
        batch(*chosen.batch)
    else:
        report(*run(chosen.inputs, chosen.seed))


if __name__ == "__main__":
    main()
