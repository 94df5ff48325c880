"""The AHA's segments: hearts drawn sector by sector, the phantom's truth, turned stacks, masks that show little."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from CardiacSegLib.anatomy import to_native
from CardiacSegLib.cine import Segmentation, Status
from CardiacSegLib.measures.aha import NAMES, SegmentTable, segment_labels, segment_wall
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.phantom_heart import THETA, Heart, contraction, draw_heart, slice_depths

ACDC = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "acdc" / "training"
VALIDATION = ("005", "006", "018", "024", "025", "039", "049", "051", "060", "062", "066")
SIZE, PIXEL, ENDO = 120, 1.0, 22.0
INSERTION = -20.0
"""Degrees from the head towards the patient's left, where the drawn hearts have their anterior insertion."""

# Columns go to the patient's left, rows down to the feet, slices (from base to apex) to the front: the picture is seen
# from the front with the head up.
UPRIGHT = np.array([[PIXEL, 0, 0, 0], [0, 0, -8.0, 0], [0, -PIXEL, 0, 0], [0, 0, 0, 1.0]])


def clock(center=(SIZE / 2, SIZE / 2)) -> tuple[np.ndarray, np.ndarray]:
    """Degrees from up towards the right, and distance in mm, of every pixel."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = (columns - center[0]) * PIXEL, (center[1] - rows) * PIXEL
    return np.degrees(np.arctan2(x, y)), np.hypot(x, y)


def drawn_slice(walls: dict[int, float] | float, with_rv: bool = True, endo: float = ENDO) -> np.ndarray:
    """A ring with these thicknesses by sixth, from the anterior insertion anticlockwise, and the RV on the septum."""
    angle, distance = clock()
    onwards = (INSERTION - angle) % 360
    wall = np.select([onwards // 60 == n for n in range(6)], [walls[n] for n in range(6)]) if walls != 0 else 0
    labels = np.zeros((SIZE, SIZE), np.uint8)
    if with_rv:
        labels[(onwards < 120) & (distance < endo + 30)] = 3
    labels[distance < endo + wall] = 2
    labels[distance < endo] = 1
    return labels


EVEN = dict.fromkeys(range(6), 8.0)
UNEVEN = {0: 7.0, 1: 8.0, 2: 9.0, 3: 10.0, 4: 11.0, 5: 12.0}
BY_SEGMENT = {2: 7.0, 3: 8.0, 4: 9.0, 5: 10.0, 6: 11.0, 1: 12.0}


def segmentation(frames: list[list[np.ndarray]], affine: np.ndarray = UPRIGHT) -> Segmentation:
    labels = np.array(frames, np.uint8)
    return Segmentation(labels, np.full(labels.shape[:2], int(Status.PREDICTED), np.uint8), affine)


def stack(count: int, walls=EVEN) -> list[np.ndarray]:
    """Slices from the base to the apex, the cavity getting narrower."""
    return [drawn_slice(walls, endo=ENDO - 0.8 * z) for z in range(count)]


def values(table: SegmentTable, name: str = "ed_mm") -> dict[int, float | None]:
    return {segment.number: getattr(segment, name) for segment in table.segments}


class TestDrawnHeart:
    def test_the_anterior_insertion_is_where_it_was_drawn(self):
        table = segment_wall(segmentation([stack(6)]), 0)
        assert (table.insertion_deg - INSERTION + 180) % 360 - 180 == pytest.approx(0, abs=3)
        assert table.insertion_from == "masks"

    def test_every_sector_has_its_own_thickness_at_base_and_middle(self):
        found = values(segment_wall(segmentation([stack(6, UNEVEN)]), 0))
        for number, expected in BY_SEGMENT.items():
            assert found[number] == pytest.approx(expected, abs=0.5)
            assert found[number + 6] == pytest.approx(expected, abs=0.5)

    def test_at_the_apex_four_sectors_lie_square_to_the_septum(self):
        found = values(segment_wall(segmentation([stack(6, UNEVEN)]), 0))
        # 90 degrees round the middle of the septum see 45 of each septal sixth, and so on
        assert found[14] == pytest.approx((7 + 8) / 2, abs=0.4)
        assert found[15] == pytest.approx((15 * 8 + 60 * 9 + 15 * 10) / 90, abs=0.4)
        assert found[16] == pytest.approx((45 * 10 + 45 * 11) / 90, abs=0.4)
        assert found[13] == pytest.approx((15 * 11 + 60 * 12 + 15 * 7) / 90, abs=0.4)

    def test_es_and_thickening_come_from_the_same_sectors(self):
        thicker = {n: wall + 4 for n, wall in UNEVEN.items()}
        table = segment_wall(segmentation([stack(6, UNEVEN), stack(6, thicker)]), 0, 1)
        es, thickening = values(table, "es_mm"), values(table, "thickening_percent")
        for number, expected in BY_SEGMENT.items():
            assert es[number] == pytest.approx(expected + 4, abs=0.5)
            assert thickening[number] == pytest.approx(400 / expected, abs=4)

    def test_a_slice_that_the_ventricle_has_left_at_es_counts_at_ed_only(self):
        ed = [drawn_slice(dict.fromkeys(range(6), 12.0)), *stack(5)]
        es = [np.zeros_like(ed[0]), *stack(5, dict.fromkeys(range(6), 10.0))]
        basal = segment_wall(segmentation([ed, es]), 0, 1).segments[0]
        assert (basal.slices, basal.paired_slices) == ((0, 1), (1,))
        assert basal.ed_mm == pytest.approx(10, abs=0.3)
        assert basal.es_mm == pytest.approx(10, abs=0.3)
        assert basal.thickening_percent == pytest.approx(25, abs=4)

    def test_segments_have_the_names_of_the_aha(self):
        assert (NAMES[0], NAMES[1], NAMES[9], NAMES[13], NAMES[16]) == (
            "basal anterior", "basal anteroseptal", "mid inferior", "apical septal", "apex",
        )  # fmt: skip

    def test_the_insertion_can_be_set_and_the_sectors_follow(self):
        masks = segmentation([stack(6, UNEVEN)])
        table = segment_wall(masks, 0, insertion_deg=INSERTION - 60)
        assert (table.insertion_from, table.insertion_deg) == ("given", INSERTION - 60 + 360)
        assert values(table)[2] == pytest.approx(UNEVEN[1], abs=0.5)
        assert values(table)[1] == pytest.approx(UNEVEN[0], abs=0.5)


def mirrored(masks: Segmentation, axis: int) -> Segmentation:
    """The same heart in space with one axis of its arrays running the other way (1 slices, 2 rows, 3 columns)."""
    step = np.eye(4)
    step[3 - axis, 3 - axis], step[3 - axis, 3] = -1, masks.labels.shape[axis] - 1
    return Segmentation(
        np.flip(masks.labels, axis).copy(), np.flip(masks.status, axis).copy() if axis == 1 else masks.status,
        masks.affine @ step,
    )  # fmt: skip


class TestTurnedStacks:
    @pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (1, 2, 3), ()])
    @pytest.mark.parametrize("transposed", [False, True])
    def test_flipping_turning_and_reordering_the_pictures_changes_no_segment(self, axes, transposed):
        masks = segmentation([stack(6, UNEVEN), stack(6, {n: w + 2 for n, w in UNEVEN.items()})])
        expected = segment_wall(masks, 0, 1)
        for axis in axes:
            masks = mirrored(masks, axis)
        if transposed:
            labels = np.ascontiguousarray(masks.labels.swapaxes(2, 3))
            masks = Segmentation(labels, masks.status, masks.affine[:, [1, 0, 2, 3]])
        found = segment_wall(masks, 0, 1)
        assert found.insertion_deg == pytest.approx(expected.insertion_deg, abs=0.01)
        for one, other in zip(found.segments[:16], expected.segments[:16], strict=True):
            assert one.ed_mm == pytest.approx(other.ed_mm, abs=0.15)
            assert one.thickening_percent == pytest.approx(other.thickening_percent, abs=3)

    def test_an_oblique_stack_has_the_segments_of_the_upright_one(self):
        turn = np.eye(4)
        turn[:3, :3] = np.linalg.qr(np.eye(3) + 0.25 * np.random.default_rng(1).normal(size=(3, 3)))[0]
        turn[:3, :3] *= np.sign(np.diag(turn[:3, :3]))
        masks = segmentation([stack(6, UNEVEN)])
        found = values(segment_wall(Segmentation(masks.labels, masks.status, turn @ UPRIGHT), 0))
        for number, expected in values(segment_wall(masks, 0)).items():
            assert found[number] == (None if expected is None else pytest.approx(expected, abs=0.01))

    def test_an_rv_in_front_or_above_has_its_anterior_end_on_the_left(self):
        rolled = [np.rot90(labels, -1).copy() for labels in stack(6, UNEVEN)]  # a quarter clockwise: the RV is on top
        table = segment_wall(segmentation([rolled]), 0)
        assert table.insertion_deg == pytest.approx(INSERTION + 90, abs=3)
        assert values(table)[2] == pytest.approx(UNEVEN[0], abs=0.5)

    def test_a_file_without_orientation_says_so(self):
        plain = segment_wall(segmentation([stack(6)], np.diag([1.0, 1.0, 8.0, 1.0])), 0)
        assert any("does not say how the slices lie" in remark for remark in plain.remarks)
        tilted = UPRIGHT.copy()
        tilted[:3, :3] = np.array([[1, 0.1, 0], [-0.1, 1, 0], [0, 0, 1]]) / np.hypot(1, 0.1) @ UPRIGHT[:3, :3]
        assert segment_wall(segmentation([stack(6)], tilted), 0).remarks == ()


class TestLevels:
    @pytest.mark.parametrize(
        ("count", "levels"), [(1, "m"), (3, "bma"), (4, "bmma"), (5, "bbmaa"), (6, "bbmmaa"), (8, "bbbmmaaa")]
    )  # fmt: skip
    def test_closed_rings_are_split_in_thirds(self, count, levels):
        names = {"b": "base", "m": "mid", "a": "apex"}
        assert segment_wall(segmentation([stack(count)]), 0).levels == tuple(names[letter] for letter in levels)

    def test_open_rings_at_the_base_belong_to_no_segment_and_the_end_beyond_the_cavity_is_the_cap(self):
        opened = drawn_slice(EVEN)
        opened[np.abs(clock()[0]) < 60] = 0
        cap = np.where(clock()[1] < 8, 2, 0).astype(np.uint8)
        frame = [opened, *stack(3), cap, np.zeros_like(cap)]
        assert segment_wall(segmentation([frame]), 0).levels == ("", "base", "mid", "apex", "cap", "")
        assert segment_wall(segmentation([frame[::-1]]), 0).levels == ("", "cap", "apex", "mid", "base", "")

    def test_a_hole_of_two_pixels_in_the_mask_is_no_open_ring(self):
        frame = stack(3)
        angle, distance = clock()
        frame[0][(np.abs(angle - 90) < 2) & (distance > 21)] = 0
        assert segment_wall(segmentation([frame]), 0).levels == ("base", "mid", "apex")


class TestLittleToSee:
    def test_without_an_rv_there_are_no_segments_until_the_insertion_is_given(self):
        masks = segmentation([[drawn_slice(UNEVEN, with_rv=False) for _ in range(3)]])
        table = segment_wall(masks, 0)
        assert set(values(table).values()) == {None}
        assert "set the anterior RV insertion" in table.remarks[0]
        assert values(segment_wall(masks, 0, insertion_deg=INSERTION))[2] == pytest.approx(7, abs=0.5)

    @pytest.mark.parametrize("keep", [0, 1, 2, 3])
    def test_masks_without_wall_or_cavity_give_no_segments_and_a_reason(self, keep):
        frame = [np.where(labels == keep, labels, 0) for labels in stack(5)]
        table = segment_wall(segmentation([frame]), 0)
        assert set(values(table).values()) == {None}
        assert "No slice shows a closed ring of myocardium at end-diastole." in table.remarks

    def test_without_a_diastole_there_is_nothing(self):
        table = segment_wall(segmentation([stack(3)]), None)
        assert set(values(table).values()) == {None}
        assert table.remarks == ("No frame shows the LV.",)

    def test_one_slice_has_the_six_segments_of_the_middle(self):
        found = values(segment_wall(segmentation([stack(1)]), 0))
        assert {number for number, value in found.items() if value is not None} == {7, 8, 9, 10, 11, 12}

    def test_the_cap_has_no_thickness_and_one_frame_no_thickening(self):
        table = segment_wall(segmentation([stack(6)]), 0)
        assert table.segments[16].ed_mm is None
        assert {segment.es_mm for segment in table.segments} == {None}
        assert {segment.thickening_percent for segment in table.segments} == {None}

    def test_a_sector_that_is_mostly_open_has_no_value_and_its_neighbours_do(self):
        frame = stack(3)
        angle, _ = clock()
        es = [labels.copy() for labels in frame]
        es[1][(((INSERTION - angle) % 360) // 60 == 3) & (es[1] == 2)] = 0
        found = values(segment_wall(segmentation([frame, es]), 0, 1), "es_mm")
        assert found[11] is None
        assert found[8] == pytest.approx(8, abs=0.5)
        assert found[5] == pytest.approx(8, abs=0.5)


class TestLabels:
    def test_the_myocardium_is_covered_by_the_segments_of_its_level(self):
        masks = segmentation([stack(6), stack(6)])
        table = segment_wall(masks, 0, 1)
        found = segment_labels(masks, table)
        assert (found.dtype, found.shape) == (np.uint8, masks.labels.shape)
        np.testing.assert_array_equal(found > 0, masks.labels == 2)
        per_slice = [set(np.unique(found[0, z])) - {0} for z in range(6)]
        assert per_slice == [set(range(1, 7))] * 2 + [set(range(7, 13))] * 2 + [set(range(13, 17))] * 2

    def test_segments_lie_where_they_were_drawn(self):
        masks = segmentation([stack(6)])
        found = segment_labels(masks, segment_wall(masks, 0))[0, 0]
        angle, _ = clock()
        onwards = (INSERTION - angle) % 360
        for n, number in enumerate((2, 3, 4, 5, 6, 1)):
            inside = (found > 0) & (onwards // 60 == n) & (np.abs(onwards % 60 - 30) < 25)
            assert set(np.unique(found[inside])) == {number}

    def test_sectors_follow_the_heart_where_it_moves(self):
        moved = [np.roll(labels, (9, -7), (0, 1)) for labels in stack(6)]
        masks = segmentation([stack(6), moved])
        found = segment_labels(masks, segment_wall(masks, 0))
        np.testing.assert_array_equal(np.roll(found[0], (9, -7), (1, 2)), found[1])

    def test_the_cap_is_17(self):
        cap = np.where(clock()[1] < 8, 2, 0).astype(np.uint8)
        masks = segmentation([[*stack(3), cap]])
        assert set(np.unique(segment_labels(masks, segment_wall(masks, 0))[0, 3])) == {0, 17}


@cache
def heart_of(seed: int, fraction: float) -> tuple[Heart, np.ndarray, float, Phantom]:
    """The phantom's geometry, slice depths, contraction at ES, and masks at ED (frame 0) and ES (frame 1)."""
    heart = draw_heart(np.random.default_rng([seed, 0]), 10, 8.0, fraction)
    beat = contraction(25, heart.systole)
    indices = [0, int(beat.argmax())]
    drawn = beating_heart(seed, spacing=(1.25, 1.25, 8.0), ejection_fraction=fraction, frame_indices=indices)
    return heart, slice_depths(heart, 10, 8.0), float(beat.max()), drawn


def towards(degrees: float, affine: np.ndarray) -> float:
    """Radians in the phantom's plane (columns, rows) of a direction given from the head towards the left."""
    across = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    normal = np.cross(across[:, 0], across[:, 1])
    head = np.array([0, 0, 1.0]) - normal[2] * normal
    head /= np.linalg.norm(head)
    left = np.array([1.0, 0, 0]) - normal[0] * normal
    left -= (left @ head) * head
    left /= np.linalg.norm(left)
    x, y = across.T @ (np.cos(np.radians(degrees)) * head + np.sin(np.radians(degrees)) * left)
    return float(np.arctan2(y, x))


def true_thickness(walls: tuple[np.ndarray, np.ndarray], level: str, insertion: float, hand: float) -> dict[int, float]:
    """Mean of the phantom's wall by segment, at right angles to its middle.

    insertion: radians in the phantom's plane; hand: 1 where angles grow from the insertion over the septum.
    """
    rim = walls[0] * np.exp(1j * THETA)
    area = np.imag(np.conj(rim) * np.roll(rim, -1))  # of the triangles of the cavity about the LV's axis
    center = ((rim + np.roll(rim, -1)) / 3 * area).sum() / area.sum()
    middle = (walls[0] + walls[1]) / 2 * np.exp(1j * THETA)
    along = np.roll(middle, -1) - np.roll(middle, 1)
    wall = (walls[1] - walls[0]) * abs(np.imag(np.conj(np.exp(1j * THETA)) * along)) / abs(along)
    middle = middle - center
    onwards = np.degrees(hand * (np.angle(middle) - insertion)) % 360
    if level == "apex":
        numbers = np.array([14, 15, 16, 13])[((onwards - 15) % 360 // 90).astype(int)]
    else:
        numbers = np.array([2, 3, 4, 5, 6, 1])[(onwards // 60).astype(int)] + (6 if level == "mid" else 0)
    return {int(n): float(wall[numbers == n].mean()) for n in np.unique(numbers)}


@pytest.mark.parametrize("fraction", [35.0, 55.0, 70.0])
@pytest.mark.parametrize("seed", [0, 4, 14])
class TestPhantom:
    def test_the_anterior_insertion_is_where_the_outline_of_the_rv_meets_the_epicardium(self, seed, fraction):
        heart, depths, _, drawn = heart_of(seed, fraction)
        table = segment_wall(drawn.truth, 0, 1)
        ends = []
        for z in (z for z, level in enumerate(table.levels) if level in ("base", "mid")):
            epi, (place, radii) = heart.walls(0.0, depths[z])[1], heart.rv(0.0, depths[z])
            away = epi * np.exp(1j * THETA) - complex(*place)
            inside = abs(away) < np.interp(np.angle(away), THETA, radii, period=2 * np.pi)
            starts = np.flatnonzero(inside & ~np.roll(inside, 1))
            stops = np.flatnonzero(inside & ~np.roll(inside, -1))
            ends.append(THETA[[starts[0], stops[0]]])
        expected = np.angle(np.exp(1j * np.array(ends)).mean(axis=0))  # one of the two is the anterior one
        found = towards(table.insertion_deg, drawn.cine.affine)
        assert np.degrees(abs(np.angle(np.exp(1j * (found - expected))))).min() < 5

    def test_every_segment_has_its_true_thickness_at_ed_and_es(self, seed, fraction):
        heart, depths, systole, drawn = heart_of(seed, fraction)
        table = segment_wall(drawn.truth, 0, 1)
        insertion = towards(table.insertion_deg, drawn.cine.affine)
        hand = np.sign(np.angle(np.exp(1j * (towards(table.insertion_deg - 60, drawn.cine.affine) - insertion))))

        def truth(z: int, s: float, number: int) -> float:
            return true_thickness(heart.walls(s, depths[z]), table.levels[z], insertion, hand)[number]

        thickening = []
        for segment in table.segments[:16]:
            ed = np.mean([truth(z, 0.0, segment.number) for z in segment.slices])
            assert segment.ed_mm == pytest.approx(ed, abs=0.5)
            if segment.paired_slices:
                before, after = (
                    np.mean([truth(z, s, segment.number) for z in segment.paired_slices]) for s in (0.0, systole)
                )
                assert segment.es_mm == pytest.approx(after, abs=0.5)
                thickening.append(segment.thickening_percent - 100 * (after - before) / before)
        assert len(thickening) >= 10
        assert abs(np.mean(thickening)) < 2
        assert np.mean(np.abs(thickening)) < 3


@pytest.mark.skipif(not ACDC.is_dir(), reason="the ACDC masks (shared/data/acdc) are not here")
def test_real_hearts_have_all_sixteen_segments_and_an_insertion_on_the_anterior_side() -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    for patient in VALIDATION:
        images = [sitk.ReadImage(str(path)) for path in sorted((ACDC / f"patient{patient}").glob("*_gt.nii.gz"))]
        frames = [list(to_native(sitk.GetArrayFromImage(image), "acdc")) for image in images]
        table = segment_wall(segmentation(frames, np.diag([*images[0].GetSpacing(), 1.0])), 0, 1)
        found = values(table)
        assert None not in [found[number] for number in range(1, 17)], patient
        assert min(found[number] for number in range(1, 17)) > 2, patient
        assert (table.insertion_deg + 90) % 360 < 150, patient  # above the middle of the picture, where the chest is
