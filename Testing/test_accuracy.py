"""The product's figures hold on real hearts that no weights were trained on."""

from __future__ import annotations

import numpy as np
import pytest

from CardiacSegLib.weights import WEIGHTS_FOLDER
from Testing.benchmarks.accuracy import STRUCTURES, by_network, evaluate
from Testing.benchmarks.common import ACDC, validation_cases

pytestmark = [
    pytest.mark.skipif(not (ACDC / "cine").is_dir(), reason="the ACDC validation cines are not beside the repository"),
    pytest.mark.skipif(not (WEIGHTS_FOLDER / "cstm-small.safetensors").is_file(), reason="cstm-small is not installed"),
]


@pytest.fixture(scope="module")
def found():
    """Scores with the whole ED stack annotated, and with its middle slice only."""
    cases, method = validation_cases(), by_network("cstm-small")
    return evaluate(cases, method, middle_only=False), evaluate(cases, method, middle_only=True)


NOT_YET = pytest.mark.xfail(
    strict=True,
    reason="the RV reaches 0.88: in three of ten basal slices at ES the expert sees the atrium, the network the RV",
)


@pytest.mark.parametrize(("structure", "least"), [("LV", 0.94), ("MYO", 0.90), pytest.param("RV", 0.90, marks=NOT_YET)])
def test_from_the_annotated_ed_stack_the_es_masks_agree_with_the_expert(found, structure, least):
    assert found[0][f"{structure} all"].mean() >= least


def test_no_left_ventricle_is_lost_at_es(found):
    assert found[0]["LV all"].min() >= 0.75


def test_the_ejection_fraction_is_within_three_points_of_the_expert_on_average(found):
    assert np.abs(found[0]["EF"]).mean() <= 3


def test_from_one_annotated_slice_all_slices_at_ed_and_es_agree_with_the_expert(found):
    assert np.mean([found[1][f"{structure} all"] for structure in STRUCTURES]) >= 0.91
