"""Volumes by two long-axis views in the panel: chosen by hand, said everywhere, and refused in one sentence."""

from __future__ import annotations

import csv
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import numpy as np  # noqa: E402
import pydicom  # noqa: E402
from dicom_images import write_dicom  # noqa: E402
from long_axis_heart import long_axis_heart  # noqa: E402
from panel_work import MODULE, RUN, calm  # noqa: E402
from scripted_engine import Engine  # noqa: E402

from CardiacSegLib import mrml  # noqa: E402
from CardiacSegLib.cine import Cine, Segmentation, SlicePrediction, Status  # noqa: E402
from CardiacSegLib.measures import Measures, measure  # noqa: E402
from CardiacSegLib.mrml.labels import write_labels  # noqa: E402

FRAMES = 6


def view(number: int, frames: int = FRAMES) -> tuple[Cine, Segmentation]:
    """The 4- or 2-chamber view of one heart, named so."""
    cine, truth, _ = long_axis_heart(2, number, frames=frames, size=64, mm=3.0)
    return dataclasses.replace(cine, name=f"{number}ch"), truth


FOUR, TWO = view(4), view(2)


@pytest.fixture
def panel(host) -> Any:
    """The panel in an empty scene, without a worker."""
    panel = host.load(MODULE)
    panel.session._engine_for = lambda *choice: Engine(FOUR[1])
    return panel


def add(host, panel: Any, cine: Cine, truth: Segmentation | None, frames: range | None = None) -> Any:
    """Open a cine with masks in some frames, as an engine finds them; returns its image sequence."""
    image = panel.logic.addCine(cine)
    panel.load(lambda: image)
    if truth is not None:
        masks = truth.labels
        panel.session.study.apply(SlicePrediction(t, 0, masks[t, 0]) for t in frames or range(len(masks)))
        panel.onEdited()
    calm(host, panel)
    return image


def show(host, panel: Any, image: Any) -> None:
    panel.parameters.cine = image
    host.settle()
    calm(host, panel)


def choose(host, panel: Any, name: str) -> None:
    """Choose the second view by the name in its box."""
    combo = panel.ui.secondCombo
    combo.setCurrentIndex(combo.findText(name))
    calm(host, panel)


@pytest.fixture
def views(host, panel) -> tuple[Any, Any]:
    """The image sequences of both views, segmented; the 4-chamber view is shown."""
    two, four = add(host, panel, *TWO), add(host, panel, *FOUR)
    return four, two


def numbers(panel: Any) -> Measures:
    return panel.session.results().measures


def ef(measures: Measures) -> str:
    return f"EF\N{NO-BREAK SPACE}{measures.lv_ef_area_length_percent:.0f}\N{NO-BREAK SPACE}%"


def offered(panel: Any) -> list[str]:
    combo = panel.ui.secondCombo
    return [combo.itemText(index) for index in range(combo.count)] if combo.visible else []


# The choice


def test_a_second_view_is_offered_only_for_a_long_axis_cine_and_is_never_chosen_by_itself(
    host, panel, heart, views
) -> None:
    assert offered(panel) == ["none", "2ch"]
    assert panel.ui.secondCombo.currentText == "none"
    assert not panel.ui.secondRemarkLabel.visible
    assert panel.ui.efLabel.text.startswith("By area-length, one view:")
    add(host, panel, heart.cine, heart.truth)
    assert offered(panel) == []
    assert not panel.ui.secondLabel.visible


def test_one_view_alone_offers_nothing(host, panel) -> None:
    add(host, panel, *FOUR)
    assert offered(panel) == []


def test_numbers_table_and_curve_are_those_of_two_views(host, panel, views) -> None:
    one = numbers(panel)
    choose(host, panel, "2ch")
    both = measure(FOUR[1], second=TWO[1], times=panel.session.study.cine.times)
    assert numbers(panel) == both
    assert both.lv_edv_area_length_ml != one.lv_edv_area_length_ml
    assert panel.ui.efLabel.text.startswith(f"By area-length, two views:  {ef(both)}")
    table = mrml.result_node(panel.session.study, "measures").GetTable()
    rows = {table.GetValue(n, 0).ToString(): table.GetValue(n, 1).ToString() for n in range(table.GetNumberOfRows())}
    assert rows["LV EDV, area-length"] == f"{both.lv_edv_area_length_ml:.1f}"
    assert mrml.result_node(panel.session.study, "volume curve").GetTitle() == "4ch: area-length, two views"
    volumes = mrml.result_node(panel.session.study, "volumes").GetTable().GetColumnByName("LV area-length [ml]")
    ed = both.ed_frame
    assert measure(TWO[1]).ed_frame == ed  # so the curve's largest volume is the EDV
    assert volumes.GetValue(ed) == pytest.approx(both.lv_edv_area_length_ml, abs=0.001)
    choose(host, panel, "none")
    assert numbers(panel) == one
    assert panel.ui.efLabel.text.startswith("By area-length, one view:")
    assert mrml.result_node(panel.session.study, "volume curve").GetTitle() == "4ch: area-length, one view"


def test_each_view_offers_the_other_and_both_ways_give_one_ejection_fraction(host, panel, views) -> None:
    choose(host, panel, "2ch")
    first = numbers(panel).lv_ef_area_length_percent
    show(host, panel, views[1])
    assert offered(panel) == ["none", "4ch"]
    assert panel.ui.secondCombo.currentText == "none"
    choose(host, panel, "4ch")
    assert numbers(panel).lv_ef_area_length_percent == pytest.approx(first)


def test_what_files_do_not_tell_of_the_patient_is_left_to_the_reader(host, panel, views) -> None:
    choose(host, panel, "2ch")
    assert panel.ui.secondRemarkLabel.text == (
        "Nothing in the files tells whether both views are of one patient; make sure that they are."
    )
    choose(host, panel, "none")
    assert not panel.ui.secondRemarkLabel.visible


def test_the_choice_comes_back_with_the_scene_and_opens_no_other_masks_to_view(host, panel, views, tmp_path) -> None:
    choose(host, panel, "2ch")
    before = numbers(panel)
    host.save_scene(tmp_path / "scene.mrb")
    host.scene.Clear(0)
    host.load_scene(tmp_path / "scene.mrb")
    host.wait(lambda: panel.session.study is not None, RUN)
    assert panel.session.second is not None  # before anybody can ask for a report
    calm(host, panel)
    assert panel.ui.secondCombo.currentText == "2ch"
    assert numbers(panel).lv_ef_area_length_percent == pytest.approx(before.lv_ef_area_length_percent)
    assert numbers(panel).volume_method == "area-length, two views"
    assert panel.session.study.segmentation.GetDisplayNode().GetVisibility()
    assert not panel.session.second.segmentation.GetDisplayNode().GetVisibility()


# What changes


def test_an_edit_of_the_second_views_masks_changes_the_numbers(host, panel, views) -> None:
    choose(host, panel, "2ch")
    before = numbers(panel)
    edited = TWO[1].labels.copy()
    frame = before.ed_frame
    edited[frame, 0][edited[frame, 0] == 2] = 1
    panel.session.second.frame = frame
    segmentation = panel.session.second.segmentation.GetSegmentation()
    write_labels(segmentation, edited[frame], TWO[0].affine)  # as the Segment Editor does
    assert panel.results.busy
    calm(host, panel)
    expected = measure(FOUR[1], second=dataclasses.replace(TWO[1], labels=edited), times=panel.session.study.cine.times)
    assert numbers(panel) == expected
    assert expected.lv_edv_area_length_ml > before.lv_edv_area_length_ml
    assert ef(expected) in panel.ui.efLabel.text
    show(host, panel, views[1])
    assert panel.session.study.status[frame, 0] == Status.CORRECTED


def test_end_diastole_that_was_fixed_in_the_second_view_counts(host, panel, views) -> None:
    show(host, panel, views[1])
    panel.ui.edSpin.value = 2
    calm(host, panel)
    show(host, panel, views[0])
    choose(host, panel, "2ch")
    times = panel.session.study.cine.times
    assert numbers(panel) == measure(FOUR[1], second=TWO[1], second_phases=(2, None), times=times)


def test_a_deleted_second_view_leaves_the_first_alone_and_its_shown_masks_alone_do_not_matter(
    host, panel, views
) -> None:
    choose(host, panel, "2ch")
    masks, shown = panel.session.second.masks, panel.session.second.segmentation
    host.scene.RemoveNode(shown)
    calm(host, panel)
    host.settle(0.5)
    assert numbers(panel).volume_method == "area-length, two views"
    host.scene.RemoveNode(masks)
    calm(host, panel)
    host.settle(0.5)
    assert numbers(panel).volume_method == "area-length, one view"
    assert panel.ui.efLabel.text.startswith("By area-length, one view:")
    assert offered(panel) == []


def test_nobody_waits_for_the_numbers_of_two_large_views(host, panel) -> None:
    for cine, truth in (TWO, FOUR):
        large = [np.roll(each.repeat(4, axis=1).repeat(4, axis=2), t, 2) for t, each in enumerate(truth.labels)] * 4
        affine = cine.affine @ np.diag([0.25, 0.25, 1, 1])
        frames, status = np.stack(large).astype(np.int16), np.full((24, 1), int(Status.PREDICTED), np.uint8)
        view = Cine(frames, affine, np.arange(24.0), name=cine.name)
        add(host, panel, view, Segmentation(np.stack(large), status, affine))
    choose(host, panel, "2ch")
    seconds = []
    for step in range(3):
        panel.session.second.set_slice(step, 0, np.roll(large[step][0], step + 1, 0), Status.CORRECTED)
        began = time.thread_time()
        panel.results.showNumbers()
        seconds.append(time.thread_time() - began)
    assert numbers(panel).volume_method == "area-length, two views"
    assert min(seconds) <= 0.1


# What does not fit


def refused(host, panel: Any, name: str = "2ch") -> str:
    """Choose a view that is refused; returns the sentence under the box."""
    alone = numbers(panel)
    choose(host, panel, name)
    assert numbers(panel) == alone
    assert panel.ui.efLabel.text.startswith(f"By area-length, one view:  {ef(alone)}")
    assert panel.ui.secondRemarkLabel.visible
    return panel.ui.secondRemarkLabel.text


def test_a_view_with_other_frames_is_refused(host, panel) -> None:
    add(host, panel, *view(2, frames=8))
    add(host, panel, *FOUR)
    assert refused(host, panel) == (
        "4ch has 6 frames and 2ch has 8, so they cannot be followed together. Measured is this view alone."
    )


def test_a_view_that_is_nearly_parallel_is_refused(host, panel) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    cine, truth = (dataclasses.replace(each, affine=turn @ each.affine) for each in FOUR)
    add(host, panel, dataclasses.replace(cine, name="2ch"), truth)
    add(host, panel, *FOUR)
    sentence = refused(host, panel)
    assert "The two views are only" in sentence and "give two that cross" in sentence


def test_a_view_without_masks_and_one_that_is_not_finished_are_refused_until_they_are(host, panel) -> None:
    two = add(host, panel, TWO[0], None)
    four = add(host, panel, *FOUR)
    assert refused(host, panel).startswith("2ch is not segmented yet.")
    show(host, panel, two)
    panel.session.study.apply(SlicePrediction(t, 0, TWO[1].labels[t, 0]) for t in range(4))
    show(host, panel, four)
    assert panel.ui.secondCombo.currentText == "2ch"
    assert panel.ui.secondRemarkLabel.text.startswith("2ch is not finished: 2 of its 6 frames are not segmented.")
    assert numbers(panel).volume_method == "area-length, one view"
    show(host, panel, two)
    panel.session.study.apply(SlicePrediction(t, 0, TWO[1].labels[t, 0]) for t in (4, 5))
    show(host, panel, four)
    assert numbers(panel) == measure(FOUR[1], second=TWO[1], times=panel.session.study.cine.times)


def test_two_views_of_which_a_person_has_drawn_two_frames_each_are_enough(host, panel) -> None:
    for cine, truth in (TWO, FOUR):
        image = add(host, panel, cine, None)
        for frame in (0, 2):
            panel.session.study.set_slice(frame, 0, truth.labels[frame, 0], Status.ANNOTATED)
    show(host, panel, image)
    panel.onEdited()
    calm(host, panel)
    choose(host, panel, "2ch")
    assert numbers(panel).volume_method == "area-length, two views"
    panel.session.second.set_slice(2, 0, np.zeros((64, 64), np.uint8), Status.EMPTY)
    panel.onEdited()
    calm(host, panel)
    assert "two frames with the LV in each" in panel.ui.secondRemarkLabel.text


def test_masks_of_a_newer_version_are_refused_and_left_as_they_are(host, panel, views) -> None:
    masks = host.scene.GetFirstNodeByName("2ch masks")
    masks.SetAttribute("CardiacSeg.Version", "99")
    assert "2ch masks was saved by a newer CardiacSeg" in refused(host, panel)
    assert masks.GetAttribute("CardiacSeg.Version") == "99"


# From DICOM: what is written, and whose it is


def dicom_views(host, panel: Any, folder: Path, same_study: bool = True) -> None:
    """Both views from DICOM files with their true masks; the 4-chamber view is shown."""
    for cine, truth in (TWO, FOUR):
        uid = "1.2.3" if same_study else f"1.2.3.{cine.name[0]}"
        place = folder / cine.name
        write_dicom(cine, place, StudyInstanceUID=uid, SeriesDescription=f"cine {cine.name}")
        panel.load(lambda place=place: panel.logic.loadCine(str(place)))
        labels = truth.labels if np.allclose(panel.session.study.cine.affine, cine.affine, atol=1e-3) else None
        panel.session.study.apply(SlicePrediction(t, 0, labels[t, 0]) for t in range(FRAMES))
        panel.onEdited()
    calm(host, panel)


def test_views_of_another_study_are_refused(host, panel, tmp_path) -> None:
    dicom_views(host, panel, tmp_path, same_study=False)
    assert refused(host, panel) == "2ch is of another study than 4ch. Measured is this view alone."


def test_the_study_that_slicers_dicom_module_has_loaded_a_view_from_is_known(scene) -> None:
    image = mrml.cine_to_scene(scene, FOUR[0])
    study = mrml.open_study(mrml.scene_to_cine(image), image)
    assert study.study_uid == ""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parent = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "a study")
    hierarchy.SetItemUID(parent, "DICOM", "1.2.3.4")
    hierarchy.CreateItem(parent, image)
    assert study.study_uid == "1.2.3.4"
    study.close()


def test_report_export_and_dicom_say_that_there_were_two_views(host, panel, tmp_path: Path) -> None:
    dicom_views(host, panel, tmp_path)
    choose(host, panel, "2ch")
    assert not panel.ui.secondRemarkLabel.visible
    both = numbers(panel)
    host.choose(tmp_path / "report")
    host.click(panel.ui.reportButton)
    data = json.loads((tmp_path / "report" / "measures.json").read_text(encoding="utf-8"))
    assert data["volume_method"] == "area-length, two views"
    assert data["lv_ef_area_length_percent"] == round(both.lv_ef_area_length_percent, 3)
    assert "A1 A2" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    for name in ("dicom", "table"):
        if not getattr(panel.ui, f"{name}CheckBox").checked:
            host.click(getattr(panel.ui, f"{name}CheckBox"))
    panel.ui.folderEdit.setCurrentPath(str(tmp_path / "out"))
    host.click(panel.ui.exportButton)
    sr = pydicom.dcmread(tmp_path / "out" / "measures_sr.dcm")
    codes = {element.value for element in sr.iterall() if element.keyword == "CodeValue"}
    assert "125204" in codes and "125205" not in codes
    with open(tmp_path / "out" / "cine_volumes_tidy.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["frame"]) == both.ed_frame]
    assert any(abs(float(row["volume_ml"]) - both.lv_edv_area_length_ml) < 0.01 for row in rows if row["volume_ml"])
