"""Automatic methods in the panel: no annotation is needed, and corrections are propagated by the memory network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import numpy as np
from panel_work import LV, RUN, annotate, calm, draw, labels, load, segment, warm_worker

from CardiacSegLib.cine import Status
from CardiacSegLib.selftest import random_weights
from CardiacSegLib.weights import WeightsCard, installed
from CardiacSegLib.worker import WorkerEngine


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the U-Net: what they find is nonsense, found quickly."""
    return random_weights(tmp_path_factory.mktemp("unet"), "unet")


@pytest.fixture(scope="module")
def automatic(unet: Path) -> Iterator[WorkerEngine]:
    with warm_worker("unet", unet) as engine:
        yield engine


@pytest.fixture
def panel(panel: Any, worker: WorkerEngine, automatic: WorkerEngine) -> Any:
    """The panel with a warm worker for either method."""
    panel.session._engine_for = lambda name, *choice: {"cstm": worker, "unet": automatic}[name]
    return panel


def test_an_automatic_result_is_corrected_and_the_correction_propagated_by_the_memory_network(
    host, panel, unet: Path, cine_file: Path
) -> None:
    panel.load(lambda: panel.logic.loadCine(str(cine_file)))
    assert not panel.ui.segmentButton.enabled
    host.choose(unet)
    host.click(panel.ui.weightsButton)
    assert panel.ui.methodCombo.currentText.startswith("U-Net")
    assert panel.ui.weightsCombo.currentData == str(unet)
    assert "Licence: MIT" in panel.ui.cardLabel.text
    segment(host, panel)
    study = panel.session.study
    assert (study.status == Status.PREDICTED).all()
    assert study.last_method == "unet"
    assert not panel.ui.propagateButton.enabled
    found = labels(panel)
    panel.goTo(3, 2)
    draw(host, panel, LV, (32, 32), 7)
    corrected = labels(panel)[3, 2]
    assert study.status[3, 2] == Status.CORRECTED
    host.wait(lambda: panel.session.device_name, RUN)
    host.click(panel.ui.propagateButton)
    host.wait(lambda: not panel.session.running, RUN)
    now = labels(panel)
    assert (now[3, 2] == corrected).all()
    reached = {(2, 2), (4, 2), (3, 1), (3, 3)}
    others = np.ones((6, 4), bool)
    others[tuple(zip(*reached, (3, 2), strict=True))] = False
    assert (now[others] == found[others]).all()
    assert "4 slices found" in panel.ui.changeLabel.text
    host.click(panel.ui.undoButton)
    assert (labels(panel)[others] == found[others]).all()
    assert (labels(panel)[2, 2] == found[2, 2]).all()


def test_method_and_weights_are_switched_between_runs_and_each_keeps_its_own(
    host, panel, weights: Path, unet: Path, cine_file: Path, heart, tmp_path: Path
) -> None:
    panel.load(lambda: panel.logic.loadCine(str(cine_file)))
    annotate(host, panel, heart)
    segment(host, panel)
    by_memory = labels(panel)
    host.choose(unet)
    host.click(panel.ui.weightsButton)
    segment(host, panel)
    assert panel.session.study.last_method == "unet"
    assert (labels(panel)[0, 2] == heart.truth.labels[0, 2]).all()
    panel.ui.methodCombo.setCurrentIndex(panel.ui.methodCombo.findData("cstm"))
    assert panel.ui.weightsCombo.currentData == str(weights)
    segment(host, panel)
    assert (labels(panel) == by_memory).mean() > 0.99
    host.save_scene(tmp_path / "study.mrb")
    panel.ui.methodCombo.setCurrentIndex(panel.ui.methodCombo.findData("unet"))
    host.scene.Clear(0)
    host.load_scene(tmp_path / "study.mrb")
    host.wait(lambda: panel.session.study is not None, RUN)
    calm(host, panel)
    assert panel.choice()[:2] == ("cstm", str(weights))
    assert panel.session.study.last_method == "cstm"


@pytest.mark.parametrize("card", [c for c in installed() if c.network != "cstm"], ids=lambda card: card.name)
def test_every_installed_method_is_chosen_by_name_and_finds_the_heart(
    host, weights: Path, card: WeightsCard, cine_file: Path, heart
) -> None:
    panel = load(host, weights)
    panel.load(lambda: panel.logic.loadCine(str(cine_file)))
    for combo, wanted in ((panel.ui.methodCombo, card.network), (panel.ui.weightsCombo, card.name)):
        combo.setCurrentIndex(combo.findData(wanted))
    segment(host, panel)
    study = panel.session.study
    assert (study.status == Status.PREDICTED).all()
    assert study.last_method == card.network
    found, truth = labels(panel) > 0, heart.truth.labels > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7
    assert panel.ui.efLabel.text
