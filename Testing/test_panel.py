"""The real panel, worked with mouse and keyboard in the host as a reader works it in Slicer."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import numpy as np
from panel_work import LV, ROOT, RUN, annotate, calm, draw, labels, load, segment

from CardiacSegLib import dependencies, mrml
from CardiacSegLib.choices import method_names
from CardiacSegLib.cine import Status
from CardiacSegLib.measures import measure
from CardiacSegLib.phantom import Phantom
from CardiacSegLib.readers import read_labels
from CardiacSegLib.strip import cell


def test_painting_with_the_mouse_annotates_the_slice_in_view_and_no_other(host, open_panel) -> None:
    before = open_panel.session.study.status
    assert not before.any()
    draw(host, open_panel, LV, (32, 32), 8)
    status = open_panel.session.study.status
    assert status[0, 2] == Status.ANNOTATED
    assert status.sum() == Status.ANNOTATED
    drawn = (labels(open_panel)[0, 2] == 1).sum()
    assert drawn == pytest.approx(np.pi * 8**2, rel=0.15)
    assert open_panel.ui.segmentButton.enabled


def test_all_slices_are_found_and_the_numbers_are_the_librarys_own(host, open_panel, heart: Phantom) -> None:
    annotate(host, open_panel, heart)
    assert not open_panel.ui.nextButton.enabled
    segment(host, open_panel)
    study = open_panel.session.study
    assert (study.status == Status.EMPTY).sum() == 0
    assert (labels(open_panel)[0, 2] == heart.truth.labels[0, 2]).all()
    assert mrml.result_node(study, "measures")
    measures = measure(study.read(), study.patient, study.cine.times)
    table = mrml.result_node(study, "measures").GetTable()
    shown = {
        table.GetValue(row, 0).ToString(): table.GetValue(row, 1).ToString() for row in range(table.GetNumberOfRows())
    }
    assert shown["LV EF"] == f"{measures.lv_ef_percent:.1f}"
    assert f"EF\xa0{measures.lv_ef_percent:.0f}\xa0%" in open_panel.ui.efLabel.text
    assert open_panel.ui.resultsTable.mrmlTableNode() is mrml.result_node(study, "measures")
    assert "slices found" in open_panel.ui.changeLabel.text


def test_a_correction_is_marked_and_propagated_without_touching_a_persons_slices(host, open_panel, heart) -> None:
    annotate(host, open_panel, heart)
    segment(host, open_panel)
    assert not open_panel.ui.propagateButton.enabled
    open_panel.goTo(4, 2)
    draw(host, open_panel, LV, (32, 32), 6)
    study = open_panel.session.study
    assert study.status[4, 2] == Status.CORRECTED
    host.key("Shift+A")
    assert study.status[4, 2] == Status.REVIEWED
    reviewed, annotated = labels(open_panel)[4, 2], labels(open_panel)[0, 2]
    assert open_panel.ui.propagateButton.enabled
    host.click(open_panel.ui.propagateButton)
    host.wait(lambda: not open_panel.session.running, RUN)
    assert (labels(open_panel)[4, 2] == reviewed).all()
    assert (labels(open_panel)[0, 2] == annotated).all()
    assert "changed in" in open_panel.ui.changeLabel.text
    assert not open_panel.ui.propagateButton.enabled


def test_undo_takes_back_the_whole_run(host, open_panel, heart: Phantom) -> None:
    annotate(host, open_panel, heart)
    before = labels(open_panel)
    segment(host, open_panel)
    host.click(open_panel.ui.undoButton)
    assert (labels(open_panel) == before).all()
    assert open_panel.session.study.status.sum() == Status.ANNOTATED
    assert not open_panel.ui.undoButton.enabled


def test_next_to_check_goes_to_a_prediction_and_accepting_takes_it_off_the_list(host, open_panel, heart) -> None:
    annotate(host, open_panel, heart)
    segment(host, open_panel)
    host.key("Shift+N")
    first = open_panel.place()
    assert open_panel.session.study.status[first] == Status.PREDICTED
    host.key("Shift+A")
    assert open_panel.session.study.status[first] == Status.REVIEWED
    host.click(open_panel.ui.nextButton)
    assert open_panel.place() != first


def test_a_click_into_the_strip_goes_to_that_frame_and_slice(host, open_panel) -> None:
    open_panel.session.study.set_status(5, 3, Status.ANNOTATED)
    open_panel.showPlace()
    strip = open_panel.strip
    left, top, width, height = cell((6, 4), (strip.width, strip.height), 5, 3)
    x, y = left + width // 2, top + height // 2
    host.click(strip, type(strip.rect.center())(x, y))
    assert open_panel.place() == (5, 3)
    assert "Frame 5 (0 to 5)" in open_panel.ui.placeLabel.text
    assert "slice 3 (0 to 3)" in open_panel.ui.placeLabel.text
    pixels = host.picture(strip)
    assert tuple(pixels[y, x]) == (0xF2, 0xC1, 0x4E)


def test_stepping_and_playing_paint_nothing(host, open_panel, heart) -> None:
    annotate(host, open_panel, heart)
    host.click(open_panel.ui.playWidget._play)
    host.settle(1)
    host.click(open_panel.ui.playWidget._play)
    assert open_panel.session.study.status.sum() == Status.ANNOTATED
    assert not labels(open_panel)[1:].any()


def test_results_follow_every_edit_and_what_the_reader_tells(host, open_panel, heart: Phantom) -> None:
    for frame, z in np.ndindex(2, 4):
        open_panel.session.study.set_slice(3 * frame, z, heart.truth.labels[3 * frame, z], Status.ANNOTATED)
    open_panel.onEdited()
    calm(host, open_panel)
    before = open_panel.ui.efLabel.text
    assert "EF" in before
    open_panel.goTo(3, 2)
    open_panel.editor.setCurrentSegmentID(LV)
    draw(host, open_panel, LV, (32, 32), 14)
    host.wait(lambda: open_panel.ui.efLabel.text != before, RUN)
    open_panel.ui.edSpin.value = open_panel.ui.esSpin.value = 3
    host.wait(lambda: "EF\xa00\xa0%" in open_panel.ui.efLabel.text, RUN)
    open_panel.ui.heightSpin.value = 180
    open_panel.ui.weightSpin.value = 80
    assert open_panel.session.study.patient.height_cm == 180
    calm(host, open_panel)
    table = mrml.result_node(open_panel.session.study, "measures").GetTable()
    assert any("EDVI" in table.GetValue(row, 0).ToString() for row in range(table.GetNumberOfRows()))


def test_the_chosen_files_are_exported_and_a_missing_folder_is_asked_for(host, open_panel, heart, tmp_path) -> None:
    annotate(host, open_panel, heart)
    host.answer("OK")
    host.click(open_panel.ui.exportButton)
    assert "Choose a folder" in host.messages[-1]
    open_panel.ui.folderEdit.setCurrentPath(str(tmp_path / "out"))
    host.click(open_panel.ui.exportButton)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"heart.nii.gz", "heart.seq.mrb", "heart_volumes_tidy.csv", "heart_measures.json"} == names
    assert "4 files were exported" in open_panel.ui.changeLabel.text


def test_a_killed_worker_is_told_in_one_sentence_and_the_next_run_starts_a_new_one(
    host, weights: Path, cine_file: Path, heart: Phantom
) -> None:
    panel = load(host, weights)
    panel.load(lambda: panel.logic.loadCine(str(cine_file)))
    annotate(host, panel, heart)
    host.click(panel.ui.segmentButton)
    host.wait(lambda: panel.session._run.found, RUN)
    os.kill(panel.session._engine.pid, signal.SIGKILL)
    host.wait(lambda: not panel.session.running, RUN)
    assert panel.ui.messageLabel.visible
    assert "next run" in panel.ui.messageLabel.text
    assert (panel.session.study.status == Status.PREDICTED).any()
    segment(host, panel)
    assert not panel.ui.messageLabel.visible
    assert (panel.session.study.status == Status.EMPTY).sum() == 0


def test_closing_the_scene_in_the_middle_of_a_run_ends_it(host, open_panel, heart: Phantom, cine_file: Path) -> None:
    annotate(host, open_panel, heart)
    host.click(open_panel.ui.segmentButton)
    assert open_panel.session.running
    host.scene.Clear(0)
    host.settle(0.4)
    assert not open_panel.session.running
    assert open_panel.session.study is None
    assert not open_panel.ui.segmentButton.enabled
    open_panel.load(lambda: open_panel.logic.loadCine(str(cine_file)))
    assert open_panel.session.study is not None


def test_a_saved_scene_comes_back_and_work_goes_on(host, open_panel, heart: Phantom, weights, tmp_path: Path) -> None:
    annotate(host, open_panel, heart)
    segment(host, open_panel)
    open_panel.goTo(4, 2)
    draw(host, open_panel, LV, (32, 32), 6)
    open_panel.ui.edSpin.value = 1
    before, status = labels(open_panel), open_panel.session.study.status
    host.settle(0.4)
    host.save_scene(tmp_path / "study.mrb")
    host.scene.Clear(0)
    host.settle(0.3)
    host.load_scene(tmp_path / "study.mrb")
    host.wait(lambda: open_panel.session.study is not None, RUN)
    calm(host, open_panel)
    assert (labels(open_panel) == before).all()
    assert (open_panel.session.study.status == status).all()
    assert open_panel.ui.edSpin.value == 1
    assert open_panel.ui.propagateButton.enabled, open_panel.ui.propagateButton.toolTip
    host.click(open_panel.ui.propagateButton)
    host.wait(lambda: not open_panel.session.running, RUN)
    assert (labels(open_panel)[4, 2] == before[4, 2]).all()


def test_another_cine_keeps_the_masks_of_the_first_and_hides_them(host, open_panel, heart, cine_file: Path) -> None:
    annotate(host, open_panel, heart)
    first, image = open_panel.session.study.segmentation, open_panel._parameterNode.cine
    open_panel.load(lambda: open_panel.logic.loadCine(str(cine_file)))
    assert not first.GetDisplayNode().GetVisibility()
    assert not labels(open_panel).any()
    open_panel.ui.cineSelector.setCurrentNode(image)
    host.settle()
    assert first.GetDisplayNode().GetVisibility()
    assert (labels(open_panel)[0, 2] == heart.truth.labels[0, 2]).all()
    assert open_panel.session.study.status.sum() == Status.ANNOTATED


def test_deleting_the_masks_closes_the_study(host, open_panel) -> None:
    host.scene.RemoveNode(open_panel.session.study.masks)
    host.settle()
    assert open_panel.session.study is None
    assert open_panel.ui.cineSelector.currentNode() is None


def test_a_file_that_is_no_cine_is_refused_in_one_sentence(host, panel, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("nothing")
    host.answer("OK")
    panel.load(lambda: panel.logic.loadCine(str(path)))
    assert "notes.txt is not an image" in host.messages[-1]
    assert panel.session.study is None


def test_the_shortcuts_do_not_collide_with_those_of_the_segment_editor(host, panel) -> None:
    import CardiacSeg

    for keys in CardiacSeg.SHORTCUTS.values():
        assert keys.startswith("Shift+")
        assert keys[6:].isalpha()


def test_cancel_keeps_what_was_found(host, panel) -> None:
    host.click(panel.ui.sampleButton)
    study = panel.session.study
    expert = read_labels(ROOT / "Resources" / "SampleData" / "annotation.nii.gz")[0]
    study.set_slice(18, 5, expert[0, 5], Status.ANNOTATED)
    panel.goTo(18, 5)
    host.click(panel.ui.segmentButton)
    assert panel.ui.segmentButton.text == "Cancel"
    host.wait(lambda: (study.status == Status.PREDICTED).any(), RUN)
    assert panel.session.running
    assert "s left" in panel.ui.progressBar.format
    host.click(panel.ui.segmentButton)
    assert panel.ui.segmentButton.text == "Segment"
    found = study.status == Status.PREDICTED
    assert 0 < found.sum() < found.size - 1
    host.settle(0.4)
    assert (study.status == Status.PREDICTED).sum() == found.sum()
    assert "Cancelled" in panel.ui.logText.plainText


def test_the_device_is_told_in_words_as_soon_as_the_worker_knows_it(host, weights: Path, cine_file: Path) -> None:
    panel = load(host, weights)
    panel.load(lambda: panel.logic.loadCine(str(cine_file)))
    host.wait(lambda: "CPU" in panel.ui.deviceFoundLabel.text, RUN)
    assert not panel._pollTimer.active


def test_opacity_and_outlines_are_those_of_the_panel(host, open_panel) -> None:
    display = open_panel.session.study.segmentation.GetDisplayNode()
    assert display.GetVisibility2DFill()
    host.click(open_panel.ui.outlineCheckBox)
    assert not display.GetVisibility2DFill()
    open_panel.ui.opacitySlider.value = 0.25
    host.settle()
    assert display.GetOpacity2DOutline() == pytest.approx(0.25)


def test_the_panel_fits_a_narrow_dock(host, open_panel, heart: Phantom) -> None:
    annotate(host, open_panel, heart)
    for name in ("cine", "annotate", "segment", "correct", "results", "report", "export"):
        assert getattr(open_panel.ui, f"{name}Section").minimumSizeHint().width() <= 300, name


def test_every_method_can_be_read_in_a_dock_of_384_pixels_with_large_letters(host, panel) -> None:
    host.window.centralWidget().setSizes([384, 900])
    host.settle()
    combo = panel.ui.methodCombo
    arrow, letters = 36, 1.25
    for name in method_names().values():
        assert letters * combo.fontMetrics().horizontalAdvance(name) + arrow <= combo.width, name


def test_without_packages_the_panel_and_its_self_test_say_what_is_missing(
    host, panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import CardiacSeg

    monkeypatch.setattr(dependencies, "missing_packages", lambda: ["torch>=2.4"])
    told = []
    monkeypatch.setattr(CardiacSeg.CardiacSegTest, "delayDisplay", lambda self, text, *_: told.append(text))
    CardiacSeg.CardiacSegTest().runTest()
    assert told == ["The self test was skipped: torch is not installed; press Install what is missing."]
    assert host.left_behind() == {}


def test_nothing_is_left_behind(
    host, weights: Path, cine_file: Path, heart: Phantom, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    host.scene.Clear(0)
    before = sorted(host.scene.GetNthNode(i).GetClassName() for i in range(host.scene.GetNumberOfNodes()))
    panel = load(host, weights)
    panel.load(lambda: panel.logic.loadCine(str(cine_file)))
    annotate(host, panel, heart)
    host.wait(lambda: panel.session._engine.device_name, RUN)
    pid = panel.session._engine.pid
    host.click(panel.ui.segmentButton)
    host.wait(lambda: panel.session._run is None or panel.session._run.found, RUN)
    host.end()
    after = sorted(host.scene.GetNthNode(i).GetClassName() for i in range(host.scene.GetNumberOfNodes()))
    assert [name for name in after if name not in before] == []
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)
    assert [t.name for t in threading.enumerate() if "orker" in t.name] == []
    assert list(tmp_path.iterdir()) == []


def test_the_modules_own_self_test_passes_and_leaves_nothing(host, panel, tmp_path: Path, monkeypatch) -> None:
    import CardiacSeg

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    panel.session._engine_for = panel.logic.engineFor
    CardiacSeg.CardiacSegTest().runTest()
    assert panel.session.study is None
    assert list(tmp_path.iterdir()) == []
