"""What the measures promise: volumes in ml, the phases of the heart, and agreement with an expert, from definitions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from CardiacSegLib.anatomy import LV, MYO, RV, to_native
from CardiacSegLib.cine import Patient, Segmentation, Status
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.measures import counted_frames, measure, volume_curves
from CardiacSegLib.measures.agreement import agreement, summary

ACDC = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "acdc" / "training"
CUBIC_CM = np.diag([10.0, 10.0, 10.0, 1.0])


def segmentation(labels, affine=CUBIC_CM, structures=(LV, MYO, RV)) -> Segmentation:
    """Masks whose frames with any label are predicted and whose other frames are empty."""
    labels = np.asarray(labels, np.uint8)
    status = np.zeros(labels.shape[:2], np.uint8)
    status[labels.any(axis=(1, 2, 3))] = Status.PREDICTED
    return Segmentation(labels, status, affine, structures)


def of_volumes(lv, myo=None, rv=None) -> Segmentation:
    """A cine whose structures have these whole ml in each frame (one voxel is one ml)."""
    labels = np.zeros((len(lv), 1, 3, 400), np.uint8)
    for row, (value, volumes) in enumerate(((1, lv), (2, myo), (3, rv))):
        for frame, volume in enumerate(volumes or ()):
            labels[frame, 0, row, :volume] = value
    return segmentation(labels)


def box(where, shape=(1, 8, 40, 40), value=1) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[(0, *where)] = value
    return labels


def rotation() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


class TestVolumes:
    def test_a_box_has_the_volume_of_its_sides_with_the_gaps_between_slices(self):
        labels = box((slice(1, 4), slice(5, 15), slice(5, 25)))
        curves = volume_curves(segmentation(labels, np.diag([1.25, 1.25, 10.0, 1.0])))
        # 25 mm x 12.5 mm x 3 slices of 8 mm with gaps of 2 mm
        np.testing.assert_allclose(curves["LV"], [25 * 12.5 * 30 / 1000])

    def test_a_sphere_has_four_thirds_pi_r_cubed(self):
        z, y, x = np.meshgrid(*(np.arange(n) - n / 2 + 0.5 for n in (40, 60, 60)), indexing="ij")
        sphere = ((x * 1.0) ** 2 + (y * 1.0) ** 2 + (z * 1.5) ** 2 < 25**2).astype(np.uint8)[None]
        volume = volume_curves(segmentation(sphere, np.diag([1.0, 1.0, 1.5, 1.0])))["LV"][0]
        assert volume == pytest.approx(4 / 3 * np.pi * 2.5**3, rel=0.005)

    def test_turning_and_mirroring_the_grid_changes_no_volume(self):
        labels = box((slice(1, 4), slice(5, 15), slice(5, 25)))
        turned = np.eye(4)
        turned[:3, :3] = rotation() @ np.diag([-1.25, 1.25, 10.0])
        np.testing.assert_allclose(volume_curves(segmentation(labels, turned))["LV"], [25 * 12.5 * 30 / 1000])

    def test_in_a_sheared_stack_the_perpendicular_slice_distance_counts(self):
        labels = box((slice(1, 4), slice(5, 15), slice(5, 25)))
        sheared = np.diag([1.25, 1.25, 10.0, 1.0])
        sheared[0, 2] = 6.0
        np.testing.assert_allclose(volume_curves(segmentation(labels, sheared))["LV"], [25 * 12.5 * 30 / 1000])

    def test_every_structure_has_a_curve_over_all_frames(self):
        curves = volume_curves(of_volumes([5, 4, 0], [3, 3, 3], [7, 0, 2]))
        assert {name: curve.tolist() for name, curve in curves.items()} == {
            "LV": pytest.approx([5, 4, 0]),
            "MYO": pytest.approx([3, 3, 3]),
            "RV": pytest.approx([7, 0, 2]),
        }


class TestMeasure:
    def test_ed_and_es_are_the_frames_of_the_largest_and_smallest_lv(self):
        found = measure(of_volumes([100, 140, 90, 56, 120], [80] * 5, [150, 160, 130, 80, 140]))
        assert (found.ed_frame, found.es_frame) == (1, 3)
        assert found.lv_edv_ml == pytest.approx(140)
        assert found.lv_esv_ml == pytest.approx(56)
        assert found.lv_sv_ml == pytest.approx(84)
        assert found.lv_ef_percent == pytest.approx(60)
        assert found.lv_mass_g == pytest.approx(84)

    def test_the_rv_is_measured_in_the_frames_of_the_lv(self):
        found = measure(of_volumes([140, 56, 120], rv=[150, 90, 75]))
        assert found.rv_edv_ml == pytest.approx(150)
        assert found.rv_esv_ml == pytest.approx(90)
        assert found.rv_ef_percent == pytest.approx(40)

    def test_the_user_can_fix_the_frames(self):
        found = measure(of_volumes([140, 100, 56]), ed=0, es=1)
        assert (found.ed_frame, found.es_frame) == (0, 1)
        assert found.lv_ef_percent == pytest.approx(100 * 40 / 140)

    @pytest.mark.parametrize("wrong", [{"ed": 3}, {"es": -1}])
    def test_a_fixed_frame_that_does_not_exist_is_refused(self, wrong):
        with pytest.raises(CardiacSegError, match=r"does not exist; choose one of 0 to 2"):
            measure(of_volumes([140, 100, 56]), **wrong)

    def test_frames_that_nobody_segmented_are_no_end_systole(self):
        found = measure(of_volumes([140, 0, 0, 56, 0]))
        assert (found.ed_frame, found.es_frame) == (0, 3)

    def test_frames_in_which_only_the_rv_was_drawn_are_no_end_systole(self):
        assert measure(of_volumes([140, 0, 56], rv=[150, 120, 90])).es_frame == 2

    def test_labels_in_a_frame_whose_status_is_empty_do_not_count_as_segmented(self):
        cine = of_volumes([140, 20, 56])
        status = cine.status.copy()
        status[1] = Status.EMPTY
        assert measure(dataclasses.replace(cine, status=status)).es_frame == 2

    def test_a_frame_that_a_run_has_not_finished_does_not_count(self):
        cine = segmentation(np.ones((2, 4, 5, 5)))
        cine.labels[1, 2:] = 0
        cine.status[1, 2:] = Status.EMPTY
        assert counted_frames(cine).tolist() == [True, False]
        found = measure(cine)
        assert (found.es_frame, found.lv_esv_ml, found.lv_ef_percent) == (None, None, None)
        assert measure(cine, es=1).lv_esv_ml is None

    @pytest.mark.parametrize(
        ("status", "counts"),
        [
            ("00222200", True),  # a person leaves out what lies beyond the heart
            ("00020000", False),  # one annotated slice is no volume
            ("00220220", False),  # a gap in the stack
            ("22222222", True),
            ("00022111", False),  # a run has begun here
            ("22221111", True),
            ("34342222", True),
            ("00000000", False),
        ],
    )
    def test_a_frame_counts_when_it_is_decided_or_drawn_by_hand_as_one_stack(self, status, counts):
        status = np.array([[int(value) for value in status]], np.uint8)
        cine = Segmentation(np.ones((1, 8, 2, 2), np.uint8), status, CUBIC_CM)
        assert counted_frames(cine).tolist() == [counts]

    def test_a_single_segmented_frame_gives_edv_and_mass_but_no_ejection_fraction(self):
        found = measure(of_volumes([0, 140, 0], [0, 80, 0]))
        assert (found.ed_frame, found.es_frame) == (1, None)
        assert found.lv_edv_ml == pytest.approx(140)
        assert found.lv_mass_g == pytest.approx(84)
        assert (found.lv_esv_ml, found.lv_sv_ml, found.lv_ef_percent) == (None, None, None)

    def test_what_is_absent_is_none_and_never_nan_or_zero(self):
        without_rv = measure(segmentation(of_volumes([140, 56]).labels, structures=(LV,)))
        assert without_rv.lv_ef_percent == pytest.approx(60)
        assert (without_rv.rv_edv_ml, without_rv.rv_ef_percent, without_rv.lv_mass_g) == (None, None, None)
        unlabelled_rv = measure(of_volumes([140, 56], rv=[150, 0]))
        assert unlabelled_rv.rv_edv_ml == pytest.approx(150)
        assert (unlabelled_rv.rv_esv_ml, unlabelled_rv.rv_ef_percent) == (None, None)
        nothing = measure(of_volumes([0, 0]))
        assert {value for name, value in nothing.to_dict().items() if name != "schema_version"} == {None}

    def test_times_stand_beside_the_frames_only_when_they_are_known(self):
        cine = of_volumes([140, 56, 120])
        assert measure(cine).es_time_ms is None
        assert measure(cine, times=np.array([0.0, 310.0, 620.0])).es_time_ms == 310

    def test_body_surface_area_is_mosteller_and_indexes_the_volumes(self):
        cine = of_volumes([140, 56], [80, 80], [150, 90])
        found = measure(cine, Patient(height_cm=180, weight_kg=80)).to_dict()
        assert found["bsa_mosteller_m2"] == pytest.approx(2.0)  # sqrt(180 * 80 / 3600)
        assert found["bsa_formula"] == "Mosteller"
        assert found["lv_edvi_ml_per_m2"] == pytest.approx(70)
        assert found["lv_esvi_ml_per_m2"] == pytest.approx(28)
        assert found["lv_massi_g_per_m2"] == pytest.approx(42)
        assert found["rv_svi_ml_per_m2"] == pytest.approx(30)
        assert found["cardiac_output_l_per_min"] is None

    @pytest.mark.parametrize("patient", [Patient(180, None), Patient(None, 80), Patient(0, 80), Patient()])
    def test_without_height_and_weight_nothing_is_indexed(self, patient):
        found = measure(of_volumes([140, 56]), patient).to_dict()
        assert all(value is None for name, value in found.items() if name.endswith("_per_m2") or "bsa" in name)

    def test_cardiac_output_needs_the_heart_rate(self):
        found = measure(of_volumes([140, 60]), Patient(180, 80, heart_rate_bpm=75))
        assert found.cardiac_output_l_per_min == pytest.approx(6.0)
        assert found.cardiac_index_l_per_min_per_m2 == pytest.approx(3.0)

    def test_the_dictionary_is_strict_json_with_a_schema_version(self):
        found = measure(of_volumes([140, 56], [80, 80]), Patient(180, 80, 75), np.array([0.0, 310.0])).to_dict()
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["schema_version"] == 1


def only(rows, **wanted) -> dict:
    """The one row that has these values."""
    (row,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return row


class TestAgreement:
    ANISOTROPIC = np.diag([1.5, 2.0, 8.0, 1.0])

    def test_a_mask_agrees_with_itself_everywhere(self):
        one = segmentation(box((slice(1, 7), slice(5, 15), slice(5, 25))))
        rows = agreement(one, one)
        assert [row["region"] for row in rows] == ["all", "base", "mid", "apex"]
        assert {(row["dice"], row["hd_mm"], row["hd95_mm"]) for row in rows} == {(1.0, 0.0, 0.0)}

    @pytest.mark.parametrize(
        ("move", "millimetres"), [((0, 0, 3), 3 * 1.5), ((0, 4, 0), 4 * 2.0), ((1, 0, 0), 8.0), ((0, 3, 4), 72**0.5)]
    )
    def test_a_shifted_box_is_as_far_away_as_the_shift_in_mm(self, move, millimetres):
        start = (slice(1, 6), slice(8, 24), slice(8, 24))
        moved = tuple(slice(s.start + m, s.stop + m) for s, m in zip(start, move, strict=True))
        truth, found = (segmentation(box(where), self.ANISOTROPIC) for where in (start, moved))
        row = only(agreement(found, truth), region="all")
        assert row["hd_mm"] == pytest.approx(millimetres)
        overlap = np.prod([s.stop - s.start - m for s, m in zip(start, move, strict=True)]) / (5 * 16 * 16)
        assert row["dice"] == pytest.approx(overlap)
        assert row["hd95_mm"] <= row["hd_mm"]

    def test_hd95_forgives_a_single_stray_voxel_and_hd_does_not(self):
        truth = box((slice(2, 6), slice(8, 24), slice(8, 24)))
        found = truth.copy()
        found[0, 3, 12, 35] = 1
        row = only(
            agreement(segmentation(found, self.ANISOTROPIC), segmentation(truth, self.ANISOTROPIC)), region="all"
        )
        assert row["hd_mm"] == pytest.approx(12 * 1.5)
        assert row["hd95_mm"] == 0

    def test_masks_that_touch_the_image_border_are_measured_alike(self):
        inner, border = (box((slice(0, 8), slice(0, 20), slice(x, x + 10))) for x in (3, 0))
        row = only(
            agreement(segmentation(border, self.ANISOTROPIC), segmentation(inner, self.ANISOTROPIC)), region="all"
        )
        assert row["hd_mm"] == pytest.approx(4.5)

    def test_oblique_and_mirrored_grids_give_the_same_distances(self):
        turned = np.eye(4)
        turned[:3, :3] = rotation() @ np.diag([-1.5, 2.0, 8.0])
        truth, found = (segmentation(box((slice(1, 6), slice(8, 24), slice(8 + x, 24 + x))), turned) for x in (0, 3))
        assert only(agreement(found, truth), region="all")["hd_mm"] == pytest.approx(4.5)

    def test_a_structure_that_was_not_found_has_dice_zero_and_no_distance(self):
        truth = box((slice(1, 6), slice(8, 24), slice(8, 24)))
        row = only(agreement(segmentation(np.zeros_like(truth)), segmentation(truth)), region="all")
        assert (row["dice"], row["hd_mm"], row["hd95_mm"]) == (0.0, None, None)

    def test_what_the_expert_did_not_draw_is_not_an_error(self):
        truth = box((slice(1, 6), slice(8, 24), slice(8, 24)))
        found = truth | box((slice(1, 6), slice(30, 34), slice(8, 24)), value=3)
        rows = agreement(segmentation(found), segmentation(truth))
        assert {row["structure"] for row in rows} == {"LV"}
        assert only(rows, region="all")["dice"] == 1

    def test_frames_without_the_expert_are_left_out(self):
        frame = box((slice(1, 6), slice(8, 24), slice(8, 24)))
        truth = np.concatenate([np.zeros_like(frame), frame, frame])
        found = segmentation(np.concatenate([frame, frame, frame]))
        assert {row["frame"] for row in agreement(found, segmentation(truth))} == {1, 2}
        assert {row["frame"] for row in agreement(found, segmentation(truth), [2])} == {2}
        with pytest.raises(CardiacSegError, match=r"Frame 0 .* masks in: 1, 2"):
            agreement(found, segmentation(truth), [0])

    def test_regions_are_thirds_of_the_lv_with_the_base_at_the_wider_end(self):
        truth = np.zeros((1, 8, 40, 40), np.uint8)
        for z in range(1, 7):
            truth[0, z, 10 : 30 - 2 * z, 10:30] = 1
        found = truth.copy()
        found[0, 1:3] = 0  # misses the two basal slices of six
        for step in (1, -1):
            rows = agreement(segmentation(found[:, ::step]), segmentation(truth[:, ::step]))
            assert [only(rows, region=region)["dice"] for region in ("base", "mid", "apex")] == [0.0, 1.0, 1.0]

    def test_what_lies_beyond_the_lv_counts_to_the_nearer_end(self):
        truth = np.zeros((1, 8, 40, 40), np.uint8)
        for z in range(1, 7):
            truth[0, z, 10 : 30 - 2 * z, 10:30] = 1
        found = truth.copy()
        found[0, 0] = found[0, 1]  # one slice too far towards the base
        rows = agreement(segmentation(found), segmentation(truth))
        base = truth[0, 1:3].sum()
        assert only(rows, region="base")["dice"] == pytest.approx(2 * base / (2 * base + truth[0, 1].sum()))
        assert only(rows, region="apex")["dice"] == 1

    def test_a_region_in_which_both_are_empty_has_no_value_and_is_not_averaged(self):
        truth = np.zeros((1, 9, 40, 40), np.uint8)
        truth[0, :, 10:20, 10:20] = 1
        truth[0, :3, 25:35, 10:20] = 3  # the RV does not reach the apex
        rows = agreement(segmentation(truth), segmentation(truth))
        assert only(rows, structure="RV", region="apex")["dice"] is None
        means = summary(rows)
        assert only(means, structure="RV", region="apex") == {
            "region": "apex", "structure": "RV", "dice": None, "hd_mm": None, "hd95_mm": None, "dice_count": 0,
        }  # fmt: skip
        assert only(means, structure="RV", region="base")["dice"] == 1

    def test_summary_is_the_mean_of_the_rows_that_have_a_value(self):
        rows = [
            {"frame": f, "region": "all", "structure": "LV", "dice": d, "hd_mm": h, "hd95_mm": h}
            for f, d, h in ((0, 0.9, 4.0), (1, 0.0, None), (2, None, None))
        ]
        assert summary(rows) == [
            {"region": "all", "structure": "LV", "dice": 0.45, "hd_mm": 4.0, "hd95_mm": 4.0, "dice_count": 2}
        ]

    def test_masks_on_other_grids_are_refused(self):
        one = segmentation(np.ones((1, 4, 6, 6)))
        with pytest.raises(CardiacSegError, match=r"5 x 6 x 4 x 1 voxels and frames, the truth 6 x 6 x 4 x 1"):
            agreement(segmentation(np.ones((1, 4, 6, 5))), one)
        moved = CUBIC_CM.copy()
        moved[0, 3] = 20
        with pytest.raises(CardiacSegError, match=r"2\.0 voxels away"):
            agreement(segmentation(np.ones((1, 4, 6, 6)), moved), one)


@pytest.fixture(scope="module")
def study():
    """Expert masks of ED and ES of one patient as SimpleITK images and as one Segmentation."""
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    images = [sitk.ReadImage(str(path)) for path in sorted((ACDC / "patient005").glob("*_gt.nii.gz"))]
    labels = np.stack([to_native(sitk.GetArrayFromImage(image), "acdc") for image in images])
    affine = np.diag([*images[0].GetSpacing(), 1.0])
    return images, segmentation(labels, affine)


@pytest.mark.skipif(not ACDC.is_dir(), reason="the ACDC masks (shared/data/acdc) are not here")
class TestOnExpertMasks:
    def test_volumes_are_those_of_simpleitk(self, study):
        sitk = pytest.importorskip("SimpleITK")
        images, masks = study
        curves = volume_curves(masks)
        for frame, image in enumerate(images):
            statistics = sitk.LabelShapeStatisticsImageFilter()
            statistics.Execute(image)
            for acdc_value, name in ((3, "LV"), (2, "MYO"), (1, "RV")):
                assert curves[name][frame] == pytest.approx(statistics.GetPhysicalSize(acdc_value) / 1000, rel=1e-5)

    def test_overlap_and_distance_are_those_of_simpleitk(self, study):
        sitk = pytest.importorskip("SimpleITK")
        images, masks = study
        found = dataclasses.replace(masks, labels=np.roll(masks.labels, (2, 1), axis=(2, 3)))
        rows = agreement(found, masks)
        shifted = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(images[0]), (2, 1), axis=(1, 2)))
        shifted.CopyInformation(images[0])
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(shifted, images[0])
        for acdc_value, name in ((3, "LV"), (2, "MYO"), (1, "RV")):
            row = only(rows, frame=0, structure=name, region="all")
            assert row["dice"] == pytest.approx(overlap.GetDiceCoefficient(acdc_value), abs=1e-6)
            distance = sitk.HausdorffDistanceImageFilter()
            distance.Execute(shifted == acdc_value, images[0] == acdc_value)
            assert row["hd_mm"] == pytest.approx(distance.GetHausdorffDistance(), rel=1e-4)

    def test_the_base_is_where_acdc_has_it(self, study):
        _, masks = study
        emptied = masks.labels.copy()
        emptied[0, np.flatnonzero((emptied[0] == 1).any(axis=(1, 2)))[0]] = 0
        rows = agreement(dataclasses.replace(masks, labels=emptied), masks, [0])
        assert only(rows, structure="LV", region="base")["dice"] < 1
        assert only(rows, structure="LV", region="apex")["dice"] == 1
