"""What the panel does when a reader does something odd: one sentence or nothing, never a traceback or a lost mask."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import numpy as np
from panel_work import LV, RUN, annotate, calm, labels, segment

from CardiacSegLib import weights as library
from CardiacSegLib.cine import Cine, Status
from CardiacSegLib.phantom import Phantom
from CardiacSegLib.writers.images import write_cine


def part(heart: Phantom, frames: int, slices: int) -> Cine:
    """The first frames and slices of the heart's cine."""
    cine = heart.cine
    return Cine(cine.frames[:frames, :slices].copy(), cine.affine, cine.times[:frames], name="part")


def test_without_a_cine_keys_and_buttons_do_nothing(host, panel) -> None:
    for keys in ("Shift+N", "Shift+A", "Shift+C", "Shift+E"):
        host.key(keys)
    host.click(panel.strip)
    for name in ("segment", "undo", "next", "review", "release", "propagate", "copy", "nothing", "export"):
        button = getattr(panel.ui, f"{name}Button")
        assert not button.enabled
        assert button.toolTip == "Choose or load a cine first."
    assert not panel.ui.progressBar.visible
    assert not panel.ui.resultsTable.visible


def test_a_volume_of_one_frame_is_segmented_as_a_stack(host, panel, heart: Phantom, tmp_path: Path) -> None:
    write_cine(part(heart, 1, 4), tmp_path / "stack.nii.gz")
    panel.load(lambda: panel.logic.loadCine(str(tmp_path / "stack.nii.gz")))
    annotate(host, panel, heart)
    segment(host, panel)
    assert panel.session.study.status.tolist() == [[1, 1, Status.ANNOTATED, 1]]
    assert "EDV" in panel.ui.efLabel.text
    assert "EF" not in panel.ui.efLabel.text


def test_a_single_slice_has_no_neighbour_to_copy_and_is_found_through_time(host, panel, heart: Phantom) -> None:
    cine = heart.cine
    one = Cine(cine.frames[:, 2:3].copy(), cine.affine, cine.times, name="one slice")
    panel.load(lambda: panel.logic.addCine(one))
    host.answer("OK")
    host.click(panel.ui.copyButton)
    assert "slices beside slice 0 are empty" in host.messages[-1]
    panel.session.study.set_slice(0, 0, heart.truth.labels[0, 2], Status.ANNOTATED)
    panel.onEdited()
    calm(host, panel)
    segment(host, panel)
    assert (panel.session.study.status[1:] == Status.PREDICTED).all()


@pytest.mark.parametrize("which", ["segmentation", "volume"])
def test_what_is_shown_can_be_deleted_and_the_masks_come_back_with_the_cine(host, open_panel, heart, which) -> None:
    annotate(host, open_panel, heart)
    image = open_panel._parameterNode.cine
    host.scene.RemoveNode(getattr(open_panel.session.study, which))
    host.settle()
    assert open_panel.session.study is None
    open_panel.ui.cineSelector.setCurrentNode(image)
    host.settle()
    assert (labels(open_panel)[0, 2] == heart.truth.labels[0, 2]).all()
    assert open_panel.session.study.status.sum() == Status.ANNOTATED
    open_panel.goTo(1, 2)
    assert open_panel.place() == (1, 2)


def test_the_cine_can_be_deleted_while_it_plays(host, open_panel) -> None:
    host.click(open_panel.ui.playWidget._play)
    host.settle(0.3)
    host.scene.RemoveNode(open_panel.session.study.image)
    host.settle(0.5)
    assert open_panel.session.study is None
    assert open_panel.ui.placeLabel.text == "No cine is open."


def test_another_cine_can_be_opened_in_the_middle_of_a_run(host, open_panel, heart, cine_file: Path) -> None:
    annotate(host, open_panel, heart)
    host.click(open_panel.ui.segmentButton)
    open_panel.load(lambda: open_panel.logic.loadCine(str(cine_file)))
    assert not open_panel.session.running
    host.settle(0.5)
    assert not labels(open_panel).any()
    annotate(host, open_panel, heart)
    segment(host, open_panel)
    assert (open_panel.session.study.status == Status.EMPTY).sum() == 0


def test_without_any_weights_the_reason_is_told(
    host, panel, cine_file: Path, heart, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(library, "WEIGHTS_FOLDER", tmp_path)
    panel._parameterNode.weights = ""
    panel.load(lambda: panel.logic.loadCine(str(cine_file)))
    annotate(host, panel, heart)
    assert panel.ui.weightsCombo.count == 0
    assert not panel.ui.segmentButton.enabled
    assert "No weights are installed" in panel.ui.segmentButton.toolTip
    assert not panel.ui.cardLabel.visible


def test_weights_without_their_card_are_refused(host, open_panel, tmp_path: Path) -> None:
    (tmp_path / "lonely.safetensors").write_bytes(b"x")
    host.choose(tmp_path / "lonely.safetensors")
    host.answer("OK")
    host.click(open_panel.ui.weightsButton)
    assert "lonely.safetensors lacks a readable card" in host.messages[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a place where nobody can write")
def test_a_folder_that_cannot_be_written_is_named(host, open_panel, heart: Phantom) -> None:
    annotate(host, open_panel, heart)
    open_panel.ui.folderEdit.setCurrentPath("/proc/results")
    host.answer("OK")
    host.click(open_panel.ui.exportButton)
    assert "/proc/results could not be written" in host.messages[-1]


def test_a_fourth_segment_can_be_added_and_removed(host, open_panel, heart: Phantom) -> None:
    annotate(host, open_panel, heart)
    host.click(open_panel.editor._add)
    calm(host, open_panel)
    assert len(open_panel.session.study.structures) == 4
    segment(host, open_panel)
    added = open_panel.session.study.structures[-1]
    identifier = next(i for i in ids(open_panel) if i not in (LV, "CardiacSeg_2", "CardiacSeg_3"))
    open_panel.editor.setCurrentSegmentID(identifier)
    host.click(open_panel.editor._remove)
    calm(host, open_panel)
    assert added.value not in [structure.value for structure in open_panel.session.study.structures]
    open_panel.goTo(3, 2)
    assert len(ids(open_panel)) == 3
    assert (labels(open_panel)[0, 2] == heart.truth.labels[0, 2]).all()


def ids(panel: Any) -> list[str]:
    return list(panel.session.study.segmentation.GetSegmentation().GetSegmentIDs())


def test_a_reloaded_scene_has_no_run_to_undo_and_says_so(host, open_panel, heart, tmp_path: Path) -> None:
    annotate(host, open_panel, heart)
    segment(host, open_panel)
    before = labels(open_panel)
    host.save_scene(tmp_path / "study.mrb")
    host.scene.Clear(0)
    host.load_scene(tmp_path / "study.mrb")
    host.wait(lambda: open_panel.session.study is not None, RUN)
    calm(host, open_panel)
    assert not open_panel.ui.undoButton.enabled
    assert "no run to undo" in open_panel.ui.undoButton.toolTip
    assert (labels(open_panel) == before).all()
    segment(host, open_panel)
    host.click(open_panel.ui.undoButton)
    assert (labels(open_panel) == before).all()


def test_what_was_painted_in_a_frame_that_was_left_since_is_undone_with_its_run(host, open_panel, heart) -> None:
    annotate(host, open_panel, heart)
    before = labels(open_panel)
    segment(host, open_panel)
    study = open_panel.session.study
    study.set_slice(4, 1, np.ones((64, 64), np.uint8), Status.CORRECTED)
    open_panel.goTo(2, 2)
    host.click(open_panel.ui.undoButton)
    assert (labels(open_panel) == before).all()
    assert study.status.sum() == Status.ANNOTATED
