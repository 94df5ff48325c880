"""A long-axis study from file to numbers: which series is taken, and volumes by area and length, marked everywhere."""

from __future__ import annotations

import csv
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import Scan, long_axis, values, write
from long_axis_heart import long_axis_heart
from typer.testing import CliRunner

from CardiacSegLib import cli
from CardiacSegLib.cine import Cine, empty_segmentation
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.measures import Measures, measure
from CardiacSegLib.measures.study import measure_study
from CardiacSegLib.outputs import Output
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.readers import read_cine, read_study
from CardiacSegLib.study_folder import read_study_folder
from CardiacSegLib.words import describe_measures
from CardiacSegLib.writers.images import write_cine, write_segmentation
from CardiacSegLib.writers.report_content import content
from CardiacSegLib.writers.report_data import report_data

SEED, FRAMES = 2, 8


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A folder with the cine and the masks of two views of one heart, and its true volumes."""
    folder = tmp_path_factory.mktemp("views")
    for view in (4, 2):
        cine, truth, volumes = long_axis_heart(SEED, view, frames=FRAMES)
        write_cine(cine, folder / f"{view}ch.nii.gz")
        write_segmentation(truth, folder / f"{view}ch_masks.nii.gz", cine)
    return folder, volumes


def run(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def measured(folder: Path) -> dict:
    return json.loads((folder / "measures.json").read_text())


def test_one_long_axis_slice_is_measured_by_area_and_length_and_says_so_everywhere(views, tmp_path):
    folder, volumes = views
    result = run("measure", folder / "4ch_masks.nii.gz", "--cine", folder / "4ch.nii.gz", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = measured(tmp_path / "out")
    assert found["volume_method"] == "area-length, one view"
    assert found["ed_frame"] == 0 and found["es_frame"] == int(volumes.argmin())
    assert found["lv_ef_area_length_percent"] == pytest.approx(100 * np.ptp(volumes) / volumes[0], abs=10)
    assert "8 A²" in found["conventions"]["volume"]
    stack = [field.name for field in fields(Measures) if field.name.endswith(("_ml", "_percent", "_g", "_m2"))]
    assert all(found[name] is None for name in stack if "area_length" not in name)
    with open(tmp_path / "out" / "volumes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"frame", "time_ms", "lv_area_length_ml"}
    assert float(rows[0]["lv_area_length_ml"]) == found["lv_edv_area_length_ml"]
    assert "LV ejection fraction, area-length (%)" in result.stdout
    assert "volume (ml)" not in result.stdout


def test_two_views_give_one_volume(views, tmp_path):
    folder, volumes = views
    both = ("--second-view", folder / "2ch_masks.nii.gz", "--cine", folder / "4ch.nii.gz", "-o", tmp_path / "two")
    assert run("measure", folder / "4ch_masks.nii.gz", *both).exit_code == 0
    found = measured(tmp_path / "two")
    assert found["volume_method"] == "area-length, two views"
    assert "A1 A2" in found["conventions"]["volume"]
    assert found["lv_ef_area_length_percent"] == pytest.approx(100 * np.ptp(volumes) / volumes[0], abs=5)
    again = read_study_folder(tmp_path / "two")
    reported = Output(again.cine, again.segmentation, again.source, second=again.second).measured()
    assert reported.to_dict()["lv_ef_area_length_percent"] == found["lv_ef_area_length_percent"]
    same = ("--second-view", folder / "4ch_masks.nii.gz", "-o", tmp_path / "same")
    refused = run("measure", folder / "4ch_masks.nii.gz", *same)
    assert refused.exit_code == 1 and "0° apart" in refused.stderr
    assert not (tmp_path / "same").exists()


def test_the_report_of_a_long_axis_study_shows_no_volume_of_a_stack():
    cine, truth, _ = long_axis_heart(SEED, 4, frames=FRAMES)
    study = measure_study(truth, times=cine.times)
    told = content(report_data(study.to_dict(), cine, truth))
    labels = [row[0] for row in told.results.rows]
    assert "Ejection fraction, area-length (%)" in labels and "Ejection fraction (%)" not in labels
    assert any("ellipsoid" in line for line in told.conventions)
    assert [caption[0] for caption in told.captions] == ["ED, long axis", "ES, long axis"]
    assert not told.segments.rows and told.segment_notes == ["Segments need a stack of short-axis slices."]
    assert "By area-length, one view:" in describe_measures(study.measures)


def test_one_short_axis_slice_never_has_an_ejection_fraction_by_area_and_length():
    heart = beating_heart(3, frames=4, slices=5, size=64, spacing=(2.8, 2.8, 14.0))
    one = replace(heart.truth, labels=heart.truth.labels[:, 2:3], status=heart.truth.status[:, 2:3])
    found = measure(one)
    assert found.volume_method == "discs"
    assert [found.lv_ef_area_length_percent, found.lv_edv_area_length_ml, found.lv_length_ed_mm] == [None] * 3
    with pytest.raises(CardiacSegError, match="first masks are not of one long-axis slice"):
        measure(one, second=one)


SCAN = Scan(values(10, 4, 8, 6), times=[80.0 * t for t in range(10)])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A stack of four series, a 4-chamber and two 2-chamber views."""
    for z in range(4):
        write(SCAN.slice(z, series=f"1.5.{z}", number=7 + z), tmp_path / "d")
    for number, degrees in ((20, 60), (21, 0), (22, 3)):
        write(long_axis(SCAN, degrees, series=f"1.6.{number}", number=number), tmp_path / "d")
    return tmp_path / "d"


def masks_on(cine: Cine, path: Path) -> None:
    """Write masks of some LV in all frames."""
    masks = empty_segmentation(cine)
    masks.labels[:, :, 2:6, 1:5] = 1
    write_segmentation(masks, path, cine)


def test_the_stack_is_taken_unless_another_series_is_asked_for(study):
    assert read_cine(study).shape[1] == read_cine(study, "sax").shape[1] == 4
    assert read_cine(study, "4ch").shape[1] == 1
    np.testing.assert_array_equal(read_cine(study, "4CH").frames, read_cine(study, "20").frames)
    np.testing.assert_array_equal(read_cine(study, "8").frames, SCAN.frames[:, 1:2])
    assert list(read_study(study).choices()) == ["sax", "7", "8", "9", "10", "20", "21", "22"]


@pytest.mark.parametrize(("name", "said"), [("2ch", "2 series '2ch'"), ("3ch", "no series '3ch'"), ("99", "no series")])
def test_a_series_that_is_not_there_or_not_the_only_one_is_refused_with_the_list(study, name, said):
    with pytest.raises(CardiacSegError, match=said) as told:
        read_cine(study, name)
    assert "sax (short axis stack, 4 slices, 10 frames)" in str(told.value)
    assert "21 (2-chamber, 1 slice, 10 frames)" in str(told.value)


def test_series_without_numbers_of_their_own_are_counted(tmp_path):
    for number, degrees in enumerate((0, 60)):
        write(long_axis(SCAN, degrees, series=f"1.6.{number}", number=5), tmp_path / "d")
    assert list(read_study(tmp_path / "d").choices()) == ["#1", "#2"]
    assert read_cine(tmp_path / "d", "#2").shape[1] == 1


def test_an_image_file_has_no_series_to_choose(views):
    with pytest.raises(CardiacSegError, match="no DICOM study"):
        read_cine(views[0] / "4ch.nii.gz", "4ch")


def test_the_command_line_lists_the_series_says_which_it_took_and_takes_another(study, tmp_path):
    listed = run("inspect", study)
    assert listed.exit_code == 0 and "4 slices of" in listed.stdout
    assert "1 slice of" in run("inspect", study, "--series", "4ch").stdout
    masks_on(read_cine(study, "4ch"), tmp_path / "masks.nii.gz")
    done = run("measure", tmp_path / "masks.nii.gz", "--cine", study, "--series", "4ch", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "was taken" in done.stderr and measured(tmp_path / "out")["volume_method"] == "area-length, one view"
    refused = run("measure", tmp_path / "masks.nii.gz", "--cine", study, "-o", tmp_path / "stack")
    assert refused.exit_code == 1 and "--series takes another one" in refused.stderr


def test_a_study_folder_remembers_its_series(study, tmp_path):
    cine = read_cine(study, "20")
    masks_on(cine, tmp_path / "masks.nii.gz")
    run("measure", tmp_path / "masks.nii.gz", "--cine", study, "--series", "20", "-o", tmp_path / "out")
    again = read_study_folder(tmp_path / "out")
    assert again.series == "20" and again.cine.shape == cine.shape
