"""What can happen to the worker's process, made to happen again and again, and what must be true afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from CardiacSegLib.cine import Cine, Segmentation, SlicePrediction
from CardiacSegLib.worker import RunState, WorkerEngine, WorkerRun, client, process
from CardiacSegLib.worker.shared import PREFIX

PATIENCE = 60  # seconds, for a busy machine
SILENCE = 2.0  # seconds after which a stopped process is given up here
SAID = {
    "killed": "was ended by the system (SIGKILL, often because memory ran out)",
    "stopped": "has not answered for 2 s",
    "out of memory": "The process that computes stopped (",
    "garbage": "do not understand each other",
    "another version": "version 99 came where 2 is spoken",
    "ended": "ended unexpectedly with code 7",
}
"""Fault -> what the one sentence says."""

SITE = """
import atexit, os, resource, stat, sys, types

def pretend():
    def load_engine(name, weights, device):
        return Pretender()
    sys.modules["CardiacSegLib.engines"] = types.SimpleNamespace(load_engine=load_engine)
    sys.modules["torch"] = types.SimpleNamespace(get_num_threads=lambda: 1)

class Pretender:
    device = types.SimpleNamespace(type="cpu")

    def segment(self, cine, annotation=None, *, start=None, previous=None):
        import time
        import numpy as np
        from CardiacSegLib.cine import SlicePrediction
        fault = open(os.environ["FAULT"]).read()
        for number, (frame, z) in enumerate(np.ndindex(cine.shape[:2])):
            if number == 3:
                suffer(fault)
            time.sleep(0.2 if fault and number >= 3 else 0)
            yield SlicePrediction(frame, z, np.full(cine.shape[2:], number % 4, np.uint8))

def suffer(fault):
    if fault == "out of memory":
        import numpy as np
        size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + (200 << 20),) * 2)
        hoard = [np.ones(10 << 20) for _ in range(100)]
    elif fault == "garbage":
        for number in range(3, 20):
            try:
                if stat.S_ISFIFO(os.fstat(number).st_mode):
                    os.write(number, os.urandom(5000).replace(b"\\n", b"") + b"\\n")
            except OSError:
                pass
    elif fault == "another version":
        from CardiacSegLib.worker import messages
        messages.VERSION = 99
    elif fault == "ended":
        os._exit(7)

pretend()
"""
"""A sitecustomize.py: an engine without a network that suffers what the file FAULT names, after its third slice."""


@contextmanager
def pretended(folder: Path) -> Iterator[Callable[[str], None]]:
    """Workers have that engine; yields a function that says what it shall suffer from now on."""
    (folder / "sitecustomize.py").write_text(SITE)
    (folder / "fault").write_text("")
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "FAULT")}
    limits = client.SILENCE, process.BEAT
    os.environ |= {"PYTHONPATH": str(folder), "FAULT": str(folder / "fault")}
    client.SILENCE, process.BEAT = SILENCE, 0.2
    try:
        yield (folder / "fault").write_text
    finally:
        client.SILENCE, process.BEAT = limits
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def small_study() -> tuple[Cine, Segmentation]:
    """Six frames of four slices, of which the first is annotated."""
    cine = Cine(np.zeros((6, 4, 8, 8), np.int16), np.eye(4), np.arange(6.0))
    status = np.zeros((6, 4), np.uint8)
    status[0, 0] = 2
    return cine, Segmentation(np.ones(cine.shape, np.uint8), status, cine.affine)


def follow(run: WorkerRun, enough: int = 10**6) -> list[SlicePrediction]:
    """Poll as an event loop does, until the run has finished or enough has come."""
    found, end = run.poll(), time.monotonic() + PATIENCE
    while not run.finished and len(found) < enough:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
        found += run.poll()
    return found + run.poll()


def ended(pid: int) -> bool:
    """Whether a process has ended; one that nobody has asked for its exit code has ended, too."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def blocks() -> set[str]:
    """The names of shared memory that exist."""
    return {path.name for path in Path("/dev/shm").glob(f"{PREFIX}*")}


def survive(fault: str, worker: WorkerEngine, say: Callable[[str], None]) -> float:
    """One fault in the middle of a run, then a whole run; returns the seconds until the fault was told.

    Raises AssertionError where a slice was lost, the sentence is not the right one, or something was left behind.
    """
    cine, masks = small_study()
    say(fault)
    run = worker.begin(cine, masks)
    found, pid = follow(run, enough=3), worker.pid
    if fault in ("killed", "stopped"):
        os.kill(pid, signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
    began = time.monotonic()
    found += follow(run)
    seconds = time.monotonic() - began
    assert run.state is RunState.FAILED
    assert SAID[fault] in run.error, run.error
    assert run.error.endswith(".") and ". " not in run.error, run.error
    assert 3 <= len(found) == run.found < 24, "what was found is kept"
    assert not worker.alive
    assert ended(pid), "no process is left"
    assert blocks() == set(), "no memory is left"
    say("")
    assert len(list(worker.segment(cine, masks))) == 24, "a new one takes over"
    assert worker.pid != pid
    return seconds
