"""What the panel says in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CardiacSegLib.cine import Cine
from CardiacSegLib.measures import Measures
from CardiacSegLib.weights import WeightsCard, write_card
from CardiacSegLib.words import describe_card, describe_measures, describe_place, weights_choices, why_no_engine

CARD = WeightsCard("cstm-x", "cstm", "small", ("ACDC",), "CC BY-NC-SA 4.0", "train", 1, {"es_dice_lv": 0.91, "of": "v"})


@pytest.fixture
def cine() -> Cine:
    return Cine(np.zeros((3, 2, 4, 4), np.int16), np.eye(4), np.array([0.0, 41.6, 80.0]))


def test_a_place_is_told_with_its_time_counted_from_0(cine: Cine) -> None:
    assert describe_place(cine, 1, 0) == "Frame 1 of 0-2 · 42 ms · slice 0 of 0-1"
    assert describe_place(cine, 2, -1).endswith("the view shows no slice of the cine")


def test_nominal_times_are_not_shown(cine: Cine) -> None:
    nominal = Cine(cine.frames, cine.affine, cine.times, times_known=False)
    assert describe_place(nominal, 1, 0) == "Frame 1 of 0-2 · slice 0 of 0-1"


def test_only_measures_that_are_known_are_told() -> None:
    assert describe_measures(Measures(lv_edv_ml=120.4, lv_mass_g=88.6)) == "EDV 120 ml  Mass 89 g"
    assert describe_measures(Measures()) == ""


def test_a_card_tells_licence_data_and_figures() -> None:
    assert describe_card(CARD) == "Licence CC BY-NC-SA 4.0 · ACDC · es dice lv 0.91"


def test_a_chosen_file_can_be_chosen_again_and_one_without_card_cannot(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    assert str(path) not in weights_choices(str(path))
    card = {name: value for name, value in vars(CARD).items() if name != "path"}
    write_card(path, card)
    assert weights_choices(str(path))[str(path)].name == "cstm-x"


def test_why_no_engine_can_run_is_told() -> None:
    assert why_no_engine(["torch>=2.4"], CARD).startswith("torch is not installed")
    assert why_no_engine([], None).startswith("No weights are installed")
    assert why_no_engine([], CARD) == ""
