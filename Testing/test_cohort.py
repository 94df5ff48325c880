"""Tables of many studies: one flat row for each, how two tables agree by definition, their picture, the commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from CardiacSegLib import cli
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.measures.cohort import Agreement, cohort_row, compare_cohorts, paired_values, read_cohort
from CardiacSegLib.measures.study import measure_study
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.writers.agreement_plot import write_agreement
from CardiacSegLib.writers.images import write_segmentation
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


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    """Masks of three small hearts, with the cine of the first: one/masks.nii.gz and so on."""
    folder = tmp_path_factory.mktemp("studies")
    for seed, name in enumerate(("one", "two", "three")):
        heart = beating_heart(seed, frames=13, slices=5, size=64, spacing=(2.2, 2.2, 16.0))
        (folder / name).mkdir()
        write_segmentation(heart.truth, folder / name / "masks.nii.gz", heart.cine)
    (folder / "broken.nii.gz").write_text("this is no image")
    return folder


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def rows_of(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class TestCommands:
    def test_many_masks_give_one_table_with_the_numbers_that_each_has_alone(self, studies, tmp_path):
        masks = [studies / name / "masks.nii.gz" for name in ("one", "two", "three")]
        assert invoke("measure", *masks, "--output", tmp_path / "many").exit_code == 0
        rows = rows_of(tmp_path / "many" / "cohort.csv")
        assert [path.name for path in (tmp_path / "many").iterdir()] == ["cohort.csv"]
        assert [row["study"] for row in rows] == ["one/masks", "two/masks", "three/masks"]
        assert invoke("measure", masks[1], "--output", tmp_path / "alone").exit_code == 0
        alone = json.loads((tmp_path / "alone" / "measures.json").read_text())
        assert float(rows[1]["lv_ef_percent"]) == alone["lv_ef_percent"]
        assert float(rows[1]["segment_10_ed_mm"]) == alone["segments"]["rows"][9]["ed_mm"]
        assert {row["problem"] for row in rows} == {""}

    def test_a_study_that_cannot_be_read_has_a_row_that_says_why_and_the_command_fails(self, studies, tmp_path):
        result = invoke("measure", studies / "broken.nii.gz", studies / "one" / "masks.nii.gz", "--output", tmp_path)
        rows = rows_of(tmp_path / "cohort.csv")
        assert result.exit_code == 1
        assert "broken could not be measured" in result.output
        assert [(row["study"], bool(row["problem"]), bool(row["lv_edv_ml"])) for row in rows] == [
            ("broken", True, False), ("masks", False, True),
        ]  # fmt: skip

    def test_where_no_study_can_be_read_nothing_is_written(self, studies, tmp_path):
        result = invoke("measure", *[studies / "broken.nii.gz"] * 2, "--output", tmp_path / "new")
        assert result.exit_code == 1
        assert "None of the 2 studies could be measured" in result.output
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [(("--ed", "0"), "belong to one study"), (("--cine", "x.nii.gz"), "2 masks and 1 cines are given")],
    )
    def test_what_belongs_to_one_study_is_refused_with_many(self, studies, tmp_path, more, sentence):
        masks = [studies / name / "masks.nii.gz" for name in ("one", "two")]
        result = invoke("measure", *masks, "--output", tmp_path / "new", *more)
        assert result.exit_code == 1
        assert sentence in " ".join(result.output.split())
        assert not (tmp_path / "new").exists()

    def test_the_insertion_the_sex_and_the_age_can_be_told(self, studies, tmp_path):
        told = ("--insertion-deg", "-30", "--sex", "M", "--age-years", "60")
        assert invoke("measure", studies / "one" / "masks.nii.gz", "--output", tmp_path, *told).exit_code == 0
        found = json.loads((tmp_path / "measures.json").read_text())
        assert (found["segments"]["insertion_deg"], found["segments"]["insertion_from"]) == (330.0, "given")
        assert {row["sex"] for row in found["norms"]} == {"M"}
        assert None not in {row["place"] for row in found["norms"]}

    def test_two_tables_are_compared_in_a_table_and_a_picture(self, studies, tmp_path):
        masks = [studies / name / "masks.nii.gz" for name in ("one", "two", "three")]
        invoke("measure", *masks, "--output", tmp_path / "a")
        rows = rows_of(tmp_path / "a" / "cohort.csv")
        write_rows(tmp_path / "b.csv", [row | {"lv_edv_ml": float(row["lv_edv_ml"]) - 5} for row in reversed(rows)])
        result = invoke("agreement", tmp_path / "a" / "cohort.csv", tmp_path / "b.csv", "--output", tmp_path / "out")
        assert result.exit_code == 0, result.output
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"agreement.csv", "agreement.png"}
        found = {row["measure"]: row for row in rows_of(tmp_path / "out" / "agreement.csv")}
        assert (found["lv_edv_ml"]["n"], float(found["lv_edv_ml"]["bias"])) == ("3", pytest.approx(5))
        assert float(found["lv_esv_ml"]["mean_absolute"]) == 0

    def test_tables_that_cannot_be_compared_leave_nothing_behind(self, tmp_path):
        (tmp_path / "a.csv").write_text("study,lv_edv_ml\nx,1\n")
        (tmp_path / "b.csv").write_text("study,lv_edv_ml\ny,1\n")
        result = invoke("agreement", tmp_path / "a.csv", tmp_path / "b.csv", "--output", tmp_path / "out")
        assert result.exit_code == 1
        assert "no study in common" in result.output
        assert not (tmp_path / "out").exists()
