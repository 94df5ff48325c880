"""Rates of filling and ejection, normal ranges, and the one dictionary with every number of a study."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from CardiacSegLib.cine import Patient, Segmentation, Status
from CardiacSegLib.measures.curves import VentricleCurve, known_curves, ventricle_curve
from CardiacSegLib.measures.norms import NORMS, compare_with_norms
from CardiacSegLib.measures.smoothness import label_change, surface_motion
from CardiacSegLib.measures.study import measure_study
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.phantom_heart import contraction
from CardiacSegLib.readers import read_segmentation

CINES = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "acdc" / "cine"
VALIDATION = (5, 6, 18, 24, 25, 39, 49, 51, 60, 62, 66, 79, 85, 87, 96)
CYCLE = 900.0


def wave(times: np.ndarray) -> np.ndarray:
    """A smooth volume curve in ml of two harmonics, largest near 0 ms."""
    turn = 2 * np.pi * times / CYCLE
    return 100 + 40 * np.cos(turn) + 8 * np.cos(2 * turn - 0.7)


def steepest() -> tuple[float, float]:
    """Its largest fall and rise in ml/s."""
    fine = np.linspace(0, CYCLE, 200_001)
    slopes = np.gradient(wave(fine), fine) * 1000
    return float(-slopes.min()), float(slopes.max())


def curve_of(volumes: np.ndarray, times: np.ndarray, **more) -> VentricleCurve:
    return ventricle_curve(volumes, times, int(volumes.argmax()), int(volumes.argmin()), **more)


class TestRates:
    @pytest.mark.parametrize("frames", [20, 25, 30, 50])
    def test_peak_rates_are_the_steepest_slopes_of_the_volume(self, frames):
        times = np.arange(frames) * CYCLE / frames
        found = curve_of(wave(times), times)
        assert found.peak_ejection_rate_ml_per_s == pytest.approx(steepest()[0], rel=0.02)
        assert found.peak_filling_rate_ml_per_s == pytest.approx(steepest()[1], rel=0.02)
        assert found.missing is None

    @pytest.mark.parametrize("systole", [0.3, 0.4])
    def test_systole_and_early_filling_of_the_phantom_have_their_analytic_rates(self, systole):
        beat, times = contraction(25, systole), np.arange(25) * CYCLE / 25
        end = float(times[beat.argmax()])
        found = curve_of(140 - 80 * beat, times)
        assert found.peak_ejection_rate_ml_per_s == pytest.approx(80 * np.pi / 2 / end * 1000, rel=0.02)
        assert found.time_to_peak_ejection_ms == pytest.approx(end / 2, abs=20)
        # 78 % of the stroke come back over half of diastole as a smooth step, whose slope is at most 3/2
        assert found.peak_filling_rate_ml_per_s == pytest.approx(80 * 0.78 * 3 / (CYCLE - end) * 1000, rel=0.02)
        assert found.time_to_peak_filling_ms == pytest.approx((CYCLE - end) / 4, abs=20)
        assert found.time_to_smallest_ms == pytest.approx(end)

    def test_a_cine_that_starts_in_mid_cycle_has_the_same_rates(self):
        times = np.arange(30) * CYCLE / 30
        plain = curve_of(wave(times), times)
        for start in (7, 15, 22):
            turned = curve_of(np.roll(wave(times), -start), times)
            assert turned.peak_ejection_rate_ml_per_s == pytest.approx(plain.peak_ejection_rate_ml_per_s, rel=1e-3)
            assert turned.peak_filling_rate_ml_per_s == pytest.approx(plain.peak_filling_rate_ml_per_s, rel=1e-3)
            assert turned.time_to_smallest_ms == pytest.approx(plain.time_to_smallest_ms)

    def test_the_unrest_of_masks_is_not_taken_for_flow(self):
        times = np.arange(25) * CYCLE / 25
        for noise, most in ((0.3, 0.02), (1.0, 0.05)):
            found = [curve_of(wave(times) + np.random.default_rng(n).normal(0, noise, 25), times) for n in range(20)]
            for name, truth in zip(("peak_ejection", "peak_filling"), steepest(), strict=True):
                errors = [getattr(one, f"{name}_rate_ml_per_s") / truth - 1 for one in found]
                assert abs(np.mean(errors)) < most
                assert np.std(errors) < 2 * most

    def test_frames_need_not_be_evenly_spaced(self):
        even = np.arange(25) * CYCLE / 25
        times = even + np.random.default_rng(0).uniform(-8, 8, 25) * (even > 0)
        found = curve_of(wave(times), times, heart_rate_bpm=60000 / CYCLE)
        assert found.peak_ejection_rate_ml_per_s == pytest.approx(steepest()[0], rel=0.02)
        assert found.peak_filling_rate_ml_per_s == pytest.approx(steepest()[1], rel=0.02)

    def test_a_cine_that_does_not_cover_the_cycle_is_not_closed(self):
        times = np.arange(20) * CYCLE / 25  # prospective gating: the last fifth is missing
        volumes = 140 - 80 * contraction(25, 0.35)[:20]
        end = times[volumes.argmin()]
        found = curve_of(volumes, times, heart_rate_bpm=60000 / CYCLE)
        assert found.peak_ejection_rate_ml_per_s == pytest.approx(80 * np.pi / 2 / end * 1000, rel=0.02)
        assert found.peak_filling_rate_ml_per_s == pytest.approx(80 * 0.78 * 3 / (CYCLE - end) * 1000, rel=0.02)

    def test_where_the_cine_stops_before_the_steepest_filling_there_is_no_rate_of_it(self):
        times = np.arange(20) * CYCLE / 25
        found = curve_of(wave(times), times, heart_rate_bpm=60000 / CYCLE)
        assert found.peak_ejection_rate_ml_per_s == pytest.approx(steepest()[0], rel=0.02)
        assert found.peak_filling_rate_ml_per_s is None

    @pytest.mark.parametrize("fraction", [35.0, 55.0, 70.0])
    def test_the_phantoms_masks_give_the_rates_of_its_true_volumes(self, fraction):
        heart = study(fraction)
        for name in ("LV", "RV"):
            true, lv = heart.volumes_ml[name], heart.volumes_ml["LV"]
            phases = {"ed": int(lv.argmax()), "es": int(lv.argmin())}
            expected = ventricle_curve(true, heart.cine.times, **phases)
            found = ventricle_curve(known_curves(heart.truth)[name], heart.cine.times, **phases)
            for field in ("peak_ejection_rate_ml_per_s", "peak_filling_rate_ml_per_s", "time_to_smallest_ms"):
                assert getattr(found, field) == pytest.approx(getattr(expected, field), rel=0.02), (name, field)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"times": None}, "The times of the frames are not known."),
            ({"volumes": np.full(25, np.nan)}, "It is not segmented."),
            ({"volumes": np.where(np.arange(25) == 3, np.nan, 100.0)}, "It is segmented in 24 of 25 frames"),
            ({"volumes": np.where(np.arange(25) == 3, 0.0, 100.0)}, "It is segmented in 24 of 25 frames"),
            ({"es": None}, "End-diastole and end-systole are not both known."),
            ({"volumes": np.arange(1.0, 10.0), "times": np.arange(9.0)}, "Rates need at least 12 frames."),
        ],
    )
    def test_where_something_is_missing_there_is_no_rate_but_the_reason(self, change, reason):
        times = np.arange(25) * CYCLE / 25
        found = ventricle_curve(**{"volumes": wave(times), "times": times, "ed": 0, "es": 10} | change)
        assert found.missing.startswith(reason)
        assert found.peak_ejection_rate_ml_per_s is None
        assert found.peak_filling_rate_ml_per_s is None

    def test_frames_that_nobody_segmented_have_no_volume(self):
        labels = np.zeros((3, 1, 4, 4), np.uint8)
        labels[:2, 0, 1:3, 1:3] = 1
        status = np.array([[Status.PREDICTED], [Status.EMPTY], [Status.PREDICTED]], np.uint8)
        found = known_curves(Segmentation(labels, status, np.diag([10.0, 10.0, 10.0, 1.0])))["LV"]
        np.testing.assert_allclose(found, [4, np.nan, 0])


class TestNorms:
    def test_every_range_names_its_source_and_is_the_middle_95_percent(self):
        for norm in NORMS:
            assert any(year in norm.source for year in ("2012", "2017"))
            assert (norm.low + norm.high) / 2 == pytest.approx(norm.mean)
            assert norm.high - norm.low == pytest.approx(2 * 1.96 * norm.sd)
        assert {norm.sex for norm in NORMS} == {"F", "M"}

    @pytest.mark.parametrize(("value", "place"), [(40.0, "below"), (48.3, "within"), (67.0, "within"), (68.0, "above")])
    def test_a_value_is_placed_in_the_range_of_the_patients_sex(self, value, place):
        (row,) = compare_with_norms({"lv_ef_percent": value}, "M", 60)
        assert (row["place"], row["low"], row["high"], row["unplaced"]) == (place, 48.2, 67.8, None)

    def test_without_the_sex_both_ranges_are_shown_and_nothing_is_judged(self):
        rows = compare_with_norms({"lv_ef_percent": 20.0}, None, 60)
        assert [row["sex"] for row in rows] == ["F", "M"]
        assert {row["place"] for row in rows} == {None}
        assert {row["unplaced"] for row in rows} == {"The patient's sex is not known."}

    @pytest.mark.parametrize("age", [None, 30, 80])
    def test_an_age_that_was_not_studied_or_is_not_known_is_not_judged(self, age):
        (row,) = compare_with_norms({"lv_ef_percent": 20.0}, "F", age)
        assert row["place"] is None
        assert "45 to 74 years" in row["unplaced"]

    def test_what_was_not_measured_has_no_row(self):
        assert compare_with_norms({"lv_ef_percent": None, "rv_edv_ml": 150.0}, "F", 60) == []


_hearts: dict[float, Phantom] = {}


def study(fraction: float) -> Phantom:
    """A phantom of 25 frames with this ejection fraction."""
    if fraction not in _hearts:
        _hearts[fraction] = beating_heart(1, size=112, spacing=(1.4, 1.4, 8.0), ejection_fraction=fraction)
    return _hearts[fraction]


class TestStudy:
    @pytest.mark.parametrize("fraction", [35.0, 55.0, 70.0])
    def test_every_number_is_within_two_percent_of_the_truth_or_one_ml(self, fraction):
        heart = study(fraction)
        patient = Patient(180, 80, heart.cine.patient.heart_rate_bpm, "M")
        found = measure_study(heart.truth, patient, heart.cine.times).to_dict()
        true = heart.volumes_ml
        ed, es = int(true["LV"].argmax()), int(true["LV"].argmin())
        expected = {
            "lv_edv_ml": true["LV"][ed], "lv_esv_ml": true["LV"][es], "lv_mass_g": 1.05 * true["MYO"][ed],
            "lv_ef_percent": fraction, "rv_edv_ml": true["RV"][ed], "rv_esv_ml": true["RV"][es],
            "lv_edvi_ml_per_m2": true["LV"][ed] / 2, "ed_frame": ed, "es_frame": es,
        }  # fmt: skip
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=0.02, abs=1), name
        for name, curve in true.items():
            np.testing.assert_allclose(found["volumes"][f"{name}_ml"], curve, rtol=0.02, atol=1)

    def test_the_dictionary_is_strict_json_and_keeps_what_measure_gives(self):
        heart = study(55.0)
        found = measure_study(heart.truth, heart.cine.patient, heart.cine.times)
        told = found.to_dict()
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert found.measures.to_dict().items() <= told.items()
        assert len(told["segments"]["rows"]) == 17
        assert told["lv_curve"]["peak_ejection_rate_ml_per_s"] > told["lv_sv_ml"]
        assert "cavity" in told["conventions"]["papillary_muscles"]
        assert told["conventions"]["base_is_slice_0"] is True

    def test_the_summary_of_the_wall_is_that_of_its_segments(self):
        heart = study(55.0)
        told = measure_study(heart.truth).to_dict()
        by_number = {row["number"]: row["ed_mm"] for row in told["segments"]["rows"] if row["ed_mm"] is not None}
        assert told["lv_mid_wall_ed_mm"] == pytest.approx(np.mean([by_number[n] for n in range(7, 13)]), abs=0.001)
        assert told["lv_thickest_segment_ed_mm"] == max(by_number.values())
        assert by_number[told["lv_thickest_segment"]] == max(by_number.values())
        assert [row["measure"] for row in told["norms"]].count("lv_mid_wall_ed_mm") == 2

    def test_the_slices_that_count_are_told(self):
        heart = study(55.0)
        told = measure_study(heart.truth).to_dict()
        shown = (heart.truth.labels[told["es_frame"]] == 1).any(axis=(1, 2))
        assert told["conventions"]["lv_slices_es"] == np.flatnonzero(shown).tolist()

    def test_the_smoothness_is_that_of_all_frames_and_missing_where_one_is(self):
        heart = study(55.0)
        told = measure_study(heart.truth).to_dict()["smoothness"]
        assert told["label_change_sqrt_ml"] == pytest.approx(label_change(heart.truth), abs=0.001)
        assert told["surface_motion_mm"] == pytest.approx(surface_motion(heart.truth), abs=0.001)
        labels, status = heart.truth.labels.copy(), heart.truth.status.copy()
        labels[4], status[4] = 0, Status.EMPTY
        gap = Segmentation(labels, status, heart.truth.affine)
        assert set(measure_study(gap).to_dict()["smoothness"].values()) == {None}

    def test_the_users_insertion_and_frames_are_taken(self):
        heart = study(55.0)
        told = measure_study(heart.truth, ed=2, es=8, insertion_deg=-30.0).to_dict()
        assert (told["ed_frame"], told["es_frame"]) == (2, 8)
        assert (told["segments"]["insertion_deg"], told["segments"]["insertion_from"]) == (330.0, "given")

    @pytest.mark.parametrize("values", [(0,), (1,), (2,), (3,), (1, 3), (2, 3)])
    def test_masks_that_show_little_give_gaps_and_never_an_error(self, values):
        heart = study(55.0)
        labels = np.where(np.isin(heart.truth.labels, values), heart.truth.labels, 0)[:, 4:5]
        masks = Segmentation(labels, heart.truth.status[:, 4:5], heart.truth.affine)
        told = measure_study(masks, heart.cine.patient, heart.cine.times).to_dict()
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert {row["ed_mm"] for row in told["segments"]["rows"]} == {None}
        assert told["segments"]["remarks"]


@pytest.mark.skipif(not CINES.is_dir(), reason="the ACDC cines (shared/data/acdc) are not here")
def test_volumes_of_the_validation_cines_are_those_of_simpleitk() -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    masks = [path for n in VALIDATION for path in sorted((CINES / f"patient{n:03d}").glob("*_gt.nii.gz"))]
    assert len(masks) == 2 * 10
    for path in masks:
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.Execute(sitk.ReadImage(str(path)))
        told = measure_study(read_segmentation(path, "acdc")).to_dict()
        for acdc_value, name in ((3, "LV"), (2, "MYO"), (1, "RV")):
            expected = statistics.GetPhysicalSize(acdc_value) / 1000
            assert told["volumes"][f"{name}_ml"] == [pytest.approx(expected, rel=1e-5, abs=0.001)], path
        assert told["lv_edv_ml"] == pytest.approx(statistics.GetPhysicalSize(3) / 1000, rel=1e-5, abs=0.001)
