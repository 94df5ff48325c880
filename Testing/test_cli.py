"""The command line: what a user gets, and that every mistake ends in one sentence and leaves nothing behind."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

import CardiacSegLib
from CardiacSegLib import cli, engines
from CardiacSegLib.anatomy import LABEL_MAPS
from CardiacSegLib.cine import Cine, Segmentation, SlicePrediction
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.weights import installed
from CardiacSegLib.words import METHODS, describe_figures

ROOT = Path(__file__).resolve().parents[1]
RESULTS = {"segmentation.nii.gz", "measures.json", "volumes.csv", "curve.png", "overlay.gif", "study.json"}
ACDC_VALUES = np.array([0, 3, 2, 1], np.uint8)


class CopyingEngine:
    """Stands in for a network: the first annotated frame's masks, everywhere."""

    name = "copy"

    def segment(self, cine: Cine, annotation: Segmentation):
        frame = int(np.flatnonzero(annotation.fixed.any(axis=1))[0])
        for t, z in np.argwhere(~annotation.fixed):
            yield SlicePrediction(int(t), int(z), annotation.labels[frame, z])


@pytest.fixture(scope="module")
def heart() -> Phantom:
    """Six frames, four slices, 64 x 64 pixels."""
    return beating_heart(3, frames=6, slices=4, size=64, spacing=(2.5, 2.5, 16.0))


@pytest.fixture(scope="module")
def files(heart: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cine.nii.gz, mask.nii.gz (frame 0), truth.nii.gz (all frames), and one file for every mistake."""
    folder = tmp_path_factory.mktemp("files")
    affine = np.diag([-1, -1, 1, 1]) @ heart.cine.affine  # LPS to the RAS of NIfTI
    images, labels = heart.cine.frames.T, heart.truth.labels.T

    def save(name: str, array: np.ndarray, grid: np.ndarray = affine) -> None:
        image = nib.Nifti1Image(array, grid)
        image.header.set_xyzt_units("mm", "msec")
        if array.ndim == 4:
            image.header.set_zooms((*image.header.get_zooms()[:3], 140.0))
        nib.save(image, folder / name)

    save("cine.nii.gz", images)
    save("mask.nii.gz", labels[..., 0])
    save("truth.nii.gz", labels)
    save("acdc_truth.nii.gz", ACDC_VALUES[labels])
    save("one_frame.nii.gz", images[..., 0])
    save("flat.nii.gz", images[..., 0, 0])
    save("empty.nii.gz", np.zeros_like(labels[..., 0]))
    save("wrong_value.nii.gz", np.where(labels[..., 0] == 3, 4, labels[..., 0]).astype(np.uint8))
    moved = affine.copy()
    moved[0, 3] += 20
    save("shifted.nii.gz", labels[..., 0], moved)
    save("smaller.nii.gz", labels[:-4, :, :, 0])
    broken = images.astype(np.float32)
    broken[5, 5, 1, 2] = np.nan
    save("nan.nii.gz", broken)
    (folder / "text.nii.gz").write_text("this is no image")
    (folder / "notes.txt").write_text("this is no image")
    (folder / "empty_folder").mkdir()
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess:
    """The installed command in a process of its own, without a terminal."""
    command = [sys.executable, "-m", "CardiacSegLib.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def invoke(*arguments: object):
    """The command in this process, where parts of it can be replaced."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "load_engine", lambda *_, **__: CopyingEngine())


def propagate(files: Path, output: Path, *more: object, cine: str = "cine.nii.gz", mask: str = "mask.nii.gz"):
    return invoke("propagate", files / cine, "--annotation", files / mask, "--output", output, *more)


def rows_of(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_propagate_writes_its_results_and_nothing_else(files: Path, tmp_path: Path, copying: None) -> None:
    result = propagate(files, tmp_path / "new" / "folder")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == RESULTS


def test_the_segmentation_is_4d_on_the_grid_of_the_cine(files: Path, tmp_path: Path, copying: None) -> None:
    propagate(files, tmp_path)
    masks, cine = nib.load(tmp_path / "segmentation.nii.gz"), nib.load(files / "cine.nii.gz")
    assert masks.shape == cine.shape
    np.testing.assert_allclose(masks.affine, cine.affine, atol=1e-4)
    milliseconds = {"sec": 1000.0, "msec": 1.0}[masks.header.get_xyzt_units()[1]]
    assert masks.header.get_zooms()[3] * milliseconds == pytest.approx(140.0)


def test_annotated_slices_come_out_exactly_as_they_went_in(files: Path, tmp_path: Path, copying: None) -> None:
    propagate(files, tmp_path, "--frame", 2)
    masks = np.asarray(nib.load(tmp_path / "segmentation.nii.gz").dataobj)
    np.testing.assert_array_equal(masks[..., 2], np.asarray(nib.load(files / "mask.nii.gz").dataobj))


def test_volumes_have_a_row_a_frame_with_units_in_the_names(
    files: Path, tmp_path: Path, heart: Phantom, copying: None
) -> None:
    propagate(files, tmp_path)
    rows = rows_of(tmp_path / "volumes.csv")
    assert list(rows[0]) == ["frame", "time_ms", "lv_ml", "myo_ml", "rv_ml"]
    assert [int(row["frame"]) for row in rows] == list(range(6))
    assert [float(row["time_ms"]) for row in rows] == [140.0 * frame for frame in range(6)]
    expected = (heart.truth.labels[0] == 1).sum() * 2.5 * 2.5 * 16 / 1000
    assert float(rows[0]["lv_ml"]) == pytest.approx(expected, abs=0.01)


def test_an_expert_stands_beside_the_results(files: Path, tmp_path: Path, copying: None) -> None:
    result = propagate(files, tmp_path, "--expert", files / "truth.nii.gz")
    assert result.exit_code == 0, result.output
    assert "Expert" in result.output


def test_measure_finds_the_ejection_fraction_of_the_phantom(files: Path, tmp_path: Path, heart: Phantom) -> None:
    result = invoke("measure", files / "truth.nii.gz", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    volumes = heart.volumes_ml["LV"]
    measures = json.loads((tmp_path / "measures.json").read_text())
    assert measures["lv_ef_percent"] == pytest.approx(100 * (1 - volumes.min() / volumes.max()), abs=4)
    assert {path.name for path in tmp_path.iterdir()} == {"measures.json", "volumes.csv", "curve.png"}


def test_measure_leaves_out_and_names_frames_that_hold_a_part_of_the_stack(
    files: Path, tmp_path: Path, heart: Phantom
) -> None:
    labels = heart.truth.labels.copy()
    labels[3, [0, 1, 3]] = 0
    nib.save(nib.Nifti1Image(labels.T, np.diag([-1, -1, 1, 1]) @ heart.cine.affine), tmp_path / "part.nii.gz")
    for cine in ((), ("--cine", files / "cine.nii.gz")):
        result = invoke("measure", tmp_path / "part.nii.gz", *cine, "--output", tmp_path / "out")
        assert "only a part of the stack is drawn: frame 3" in result.output
        measures = json.loads((tmp_path / "out" / "measures.json").read_text())
        assert measures["es_frame"] != 3
        assert (tmp_path / "out" / "volumes.csv").read_text().splitlines()[4].endswith(",,")


def test_measure_takes_the_frames_and_the_body_that_the_user_gives(files: Path, tmp_path: Path) -> None:
    body = ("--height-cm", 180, "--weight-kg", 80, "--ed", 1, "--es", 2)
    result = invoke("measure", files / "truth.nii.gz", "--cine", files / "cine.nii.gz", *body, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    measures = json.loads((tmp_path / "measures.json").read_text())
    assert (measures["ed_frame"], measures["es_frame"]) == (1, 2)
    assert measures["bsa_mosteller_m2"] == pytest.approx(2.0)
    assert {path.name for path in tmp_path.iterdir()} == RESULTS


def test_evaluate_finds_masks_equal_to_themselves_under_two_label_maps(files: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    result = invoke(
        "evaluate", files / "truth.nii.gz", files / "acdc_truth.nii.gz", "--label-map", "acdc", "--output", table
    )
    assert result.exit_code == 0, result.output
    dice = [float(row["dice"]) for row in rows_of(table) if row["dice"]]
    assert dice
    assert set(dice) == {1.0}


def test_train_writes_weights_with_a_card(tmp_path: Path) -> None:
    result = invoke(
        "train", "cstm", "--data", "phantom=1", "--steps", 1, "--batch", 1, "--device", "cpu", "--output", tmp_path
    )
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "cstm-small.json").read_text())
    assert (tmp_path / "cstm-small.safetensors").is_file()
    assert (card["network"], card["size"]) == ("cstm", "small")


def test_the_label_maps_offered_are_those_of_the_library() -> None:
    assert {choice.value for choice in cli.LabelMap} == set(LABEL_MAPS)


def test_weights_are_listed(files: Path) -> None:
    result = run("weights")
    assert result.returncode == 0, result.stderr
    for card in installed():
        assert f"{card.name}: {METHODS[card.network]}" in result.stdout
        assert f"  Licence: {card.licence}\n" in result.stdout
        assert describe_figures(card) in result.stdout
    assert "_dice" not in result.stdout


@pytest.mark.parametrize("command", ["", "propagate", "measure", "evaluate", "train", "weights"])
def test_help_comes_within_a_second(command: str) -> None:
    began = time.process_time(), os.times().children_user
    result = run(*command.split(), "--help")
    assert result.returncode == 0
    assert os.times().children_user - began[1] < 1.0
    assert "--help" in result.stdout


BAD_PROPAGATE = {
    "not an image": ({"cine": "text.nii.gz"}, (), "text.nii.gz"),
    "another kind of file": ({"cine": "notes.txt"}, (), "notes.txt"),
    "no such file": ({"cine": "missing.nii.gz"}, (), "missing.nii.gz"),
    "one frame, of which all is annotated": ({"cine": "one_frame.nii.gz"}, (), "mask.nii.gz"),
    "2D": ({"cine": "flat.nii.gz"}, (), "flat.nii.gz"),
    "2D mask": ({"mask": "flat.nii.gz"}, (), "flat.nii.gz"),
    "NaN": ({"cine": "nan.nii.gz"}, (), "nan.nii.gz"),
    "mask on another grid": ({"mask": "shifted.nii.gz"}, (), "shifted.nii.gz"),
    "mask of another size": ({"mask": "smaller.nii.gz"}, (), "smaller.nii.gz"),
    "no annotated voxel": ({"mask": "empty.nii.gz"}, (), "empty.nii.gz"),
    "wrong label value": ({"mask": "wrong_value.nii.gz"}, ("--label-map", "acdc"), "wrong_value.nii.gz"),
    "frame out of range": ({}, ("--frame", 6), "0 to 5"),
    "negative frame": ({}, ("--frame", -1), "0 to 5"),
    "declared slice out of range": ({}, ("--annotated-slices", "0:4"), "0 to 3"),
    "a folder without images": ({"cine": "empty_folder"}, (), "empty_folder"),
    "nothing left to do": ({"mask": "truth.nii.gz"}, (), "truth.nii.gz"),
    "unknown weights": ({}, ("--weights", "no-such-weights"), "no-such-weights"),
    "weights as a pickle": ({}, ("--weights", "w.pth"), "w.pth"),
    "weights file that is not there": ({}, ("--weights", "w.safetensors"), "w.safetensors"),
}


def assert_one_sentence(text: str) -> None:
    lines = [line for line in text.strip().splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, text
    assert lines[0].startswith("cardiacseg: ")
    assert lines[0].endswith(".")
    assert "This should not have happened" not in lines[0]


@pytest.mark.parametrize("mistake", BAD_PROPAGATE)
def test_a_mistake_ends_in_one_sentence_and_leaves_nothing(mistake: str, files: Path, tmp_path: Path) -> None:
    names, more, mentioned = BAD_PROPAGATE[mistake]
    result = propagate(files, tmp_path / "new" / "folder", *more, **names)
    assert result.exit_code == 1, result.output
    assert_one_sentence(result.stderr)
    assert mentioned in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("measure", "text.nii.gz", "--output", "OUT"),
        ("measure", "empty.nii.gz", "--cine", "cine.nii.gz", "--output", "OUT"),
        ("measure", "truth.nii.gz", "--ed", 6, "--output", "OUT"),
        ("evaluate", "truth.nii.gz", "smaller.nii.gz"),
        ("evaluate", "truth.nii.gz", "empty.nii.gz", "--output", "OUT/rows.csv"),
        ("evaluate", "nan.nii.gz", "truth.nii.gz"),
        ("train", "no-such-network", "--data", "phantom=2", "--output", "OUT"),
        ("train", "cstm", "--data", "no-such-kind=2", "--output", "OUT"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_the_other_commands_tell_mistakes_in_one_sentence_too(arguments, files: Path, tmp_path: Path) -> None:
    places = {"OUT": tmp_path / "out"}
    result = invoke(
        *(files / a if str(a).endswith(".nii.gz") else str(a).replace("OUT", str(places["OUT"])) for a in arguments)
    )
    assert result.exit_code == 1, result.output
    assert_one_sentence(result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_shows_no_traceback_in_a_process_of_its_own(files: Path, tmp_path: Path) -> None:
    result = run("propagate", files / "text.nii.gz", "--annotation", files / "mask.nii.gz", "--output", tmp_path / "o")
    assert result.returncode == 1
    assert_one_sentence(result.stderr)
    assert result.stdout == ""


def test_a_full_disk_is_told_and_earlier_results_stay(
    files: Path, tmp_path: Path, copying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    propagate(files, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_, **__) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("PIL.Image.Image.save", full)
    result = propagate(files, tmp_path, "--frame", 3)
    assert result.exit_code == 1
    assert_one_sentence(result.stderr.splitlines()[-1])
    assert "disk is full" in result.stderr
    assert str(tmp_path / "curve.png") in result.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_in_the_place_of_the_output_folder_is_told(files: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    for output in (tmp_path / "taken", tmp_path / "taken" / "below"):
        result = propagate(files, output)
        assert result.exit_code == 1
        assert_one_sentence(result.stderr)
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_that_may_not_be_read_is_told(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0)
    if os.access(locked, os.R_OK):  # root may read everything, so the refusal is played
        listdir = os.listdir

        def refuse(path: os.PathLike | str = ".") -> list[str]:
            if Path(path) == locked:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return listdir(path)

        monkeypatch.setattr(os, "listdir", refuse)
    result = propagate(files, tmp_path / "out", cine=str(locked))
    assert result.exit_code == 1
    assert_one_sentence(result.stderr)
    assert str(locked) in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["locked"]


def test_an_error_nobody_foresaw_is_one_sentence_and_debug_shows_where(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_, **__) -> None:
        raise ZeroDivisionError("the details\nof it")

    monkeypatch.setattr(engines, "load_engine", fail)
    result = propagate(files, tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "--debug" in result.stderr
    arguments = [
        "propagate",
        files / "cine.nii.gz",
        "--annotation",
        files / "mask.nii.gz",
        "--output",
        tmp_path / "out",
    ]
    assert isinstance(invoke("--debug", *arguments).exception, ZeroDivisionError)
    assert list(tmp_path.iterdir()) == []


def test_stopping_it_ends_quietly_with_130(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(CopyingEngine):
        def segment(self, cine: Cine, annotation: Segmentation):
            yield next(super().segment(cine, annotation))
            raise KeyboardInterrupt

    monkeypatch.setattr(engines, "load_engine", lambda *_, **__: Stopped())
    result = propagate(files, tmp_path / "out")
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("propagate", "c.nii.gz"),
        ("propagate", "c.nii.gz", "--annotation", "m.nii.gz", "--output", "o", "--annotated-slices", "3"),
        ("propagate", "c.nii.gz", "--annotation", "m.nii.gz", "--output", "o", "--device", "abacus"),
        ("dance",),
    ],
)
def test_wrong_usage_ends_in_exit_code_2(arguments: tuple) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_no_bar_is_drawn_where_there_is_no_terminal(files: Path, tmp_path: Path, copying: None) -> None:
    result = propagate(files, tmp_path)
    assert "Segmented" in result.stderr
    assert "\x1b" not in result.output


def test_a_bar_with_the_time_left_is_drawn_on_a_terminal(
    files: Path, tmp_path: Path, copying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take the captured output for a terminal
    result = propagate(files, tmp_path)
    assert "20/20" in result.stderr
    assert "0:00:0" in result.stderr


def test_a_structure_that_nobody_drew_has_no_volume(files: Path, tmp_path: Path, heart: Phantom, copying: None) -> None:
    mask = nib.load(files / "mask.nii.gz")
    labels = np.asarray(mask.dataobj)
    nib.save(nib.Nifti1Image(np.where(labels == 3, 0, labels).astype(np.uint8), mask.affine), tmp_path / "no_rv.nii.gz")
    propagate(files, tmp_path / "out", mask=str(tmp_path / "no_rv.nii.gz"))
    assert {row["rv_ml"] for row in rows_of(tmp_path / "out" / "volumes.csv")} == {""}
    assert json.loads((tmp_path / "out" / "measures.json").read_text())["rv_edv_ml"] is None


def test_the_version_is_shown() -> None:
    assert run("--version").stdout == f"cardiacseg {CardiacSegLib.__version__}\n"


@pytest.mark.skipif(not installed(), reason="no weights are installed")
def test_the_demo_comes_close_to_the_expert(tmp_path: Path) -> None:
    sample = ROOT / "Resources" / "SampleData"
    result = run(
        "propagate", sample / "cine.nii.gz", "--annotation", sample / "annotation.nii.gz", "--frame", 18,
        "--annotated-slices", "18:0,18:10", "--expert", sample / "expert.nii.gz", "--device", "cpu",
        "--output", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    measures = json.loads((tmp_path / "measures.json").read_text())
    assert measures["lv_ef_percent"] == pytest.approx(26.0, abs=4)  # the expert's contours give 26.0
    rows = tmp_path / "rows.csv"
    assert invoke("evaluate", tmp_path / "segmentation.nii.gz", sample / "expert.nii.gz", "-o", rows).exit_code == 0
    systole = {row["structure"]: row for row in rows_of(rows) if row["region"] == "all" and row["frame"] == "7"}
    assert float(systole["LV"]["dice"]) > 0.92
