"""What the panel says in words."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from CardiacSegLib.cine import Cine
from CardiacSegLib.measures import Measures
from CardiacSegLib.weights import WeightsCard
from CardiacSegLib.words import MEASURES, describe_card, describe_measures, describe_place, shown

FIGURES = {"validation": "ten cines", "es_dice_lv": 0.9107, "lvef_error_points": 2.645}
CARD = WeightsCard("cstm-x", "cstm", "small", ("ACDC",), "CC BY-NC-SA 4.0", "train", 1, FIGURES)


@pytest.fixture
def cine() -> Cine:
    return Cine(np.zeros((3, 2, 4, 4), np.int16), np.eye(4), np.array([0.0, 41.6, 80.0]))


def test_a_place_is_told_with_its_time_counted_from_0(cine: Cine) -> None:
    assert describe_place(cine, 1, 0) == "Frame 1 (0 to 2) · 42 ms · slice 0 (0 to 1)"
    assert describe_place(cine, 2, -1).endswith("the view shows no slice of the cine")


def test_without_a_cine_that_is_told() -> None:
    assert describe_place(None, 0, -1) == "No cine is open."


def test_nominal_times_are_not_shown(cine: Cine) -> None:
    nominal = Cine(cine.frames, cine.affine, cine.times, times_known=False)
    assert describe_place(nominal, 1, 0) == "Frame 1 (0 to 2) · slice 0 (0 to 1)"


def test_only_measures_that_are_known_are_told() -> None:
    assert describe_measures(Measures(lv_edv_ml=120.4, lv_mass_g=88.6)) == "EDV\xa0120\xa0ml  Mass\xa089\xa0g"
    assert describe_measures(Measures()).startswith("No volumes yet")


def test_a_card_tells_licence_data_and_figures() -> None:
    assert (
        describe_card(CARD)
        == "Licence: CC BY-NC-SA 4.0. Trained on ACDC. ten cines: ES Dice LV 0.91, LV EF error 2.6 points."
    )


def test_every_number_of_the_measures_has_its_words() -> None:
    numbers = {field.name for field in fields(Measures)} - {"bsa_formula", "volume_method"}
    assert numbers <= set(MEASURES)


def test_a_measure_has_one_title_with_its_unit_and_a_short_name_for_narrow_tables() -> None:
    wording = MEASURES["rv_edvi_ml_per_m2"]
    assert wording.title == "RV end-diastolic volume index (ml/m²)"
    assert wording.title_without_side == "End-diastolic volume index (ml/m²)"
    assert wording.short == "RV EDVI"
    assert MEASURES["cardiac_output_l_per_min"].title == "Cardiac output (l/min)"


def test_frames_are_shown_whole_and_areas_with_two_decimals() -> None:
    assert shown("ed_frame", 12) == "12"
    assert shown("bsa_mosteller_m2", 1.8764) == "1.88"
    assert shown("lv_ef_percent", 55.55) in ("55.5", "55.6")


def test_a_card_without_figures_tells_none() -> None:
    assert describe_card(replace(CARD, figures={}, data=())) == "Licence: CC BY-NC-SA 4.0."
