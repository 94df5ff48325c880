"""The worker is killed, stopped, starved, or talks nonsense: the application goes on, and nothing found is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worker_faults import SAID, blocks, ended, follow, pretended, small_study, survive

from CardiacSegLib.worker import RunState, WorkerEngine, client

pytestmark = pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or not Path("/proc/self").is_dir(), reason="needs Linux's /dev/shm, /proc and signals"
)
TIMES = 3
"""In a row; Testing/benchmarks/worker_faults.py does it 20 times, and with the real network."""


@pytest.fixture
def say(tmp_path: Path):
    with pretended(tmp_path) as say:
        yield say


@pytest.mark.parametrize("fault", SAID)
def test_it_is_survived_again_and_again(fault: str, say) -> None:
    worker = WorkerEngine(device="cpu")
    for _ in range(TIMES):
        survive(fault, worker, say)
    pid = worker.pid
    worker.close()
    assert ended(pid)


def test_a_process_that_computes_for_long_is_not_taken_for_stopped(say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE", 0.6)
    say("slow")
    worker = WorkerEngine(device="cpu")
    cine, masks = small_study()
    run = worker.begin(cine, masks)
    follow(run, enough=3)
    began = time.monotonic()
    while time.monotonic() - began < 2:
        run.poll()
        time.sleep(0.05)
    assert run.state is RunState.RUNNING
    worker.close()


def test_an_application_that_slept_does_not_blame_the_worker(say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE", 0.6)
    say("slow")
    worker = WorkerEngine(device="cpu")
    run = worker.begin(*small_study())
    follow(run, enough=3)
    time.sleep(1.5)
    assert follow(run)
    assert run.state is RunState.DONE
    worker.close()


def test_one_that_was_stopped_while_it_idled_is_replaced_too(say) -> None:
    worker = WorkerEngine(device="cpu")
    cine, masks = small_study()
    assert len(list(worker.segment(cine, masks))) == 24
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)
    run = worker.begin(cine, masks)
    assert follow(run) == []
    assert "has not answered" in run.error
    assert ended(pid)
    assert len(list(worker.segment(cine, masks))) == 24
    worker.close()


def test_one_that_was_stopped_behind_a_launcher_leaves_no_process(say, tmp_path: Path) -> None:
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    worker = WorkerEngine(device="cpu", python=str(launcher))
    say("stopped")
    run = worker.begin(*small_study())
    follow(run, enough=3)
    pid, shell = worker.pid, worker._process._popen.pid
    assert pid != shell
    os.kill(pid, signal.SIGSTOP)
    follow(run)
    assert "has not answered" in run.error
    end = time.monotonic() + 10
    while not (ended(pid) and ended(shell)) and time.monotonic() < end:
        time.sleep(0.05)
    assert ended(pid)
    assert ended(shell)


PARENT = """
import sys, time
sys.path[:0] = sys.argv[1:3]
from worker_faults import small_study
from CardiacSegLib.worker import WorkerEngine
worker = WorkerEngine(device="cpu", python=sys.argv[3])
run = worker.begin(*small_study())
print(worker._process._popen.pid, flush=True)
time.sleep(60)
"""


def test_memory_of_both_processes_killed_at_once_goes_away_at_the_next_start(say, tmp_path: Path) -> None:
    testing = Path(__file__).resolve().parent
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\nsleep 60\n"{sys.executable}" "$@"\n')  # never comes to map the blocks
    slow.chmod(0o755)
    command = [sys.executable, "-c", PARENT, str(testing), str(testing.parent), str(slow)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as application:
        worker = int(application.stdout.readline())
        assert len(blocks()) == 2
        application.kill()
        os.killpg(worker, signal.SIGKILL)
    assert len(blocks()) == 2, "nobody was left to remove them"
    other = WorkerEngine(device="cpu")
    other.warm()
    assert blocks() == set()
    other.close()
