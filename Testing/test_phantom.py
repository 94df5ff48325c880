"""What the phantom promises: a reproducible beating heart whose volumes are known."""

from __future__ import annotations

import numpy as np
import pytest

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.phantom import beating_heart

SMALL = {"frames": 8, "slices": 8, "size": 96, "spacing": (1.8, 1.8, 10.0)}


def label_volumes(phantom, value: int) -> np.ndarray:
    return (phantom.truth.labels == value).sum(axis=(1, 2, 3)) * phantom.truth.voxel_ml


def test_the_same_seed_gives_the_same_heart_bit_for_bit():
    one, other = beating_heart(7, **SMALL), beating_heart(7, **SMALL)
    assert np.array_equal(one.cine.frames, other.cine.frames)
    assert np.array_equal(one.truth.labels, other.truth.labels)
    assert np.array_equal(one.cine.affine, other.cine.affine)
    assert np.array_equal(one.cine.times, other.cine.times)


def test_another_seed_gives_another_heart():
    one, other = beating_heart(7, **SMALL), beating_heart(8, **SMALL)
    assert not np.array_equal(one.truth.labels, other.truth.labels)
    assert abs(one.volumes_ml["LV"][0] - other.volumes_ml["LV"][0]) > 1


def test_some_frames_drawn_alone_are_those_of_the_whole_cine():
    whole, some = beating_heart(3, **SMALL), beating_heart(3, **SMALL, frame_indices=[0, 3, 7])
    assert np.array_equal(some.cine.frames, whole.cine.frames[[0, 3, 7]])
    assert np.array_equal(some.truth.labels, whole.truth.labels[[0, 3, 7]])
    assert np.array_equal(some.cine.times, whole.cine.times[[0, 3, 7]])
    for name, volumes in some.volumes_ml.items():
        assert np.array_equal(volumes, whole.volumes_ml[name][[0, 3, 7]])


@pytest.mark.parametrize("asked", [10, 35, 60, 80])
@pytest.mark.parametrize("seed", [0, 2])
def test_the_ejection_fraction_asked_for_is_the_one_it_has(asked, seed):
    phantom = beating_heart(seed, ejection_fraction=asked, frames=12)
    for volumes in (phantom.volumes_ml["LV"], label_volumes(phantom, 1)):
        assert volumes.argmax() == 0
        assert 100 * (1 - volumes.min() / volumes[0]) == pytest.approx(asked, abs=2)


@pytest.mark.parametrize("seed", range(6))
def test_the_labels_fill_the_volumes_it_states(seed):
    phantom = beating_heart(seed, frame_indices=[0, 5, 9, 20])
    for value, name in ((1, "LV"), (2, "MYO"), (3, "RV")):
        np.testing.assert_allclose(label_volumes(phantom, value), phantom.volumes_ml[name], rtol=0.03, atol=0.3)


@pytest.mark.parametrize("seed", range(4))
def test_a_basal_slice_loses_the_ventricle_in_systole_and_gets_it_back(seed):
    labels = beating_heart(seed, ejection_fraction=65, slices=14, spacing=(1.8, 1.8, 6.0), size=96).truth.labels
    has_lv = (labels == 1).any(axis=(2, 3))
    systole = has_lv.sum(axis=1).argmin()
    lost = np.flatnonzero(has_lv[0] & ~has_lv[systole])
    assert len(lost) and lost.max() < has_lv[0].argmax() + 4
    assert has_lv[-1, lost].any()
    assert 3 < systole < 15


@pytest.mark.parametrize("seed", range(4))
def test_the_volume_of_the_wall_stays_while_the_cavity_empties(seed):
    thin = beating_heart(
        seed, slices=64, spacing=(2.5, 2.5, 2.0), size=64, ejection_fraction=60, frame_indices=[0, 4, 9]
    )
    wall, cavity = label_volumes(thin, 2), label_volumes(thin, 1)
    np.testing.assert_allclose(wall, wall[0], rtol=0.05)
    assert cavity.min() < 0.45 * cavity[0]


def test_the_ventricles_touch_as_they_should_and_muscle_surrounds_the_cavity():
    labels = beating_heart(5).truth.labels[0]
    middle = labels[4]
    rows, columns = np.nonzero(middle == 1)
    assert len(rows) > 50
    inner = middle[rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2]
    cavity = inner == 1
    grown = cavity.copy()
    for axis in (0, 1):
        grown |= np.roll(cavity, 1, axis) | np.roll(cavity, -1, axis)
    assert set(np.unique(inner[grown & ~cavity])) == {2}


@pytest.mark.parametrize("seed", range(5))
def test_in_mr_the_blood_is_brighter_than_the_muscle_by_a_plausible_factor(seed):
    phantom = beating_heart(seed, frame_indices=[0])
    frame, truth = phantom.cine.frames[0, 3:6].astype(float), phantom.truth.labels[0, 3:6]
    ratio = np.median(frame[truth == 1]) / np.median(frame[truth == 2])
    assert 1.3 < ratio < 6
    assert frame.min() >= 0


def test_in_ct_the_tissues_have_their_hounsfield_units():
    phantom = beating_heart(4, modality="CT", frame_indices=[0])
    frame, truth = phantom.cine.frames[0], phantom.truth.labels[0]
    assert phantom.cine.modality == "CT"
    assert np.median(frame[truth == 1]) == pytest.approx(350, abs=25)
    assert np.median(frame[truth == 2]) == pytest.approx(110, abs=25)
    assert np.median(frame[truth == 3]) == pytest.approx(300, abs=40)
    assert np.mean(frame < -700) > 0.1
    assert frame.min() >= -1024


def test_the_times_follow_the_heart_rate():
    cine = beating_heart(2, **SMALL).cine
    cycle_ms = 60000 / cine.patient.heart_rate_bpm
    np.testing.assert_allclose(np.diff(cine.times), cycle_ms / 8)


def test_the_affine_has_the_spacing_asked_for():
    np.testing.assert_allclose(beating_heart(2, **SMALL).cine.spacing, (1.8, 1.8, 10.0))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"modality": "US"}, "US"),
        ({"ejection_fraction": 0.6}, "0.6"),
        ({"frame_indices": [25]}, "25"),
        ({"frame_indices": [3, 1]}, "3, 1"),
        ({"frames": 1}, "2 frames"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(wrong, named):
    with pytest.raises(CardiacSegError, match=named):
        beating_heart(0, **wrong)
