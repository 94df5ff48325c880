"""The worker's process dies or is stopped under the panel: the scene keeps what was found, and the next run goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

from panel_work import RUN, annotate, labels, load
from worker_faults import blocks, ended

from CardiacSegLib.cine import Status
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.worker import client

TURNS = int(os.environ.get("CARDIACSEG_FAULTS", "1"))
"""How often the worker is stopped and killed in a row; docs/reliability.md tells of 20."""

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux's /proc and signals")


def test_panel_and_scene_survive_workers_that_are_killed_and_stopped_in_turns(
    host, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(client, "SILENCE", 2.0)
    heart: Phantom = beating_heart(3, frames=14, slices=4, size=64, spacing=(2.8, 2.8, 14.0))
    panel = load(host, weights)
    panel.load(lambda: panel.logic.addCine(heart.cine))
    annotate(host, panel, heart)
    study, pids = panel.session.study, set()
    faults = ((signal.SIGSTOP, "has not answered for 2 s"), (signal.SIGKILL, "was ended by the system"))
    for sign, said in faults * TURNS:
        host.click(panel.ui.segmentButton)
        host.wait(lambda: panel.session._run.found >= 2, RUN)
        pid = panel.session._engine.pid
        os.kill(pid, sign)
        host.wait(lambda: not panel.session.running, RUN)
        assert panel.ui.messageLabel.visible
        assert said in panel.ui.messageLabel.text
        assert ended(pid)
        found = study.status == Status.PREDICTED
        assert 2 <= found.sum() < 55
        assert panel.ui.segmentButton.enabled
        pids.add(pid)
    host.click(panel.ui.segmentButton)
    host.wait(lambda: not panel.session.running, RUN)
    assert not panel.ui.messageLabel.visible
    assert (study.status == Status.PREDICTED).sum() == 55
    assert (labels(panel)[0, 2] == heart.truth.labels[0, 2]).all(), "what a person drew never changed"
    pids.add(panel.session._engine.pid)
    assert len(pids) == 2 * TURNS + 1
    assert blocks() == set()
