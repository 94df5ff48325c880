"""A study that was moved or renamed: the panel says so, is shown its new place, and takes no other study for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import numpy as np
import pydicom
from dicom_files import Scan, long_axis, values, write
from panel_work import MODULE, RUN, calm
from scripted_engine import Engine

from CardiacSegLib import mrml
from CardiacSegLib.cine import Status
from CardiacSegLib.readers import read_cine

SCAN = Scan(values(6, 3, 48, 40), times=[100.0 * t for t in range(6)])


def write_study(folder: Path, first: int = 7, scan: Scan = SCAN) -> Path:
    """A stack of three series, whose first has this number, and a 4-chamber view."""
    for z in range(3):
        write(scan.slice(z, series=f"1.5.{z}", number=first + z), folder)
    return write(long_axis(scan, 60, series="1.6.20", number=first + 13, description="long"), folder)


@pytest.fixture
def panel(host) -> Any:
    """The panel in an empty scene, without a worker."""
    panel = host.load(MODULE)
    panel.session._engine_for = lambda *choice: Engine(None)
    return panel


@pytest.fixture
def study(host, panel, tmp_path: Path) -> Path:
    """The study in the panel: the 4-chamber view was opened too, the stack is shown and has a mask."""
    folder = write_study(tmp_path / "study")
    for series in ("20", ""):
        panel.load(lambda series=series: panel.logic.loadCine(str(folder), series))
    panel.session.study.set_slice(0, 1, np.ones((48, 40), np.uint8), Status.ANNOTATED)
    calm(host, panel)
    return folder


def change(path: Path, alter: Callable[[pydicom.Dataset], None]) -> None:
    """Write a DICOM file anew with something altered."""
    data = pydicom.dcmread(path)
    alter(data)
    data.save_as(path)


def reopen(host, panel: Any, path: Path) -> None:
    """Save the scene, close it, and load it again."""
    host.save_scene(path)
    host.scene.Clear(0)
    host.load_scene(path)
    host.wait(lambda: panel.session.study is not None, RUN)
    calm(host, panel)


def locate(host, panel: Any, path: Path) -> None:
    host.choose(path)
    host.click(panel.ui.locateButton)


def choose_series(host, panel: Any, name: str) -> None:
    panel.ui.seriesCombo.setCurrentIndex(panel.ui.seriesCombo.findData(name))
    host.settle()


def test_where_the_study_lies_is_only_asked_for_where_it_is_gone(host, panel, study) -> None:
    assert not panel.ui.locateButton.visible
    assert not panel.ui.goneLabel.visible


def test_a_study_that_was_renamed_is_found_again_with_all_its_series(host, panel, study, tmp_path) -> None:
    moved = study.rename(tmp_path / "renamed")
    reopen(host, panel, tmp_path / "scene.mrb")
    assert panel.ui.goneLabel.text.startswith("The study was moved;")
    assert panel.ui.goneLabel.toolTip == str(study)
    locate(host, panel, moved)
    assert not panel.ui.locateButton.visible
    assert not panel.ui.goneLabel.visible
    assert panel.session.study.status.sum() == Status.ANNOTATED
    images = [host.scene.GetNthNodeByClass(n, "vtkMRMLSequenceNode") for n in range(4)]
    origins = [mrml.origin_of(image) for image in images if mrml.image_of(image) is None]
    assert {(origin.path, origin.series) for origin in origins} == {(str(moved), "sax"), (str(moved), "20")}
    assert panel.logic.filesOf(panel.session.study.image) == moved
    choose_series(host, panel, "8")
    np.testing.assert_array_equal(panel.session.study.cine.frames, read_cine(moved, "8").frames)
    reopen(host, panel, tmp_path / "again.mrb")
    assert not panel.ui.locateButton.visible


def test_a_study_that_goes_while_it_is_open_is_asked_for_when_a_series_is_chosen(host, panel, study, tmp_path) -> None:
    moved = study.rename(tmp_path / "renamed")
    host.answer("OK")
    choose_series(host, panel, "20")
    assert "does not exist" in host.messages[-1]
    locate(host, panel, moved)
    choose_series(host, panel, "20")
    assert panel.session.study.cine.shape[1] == 1


def test_series_that_got_other_numbers_are_told_by_their_images(host, panel, study, tmp_path) -> None:
    moved = study.rename(tmp_path / "renumbered")
    for path in moved.iterdir():
        change(path, lambda data: setattr(data, "SeriesNumber", data.SeriesNumber + 100))
    panel.cine.show(panel.session.study)
    locate(host, panel, moved)
    assert mrml.origin_of(panel.session.study.image).series == "sax"
    assert panel.ui.seriesCombo.currentData == "sax"
    assert not panel.ui.locateButton.visible
    long_axis_image = next(
        image
        for n in range(host.scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode"))
        if mrml.origin_of(image := host.scene.GetNthNodeByClass(n, "vtkMRMLSequenceNode")) and "20" in image.GetName()
    )
    assert mrml.origin_of(long_axis_image).series == "120"


def test_a_zip_is_asked_for_as_a_file(host, panel, tmp_path) -> None:
    write_study(tmp_path / "study")
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "study"))
    panel.load(lambda: panel.logic.loadCine(str(archive)))
    moved = archive.rename(tmp_path / "other.zip")
    panel.cine.show(panel.session.study)
    locate(host, panel, moved)
    assert panel.logic.filesOf(panel.session.study.image) == moved


def test_another_study_is_not_taken_for_it(host, panel, study, tmp_path) -> None:
    study.rename(tmp_path / "renamed")
    other = write_study(tmp_path / "other")
    panel.cine.show(panel.session.study)
    host.answer("OK")
    locate(host, panel, other)
    assert "choose the study that this cine was loaded from" in host.messages[-1]
    assert mrml.origin_of(panel.session.study.image).path == str(study)
    assert panel.ui.locateButton.visible
    assert panel.session.study.status.sum() == Status.ANNOTATED


def refused(host, panel, study: Path, place: Path) -> str:
    """What is said of a place that is not taken for the study's; the study keeps its own."""
    panel.cine.show(panel.session.study)
    host.answer("OK")
    locate(host, panel, place)
    assert mrml.origin_of(panel.session.study.image).path == str(study)
    return host.messages[-1]


def test_a_study_that_lost_images_is_not_taken_for_it(host, panel, study, tmp_path) -> None:
    moved = study.rename(tmp_path / "renamed")
    next(moved.glob("1.5.1_*")).unlink()
    assert "does not hold the images" in refused(host, panel, study, moved)


def test_images_that_lie_elsewhere_now_are_not_taken_for_the_same(host, panel, study, tmp_path) -> None:
    moved = study.rename(tmp_path / "renamed")
    for path in moved.glob("1.5.*"):
        change(path, lambda data: setattr(data, "PixelSpacing", [3.0, 3.0]))
    assert "no longer the same images" in refused(host, panel, study, moved)


def test_no_choice_of_a_place_changes_nothing(host, panel, study, tmp_path) -> None:
    study.rename(tmp_path / "renamed")
    panel.cine.show(panel.session.study)
    locate(host, panel, "")
    assert panel.ui.locateButton.visible


def test_dicom_files_that_are_gone_are_not_taken_for_a_cine_that_was_none(host, panel, study, tmp_path) -> None:
    study.rename(tmp_path / "renamed")
    panel.cine.show(panel.session.study)
    panel.onEdited()
    calm(host, panel)
    if not panel.ui.dicomCheckBox.checked:
        host.click(panel.ui.dicomCheckBox)
    panel.ui.folderEdit.setCurrentPath(str(tmp_path / "out"))
    host.answer("OK")
    host.click(panel.ui.exportButton)
    assert "are no longer where they were; press Find the study" in host.messages[-1]
    assert not (tmp_path / "out").exists()
