"""Wall thickness: bodies whose wall is known exactly, the phantom's truth, and masks that show little or nonsense."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import oblique_affine
from scipy.ndimage import gaussian_filter

from CardiacSegLib.cine import Segmentation, Status
from CardiacSegLib.measures.wall import ANGLES, WallMap, measure_wall
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.phantom_heart import THETA, contraction, draw_heart, slice_depths

Outline = Callable[[np.ndarray], np.ndarray]
DIRECTIONS = np.arange(ANGLES) * 2 * np.pi / ANGLES
PIXEL = 1.25


def ring(endo: float | Outline, epi: float | Outline, pixel=(PIXEL, PIXEL), shift=(0.3, -0.2), size=96) -> np.ndarray:
    """(Y, X) masks of a wall between two outlines, radii in mm by angle; shift of the centre in pixels."""
    rows, columns = np.mgrid[:size, :size]
    x, y = (columns - size / 2 - shift[0]) * pixel[0], (rows - size / 2 - shift[1]) * pixel[1]
    angle, labels = np.arctan2(y, x), np.zeros((size, size), np.uint8)
    labels[np.hypot(x, y) < (epi(angle) if callable(epi) else epi)] = 2
    labels[np.hypot(x, y) < (endo(angle) if callable(endo) else endo)] = 1
    return labels


def segmentation(labels: np.ndarray, pixel=(PIXEL, PIXEL)) -> Segmentation:
    """Masks (Z, Y, X) or (Y, X) of one frame."""
    labels = labels[(None,) * (4 - labels.ndim)]
    return Segmentation(labels, np.full(labels.shape[:2], int(Status.ANNOTATED), np.uint8), np.diag([*pixel, 8.0, 1.0]))


def thickness(labels: np.ndarray, pixel=(PIXEL, PIXEL)) -> np.ndarray:
    """(Z, ANGLES) of one frame."""
    return measure_wall(segmentation(labels, pixel)).thickness_mm[0]


def ellipse(a: float, b: float) -> Outline:
    return lambda angle: a * b / np.hypot(b * np.cos(angle), a * np.sin(angle))


class TestKnownBodies:
    @pytest.mark.parametrize("pixel", [(1.25, 1.25), (1.25, 1.0), (0.9, 1.25)])
    @pytest.mark.parametrize(("endo", "epi"), [(25, 33), (30, 36), (10, 22), (5, 18), (2, 15), (25, 27)])
    def test_a_cylinder_has_the_thickness_of_its_wall_everywhere(self, endo, epi, pixel):
        found = [thickness(ring(endo, epi, pixel, shift), pixel)[0] for shift in ((0, 0), (0.3, -0.2), (0.5, 0.5))]
        assert np.abs(np.array(found) - (epi - endo)).mean() < 0.4
        # the pixels of a cavity of 2 mm can show its area no better
        assert np.mean(found) == pytest.approx(epi - endo, abs=0.15 if endo > 2 else 0.4)

    def test_a_cone_is_measured_in_each_of_its_slices(self):
        depths = np.arange(8) * 8.0
        labels = np.stack([ring(26 - 0.3 * z, 36 - 0.4 * z) for z in depths])
        np.testing.assert_allclose(np.abs(thickness(labels) - (10 - 0.1 * depths)[:, None]).mean(axis=1), 0, atol=0.4)

    def test_an_ellipsoid_is_measured_in_each_of_its_slices(self):
        depths = np.arange(8) * 8.0
        inner, outer = 25 * np.sqrt(1 - (depths / 75) ** 2), 35 * np.sqrt(1 - (depths / 85) ** 2)
        found = thickness(np.stack([ring(a, b) for a, b in zip(inner, outer, strict=True)]))
        assert np.abs(found - (outer - inner)[:, None]).mean() < 0.3
        assert np.abs(found.mean(axis=1) - (outer - inner)).max() < 0.15

    @pytest.mark.parametrize(("inner", "outer"), [(1.2, 1.7), (1.5, 1.9), (0.8, 1.5)])
    def test_between_confocal_ellipses_the_field_lines_are_hyperbolas_of_known_length(self, inner, outer):
        focus, place = 12.0, np.linspace(0, 2 * np.pi, 721)
        steps = np.linspace(inner, outer, 401)
        speed = focus * np.sqrt(np.sinh(steps[:, None]) ** 2 + np.sin(place) ** 2)
        length = (speed[:-1] + speed[1:]).sum(axis=0) * (steps[1] - steps[0]) / 2
        middle = focus * np.cosh((inner + outer) / 2 + 1j * place)
        expected = np.interp(DIRECTIONS, np.unwrap(np.angle(middle)), length, period=2 * np.pi)
        outlines = [ellipse(focus * np.cosh(u), focus * np.sinh(u)) for u in (inner, outer)]
        assert np.ptp(expected) > 0.8  # the wall is not even, so that a mean would not do
        assert np.abs(thickness(ring(*outlines, size=128))[0] - expected).mean() < 0.2

    def test_a_cavity_off_the_middle_is_thin_on_its_side(self):
        rows, columns = np.mgrid[:96, :96]
        labels = ring(0.1, 35, shift=(0, 0))
        labels[np.hypot(columns - 48 - 6, rows - 48) * PIXEL < 20] = 1
        found = thickness(labels)[0]
        assert found[0] == pytest.approx(35 - 20 - 6 * PIXEL, abs=0.5)
        assert found[ANGLES // 2] == pytest.approx(35 - 20 + 6 * PIXEL, abs=0.6)


@pytest.mark.parametrize("fraction", [35.0, 55.0, 70.0])
@pytest.mark.parametrize("seed", [0, 2, 5])
def test_the_phantoms_wall_is_found_within_half_a_millimetre_at_ed_and_es(seed, fraction):
    heart = draw_heart(np.random.default_rng([seed, 0]), 10, 8.0, fraction)
    depths, beat = slice_depths(heart, 10, 8.0), contraction(25, heart.systole)
    phases = [0, int(beat.argmax())]
    masks = beating_heart(seed, spacing=(1.25, 1.25, 8.0), ejection_fraction=fraction, frame_indices=phases).truth
    found, errors = measure_wall(masks).thickness_mm, []
    for frame, phase in enumerate(phases):
        for z, depth in enumerate(depths):
            walls = heart.walls(beat[phase], depth)
            if walls and np.isfinite(found[frame, z]).all():
                expected = np.interp(DIRECTIONS, THETA, walls[1] - walls[0], period=2 * np.pi)
                errors.append(np.abs(found[frame, z] - expected).mean())
    assert len(errors) > 8
    assert np.mean(errors) < 0.3
    assert max(errors) < 0.5


class TestLittleToSee:
    def test_a_wall_of_one_pixel_is_measured(self):
        found = thickness(ring(25, 25 + PIXEL))[0]
        assert np.isfinite(found).mean() > 0.9
        assert np.nanmean(found) == pytest.approx(PIXEL, abs=0.2)

    @pytest.mark.parametrize("degrees", [30, 90, 180])
    def test_where_the_ring_is_open_there_is_a_gap_and_elsewhere_the_thickness(self, degrees):
        labels = ring(25, 33, shift=(0, 0))
        rows, columns = np.mgrid[:96, :96]
        opened = np.abs(np.degrees(np.arctan2(rows - 48, columns - 48))) < degrees / 2
        labels[opened & (labels == 2)] = 0
        found = thickness(labels)[0]
        away = np.abs((np.degrees(DIRECTIONS) + 180) % 360 - 180)
        assert np.isnan(found[away < degrees / 2 - 3]).all()
        assert np.isfinite(found[away > degrees / 2 + 12]).all()
        assert np.nanmax(np.abs(found - 8)) < 1.0
        assert np.nanmean(np.abs(found - 8)) < 0.3

    def test_papillary_muscles_labelled_as_wall_inside_the_cavity_change_nothing(self):
        plain = ring(25, 33)
        muscle = plain.copy()
        muscle[40:45, 50:55] = 2
        np.testing.assert_array_equal(thickness(plain), thickness(muscle))

    def test_stray_pixels_away_from_the_heart_change_nothing(self):
        stray = ring(25, 33)
        stray[2:4, 2:4], stray[90, 90] = 1, 2
        np.testing.assert_allclose(thickness(stray), thickness(ring(25, 33)), atol=1e-6)

    @pytest.mark.parametrize("value", [0, 1, 2, 3])
    def test_slices_without_wall_or_cavity_have_no_value(self, value):
        assert np.isnan(thickness(np.where(ring(25, 33) > 0, value, 0).astype(np.uint8))).all()

    def test_the_centre_is_that_of_the_cavity_and_missing_without_one(self):
        labels = np.stack([ring(25, 33, shift=(3, -2)), np.zeros((96, 96), np.uint8)])
        centers = measure_wall(segmentation(labels)).centers[0]
        np.testing.assert_allclose(centers[0], [48 + 3, 48 - 2], atol=0.1)
        assert np.isnan(centers[1]).all()

    def test_a_heart_cut_off_by_the_picture_is_measured_where_it_shows(self):
        labels = ring(25, 33)[:, 30:]
        assert np.nanmedian(thickness(labels)) == pytest.approx(8, abs=0.5)

    def test_no_mask_however_odd_ends_in_an_error_or_an_infinite_value(self):
        rng = np.random.default_rng(0)
        for _ in range(150):
            size = int(rng.integers(2, 40))
            noise = gaussian_filter(rng.normal(size=(1, 1, size, size)), (0, 0, *rng.uniform(0, 4, 2)))
            parts = np.digitize(noise, np.quantile(noise, np.sort(rng.uniform(0, 1, 2))))
            masks = segmentation(rng.permutation(4).astype(np.uint8)[parts])
            found = measure_wall(masks).thickness_mm
            assert not np.isinf(found).any()
            assert (found[np.isfinite(found)] >= 0).all()


class TestGrids:
    def test_only_the_frames_asked_for_are_measured(self):
        labels = np.stack([ring(25, 33), ring(20, 30), ring(15, 28)])[:, None]
        found = measure_wall(segmentation(labels), [2, 0])
        assert found.frames == (2, 0)
        np.testing.assert_allclose(found.thickness_mm.mean(axis=(1, 2)), [13, 8], atol=0.2)

    def test_directions_in_space_stay_when_the_picture_is_flipped_or_transposed(self):
        labels = ring(lambda a: 22 + 2 * np.cos(a), lambda a: 30 + 3 * np.sin(a))[None, None]
        affine = oblique_affine((PIXEL, PIXEL, 8.0))
        status = np.full((1, 1), 2, np.uint8)
        flipped = affine @ np.array([[-1, 0, 0, 95], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        transposed = affine[:, [1, 0, 2, 3]]
        base = measure_wall(Segmentation(labels, status, affine))
        others = [
            measure_wall(Segmentation(np.ascontiguousarray(labels[..., ::-1]), status, flipped)),
            measure_wall(Segmentation(np.ascontiguousarray(labels.swapaxes(2, 3)), status, transposed)),
        ]
        for other in others:
            for direction, value in zip(directions(base), base.thickness_mm[0, 0], strict=True):
                nearest = int((directions(other) @ direction).argmax())
                assert other.thickness_mm[0, 0, nearest] == pytest.approx(value, abs=0.15)

    def test_what_counts_is_millimetres_in_an_oblique_stack(self):
        masks = segmentation(ring(25, 33))
        turned = Segmentation(masks.labels, masks.status, oblique_affine((PIXEL, PIXEL, 8.0)))
        np.testing.assert_allclose(measure_wall(turned).thickness_mm, measure_wall(masks).thickness_mm, atol=1e-6)


def directions(wall: WallMap) -> np.ndarray:
    """(ANGLES, 3) in space."""
    return np.cos(DIRECTIONS)[:, None] * wall.plane[0] + np.sin(DIRECTIONS)[:, None] * wall.plane[1]
