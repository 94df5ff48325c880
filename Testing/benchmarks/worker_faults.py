"""Kill, stop, starve and confuse the worker's process again and again; writes a table into docs/reliability.md.

    python Testing/benchmarks/worker_faults.py [--times 20] [--network 5] [--write]

The first rows are of an engine that only pretends to compute, as in the tests; the last of the memory network with
random weights, where out of memory means that the system refuses any more than it had after its third slice. Needs
Linux.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING.parent)]

import worker_faults as faults  # noqa: E402

from benchmarks.common import ROOT, table, write_section  # noqa: E402
from CardiacSegLib.cine import Segmentation  # noqa: E402
from CardiacSegLib.phantom import beating_heart  # noqa: E402
from CardiacSegLib.selftest import random_weights  # noqa: E402
from CardiacSegLib.worker import RunState, WorkerEngine, client  # noqa: E402


def starve(pid: int) -> None:
    """No more memory than the process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE"),) * 2)


ACTS: dict[str, Callable[[int], None]] = {
    "killed": lambda pid: os.kill(pid, signal.SIGKILL),
    "stopped": lambda pid: os.kill(pid, signal.SIGSTOP),
    "out of memory": starve,
}


def survive_with_network(fault: str, worker: WorkerEngine, study: tuple) -> float:
    """One fault after the third slice; returns the seconds until it was told."""
    run = worker.begin(*study)
    found, pid = faults.follow(run, enough=3), worker.pid
    ACTS[fault](pid)
    began = time.monotonic()
    found += faults.follow(run)
    seconds = time.monotonic() - began
    assert run.state is RunState.FAILED
    assert faults.SAID[fault] in run.error
    assert len(found) == run.found >= 3
    assert faults.ended(pid)
    assert faults.blocks() == set()
    return seconds


def row_of(engine: str, fault: str, seconds: list[float]) -> list[str]:
    """All were survived, else there would be an AssertionError in their place."""
    times = len(seconds)
    return [engine, fault, f"{times} of {times}", f"{max(seconds):.1f} s", faults.SAID[fault].rstrip(" (")]


def pretended(times: int) -> list[list[str]]:
    """A row for each fault of an engine that pretends."""
    rows = []
    with tempfile.TemporaryDirectory() as name, faults.pretended(Path(name)) as say:
        for fault in faults.SAID:
            worker = WorkerEngine(device="cpu")
            rows.append(row_of("pretended", fault, [faults.survive(fault, worker, say) for _ in range(times)]))
            worker.close()
    return rows


def with_network(times: int) -> list[list[str]]:
    """A row for each fault that the memory network can suffer."""
    heart = beating_heart(4, frames=25, slices=10, size=64, spacing=(2.6, 2.6, 10.0))
    status = heart.truth.status * 0
    status[0, 4] = 2
    study, rows = (heart.cine, Segmentation(heart.truth.labels, status, heart.cine.affine)), []
    client.SILENCE, faults.PATIENCE = faults.SILENCE, 600
    with tempfile.TemporaryDirectory() as name:
        worker = WorkerEngine(weights=random_weights(Path(name)), device="cpu")
        for fault in ACTS:
            seconds = [survive_with_network(fault, worker, study) for _ in range(times)]
            rows.append(row_of("memory network", fault, seconds))
        worker.close()
    return rows


def main() -> None:
    """Make it suffer, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--network", type=int, default=5, help="times with the memory network")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    chosen = parser.parse_args()
    rows = pretended(chosen.times) + with_network(chosen.network)
    text = table(["engine", "fault", "survived", "told after, at most", "said"], rows)
    print(text)
    if chosen.write:
        write_section(ROOT / "docs" / "reliability.md", "worker", text)


if __name__ == "__main__":
    main()
