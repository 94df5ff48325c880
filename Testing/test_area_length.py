"""Volumes from long-axis views: against bodies whose area, length and volume are known on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from long_axis_heart import long_axis_heart

from CardiacSegLib.anatomy import LV, MYO
from CardiacSegLib.cine import Segmentation
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.measures import measure
from CardiacSegLib.measures.area_length import check_views, profile, shows_long_axis, volume_ml
from CardiacSegLib.measures.curves import known_curves
from CardiacSegLib.measures.study import measure_study
from CardiacSegLib.measures.volumes import AREA_LENGTH

LONG_AXIS = np.array([[0.7, 0.1, 0.7], [0.0, 0.99, -0.14], [-0.71, 0.1, 0.7]])


def body(half_length: float, half_width: float, degrees: float, cut: float = 1.0, wall: float = 8.0, mm: float = 1.2):
    """(Y, X) labels of an ellipse whose base end is cut off at `cut` half lengths, in a wall that is open there."""
    rows, columns = (np.mgrid[:150, :150] - 74.5) * mm
    turn = np.radians(degrees)
    along, across = rows * np.cos(turn) + columns * np.sin(turn), columns * np.cos(turn) - rows * np.sin(turn)
    below = along > -cut * half_length
    labels = np.zeros(rows.shape, np.uint8)
    outer = np.hypot(along / (half_length + wall), across / (half_width + wall)) < 1
    labels[outer & below] = MYO.value if wall else 0
    labels[(np.hypot(along / half_length, across / half_width) < 1) & below] = LV.value
    return labels


def cut_ellipse(half_length: float, half_width: float, cut: float) -> tuple[float, float]:
    """Area and length on paper of an ellipse cut off at `cut` half lengths."""
    area = half_length * half_width * (np.pi / 2 + np.arcsin(cut) + cut * np.sqrt(1 - cut**2))
    return area, (1 + cut) * half_length


@pytest.mark.parametrize("degrees", [0, 25, 90, 140, 250])
def test_area_and_length_of_a_whole_ellipsoid_give_its_volume(degrees):
    found = profile(body(45, 22, degrees, wall=0), (1.2, 1.2))
    assert found.area_mm2 == pytest.approx(np.pi * 45 * 22, rel=0.01)
    assert found.length_mm == pytest.approx(90, abs=1.7)
    assert volume_ml(found) == pytest.approx(4 / 3 * np.pi * 45 * 22**2 / 1000, rel=0.03)


@pytest.mark.parametrize("degrees", [0, 25, 90, 140, 250])
@pytest.mark.parametrize("cut", [0.3, 0.6])
@pytest.mark.parametrize("wall", [0.0, 8.0])
def test_a_cut_ellipsoid_is_measured_from_the_middle_of_its_base_to_its_apex(degrees, cut, wall):
    found = profile(body(55, 24, degrees, cut, wall), (1.2, 1.2))
    area, length = cut_ellipse(55, 24, cut)
    assert found.from_wall == bool(wall)
    assert found.area_mm2 == pytest.approx(area, rel=0.015)
    assert found.length_mm == pytest.approx(length, abs=2.2)
    turn = np.radians(degrees)
    down = np.array([np.sin(turn), np.cos(turn)])
    for end, along in ((found.base, -cut * 55), (found.apex, 55)):
        assert (np.array(end) - 74.5) * 1.2 == pytest.approx(down * along, abs=4)


def test_pixels_that_are_no_squares_are_measured_in_mm():
    whole = body(45, 22, 0, 0.6)
    assert profile(whole[::2], (1.2, 2.4)).length_mm == pytest.approx(profile(whole, (1.2, 1.2)).length_mm, abs=2.4)
    assert profile(whole[::2], (1.2, 2.4)).area_mm2 == pytest.approx(profile(whole, (1.2, 1.2)).area_mm2, rel=0.02)


def test_two_views_of_an_ellipsoid_with_three_axes_give_its_volume():
    wide, narrow = (profile(body(45, width, 20, wall=0), (1.2, 1.2)) for width in (28, 18))
    true = 4 / 3 * np.pi * 45 * 28 * 18 / 1000
    assert volume_ml(wide, narrow) == pytest.approx(true, rel=0.03)
    assert volume_ml(wide) > 1.4 * true and volume_ml(narrow) < 0.7 * true


def test_of_two_lengths_the_shorter_counts():
    long, short = (profile(body(length, 22, 0, wall=0), (1.2, 1.2)) for length in (48, 42))
    expected = 8 * long.area_mm2 * short.area_mm2 / (3 * np.pi * short.length_mm) / 1000
    assert volume_ml(long, short) == volume_ml(short, long) == pytest.approx(expected)


def test_a_bulging_valve_and_holes_in_the_wall_move_the_base_little():
    labels = body(55, 24, 0, 0.6)
    rows, columns = (np.mgrid[:150, :150] - 74.5) * 1.2
    bulge = (rows <= -0.6 * 55) & (np.hypot((rows + 33) / 6, columns / 15) < 1)
    labels[bulge] = LV.value
    labels[95:98] = np.where(labels[95:98] == MYO.value, 0, labels[95:98])
    clean = profile(body(55, 24, 0, 0.6), (1.2, 1.2))
    assert profile(labels, (1.2, 1.2)).base == pytest.approx(clean.base, abs=2.5)
    assert profile(labels, (1.2, 1.2)).length_mm == pytest.approx(clean.length_mm, abs=2.5)


def test_a_frame_without_a_cavity_has_no_profile():
    assert profile(np.full((5, 5), MYO.value, np.uint8), (1.0, 1.0)) is None
    assert profile(np.eye(5, dtype=np.uint8), (1.0, 1.0)).length_mm > 0


def one_slice(labels: np.ndarray, axes: np.ndarray) -> Segmentation:
    affine = np.eye(4)
    affine[:3, :3] = axes * 1.2
    return Segmentation(labels[None, None], np.full((1, 1), 2, np.uint8), affine)


def short_axis() -> np.ndarray:
    """Voxel axes whose third points along the heart."""
    third = np.array([0.5, -0.6, -0.62])
    third /= np.linalg.norm(third)
    first = np.cross([0.3, 0.2, 1.0], third)
    first /= np.linalg.norm(first)
    return np.column_stack([first, np.cross(third, first), third])


def test_only_one_slice_along_the_heart_is_a_long_axis_view():
    labels = body(45, 22, 0, 0.6)
    assert shows_long_axis(one_slice(labels, LONG_AXIS))
    assert not shows_long_axis(one_slice(labels, short_axis()))
    assert not shows_long_axis(one_slice(labels, np.eye(3)))  # a file that does not say how its slice lies
    view = one_slice(labels, LONG_AXIS)
    two = replace(view, labels=view.labels.repeat(2, axis=1), status=view.status.repeat(2, axis=1))
    assert not shows_long_axis(two)


def test_a_ring_that_is_closed_is_a_short_axis_whatever_the_file_says_of_its_plane():
    ring = body(24, 24, 0)
    assert not shows_long_axis(one_slice(ring, LONG_AXIS))


def test_two_views_must_be_along_the_heart_and_cross():
    view = one_slice(body(45, 22, 0, 0.6), LONG_AXIS)
    with pytest.raises(CardiacSegError, match="only 0° apart"):
        check_views(view, view)
    with pytest.raises(CardiacSegError, match="second masks are not of one long-axis slice"):
        check_views(view, one_slice(body(45, 22, 0, 0.6), short_axis()))
    heart = short_axis()
    across = [np.column_stack([heart[:, 2], heart[:, n], heart[:, 1 - n]]) for n in (0, 1)]
    check_views(*(one_slice(body(45, 22, 0, 0.6), axes) for axes in across))


def test_the_curve_of_two_views_takes_them_frame_by_frame_and_of_other_frames_it_is_of_the_first():
    (four, _), (two, _) = (long_axis_heart(2, view, frames=4, size=64, mm=3.0)[1:] for view in (4, 2))
    pairs = zip(four.labels, two.labels, strict=True)
    expected = [volume_ml(*(profile(frame[0], (3.0, 3.0)) for frame in pair)) for pair in pairs]
    assert known_curves(four, two)[AREA_LENGTH] == pytest.approx(expected)
    three = replace(two, labels=two.labels[:3], status=two.status[:3])
    assert known_curves(four, three)[AREA_LENGTH] == pytest.approx(known_curves(four)[AREA_LENGTH])
    assert "frame by frame" in measure_study(four, second=two).to_dict()["conventions"]["curve"]
    assert "first view alone" in measure_study(four, second=three).to_dict()["conventions"]["curve"]
    assert "curve" not in measure_study(four).to_dict()["conventions"]


def test_frames_that_one_of_two_views_lacks_are_not_in_the_curve():
    (four, _), (two, _) = (long_axis_heart(2, view, frames=4, size=64, mm=3.0)[1:] for view in (4, 2))
    status = two.status.copy()
    status[1] = 0
    found = known_curves(four, replace(two, status=status))[AREA_LENGTH]
    assert np.isnan(found).tolist() == [False, True, False, False]


def test_the_phases_that_were_fixed_in_the_second_view_count_and_must_exist():
    (four, _), (two, _) = (long_axis_heart(2, view, frames=4, size=64, mm=3.0)[1:] for view in (4, 2))
    one, other = (profile(truth.labels[frame, 0], (3.0, 3.0)) for truth, frame in ((four, 0), (two, 1)))
    fixed = measure(four, ed=0, second=two, second_phases=(1, None))
    assert fixed.lv_edv_area_length_ml == pytest.approx(volume_ml(one, other))
    with pytest.raises(CardiacSegError, match="end-systolic frame 9 does not exist"):
        measure(four, second=two, second_phases=(None, 9))


def test_masks_that_lie_elsewhere_in_the_picture_have_the_same_profile():
    labels = body(30, 15, 25, 0.6)
    moved = np.roll(labels, (31, -34), (0, 1))
    first, second = (profile(each, (1.2, 1.2)) for each in (labels, moved))
    assert second.length_mm == pytest.approx(first.length_mm)
    assert second.area_mm2 == pytest.approx(first.area_mm2)
    assert np.subtract(second.base, first.base) == pytest.approx([-34, 31])
    at_the_edge = labels[(labels == LV.value).any(axis=1).argmax() :]
    assert profile(at_the_edge, (1.2, 1.2)).area_mm2 == pytest.approx(first.area_mm2)


def test_a_beating_heart_ejects_by_area_and_length_what_it_ejects_in_truth():
    for seed in (2, 5):
        views = [long_axis_heart(seed, view, frames=8)[1:] for view in (4, 2)]
        spacing = (1.5, 1.5)
        four, two = ([profile(frame[0], spacing) for frame in truth.labels] for truth, _ in views)
        found = np.array([volume_ml(a, b) for a, b in zip(four, two, strict=True)])
        true = views[0][1]
        assert 100 * np.ptp(found) / found.max() == pytest.approx(100 * np.ptp(true) / true.max(), abs=5)
