"""The benchmark of the automatic methods measures what it says: operations, ablations, what the memory goes on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from CardiacSegLib.cine import Cine, Segmentation, SlicePrediction, Status, empty_segmentation
from CardiacSegLib.networks import crocnet
from CardiacSegLib.weights import WeightsCard, read_card, save_weights
from Testing.benchmarks.automatic import (
    card_figures,
    cine_row,
    compared,
    engines_of,
    flops,
    handed_on,
    mean,
    run,
    tell_card,
    volume_row,
)
from Testing.benchmarks.common import Case


def case_of() -> Case:
    """Five frames of three slices, ED at 1 and ES at 3: an LV in its wall beside an RV, half as large at ES."""
    labels = np.zeros((5, 3, 40, 60), np.uint8)
    for frame, half in ((1, 8), (3, 4)):
        labels[frame, :, 20 - half - 3 : 20 + half + 3, 20 - half - 3 : 20 + half + 3] = 2
        labels[frame, :, 20 - half : 20 + half, 20 - half : 20 + half] = 1
        labels[frame, :, 14:26, 36:48] = 3
    status = np.zeros((5, 3), np.uint8)
    status[[1, 3]] = Status.ANNOTATED
    cine = Cine(labels.astype(np.int16), np.diag([1.5, 1.5, 8, 1]), 40.0 * np.arange(5))
    return Case("drawn", cine, Segmentation(labels, status, cine.affine), ed=1, es=3)


class Copying:
    """Finds what the expert drew, moved by some columns, at every place that is not fixed."""

    name = "copying"

    def __init__(self, case: Case, columns: int = 0) -> None:
        self.labels = np.roll(case.expert.labels, columns, axis=3)

    def segment(self, cine: Cine, annotation: Segmentation | None = None) -> Iterator[SlicePrediction]:
        fixed = np.zeros(cine.shape[:2], bool) if annotation is None else annotation.fixed
        for t, z in np.argwhere(~fixed):
            yield SlicePrediction(int(t), int(z), self.labels[t, z])


def test_operations_are_two_for_every_product_of_a_convolution() -> None:
    network = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    assert flops(lambda: network(torch.zeros(1, 3, 20, 30))) == pytest.approx(2 * 3 * 5 * 9 * 20 * 30 / 1e9)


def test_a_crocnet_comes_with_its_first_stage_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = crocnet.CroCNet(crocnet.SIZES["full"])
    card = WeightsCard("both", "crocnet", "full", ("none",), "CC0 1.0", "none", seed=0)
    path = save_weights(tmp_path / "both.safetensors", network, card)
    engines = engines_of([read_card(path)])
    assert list(engines) == ["both", "both, stage 1 alone"]
    both, alone = (engine.network for engine in engines.values())
    assert both.second is not None and alone.second is None
    for name, value in alone.first.state_dict().items():
        assert torch.equal(value, both.first.state_dict()[name]), name


def test_what_agrees_has_dice_1_and_no_distance() -> None:
    case = case_of()
    rows = compared(Copying(case), [case])
    assert len(rows) == 6 and {row["phase"] for row in rows} == {"ED", "ES"}
    assert volume_row("copy", rows) == ["copy", *["1.000 / 1.000"] * 3, *["1.000"] * 2, *["0.0 / 0.0 / 0.0"] * 2]
    assert card_figures(rows, "one")["dice_mean"] == 1.0


def test_each_phase_and_structure_has_its_own_dice() -> None:
    case = case_of()
    rows = compared(Copying(case, columns=4), [case])
    assert mean(rows, "dice", structure="LV", phase="ED") == pytest.approx(12 / 16)
    assert mean(rows, "dice", structure="LV", phase="ES") == pytest.approx(4 / 8)
    assert mean(rows, "dice", structure="RV") == pytest.approx(8 / 12)
    assert mean(rows, "hd_mm", structure="RV") == pytest.approx(4 * 1.5)


def test_smoothness_and_ejection_fraction_are_those_of_the_cine() -> None:
    case = case_of()
    found = run(Copying(case), case)
    row = cine_row("copy", [case], [found], ("ED", "ES"))
    assert row[1:7] == ["1.000"] * 4 + ["0.0", "+0.0 ± 0.0"]
    empty = dataclasses.replace(found, labels=found.labels.copy())
    empty.labels[case.es][empty.labels[case.es] == 1] = 0
    assert cine_row("no LV at ES", [case], [empty], ("ED",))[5:7] == ["25.0", "+25.0 ± 0.0"]


def test_the_memory_network_gets_what_was_found_at_ed_and_nothing_else() -> None:
    case = case_of()
    found = run(Copying(case, columns=2), case)
    assert (found.status == Status.PREDICTED).all()
    annotation = handed_on(case, found)
    assert np.array_equal(annotation.fixed, np.arange(5)[:, None] == np.full((1, 3), case.ed))
    assert np.array_equal(annotation.labels[case.ed], found.labels[case.ed])
    assert not np.delete(annotation.labels, case.ed, axis=0).any()
    after = run(Copying(case), case, annotation)
    assert np.array_equal(after.labels[case.ed], found.labels[case.ed])
    assert np.array_equal(after.labels[case.es], case.expert.labels[case.es])
    assert np.array_equal(run(Copying(case), case, empty_segmentation(case.cine)).labels, case.expert.labels)


def test_the_card_gets_its_figures(tmp_path: Path) -> None:
    card = WeightsCard("both", "crocnet", "stage1", ("none",), "CC0 1.0", "none", seed=0)
    path = save_weights(tmp_path / "both.safetensors", nn.Conv2d(1, 1, 1), card)
    tell_card(read_card(path), {"dice_mean": 0.5})
    assert read_card(path).figures == {"dice_mean": 0.5}
    assert read_card(path).sha256 and read_card(path).name == "both"
