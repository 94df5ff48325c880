"""Scenes of other versions and damaged ones, on real MRML: mended or refused in one sentence, the study intact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scenes.make_scene import small_heart, stored_masks

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

from CardiacSegLib import mrml  # noqa: E402
from CardiacSegLib.cine import SlicePrediction, Status  # noqa: E402
from CardiacSegLib.errors import CardiacSegError  # noqa: E402
from CardiacSegLib.mrml.scenes import VERSION  # noqa: E402
from CardiacSegLib.phantom import Phantom  # noqa: E402

SCENES = Path(__file__).resolve().parent / "scenes"


@pytest.fixture(scope="module")
def small() -> Phantom:
    return small_heart()


@pytest.fixture
def study(scene, small: Phantom) -> Iterator[mrml.Study]:
    """All found from one annotated slice, as after a complete run."""
    image = mrml.cine_to_scene(scene, small.cine)
    study = mrml.open_study(mrml.scene_to_cine(image), image)
    study.set_slice(0, 1, small.truth.labels[0, 1], Status.ANNOTATED)
    began = study.read()
    study.apply(found(small))
    study.remember_run(began, "cstm")
    yield study
    study.close()


def found(small: Phantom, frames: int = 3) -> list[SlicePrediction]:
    return [SlicePrediction(t, z, small.truth.labels[t, z], 0.5) for t in range(frames) for z in range(3)]


def opened(scene) -> mrml.Study:
    """The study of the one image in a scene, opened as the panel does."""
    nodes = [node for node in scene_nodes(scene, "vtkMRMLSequenceNode") if mrml.image_of(node) is None]
    return mrml.open_study(mrml.scene_to_cine(nodes[0]), nodes[0])


def scene_nodes(scene, kind: str) -> list:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def read_scene(scene, path: Path) -> None:
    scene.Clear(0)
    assert scene.ReadFromMRB(str(path), False, None)


def saved_and_read(scene, study: mrml.Study, tmp_path: Path) -> mrml.Study:
    study.close()
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    read_scene(scene, tmp_path / "scene.mrb")
    return opened(scene)


@pytest.mark.parametrize("version", [1, 2])
def test_a_scene_of_every_version_opens_with_its_masks_status_and_last_run(scene, small, version) -> None:
    read_scene(scene, SCENES / f"version{version}.mrb")
    study = opened(scene)
    labels, status = stored_masks(small)
    assert (study.read().labels == labels).all()
    assert (study.status == status).all()
    assert study.last_method == "cstm"
    assert (study.last_run.labels[0, 1] == labels[0, 1]).all()
    assert study.remarks == ()
    assert study.masks.GetAttribute("CardiacSeg.Version") == str(VERSION)
    study.close()


def test_there_is_a_stored_scene_of_every_version() -> None:
    assert {path.name for path in SCENES.glob("*.mrb")} == {f"version{n}.mrb" for n in range(1, VERSION + 1)}


def test_a_scene_of_a_newer_version_is_refused_and_left_as_it_was(scene, study, small) -> None:
    study.close()
    study.masks.SetAttribute("CardiacSeg.Version", str(VERSION + 1))
    before = study.masks.GetNthDataNode(0).GetAttribute("CardiacSeg.Status")
    with pytest.raises(CardiacSegError, match=r"newer CardiacSeg .* update the extension"):
        opened(scene)
    assert study.masks.GetAttribute("CardiacSeg.Version") == str(VERSION + 1)
    assert study.masks.GetNthDataNode(0).GetAttribute("CardiacSeg.Status") == before


def test_a_study_saved_half_way_says_what_is_missing_and_keeps_what_was_found(scene, small, tmp_path) -> None:
    image = mrml.cine_to_scene(scene, small.cine)
    study = mrml.open_study(mrml.scene_to_cine(image), image)
    study.set_slice(0, 1, small.truth.labels[0, 1], Status.ANNOTATED)
    study.apply(found(small, frames=2))
    again = saved_and_read(scene, study, tmp_path)
    assert again.remarks == ("Not all is found yet: 3 of 9 slices are not segmented.",)
    assert (again.read().labels[:2] == small.truth.labels[:2]).all()
    assert again.status[0, 1] == Status.ANNOTATED
    assert again.last_method == ""
    again.close()


@pytest.mark.parametrize("lost", ["segmentation", "browser", "volume"])
def test_masks_come_back_though_what_showed_them_was_deleted(scene, study, small, tmp_path, lost) -> None:
    study.close()
    scene.RemoveNode(getattr(study, lost))
    again = saved_and_read(scene, study, tmp_path)
    assert (again.read().labels == small.truth.labels).all()
    assert again.status[0, 1] == Status.ANNOTATED
    assert again.remarks == ()
    again.close()


def test_without_its_masks_a_cine_opens_empty(scene, study, small, tmp_path) -> None:
    study.close()
    scene.RemoveNode(study.segmentation)
    scene.RemoveNode(study.masks)
    again = saved_and_read(scene, study, tmp_path)
    assert not again.read().labels.any() and not again.status.any()
    assert (again.cine.frames == small.cine.frames).all()
    again.close()


def test_masks_of_a_frame_that_were_removed_are_empty_and_said(scene, study, small, tmp_path) -> None:
    study.masks.RemoveDataNodeAtValue(study.masks.GetNthIndexValue(1))
    again = saved_and_read(scene, study, tmp_path)
    assert again.remarks[0] == "The scene held no masks for frame 1, which can be found or drawn again."
    labels = again.read().labels
    assert (labels[[0, 2]] == small.truth.labels[[0, 2]]).all() and not labels[1].any()
    assert again.status.tolist() == [[1, 2, 1], [0, 0, 0], [1, 1, 1]]
    again.frame = 1
    again.apply([found(small)[4]])
    assert (again.read_frame(1)[1] == small.truth.labels[1, 1]).all()
    again.close()


def test_the_masks_of_all_frames_can_be_missing(scene, study, small) -> None:
    study.close()
    study.masks.RemoveAllDataNodes()
    again = opened(scene)
    assert again.remarks[0] == "The scene held no masks for frames 0, 1, 2, which can be found or drawn again."
    assert not again.status.any()
    assert [structure.name for structure in again.structures] == ["LV", "MYO", "RV"]
    again.close()


def test_a_frame_that_the_image_lost_is_named_and_the_masks_are_left_as_they_were(scene, study, small) -> None:
    study.close()
    value = study.image.GetNthIndexValue(1)
    item = slicer.vtkMRMLScalarVolumeNode()
    item.Copy(study.image.GetNthDataNode(1))
    study.image.RemoveDataNodeAtValue(value)
    with pytest.raises(CardiacSegError, match=r"masks for a frame that .* has lost .*load the cine again"):
        opened(scene)
    assert study.masks.GetNumberOfDataNodes() == 3
    study.image.SetDataNodeAtValue(item, value)
    again = opened(scene)
    assert (again.read().labels == small.truth.labels).all()
    again.close()


def test_a_frame_removed_from_image_and_masks_alike_leaves_the_others_but_no_run_to_correct(scene, study, small):
    for sequence in (study.image, study.masks):
        sequence.RemoveDataNodeAtValue(sequence.GetNthIndexValue(1))
    study.close()
    again = opened(scene)
    assert (again.read().labels == small.truth.labels[[0, 2]]).all()
    assert again.last_method == ""
    assert again.remarks == ("The last run was of other frames or cannot be read; press Segment before correcting.",)
    again.close()


@pytest.mark.parametrize("name", ["CardiacSeg.Status", "CardiacSeg.Confidence", "CardiacSeg.Checksum"])
@pytest.mark.parametrize("text", ["1 2", "x y z", "1 99 x"])
def test_what_cannot_be_read_of_a_frame_makes_its_masks_a_persons_work(scene, study, small, name, text) -> None:
    study.close()
    study.masks.GetNthDataNode(2).SetAttribute(name, text)
    again = opened(scene)
    assert "masks of frame 2 came about cannot be read" in again.remarks[0]
    drawn = small.truth.labels[2].any(axis=(1, 2))
    assert (again.status[2] == np.where(drawn, Status.ANNOTATED, Status.EMPTY)).all()
    assert (again.read().labels == small.truth.labels).all()
    again.close()


@pytest.mark.parametrize("text", ["{", "[]", '{"status": [[1]], "masks": "eJw"}', '{"status": 1}'])
def test_a_last_run_that_cannot_be_read_is_forgotten_and_said(scene, study, small, text) -> None:
    study.close()
    study.masks.SetAttribute("CardiacSeg.LastRun", text)
    again = opened(scene)
    assert again.last_method == "" and "press Segment before correcting" in again.remarks[-1]
    assert (again.read().labels == small.truth.labels).all()
    again.close()
