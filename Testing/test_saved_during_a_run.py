"""A scene that is saved while a run goes on: it opens with what was found, says what is missing, and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import numpy as np
from panel_work import MODULE, RUN, annotate, calm, labels
from scripted_engine import Engine, Run

from CardiacSegLib import session
from CardiacSegLib.cine import Segmentation, SlicePrediction, Status
from CardiacSegLib.phantom import Phantom
from CardiacSegLib.weights import WeightsCard


class SlowRun(Run):
    """Finds as many slices as it is allowed to."""

    allowed = 0

    def poll(self) -> list[SlicePrediction]:
        return super().poll() if self.found < self.allowed else []


class SlowEngine(Engine):
    """Its runs wait after `allowed` slices until they are allowed more."""

    allowed = 10_000

    def begin(self, cine: Any, annotation: Segmentation, *, start: Any = None, previous: Any = None) -> Run:
        super().begin(cine, annotation, start=start, previous=previous)
        self.runs[-1] = SlowRun(self.truth, annotation, start, previous)
        self.runs[-1].allowed = self.allowed
        return self.runs[-1]


@pytest.fixture
def engine(heart: Phantom) -> SlowEngine:
    return SlowEngine(heart.truth)


@pytest.fixture
def panel(host, engine, heart: Phantom, monkeypatch) -> Any:
    """The panel with the small heart, of which a slice is annotated."""

    def card(key: tuple[str, str, str]) -> WeightsCard:
        return WeightsCard(f"weights of {key[0]}", key[0], "small", ("none",), "MIT", "a test", 0)

    monkeypatch.setattr(session, "_card", card)
    panel = host.load(MODULE)
    panel.session._engine_for = lambda *choice: engine
    panel.load(lambda: panel.logic.addCine(heart.cine))
    annotate(host, panel, heart)
    return panel


def press_segment(host, panel: Any, engine: SlowEngine, allowed: int = 10_000) -> None:
    """Let a run find so many slices, or all."""
    engine.allowed = allowed
    panel.session.segment(panel._parameterNode.method, "any", "cpu", (0, 2))
    follow(host, panel, allowed)


def follow(host, panel: Any, allowed: int = 10_000) -> None:
    panel._pollTimer.start()
    host.wait(lambda: not panel.session.running or panel.session._run.found >= allowed, RUN)
    calm(host, panel)


def load(host, panel: Any, path: Path) -> None:
    host.scene.Clear(0)
    host.load_scene(path)
    host.wait(lambda: panel.session.study is not None, RUN)
    calm(host, panel)


def test_what_was_found_is_stored_and_the_run_does_not_notice(host, panel, engine, heart, tmp_path) -> None:
    press_segment(host, panel, engine, 8)
    host.save_scene(tmp_path / "half.mrb")
    assert panel.session.running
    engine.runs[-1].allowed = 10_000
    follow(host, panel)
    assert not panel.session.running
    assert (labels(panel) == heart.truth.labels).all()
    assert (panel.session.study.status != Status.EMPTY).all()
    load(host, panel, tmp_path / "half.mrb")
    study = panel.session.study
    assert (study.status == Status.PREDICTED).sum() == 8
    assert study.status[0, 2] == Status.ANNOTATED
    found = study.status != Status.EMPTY
    assert (labels(panel)[found] == heart.truth.labels[found]).all()
    assert not labels(panel)[~found].any()


def test_it_says_what_is_missing_and_goes_on(host, panel, engine, heart, tmp_path) -> None:
    press_segment(host, panel, engine, 8)
    host.save_scene(tmp_path / "half.mrb")
    load(host, panel, tmp_path / "half.mrb")
    assert not panel.session.running
    assert "Not all is found yet: 15 of 24 slices are not segmented." in panel.ui.remarkLabel.text
    assert panel.ui.segmentButton.enabled or "is not installed" in panel.ui.segmentButton.toolTip
    press_segment(host, panel, engine)
    assert (labels(panel) == heart.truth.labels).all()
    assert panel.session.study.last_method == "cstm"
    host.save_scene(tmp_path / "whole.mrb")
    load(host, panel, tmp_path / "whole.mrb")
    assert not panel.ui.remarkLabel.visible


def test_the_weights_that_found_the_stored_slices_are_named(host, panel, engine, tmp_path) -> None:
    press_segment(host, panel, engine, 8)
    host.save_scene(tmp_path / "half.mrb")
    load(host, panel, tmp_path / "half.mrb")
    assert [card.name for card in panel.session.study.weights] == ["weights of cstm"]


def test_a_second_run_over_found_slices_is_said_not_to_have_ended(host, panel, engine, heart, tmp_path) -> None:
    press_segment(host, panel, engine)
    panel._parameterNode.method = "unet"
    engine.truth = Segmentation(np.zeros_like(heart.truth.labels), heart.truth.status, heart.truth.affine)
    press_segment(host, panel, engine, 8)
    host.save_scene(tmp_path / "mixed.mrb")
    load(host, panel, tmp_path / "mixed.mrb")
    assert "The last run did not end, and some slices are as they were before it" in panel.ui.remarkLabel.text
    assert {card.name for card in panel.session.study.weights} == {"weights of cstm", "weights of unet"}
    assert panel.session.study.last_method == "cstm"
    engine.truth = heart.truth
    press_segment(host, panel, engine)
    assert (labels(panel) == heart.truth.labels).all()
    assert [card.name for card in panel.session.study.weights] == ["weights of unet"]
    host.save_scene(tmp_path / "whole.mrb")
    load(host, panel, tmp_path / "whole.mrb")
    assert not panel.ui.remarkLabel.visible


def test_an_undone_run_is_no_unfinished_one(host, panel, engine, tmp_path) -> None:
    press_segment(host, panel, engine)
    press_segment(host, panel, engine, 8)
    panel.session.cancel()
    follow(host, panel)
    panel.act(panel.session.undo)
    host.save_scene(tmp_path / "undone.mrb")
    load(host, panel, tmp_path / "undone.mrb")
    assert not panel.ui.remarkLabel.visible


def test_a_correction_that_was_being_propagated_can_be_propagated_again(host, panel, engine, heart, tmp_path) -> None:
    press_segment(host, panel, engine)
    panel.session.study.set_slice(3, 2, np.zeros((64, 64), np.uint8), Status.CORRECTED)
    engine.allowed = 4
    panel.session.propagate("any", "cpu", (3, 2))
    follow(host, panel, 4)
    host.save_scene(tmp_path / "half.mrb")
    load(host, panel, tmp_path / "half.mrb")
    assert "The last run did not end" in panel.ui.remarkLabel.text
    assert panel.session.study.status[3, 2] == Status.CORRECTED
    engine.allowed = 10_000
    panel.session.propagate("any", "cpu", (3, 2))
    assert engine.runs[-1].previous.status[3, 2] != Status.CORRECTED  # it starts from the last whole run
    follow(host, panel)
    assert not labels(panel)[3, 2].any()
    assert (np.delete(labels(panel), 3, axis=0) == np.delete(heart.truth.labels, 3, axis=0)).all()


def test_the_first_change_of_the_shown_frame_after_loading_stays_in_the_scene(host, panel, engine, tmp_path) -> None:
    press_segment(host, panel, engine)
    host.save_scene(tmp_path / "whole.mrb")
    load(host, panel, tmp_path / "whole.mrb")
    panel.goTo(panel.session.study.frame, 2)
    host.click(panel.ui.nothingButton)
    host.settle()
    assert not labels(panel)[panel.session.study.frame, 2].any()
    assert (labels(panel) == panel.session.study.read().labels).all()


def test_loading_it_while_the_run_still_goes_on_ends_the_run(host, panel, engine, tmp_path) -> None:
    press_segment(host, panel, engine, 8)
    host.save_scene(tmp_path / "half.mrb")
    run = engine.runs[-1]
    load(host, panel, tmp_path / "half.mrb")
    assert run.state.name == "CANCELLED"
    assert (panel.session.study.status == Status.PREDICTED).sum() == 8
