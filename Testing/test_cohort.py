"""Tables of many studies: one flat row for each, how two tables agree by definition, and their picture."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.measures.cohort import Agreement, cohort_row, compare_cohorts, paired_values, read_cohort
from CardiacSegLib.measures.study import measure_study
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.writers.agreement_plot import write_agreement
from CardiacSegLib.writers.tables import write_rows


def table(path: Path, **columns: dict[str, object]) -> Path:
    """A CSV whose columns are given as study -> value."""
    studies = list(dict.fromkeys(name for values in columns.values() for name in values))
    write_rows(path, [{"study": name} | {key: column.get(name) for key, column in columns.items()} for name in studies])
    return path


def agreement(a: list[float], b: list[float]) -> Agreement:
    (row,) = compare_cohorts({"lv_edv_ml": np.array([a, b], float).T})
    return row


class TestRow:
    def test_a_study_is_one_flat_row_with_every_single_number(self):
        heart = beating_heart(1, frames=14, slices=6, size=72, spacing=(2.0, 2.0, 14.0))
        told = measure_study(heart.truth, heart.cine.patient, heart.cine.times).to_dict()
        row = cohort_row("one", told)
        assert row["study"] == "one"
        assert row["lv_ef_percent"] == told["lv_ef_percent"]
        assert row["rv_peak_filling_rate_ml_per_s"] == told["rv_curve"]["peak_filling_rate_ml_per_s"]
        assert row["segment_08_ed_mm"] == told["segments"]["rows"][7]["ed_mm"]
        assert row["segment_16_thickening_percent"] == told["segments"]["rows"][15]["thickening_percent"]
        assert not any(isinstance(value, dict | list) for value in row.values())

    def test_rows_of_different_studies_have_the_same_columns(self):
        heart = beating_heart(1, frames=14, slices=6, size=72, spacing=(2.0, 2.0, 14.0))
        whole = measure_study(heart.truth, heart.cine.patient, heart.cine.times).to_dict()
        poor = measure_study(beating_heart(2, frames=2, slices=1, size=48, spacing=(3, 3, 60)).truth).to_dict()
        assert list(cohort_row("one", whole)) == list(cohort_row("two", poor))


class TestAgreement:
    def test_bias_limits_and_correlation_are_those_of_the_definitions(self):
        row = agreement([100, 120, 140, 180], [90, 118, 141, 170])
        differences = np.array([10, 2, -1, 10])
        assert (row.n, row.mean_a, row.mean_b) == (4, 135, 129.75)
        assert row.bias == pytest.approx(5.25)
        assert row.mean_absolute == pytest.approx(5.75)
        assert row.sd == pytest.approx(np.sqrt(((differences - 5.25) ** 2).sum() / 3))
        assert row.low == pytest.approx(5.25 - 1.96 * row.sd)
        assert row.high == pytest.approx(5.25 + 1.96 * row.sd)
        x, y = np.array([100, 120, 140, 180.0]) - 135, np.array([90, 118, 141, 170.0]) - 129.75
        assert row.r == pytest.approx((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))

    def test_a_table_agrees_with_itself(self):
        row = agreement([100, 120, 140], [100, 120, 140])
        assert (row.bias, row.sd, row.low, row.high) == (0, 0, 0, 0)
        assert row.r == pytest.approx(1)

    def test_what_too_few_or_equal_values_leave_open_is_none(self):
        one = agreement([100], [90])
        assert (one.n, one.bias, one.sd, one.low, one.r) == (1, 10, None, None, None)
        assert agreement([100, 110], [90, 95]).r is None
        assert agreement([100, 100, 100], [90, 95, 97]).r is None

    def test_studies_are_matched_by_name_and_gaps_are_left_out(self, tmp_path):
        a = table(tmp_path / "a.csv", lv_edv_ml={"x": 100, "y": 120, "z": 140}, rv_edv_ml={"x": 90, "y": None, "z": 80})
        b = table(tmp_path / "b.csv", lv_edv_ml={"z": 130, "x": 95, "w": 1}, rv_edv_ml={"z": 70, "x": None, "w": 1})
        pairs = paired_values(read_cohort(a), read_cohort(b))
        np.testing.assert_array_equal(pairs["lv_edv_ml"], [[100, 95], [140, 130]])
        np.testing.assert_array_equal(pairs["rv_edv_ml"], [[80, 70]])

    def test_frames_angles_and_words_are_not_compared(self, tmp_path):
        columns = {"lv_edv_ml": 1, "es_frame": 3, "insertion_deg": 20, "bsa_formula": "Mosteller", "schema_version": 1}
        one = table(tmp_path / "a.csv", **{name: {"x": value} for name, value in columns.items()})
        assert list(paired_values(read_cohort(one), read_cohort(one))) == ["lv_edv_ml"]


class TestMistakes:
    def test_a_file_that_is_no_table_is_named(self, tmp_path):
        (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
        (tmp_path / "other.csv").write_text("name,value\nx,1\n")
        with pytest.raises(CardiacSegError, match=r"binary\.csv could not be read as a CSV table"):
            read_cohort(tmp_path / "binary.csv")
        with pytest.raises(CardiacSegError, match=r"missing\.csv could not be read"):
            read_cohort(tmp_path / "missing.csv")
        with pytest.raises(CardiacSegError, match=r"other\.csv has no column 'study'"):
            read_cohort(tmp_path / "other.csv")

    def test_a_study_that_is_named_twice_is_refused(self, tmp_path):
        (tmp_path / "twice.csv").write_text("study,lv_edv_ml\nx,1\nx,2\n")
        with pytest.raises(CardiacSegError, match=r"names the study 'x' twice"):
            read_cohort(tmp_path / "twice.csv")

    def test_tables_with_nothing_in_common_are_refused(self, tmp_path):
        one = read_cohort(table(tmp_path / "a.csv", lv_edv_ml={"x": 1}))
        with pytest.raises(CardiacSegError, match="no study in common"):
            paired_values(one, read_cohort(table(tmp_path / "b.csv", lv_edv_ml={"y": 1})))
        with pytest.raises(CardiacSegError, match="no number in common"):
            paired_values(one, read_cohort(table(tmp_path / "c.csv", rv_edv_ml={"x": 1})))


class TestPicture:
    def test_every_measure_that_both_know_gets_two_plots(self, tmp_path):
        values = np.random.default_rng(0).normal(100, 20, (12, 2))
        sizes = []
        for names in (["lv_edv_ml"], ["lv_edv_ml", "lv_ef_percent"], ["lv_edv_ml", "lv_esv_ml", "lv_ef_percent"]):
            pairs = dict.fromkeys(names, values)
            write_agreement(tmp_path / "picture.png", pairs, compare_cohorts(pairs))
            with Image.open(tmp_path / "picture.png") as image:
                sizes.append(image.size)
        assert sizes[1][0] > 1.9 * sizes[0][0]
        assert sizes[2][1] > 1.9 * sizes[1][1]

    def test_a_single_study_and_unusual_measures_are_drawn_too(self, tmp_path):
        pairs = {"segment_03_ed_mm": np.array([[8.0, 7.0]])}
        write_agreement(tmp_path / "picture.png", pairs, compare_cohorts(pairs))
        with Image.open(tmp_path / "picture.png") as image:
            assert np.asarray(image.convert("L")).min() < 100

    def test_the_rows_can_be_written_and_read_as_a_table(self, tmp_path):
        rows = compare_cohorts({"lv_edv_ml": np.array([[100.0, 90.0]])})
        write_rows(tmp_path / "agreement.csv", [vars(row) for row in rows])
        with open(tmp_path / "agreement.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["measure"], row["bias"], row["sd"]) == ("lv_edv_ml", "10.0", "")
