"""Threads that wait for each other sleep soon, so that a busy computer does not bring them to a standstill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from CardiacSegLib.selftest import random_weights
from CardiacSegLib.threads import wait_briefly
from CardiacSegLib.worker import WorkerEngine

ROOT = Path(__file__).resolve().parents[1]

CROWDED = """
import os, sys, time
from CardiacSegLib import cli
def work():
    assert 'torch' not in sys.modules
    import torch
    # Only now: OpenMP has counted the cores, and takes this one's other work for none.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(2)
    layer, picture = torch.nn.Conv2d(8, 8, 3), torch.rand(1, 8, 64, 64)
    layer(picture)
    began = time.monotonic()
    while time.monotonic() < began + 3:
        layer(picture)
        print('.', end='')
cli.app = work
cli.main()
"""


def turns(**environment: str) -> int:
    """How often a small layer is computed in three seconds by two threads on one core, below the command line."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", CROWDED], cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.count(".")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to a core here")
def test_two_threads_on_one_core_do_not_wait_for_each_other_awake() -> None:
    assert turns() > 5 * turns(GOMP_SPINCOUNT="infinite")


@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="no process's environment can be read here")
def test_the_worker_is_started_with_threads_that_wait_briefly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    wanted: dict[str, str] = {}
    wait_briefly(wanted)
    worker = WorkerEngine("unet", random_weights(tmp_path, "unet"), "cpu")
    worker.warm()
    end = time.monotonic() + 60
    while not worker.device_name and time.monotonic() < end:
        time.sleep(0.02)
    found = Path(f"/proc/{worker.pid}/environ").read_text().split("\0")
    worker.close()
    assert wanted and {f"{name}={value}" for name, value in wanted.items()} <= set(found)


@pytest.mark.parametrize("chosen", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_who_has_chosen_otherwise_keeps_it(chosen: dict[str, str]) -> None:
    environment = dict(chosen)
    wait_briefly(environment)
    assert environment == chosen
