"""Whole studies: what each series shows, told by geometry, and how a stack is put together from what was acquired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import Scan, base_to_apex, enhanced, long_axis, multiframe, save, single, values, write
from test_readers import refused

from CardiacSegLib.readers import read_cine, read_study
from CardiacSegLib.readers.series import Kind

SIDE = 24


def heart(affine: np.ndarray, phases: Sequence[float], slices: int = 1) -> np.ndarray:
    """Stored values (T, Z, Y, X) of a world that is linear in space, which interpolation in space keeps exactly, and
    a cosine in time."""
    index = np.stack(np.meshgrid(range(slices), range(SIDE), range(SIDE), indexing="ij"))[::-1]
    where = np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3].reshape(3, 1, 1, 1)
    still = world(where)
    return np.stack([still + 300 * np.cos(2 * np.pi * phase) for phase in phases]).round().astype(np.uint16)


def world(where: np.ndarray) -> np.ndarray:
    """The value at LPS mm, the first axis being x, y and z."""
    return 1500 + np.tensordot([4.0, 3.0, -5.0], where, 1)


def off_world(cine, margin: int = 0) -> float:
    """By how much, at most, the first frame of a cine differs from the world at its peak; pixels at the border may not
    count."""
    slices = cine.shape[1]
    index = np.stack(np.meshgrid(range(slices), range(SIDE), range(SIDE), indexing="ij"))[::-1]
    where = np.tensordot(cine.affine[:3, :3], index, 1) + cine.affine[:3, 3].reshape(3, 1, 1, 1)
    off = np.abs(cine.frames[0] - world(where) - 300)
    return float(off[:, margin : SIDE - margin, margin : SIDE - margin].max())


def moved(z: float, shift: Sequence[float] = (0, 0), turn: float = 0.0) -> np.ndarray:
    """The grid of a slice at the z-th place, shifted in plane by mm and turned by degrees about its normal."""
    affine = base_to_apex((2.0, 2.0, 9.0))
    axes, angle = affine[:3, :2].copy(), np.radians(turn)
    affine[:3, :2] = axes @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = axes @ [SIDE / 2, SIDE / 2]
    affine[:3, 3] += affine[:3, 2] * z + axes @ (np.array(shift) / 2.0) + centre - affine[:3, :2] @ [SIDE / 2, SIDE / 2]
    return affine


def slice_scan(number: int, affine: np.ndarray, times: Sequence[float], cycle: float = 1000.0, **changes) -> Scan:
    """One slice as a series of its own."""
    frames = heart(affine, [time / cycle for time in times])
    extra = {"NominalInterval": round(cycle)}
    return Scan(frames, affine, times, series=f"1.2.3.{number}", number=number, extra=extra, **changes)


def even(count: int, cycle: float = 1000.0) -> list[float]:
    return [cycle * index / count for index in range(count)]


def stack(folder: Path, affines: Sequence[np.ndarray]) -> Path:
    """Each slice as a series and file of its own, acquired in an order that means nothing."""
    for place, affine in enumerate(affines):
        number = (place * 7) % 11 + 1
        save(multiframe(slice_scan(number, affine, even(20)), 0), folder / f"{number}.dcm")
    return folder


def in_time(folder: Path, times: Sequence[Sequence[float]]) -> Path:
    """Slices as series of their own, each image a file, each slice with its own times."""
    for place, own in enumerate(times):
        write(slice_scan(place + 1, moved(place), own), folder)
    return folder


class TestKinds:
    SAX = Scan(values(12, 5, 8, 6), times=even(12), description="4CH")

    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        """A study whose descriptions lie: a stack of five series, all views, a localizer and still images."""
        folder = tmp_path / "study"
        for z in range(5):
            write(self.SAX.slice(z, series=f"1.5.{z}", number=10 + z), folder)
        views = [("SAX", 5, 0), ("2CH", 60, 0), ("localizer", 118, 0), ("2CH", 8, 45)]
        for index, (name, degrees, shift) in enumerate(views):
            scan = long_axis(self.SAX, degrees, shift, series=f"1.6.{index}", number=20 + index, description=name)
            write(scan, folder)
        for index, axes in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
            scout = single(replace(self.SAX, series="1.7", number=1), 0, index, ImageOrientationPatient=axes)
            save(scout, folder / f"scout{index}")
        still = replace(self.SAX, frames=self.SAX.frames[:1], series="1.8", number=30, description="cine_sax")
        write(still, folder)
        return folder

    def test_series_are_told_by_where_they_lie_and_not_by_their_names(self, folder):
        kinds = {series.number: series.kind for series in read_study(folder).series}
        assert kinds == {
            1: Kind.LOCALIZER, **{10 + z: Kind.SHORT_AXIS for z in range(5)}, 20: Kind.TWO_CHAMBER,
            21: Kind.FOUR_CHAMBER, 22: Kind.THREE_CHAMBER, 23: Kind.OTHER, 30: Kind.OTHER,
        }  # fmt: skip

    def test_the_stack_is_put_together_from_its_series_and_that_is_said(self, folder):
        study = read_study(folder)
        cine = study.stack()
        np.testing.assert_array_equal(cine.frames, self.SAX.frames)
        np.testing.assert_allclose(cine.affine, self.SAX.affine, atol=1e-4)
        assert [series.number for series in study.series if series.in_stack] == [10, 11, 12, 13, 14]
        assert "13 series; 5 of them were put together as one stack of 5 slices" in cine.remarks[0]

    def test_read_cine_gives_the_stack_of_a_study(self, folder):
        np.testing.assert_array_equal(read_cine(folder).frames, self.SAX.frames)

    def test_long_axis_cines_are_one_slice_each_and_know_their_view(self, folder):
        views = read_study(folder).long_axis()
        assert [series.kind for series, _ in views] == [Kind.TWO_CHAMBER, Kind.FOUR_CHAMBER, Kind.THREE_CHAMBER]
        for series, cine in views:
            expected = long_axis(self.SAX, {20: 5, 21: 60, 22: 118}[series.number]).frames
            np.testing.assert_array_equal(cine.frames, expected)

    def test_a_folder_with_one_long_axis_cine_is_that_cine(self, tmp_path):
        scan = long_axis(self.SAX, 60)
        cine = read_cine(write(scan, tmp_path / "d"))
        np.testing.assert_array_equal(cine.frames, scan.frames)
        np.testing.assert_allclose(cine.affine[:3, :2], scan.affine[:3, :2], atol=1e-6)

    def test_of_long_axis_cines_alone_none_is_a_stack_and_they_are_listed(self, tmp_path):
        for number, degrees in enumerate((0, 60)):
            scan = long_axis(self.SAX, degrees, series=f"1.6.{number}", number=number, description=f"view {number}")
            write(scan, tmp_path / "d")
        with refused(r"2 series, none of them a stack.*'view 0' \(1 slice, 12 frames\), 'view 1'"):
            read_cine(tmp_path / "d")
        assert len(read_study(tmp_path / "d").long_axis()) == 2

    @pytest.mark.parametrize("steep", [-28, 28])
    def test_without_a_stack_the_views_are_told_from_the_line_that_they_share(self, tmp_path, steep):
        affine, angle = base_to_apex(), np.radians(steep)
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        affine[:3, :3] = turn @ affine[:3, :3]
        for number, degrees in enumerate((2, 57, 119)):
            scan = long_axis(replace(self.SAX, affine=affine), degrees, series=f"1.6.{number}", number=number)
            write(scan, tmp_path / "d")
        kinds = [series.kind for series in read_study(tmp_path / "d").series]
        assert kinds == [Kind.TWO_CHAMBER, Kind.FOUR_CHAMBER, Kind.THREE_CHAMBER]

    def test_a_gated_ct_is_a_volume_over_time(self, tmp_path):
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        ct = Scan(values(10, 6), affine, [10.0 * t for t in range(10)], modality="CT")
        save(enhanced(ct), tmp_path / "d" / "one.dcm")
        study = read_study(tmp_path / "d")
        assert [series.kind for series in study.series] == [Kind.VOLUME]
        np.testing.assert_array_equal(study.stack().frames, ct.frames.astype(int) - 1024)

    def test_another_body_position_is_another_stack_and_what_is_left_out_is_said(self, folder):
        write(replace(self.SAX.slice(4), reference="9.9", series="1.9", number=40, description="again"), folder)
        cine = read_cine(folder)
        np.testing.assert_array_equal(cine.frames, self.SAX.frames)
        assert "left out: 'again' (1 slice, 12 frames)" in cine.remarks[1]

    def test_perfusion_in_the_same_place_is_no_part_of_the_stack(self, folder):
        perfusion = Scan(values(40, 3, 8, 6), times=[900.0 * t for t in range(40)], description="perfusion")
        write(replace(perfusion, series="1.9", number=40), folder)
        cine = read_cine(folder)
        np.testing.assert_array_equal(cine.frames, self.SAX.frames)
        assert "left out: 'perfusion'" in cine.remarks[1]

    def test_two_stacks_of_the_same_size_are_ambiguous_and_listed(self, folder):
        write(replace(self.SAX, reference="9.9", series="1.9", number=40, description="rest"), folder)
        with refused(r"14 series, 2 of them stacks: .*'rest' \(5 slices, 12 frames\)"):
            read_cine(folder)

    def test_a_clinical_study_of_eleven_series_gives_the_stack_that_was_exported_from_it(self, data):
        study = read_study(data / "bivme_patient1" / "dicom.zip")
        cine, image = study.stack(), nibabel.load(data / "bivme_patient1" / "sax_4d.nii.gz")
        np.testing.assert_array_equal(cine.frames, np.asarray(image.dataobj).T)
        np.testing.assert_allclose(cine.affine, np.diag([-1, -1, 1, 1]) @ image.affine, atol=1e-4)
        kinds = {series.number: series.kind for series in study.series if not series.in_stack}
        assert kinds == {
            14001: Kind.FOUR_CHAMBER,
            16001: Kind.THREE_CHAMBER,  # its name says 4CH, the aorta in its picture says otherwise
            17001: Kind.TWO_CHAMBER,
            19001: Kind.OTHER,  # named 2CH too, but of the right ventricle, 44 mm beside the left
            22001: Kind.OTHER,
        }


class TestSlices:
    def test_slices_of_series_of_their_own_are_ordered_base_to_apex(self, tmp_path):
        cine = read_cine(stack(tmp_path / "d", [moved(z) for z in range(6)]))
        assert cine.shape == (20, 6, SIDE, SIDE) and cine.frames.dtype == np.int16 and off_world(cine) <= 0.5
        np.testing.assert_allclose(cine.affine, moved(0), atol=1e-4)

    def test_a_slice_acquired_again_is_that_of_the_later_series(self, tmp_path):
        folder = stack(tmp_path / "d", [moved(z) for z in range(6)])
        again = slice_scan(99, moved(3.05), even(20))
        save(multiframe(replace(again, frames=again.frames + 50), 0), folder / "again.dcm")
        cine = read_cine(folder)
        assert cine.shape[1] == 6 and "slice 3 of 6" in cine.remarks[1]
        np.testing.assert_array_equal(cine.frames[:, 3], again.frames[:, 0] + 50)

    def test_two_whole_stacks_in_one_place_are_refused(self, tmp_path):
        folder = stack(tmp_path / "d", [moved(z) for z in range(6)])
        for z in range(6):
            save(multiframe(slice_scan(90 + z, moved(z), even(20), description="stress"), 0), folder / f"stress{z}")
        with refused(r"holds 6 of 6 slices twice.*\(SAX, stress\)"):
            read_cine(folder)

    def test_a_missing_slice_is_interpolated_and_said_and_names_no_image(self, tmp_path):
        cine = read_cine(stack(tmp_path / "d", [moved(z) for z in (0, 1, 2, 4, 5)]))
        assert cine.shape[1] == 6 and cine.spacing[2] == pytest.approx(9.0, abs=1e-3)
        assert off_world(cine) <= 1 and "slice 3, interpolated" in cine.remarks[1]
        assert [row.count("") for row in cine.sources] == [1] * 20 and cine.sources[0][3] == ""

    def test_two_neighbouring_slices_missing_are_refused(self, tmp_path):
        with refused("27.0 mm between the slices 2 and 3 where others have 9.0 mm"):
            read_cine(stack(tmp_path / "d", [moved(z) for z in (0, 1, 2, 5, 6)]))

    def test_uneven_distances_become_even_ones_and_are_said(self, tmp_path):
        cine = read_cine(stack(tmp_path / "d", [moved(z) for z in (0, 0.8, 2, 3.2, 4)]))
        assert off_world(cine) <= 1 and "uneven distances (7.2 to 10.8 mm)" in cine.remarks[1]

    def test_a_steady_shift_in_plane_stays_in_the_affine(self, tmp_path):
        cine = read_cine(stack(tmp_path / "d", [moved(z, (1.5 * z, -2.0 * z)) for z in range(5)]))
        assert off_world(cine) <= 0.5 and cine.frames.dtype == np.int16 and len(cine.remarks) == 1
        np.testing.assert_allclose(cine.affine[:3, 2], moved(1, (1.5, -2.0))[:3, 3] - moved(0)[:3, 3], atol=1e-4)

    def test_slices_shifted_at_will_are_put_in_their_place_and_it_is_said(self, tmp_path):
        shifts = [(0, 0), (3, -2), (0, 0), (-5, 1), (0, 0), (0, 4)]
        cine = read_cine(stack(tmp_path / "d", [moved(z, shift) for z, shift in enumerate(shifts)]))
        assert off_world(cine, margin=4) <= 1 and "3 of 6 slices were shifted" in cine.remarks[1]

    def test_a_slice_turned_in_plane_is_turned_back(self, tmp_path):
        turns = [0, 0, 90, 0, 20, 0]
        cine = read_cine(stack(tmp_path / "d", [moved(z, turn=turn) for z, turn in enumerate(turns)]))
        assert off_world(cine, margin=5) <= 1 and "2 of 6 slices" in cine.remarks[1]


class TestTimes:
    @staticmethod
    def beats(cine) -> np.ndarray:
        """(T, Z) value in the middle of each slice, around its mean."""
        middle = cine.frames[:, :, SIDE // 2, SIDE // 2].astype(float)
        return middle - (middle.max(axis=0) + middle.min(axis=0)) / 2

    def test_slices_at_other_heart_rates_with_the_same_frames_are_not_touched(self, tmp_path):
        for z in range(5):
            cycle = 900.0 + 60 * z
            write(slice_scan(z + 1, moved(z), even(20, cycle), cycle), tmp_path / "d")
        cine = read_cine(tmp_path / "d")
        np.testing.assert_allclose(self.beats(cine)[:, 0], self.beats(cine)[:, 4], atol=1.5)
        assert cine.frames.dtype == np.int16 and cine.times[1] == pytest.approx(1020 / 20)
        assert "cycles of 900 to 1140 ms" in cine.remarks[1] and len(cine.remarks) == 2

    def test_a_slice_with_more_frames_comes_to_the_common_grid_and_it_is_said(self, tmp_path):
        times = [even(20), even(20), even(30), even(20), even(20)]
        cine = read_cine(in_time(tmp_path / "d", times))
        assert cine.shape[0] == 20
        np.testing.assert_allclose(self.beats(cine)[:, 2], 300 * np.cos(2 * np.pi * np.arange(20) / 20), atol=8)
        assert any("1 of 5 slices were acquired at other phases" in remark for remark in cine.remarks)

    def test_a_slice_that_starts_later_in_the_beat_is_brought_in_time(self, tmp_path):
        late = [(time + 135) % 1000 for time in even(20)]
        times = [even(20), sorted(late), even(20), [time + 110 for time in even(20)][:18], even(20)]
        cine = read_cine(in_time(tmp_path / "d", times))
        beats = self.beats(cine)
        np.testing.assert_allclose(beats[:, 1], beats[:, 0], atol=8)
        np.testing.assert_allclose(beats[:, 3], beats[:, 0], atol=25)  # a gap of three steps, closed linearly

    def test_one_lost_frame_of_twenty_is_interpolated_and_said(self, tmp_path):
        lost = [time for index, time in enumerate(even(20)) if index != 7]
        cine = read_cine(in_time(tmp_path / "d", [even(20)] * 4 + [lost]))
        np.testing.assert_allclose(self.beats(cine)[:, 4], self.beats(cine)[:, 0], atol=16)
        assert any("1 of 5 slices" in remark for remark in cine.remarks)
        assert cine.sources[7][4] == "" and all(cine.sources[7][:4])

    def test_a_slice_that_lacks_a_third_of_the_beat_is_refused(self, tmp_path):
        with refused("13 frames in slice 4 where others have 20"):
            read_cine(in_time(tmp_path / "d", [even(20)] * 4 + [even(20)[:13]]))

    def test_a_frame_that_is_missing_in_all_slices_is_said(self, tmp_path):
        gap = [time for index, time in enumerate(even(20)) if index != 7]
        cine = read_cine(in_time(tmp_path / "d", [gap] * 5))
        assert any("100 ms lie between the frames 6 and 7" in remark for remark in cine.remarks)
