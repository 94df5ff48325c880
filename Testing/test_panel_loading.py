"""The panel's section Cine: studies with many series, what is said of them, and scenes that lost something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

from dicom_files import Scan, long_axis, values, write
from long_axis_heart import long_axis_heart
from panel_work import RUN, annotate, calm, labels, segment

from CardiacSegLib import mrml
from CardiacSegLib.cine import Cine, Status
from CardiacSegLib.measures import measure
from CardiacSegLib.phantom import Phantom
from CardiacSegLib.readers import read_cine
from CardiacSegLib.writers.images import write_cine

SCAN = Scan(values(6, 3, 48, 40), times=[100.0 * t for t in range(6)])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A stack of three series and a 4-chamber view."""
    for z in range(3):
        write(SCAN.slice(z, series=f"1.5.{z}", number=7 + z), tmp_path / "study")
    return write(long_axis(SCAN, 60, series="1.6.20", number=20, description="long"), tmp_path / "study")


def choose_series(host, panel, name: str) -> None:
    combo = panel.ui.seriesCombo
    combo.setCurrentIndex(combo.findData(name))
    host.settle()


def test_of_a_study_the_stack_is_taken_and_the_panel_says_what_was_found(host, panel, study) -> None:
    host.choose(study)
    host.click(panel.ui.loadFolderButton)
    assert panel.session.study.cine.shape == (6, 3, 48, 40)
    assert panel.ui.foundLabel.text.startswith("MR, 3 slices of 40 x 48 pixels")
    assert "holds 4 series; 3 of them were put together" in panel.ui.remarkLabel.text
    assert "4-chamber, 1 slice, 6 frames, series 20: long" in panel.ui.foundLabel.toolTip
    assert panel.ui.seriesCombo.currentText == "short axis stack, 3 slices, 6 frames"


def test_another_series_is_chosen_and_the_stack_comes_back_with_its_masks(host, panel, study) -> None:
    host.choose(study)
    host.click(panel.ui.loadFolderButton)
    stack = panel.session.study
    stack.set_slice(0, 1, np.ones((48, 40), np.uint8), Status.ANNOTATED)
    choose_series(host, panel, "20")
    assert panel.session.study.cine.shape[1] == 1
    np.testing.assert_array_equal(panel.session.study.cine.frames, read_cine(study, "4ch").frames)
    assert panel.ui.seriesCombo.currentData == "20"
    choose_series(host, panel, "sax")
    assert panel.session.study.status.sum() == Status.ANNOTATED
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 2


def test_a_study_without_a_stack_is_said_and_its_series_can_be_chosen(host, panel, tmp_path) -> None:
    for number, degrees in enumerate((0, 60)):
        write(long_axis(SCAN, degrees, series=f"1.6.{number}", number=20 + number), tmp_path / "views")
    host.choose(tmp_path / "views")
    host.answer("OK")
    host.click(panel.ui.loadFolderButton)
    assert "none of them a stack" in host.messages[-1]
    assert panel.session.study is None
    assert panel.ui.seriesCombo.visible
    choose_series(host, panel, "21")
    assert panel.session.study.cine.shape[:2] == (6, 1)
    assert [panel.ui.seriesCombo.itemData(i) for i in range(panel.ui.seriesCombo.count)] == ["20", "21"]


def test_the_choice_of_series_comes_back_with_the_scene_and_a_study_that_is_gone_is_said(
    host, panel, study, tmp_path
) -> None:
    host.choose(study)
    host.click(panel.ui.loadFolderButton)
    host.save_scene(tmp_path / "scene.mrb")
    host.scene.Clear(0)
    host.settle()
    assert not panel.ui.seriesCombo.visible
    host.load_scene(tmp_path / "scene.mrb")
    host.wait(lambda: panel.session.study is not None, RUN)
    assert panel.ui.seriesCombo.currentData == "sax"
    assert panel.ui.foundLabel.text.startswith("MR, 3 slices")
    study.rename(tmp_path / "elsewhere")
    host.answer("OK")
    choose_series(host, panel, "20")
    assert "does not exist" in host.messages[-1]
    assert panel.ui.seriesCombo.currentData == "sax"
    assert panel.session.study.cine.shape[1] == 3


def test_one_series_alone_offers_nothing_to_choose(host, panel, tmp_path, cine_file) -> None:
    host.choose(write(SCAN, tmp_path / "one"), cine_file)
    host.click(panel.ui.loadFolderButton)
    assert not panel.ui.seriesCombo.visible
    host.click(panel.ui.loadFileButton)
    assert panel.session.study.cine.shape[1] == 4
    assert not panel.ui.seriesCombo.visible


@pytest.mark.parametrize("shape", [(1, 3), (1, 1)])
def test_a_single_image_is_worked_on_and_said_to_be_no_cycle(host, panel, heart: Phantom, tmp_path, shape) -> None:
    frames, slices = shape
    still = Cine(heart.cine.frames[:frames, 1 : 1 + slices].copy(), heart.cine.affine, np.zeros(1), name="still")
    write_cine(still, tmp_path / "still.nii.gz")
    host.choose(tmp_path / "still.nii.gz")
    host.click(panel.ui.loadFileButton)
    assert "no heart cycle" in panel.ui.remarkLabel.text
    place = (0, slices // 2)
    panel.session.study.set_slice(*place, heart.truth.labels[0, 1 + slices // 2], Status.ANNOTATED)
    panel.onEdited()
    calm(host, panel)
    if slices > 1:
        segment(host, panel)
        assert (panel.session.study.status > Status.EMPTY).all()


def test_a_long_axis_slice_is_measured_by_area_and_length_and_says_so(host, panel) -> None:
    cine, truth, _ = long_axis_heart(2, 4, frames=4, size=64, mm=3.0)
    panel.load(lambda: panel.logic.addCine(cine))
    for frame in range(4):
        panel.session.study.set_slice(frame, 0, truth.labels[frame, 0], Status.ANNOTATED)
    panel.onEdited()
    calm(host, panel)
    ef = measure(truth).lv_ef_area_length_percent
    assert panel.ui.efLabel.text.startswith(f"By area-length, one view:  EF\xa0{ef:.0f}\xa0%")
    table = mrml.result_node(panel.session.study, "measures").GetTable()
    names = [table.GetValue(row, 0).ToString() for row in range(table.GetNumberOfRows())]
    assert "LV EF, area-length" in names and "LV EF" not in names
    chart = mrml.result_node(panel.session.study, "volume curve")
    assert [chart.GetNthPlotSeriesNode(i).GetName() for i in range(2)] == ["LV area-length", "ED, ES"]


def test_a_clinical_study_in_a_zip_opens_with_its_stack_and_its_views(host, panel, data: Path) -> None:
    archive = data / "bivme_patient1" / "dicom.zip"
    if not archive.is_file():
        pytest.skip("the clinical study is not in the folder of real data")
    host.choose(archive)
    host.click(panel.ui.loadFileButton)
    assert panel.session.study.cine.shape[:2] == (25, 6)
    choose_series(host, panel, "14001")
    assert panel.session.study.cine.shape[:2] == (25, 1)
    assert "4-chamber" in panel.ui.seriesCombo.currentText


def test_a_scene_saved_in_the_middle_of_a_run_says_what_is_missing_and_the_run_goes_on(
    host, open_panel, heart: Phantom, tmp_path
) -> None:
    annotate(host, open_panel, heart)
    host.click(open_panel.ui.segmentButton)
    host.wait(lambda: open_panel.session._run is None or open_panel.session._run.found, RUN)
    host.click(open_panel.ui.segmentButton)
    host.wait(lambda: not open_panel.session.running, RUN)
    status, before = open_panel.session.study.status, labels(open_panel)
    empty = int((status == Status.EMPTY).sum())
    assert empty, "the run was over before it could be cancelled"
    host.save_scene(tmp_path / "half.mrb")
    host.scene.Clear(0)
    host.load_scene(tmp_path / "half.mrb")
    host.wait(lambda: open_panel.session.study is not None, RUN)
    assert f"Not all is found yet: {empty} of 24 slices" in open_panel.ui.remarkLabel.text
    assert (labels(open_panel) == before).all()
    assert not open_panel.ui.propagateButton.enabled
    segment(host, open_panel)
    assert (open_panel.session.study.status > Status.EMPTY).all()


def test_a_scene_whose_weights_are_not_here_says_so_and_keeps_its_masks(
    host, open_panel, heart: Phantom, tmp_path
) -> None:
    annotate(host, open_panel, heart)
    open_panel._parameterNode.weights = "gone-with-the-old-computer"
    host.save_scene(tmp_path / "scene.mrb")
    host.scene.Clear(0)
    host.load_scene(tmp_path / "scene.mrb")
    host.wait(lambda: open_panel.session.study is not None, RUN)
    assert "The weights gone-with-the-old-computer are not here." in open_panel.ui.cardLabel.text
    assert (labels(open_panel)[0, 2] == heart.truth.labels[0, 2]).all()


def test_a_scene_of_a_newer_version_is_refused_in_one_sentence(host, open_panel, heart: Phantom, tmp_path) -> None:
    annotate(host, open_panel, heart)
    open_panel.session.study.masks.SetAttribute("CardiacSeg.Version", "99")
    host.save_scene(tmp_path / "scene.mrb")
    host.scene.Clear(0)
    host.answer("OK")
    host.load_scene(tmp_path / "scene.mrb")
    host.wait(lambda: "newer CardiacSeg" in "".join(host.messages), RUN)
    assert open_panel.session.study is None
    assert not open_panel.ui.segmentButton.enabled
