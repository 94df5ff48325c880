"""Cines and masks in a real MRML scene: exact, and safe from the ways in which Slicer loses or invents masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import oblique_affine

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")
vtk = pytest.importorskip("vtk")

from CardiacSegLib import mrml  # noqa: E402
from CardiacSegLib.anatomy import STRUCTURES  # noqa: E402
from CardiacSegLib.cine import Cine, Patient, SlicePrediction, Status  # noqa: E402
from CardiacSegLib.errors import CardiacSegError  # noqa: E402
from CardiacSegLib.mrml.labels import BINARY, read_labels, structures_of, write_labels  # noqa: E402
from CardiacSegLib.phantom import Phantom  # noqa: E402

LV, MYO, RV = "CardiacSeg_1", "CardiacSeg_2", "CardiacSeg_3"


@pytest.fixture
def study(scene, heart: Phantom) -> Iterator[mrml.Study]:
    image = mrml.cine_to_scene(scene, heart.cine)
    study = mrml.open_study(mrml.scene_to_cine(image), image)
    yield study
    study.close()


def find_all(study: mrml.Study, heart: Phantom) -> None:
    """As an engine would, fill every slice that is not a person's."""
    frames, slices = heart.cine.shape[:2]
    study.apply(
        SlicePrediction(t, z, heart.truth.labels[t, z], 0.5 + 0.01 * z) for t in range(frames) for z in range(slices)
    )


def paint(study: mrml.Study, z: int, value: int, box: tuple[slice, slice] = (slice(5, 9), slice(5, 9))) -> None:
    """As an editor does: change the label map of the shown frame and say so."""
    segmentation = study.segmentation.GetSegmentation()
    labels = read_labels(segmentation, study.cine.shape[1:])
    labels[z][box] = value
    write_labels(segmentation, labels, study.cine.affine)


def stored(study: mrml.Study) -> np.ndarray:
    """(T, Z, Y, X) as it stands in the scene, whatever the study believes."""
    return np.stack([study.read_frame(frame) for frame in range(study.cine.shape[0])])


def step_through(study: mrml.Study) -> None:
    for frame in [*range(study.cine.shape[0]), 0]:
        study.frame = frame


def nodes(scene) -> list[str]:
    return sorted(scene.GetNthNode(i).GetClassName() for i in range(scene.GetNumberOfNodes()))


# Images


@pytest.mark.parametrize("handedness", [-1, 1])
def test_a_cine_comes_back_from_the_scene_as_it_went_in(scene, oblique_cine: Cine, handedness: int) -> None:
    affine = oblique_affine(handedness=handedness)
    cine = Cine(oblique_cine.frames, affine, oblique_cine.times, "CT", name="c")
    back = mrml.scene_to_cine(mrml.cine_to_scene(scene, cine))
    assert (back.frames == cine.frames).all()
    assert np.abs(back.affine - affine).max() < 1e-9
    assert back.times == pytest.approx(cine.times)
    assert (back.modality, back.times_known) == ("CT", True)


def test_a_voxel_lies_in_ras_where_the_cine_has_it_in_lps(scene, oblique_cine: Cine) -> None:
    volume = mrml.cine_to_scene(scene, oblique_cine).GetNthDataNode(2)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    lps = oblique_cine.affine @ [3, 2, 1, 1]
    assert matrix.MultiplyPoint((3, 2, 1, 1)) == pytest.approx((-lps[0], -lps[1], lps[2], 1))
    assert volume.GetImageData().GetScalarComponentAsDouble(3, 2, 1, 0) == oblique_cine.frames[2, 1, 2, 3]


def importer_sequence(scene, times: list[str], index: tuple[str, str], **attributes: str):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "imported")
    sequence.SetIndexName(index[0])
    sequence.SetIndexUnit(index[1])
    for frame, time in enumerate(times):
        volume = slicer.vtkMRMLScalarVolumeNode()
        image = vtk.vtkImageData()
        image.SetDimensions(4, 3, 2)
        image.AllocateScalars(vtk.VTK_SHORT, 1)
        image.GetPointData().GetScalars().Fill(frame)
        volume.SetAndObserveImageData(image)
        if "triggers" in attributes:
            volume.SetAttribute("DICOM.triggerTime", attributes["triggers"].split()[frame])
        sequence.SetDataNodeAtValue(volume, time)
    if "labels" in attributes:
        sequence.SetAttribute("MultiVolume.FrameLabels", attributes["labels"])
        sequence.SetAttribute("MultiVolume.FrameIdentifyingDICOMTagUnits", "ms")
    return sequence


@pytest.mark.parametrize(
    ("index", "values", "attributes"),
    [
        (("time", "s"), ["0.1", "0.35", "0.6", "0.85"], {}),
        (("time", "ms"), ["0", "250", "500", "750"], {}),
        (("", ""), ["0", "1", "2", "3"], {"labels": "20,270,520,770"}),
        (("instance number", ""), ["1", "2", "3", "4"], {"triggers": "15.0 265.0 515.0 765.0"}),
    ],
    ids=["seconds", "milliseconds", "multi-volume importer", "image-sequence importer"],
)
def test_frame_times_are_ms_from_the_first_frame_whatever_the_importer_wrote(scene, index, values, attributes) -> None:
    cine = mrml.scene_to_cine(importer_sequence(scene, values, index, **attributes))
    assert cine.times_known
    assert cine.times == pytest.approx([0, 250, 500, 750])
    assert (cine.frames[:, 0, 0, 0] == [0, 1, 2, 3]).all()


def test_frame_numbers_are_not_taken_for_times(scene) -> None:
    cine = mrml.scene_to_cine(importer_sequence(scene, ["0", "1", "2"], ("", "")))
    assert not cine.times_known
    assert cine.remarks


def test_a_sequence_that_is_no_cine_is_refused_in_one_sentence(scene) -> None:
    tables = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "tables")
    for value in "01":
        tables.SetDataNodeAtValue(slicer.vtkMRMLTableNode(), value)
    with pytest.raises(CardiacSegError, match="tables is not a cine"):
        mrml.scene_to_cine(tables)


def test_one_browser_serves_an_image_however_often_it_is_opened(scene, heart: Phantom) -> None:
    image = mrml.cine_to_scene(scene, heart.cine)
    assert mrml.browser_of(scene, image) is mrml.browser_of(scene, image)
    assert nodes(scene).count("vtkMRMLSequenceBrowserNode") == 1


def test_a_filter_that_writes_into_the_shown_image_does_not_reach_the_patient_data(scene, heart: Phantom) -> None:
    image = mrml.cine_to_scene(scene, heart.cine)
    browser = mrml.browser_of(scene, image)
    browser.SetSaveChanges(image, True)  # as importers leave it
    study = mrml.open_study(mrml.scene_to_cine(image), image)
    study.frame = 2
    study.volume.GetImageData().GetPointData().GetScalars().Fill(0)
    study.volume.GetImageData().Modified()
    step_through(study)
    assert (mrml.scene_to_cine(image).frames == heart.cine.frames).all()
    study.close()


# Masks


def test_every_frame_has_its_item_and_the_same_empty_segments_before_anything_is_painted(study: mrml.Study) -> None:
    assert study.masks.GetNumberOfDataNodes() == 6
    for frame in range(6):
        segmentation = study.masks.GetNthDataNode(frame).GetSegmentation()
        assert list(segmentation.GetSegmentIDs()) == [LV, MYO, RV]
        assert structures_of(segmentation) == STRUCTURES
    assert [study.masks.GetNthIndexValue(t) for t in range(6)] == [study.image.GetNthIndexValue(t) for t in range(6)]
    assert not study.read().labels.any()


def test_stepping_through_the_frames_paints_nothing_into_them(study: mrml.Study) -> None:
    paint(study, 1, 1)
    step_through(study)
    assert study.notice_edits() == [(0, 1)]
    assert stored(study)[1:].any() == np.False_
    assert (study.status[1:] == Status.EMPTY).all()
    assert study.browser.GetMissingItemMode(study.masks) == study.browser.MissingItemIgnore


def test_masks_of_all_frames_are_read_as_they_were_written(study: mrml.Study, heart: Phantom) -> None:
    find_all(study, heart)
    step_through(study)
    assert (stored(study) == heart.truth.labels).all()
    assert (study.read().labels == heart.truth.labels).all()
    assert (study.status == Status.PREDICTED).all()
    assert study.confidence[2] == pytest.approx([0.5, 0.51, 0.52, 0.53])


def test_slicer_reads_the_written_masks_the_same(study: mrml.Study, heart: Phantom) -> None:
    find_all(study, heart)
    study.frame = 2
    for identifier, value in ((LV, 1), (MYO, 2), (RV, 3)):
        image = slicer.vtkOrientedImageData()
        study.segmentation.GetBinaryLabelmapRepresentation(identifier, image)
        expected = np.argwhere(heart.truth.labels[2] == value)
        assert image.GetScalarRange()[1] == 1
        low, high = expected.min(0)[::-1], expected.max(0)[::-1]
        extent = image.GetExtent()
        assert (low >= extent[::2]).all()
        assert (high <= extent[1::2]).all()
        z, y, x = expected[len(expected) // 2]
        assert image.GetScalarComponentAsDouble(int(x), int(y), int(z), 0) == 1


def test_a_cropped_label_map_in_a_layer_of_its_own_is_read_at_its_place(study: mrml.Study) -> None:
    segment = study.segmentation.GetSegmentation().GetSegment(RV)
    image = slicer.vtkOrientedImageData()
    image.SetExtent(10, 14, 20, 22, 2, 2)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.GetPointData().GetScalars().Fill(7)
    segment.SetLabelValue(7)
    segment.AddRepresentation(BINARY, image)
    study.segmentation.GetSegmentation().Modified()
    expected = np.zeros(study.cine.shape[1:], np.uint8)
    expected[2, 20:23, 10:15] = 3
    assert (study.read_frame(0) == expected).all()


def test_writing_and_reading_leave_no_node_and_no_color_table(scene, study: mrml.Study, heart: Phantom) -> None:
    before, inside = nodes(scene), nodes(study.masks.GetSequenceScene())
    find_all(study, heart)
    step_through(study)
    stored(study)
    study.restore(study.snapshot())
    assert nodes(scene) == before
    assert nodes(study.masks.GetSequenceScene()) == inside


def test_unticking_save_changes_destroys_no_mask(study: mrml.Study, heart: Phantom) -> None:
    find_all(study, heart)
    study.frame = 3
    study.browser.SetSaveChanges(study.masks, False)
    step_through(study)
    assert (stored(study) == heart.truth.labels).all()
    paint(study, 0, 3)
    step_through(study)
    assert stored(study)[0, 0, 6, 6] == 3


def test_what_is_painted_while_the_cine_plays_belongs_to_the_frame_it_was_painted_in(study: mrml.Study) -> None:
    study.frame = 2
    study.browser.SetPlaybackActive(True)
    paint(study, 1, 1)
    study.browser.SetPlaybackActive(False)
    step_through(study)
    assert study.notice_edits() == [(2, 1)]
    assert np.flatnonzero(stored(study).any(axis=(1, 2, 3))).tolist() == [2]


def test_the_proxy_keeps_its_reference_image_name_and_display(study: mrml.Study) -> None:
    display, name = study.segmentation.GetDisplayNode(), study.segmentation.GetName()
    study.show_overlay(0.6, outline_only=True)
    display.SetSegmentVisibility(RV, False)
    step_through(study)
    role = study.segmentation.GetReferenceImageGeometryReferenceRole()
    assert study.segmentation.GetNodeReference(role) is study.volume
    assert (study.segmentation.GetName(), study.segmentation.GetDisplayNode()) == (name, display)
    assert not display.GetVisibility2DFill()
    assert display.GetOpacity2DOutline() == pytest.approx(0.6)
    assert not display.GetSegmentVisibility(RV)


# Segments


def test_a_renamed_or_recolored_segment_changes_in_all_frames(study: mrml.Study) -> None:
    study.frame = 4
    segment = study.segmentation.GetSegmentation().GetSegment(MYO)
    segment.SetName("Wall")
    segment.SetColor(0.1, 0.2, 0.3)
    study.frame = 1  # stepping on before anybody has noticed must not lose it
    study.notice_edits()
    for frame in range(6):
        segment = study.masks.GetNthDataNode(frame).GetSegmentation().GetSegment(MYO)
        assert (segment.GetName(), segment.GetColor()) == ("Wall", (0.1, 0.2, 0.3))


def test_a_segment_that_a_person_adds_is_added_to_all_frames_and_survives_a_run(
    study: mrml.Study, heart: Phantom
) -> None:
    study.segmentation.GetSegmentation().AddEmptySegment("scar", "Scar", (1, 1, 0))
    study.notice_edits()
    assert [(s.value, s.name) for s in study.structures] == [(1, "LV"), (2, "MYO"), (3, "RV"), (4, "Scar")]
    paint(study, 1, 4)
    find_all(study, heart)
    step_through(study)
    assert (stored(study)[0, 1, 5:9, 5:9] == 4).all()
    assert list(study.masks.GetNthDataNode(5).GetSegmentation().GetSegmentIDs()) == [LV, MYO, RV, "scar"]


def test_removing_a_segment_in_one_frame_does_not_take_the_masks_of_others(study: mrml.Study, heart: Phantom) -> None:
    find_all(study, heart)
    study.segmentation.GetSegmentation().RemoveSegment(RV)
    study.notice_edits()
    assert (stored(study)[1:] == heart.truth.labels[1:]).all()
    assert LV in study.segmentation.GetSegmentation().GetSegmentIDs()
    assert RV in study.segmentation.GetSegmentation().GetSegmentIDs()
    assert not (stored(study)[0] == 3).any()


def test_a_segment_without_masks_is_removed_from_all_frames(study: mrml.Study) -> None:
    study.segmentation.GetSegmentation().RemoveSegment(RV)
    study.notice_edits()
    assert [structure.value for structure in study.structures] == [1, 2]
    step_through(study)
    assert list(study.masks.GetNthDataNode(5).GetSegmentation().GetSegmentIDs()) == [LV, MYO]


# Whose work a slice is


def test_a_slice_that_a_person_draws_first_is_annotated_and_empty_again_when_wiped(study: mrml.Study) -> None:
    paint(study, 2, 1)
    study.notice_edits()
    assert study.status[0].tolist() == [0, 0, Status.ANNOTATED, 0]
    paint(study, 2, 0)
    study.notice_edits()
    assert study.status[0].tolist() == [0, 0, Status.EMPTY, 0]


@pytest.mark.parametrize("before", [Status.PREDICTED, Status.REVIEWED, Status.CORRECTED])
def test_changing_what_was_found_or_checked_makes_it_corrected(study: mrml.Study, heart: Phantom, before) -> None:
    find_all(study, heart)
    study.set_status(0, 1, before)
    paint(study, 1, 0, (slice(None), slice(None)))
    assert study.notice_edits() == [(0, 1)]
    assert study.status[0].tolist() == [1, Status.CORRECTED, 1, 1]


def test_a_person_can_say_that_nothing_is_in_a_slice(study: mrml.Study) -> None:
    study.set_status(0, 3, Status.ANNOTATED)
    assert study.notice_edits() == []
    assert study.read().fixed[0].tolist() == [False, False, False, True]


@pytest.mark.parametrize("status", [Status.ANNOTATED, Status.CORRECTED, Status.REVIEWED])
def test_an_engine_never_changes_a_slice_that_is_a_persons(study: mrml.Study, heart: Phantom, status: Status) -> None:
    mask = np.zeros(study.cine.shape[2:], np.uint8)
    mask[3, 3] = 2
    study.set_slice(2, 1, mask, status)
    find_all(study, heart)
    assert (stored(study)[2, 1] == mask).all()
    assert study.status[2].tolist() == [1, status, 1, 1]


def test_what_is_painted_during_a_run_wins_over_the_run(study: mrml.Study, heart: Phantom) -> None:
    paint(study, 1, 2)
    find_all(study, heart)
    assert (stored(study)[0, 1, 5:9, 5:9] == 2).all()
    assert study.status[0].tolist() == [1, Status.ANNOTATED, 1, 1]


def test_own_writing_is_not_taken_for_an_edit_and_an_edit_is_told(study: mrml.Study, heart: Phantom) -> None:
    told = []
    study.on_edit = lambda: told.append("edit")
    study.on_step = lambda: told.append("step")
    find_all(study, heart)
    assert told == []
    study.frame = 1
    assert told == ["step"]
    paint(study, 1, 1)
    assert "edit" in told


def test_a_run_is_undone_as_a_whole_with_status_and_memory(study: mrml.Study, heart: Phantom) -> None:
    paint(study, 1, 1)
    snapshot = study.snapshot()
    before = stored(study)
    find_all(study, heart)
    study.remember_run(study.read(), "cstm")
    study.restore(snapshot)
    step_through(study)
    assert (stored(study) == before).all()
    assert study.status.sum() == Status.ANNOTATED
    assert study.last_run is None


# Saving and loading


def reloaded(scene, tmp_path: Path) -> mrml.Study:
    """The study after the scene was saved, closed and loaded."""
    archive = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(archive)
    scene.Clear(False)
    assert scene.ReadFromMRB(archive)
    sequences = [scene.GetNthNodeByClass(i, "vtkMRMLSequenceNode") for i in range(2)]
    image = next(found for found in map(mrml.image_of, sequences) if found)
    return mrml.open_study(mrml.scene_to_cine(image), image)


def test_a_study_comes_back_with_the_scene_ready_to_go_on(scene, study, heart: Phantom, tmp_path: Path) -> None:
    study.set_slice(0, 1, heart.truth.labels[0, 1], Status.ANNOTATED)
    annotation = study.read()
    find_all(study, heart)
    study.remember_run(annotation, "cstm")
    study.set_phase("es", 3)
    study.patient = Patient(180, 75)
    study.frame = 4
    paint(study, 2, 2)
    study.notice_edits()
    labels, status, confidence = stored(study), study.status, study.confidence
    study.close()
    again = reloaded(scene, tmp_path)
    step_through(again)
    assert (stored(again) == labels).all()
    assert (again.status == status).all()
    assert again.confidence == pytest.approx(confidence)
    assert (again.last_run.labels[0, 1] == heart.truth.labels[0, 1]).all()
    assert (again.last_run.status == annotation.status).all()
    assert again.last_method == "cstm"
    assert (again.phase("ed"), again.phase("es")) == (None, 3)
    assert again.patient == Patient(180, 75)
    assert (again.cine.frames == heart.cine.frames).all()
    assert again.browser.GetSaveChanges(again.masks)
    assert again.structures == STRUCTURES
    paint(again, 0, 1)
    assert again.notice_edits() == [(0, 0)]
    again.close()


def test_edits_made_while_no_panel_was_open_are_noticed(scene, study, heart: Phantom) -> None:
    find_all(study, heart)
    study.close()
    study.frame = 3
    paint(study, 2, 3)
    again = mrml.open_study(study.cine, study.image)
    assert again.status[3].tolist() == [1, 1, Status.CORRECTED, 1]
    again.close()


def test_an_edited_proxy_does_not_overwrite_the_status_of_its_frame(study: mrml.Study) -> None:
    study.set_status(0, 2, Status.ANNOTATED)
    step_through(study)
    study.set_status(0, 2, Status.REVIEWED)
    paint(study, 0, 1)  # after which Slicer copies the proxy with its attributes to the item
    step_through(study)
    assert study.masks.GetNthDataNode(0).GetAttribute("CardiacSeg.Status") == "0 0 4 0"


# Views


def test_a_view_is_turned_to_the_stack_and_knows_its_slice(scene, oblique_cine: Cine) -> None:
    view = slicer.vtkMRMLSliceNode()
    mrml.face_stack(view, oblique_cine)
    for z in range(4):
        mrml.show_slice(view, oblique_cine, z)
        assert mrml.slice_in_view(view, oblique_cine) == z
        for corner in ([0, 0, z, 1], [8, 6, z, 1]):  # every pixel of the slice lies in the view's plane
            ras = np.diag([-1, -1, 1, 1]) @ oblique_cine.affine @ corner
            matrix = vtk.vtkMatrix4x4()
            vtk.vtkMatrix4x4.Invert(view.GetSliceToRAS(), matrix)
            assert matrix.MultiplyPoint(ras)[2] == pytest.approx(0, abs=1e-9)


def test_a_view_beside_the_stack_or_across_it_shows_no_slice(scene, oblique_cine: Cine) -> None:
    view = slicer.vtkMRMLSliceNode()
    mrml.face_stack(view, oblique_cine)
    view.SetSliceOffset(view.GetSliceOffset() + 100)
    assert mrml.slice_in_view(view, oblique_cine) is None
    view.SetOrientationToSagittal()
    assert mrml.slice_in_view(view, oblique_cine) is None


def test_the_patients_left_is_shown_on_the_right(scene, oblique_cine: Cine) -> None:
    view = slicer.vtkMRMLSliceNode()
    for flip in ([1, 1, 1], [-1, 1, 1], [1, -1, 1], [-1, -1, -1]):
        cine = Cine(oblique_cine.frames, np.diag([1.5, 1.5, 8, 1]) * np.array([*flip, 1]), oblique_cine.times)
        mrml.face_stack(view, cine)
        assert [view.GetSliceToRAS().GetElement(row, 0) for row in range(3)] == [-1, 0, 0]
        assert [view.GetSliceToRAS().GetElement(row, 1) for row in range(3)] == [0, 1, 0]
