"""Other exports: single frames for 3D Slicer, and the tidy table of volumes."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CardiacSegLib.anatomy import LV, STRUCTURES, Structure
from CardiacSegLib.cine import Cine, Segmentation, Status
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.readers import read_labels
from CardiacSegLib.writers.seg_nrrd import write_seg_nrrd
from CardiacSegLib.writers.tables import write_tidy_volumes


@pytest.fixture
def masks(oblique_cine: Cine) -> Segmentation:
    labels = np.random.default_rng(2).integers(0, 4, oblique_cine.shape).astype(np.uint8)
    return Segmentation(labels, np.full(labels.shape[:2], Status.PREDICTED, np.uint8), oblique_cine.affine)


class TestOneFrameForSlicer:
    def test_the_labels_and_their_place_are_read_back(self, tmp_path: Path, masks: Segmentation) -> None:
        write_seg_nrrd(masks, 3, tmp_path / "frame.seg.nrrd")
        labels, affine, _ = read_labels(tmp_path / "frame.seg.nrrd")
        assert (labels[0] == masks.labels[3]).all()
        assert np.allclose(affine, masks.affine)

    def test_other_programs_read_the_same_voxels(self, tmp_path: Path, masks: Segmentation) -> None:
        write_seg_nrrd(masks, 0, tmp_path / "frame.seg.nrrd")
        image = sitk.ReadImage(str(tmp_path / "frame.seg.nrrd"))
        assert (sitk.GetArrayFromImage(image) == masks.labels[0]).all()
        index = (2, 5, 1)
        assert np.allclose(image.TransformIndexToPhysicalPoint(index), (masks.affine @ [*index, 1])[:3])

    def test_slicer_finds_the_segments_with_name_color_value_and_type(self, tmp_path: Path, masks) -> None:
        slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
        own = Structure(9, "scar\nof 2019", (0.5, 0.25, 0.125))
        masks = dataclasses.replace(masks, structures=(*STRUCTURES, own))
        write_seg_nrrd(masks, 3, tmp_path / "frame.seg.nrrd")
        scene, storage = slicer.vtkMRMLScene(), slicer.vtkMRMLSegmentationStorageNode()
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        scene.AddNode(storage)
        storage.SetFileName(str(tmp_path / "frame.seg.nrrd"))
        assert storage.ReadData(node)
        found = node.GetSegmentation()
        segments = [found.GetNthSegment(i) for i in range(found.GetNumberOfSegments())]
        assert [s.GetName() for s in segments] == ["LV", "MYO", "RV", "scar of 2019"]
        assert [s.GetLabelValue() for s in segments] == [1, 2, 3, 9]
        assert np.allclose([s.GetColor() for s in segments], [s.color for s in masks.structures])
        assert "SCT^87878005^Left ventricle" in segments[0].GetTerminology()

    def test_a_frame_that_does_not_exist_and_a_folder_that_is_not_there_are_named(self, tmp_path, masks) -> None:
        with pytest.raises(CardiacSegError, match="no frame 6; choose one of 0 to 5"):
            write_seg_nrrd(masks, 6, tmp_path / "frame.seg.nrrd")
        with pytest.raises(CardiacSegError, match="does not exist"):
            write_seg_nrrd(masks, 0, tmp_path / "gone" / "frame.seg.nrrd")


class TestTheTidyTable:
    def test_it_has_a_row_for_every_frame_and_structure(self, tmp_path: Path) -> None:
        curves = {"LV": np.array([120.0, 60.5]), "my scar": np.array([np.nan, 3.25])}
        write_tidy_volumes(tmp_path / "tidy.csv", curves, np.array([0.0, 310.5]), ed=0, es=1)
        rows = list(csv.DictReader((tmp_path / "tidy.csv").open(newline="")))
        assert [tuple(row.values()) for row in rows] == [
            ("0", "0.0", "ED", "LV", "120.0"),
            ("0", "0.0", "ED", "my scar", ""),
            ("1", "310.5", "ES", "LV", "60.5"),
            ("1", "310.5", "ES", "my scar", "3.25"),
        ]
        assert list(rows[0]) == ["frame", "time_ms", "phase", "structure", "volume_ml"]

    def test_what_is_not_known_is_an_empty_field(self, tmp_path: Path) -> None:
        write_tidy_volumes(tmp_path / "tidy.csv", {LV.name: np.array([90.0])}, None, None, None)
        rows = list(csv.DictReader((tmp_path / "tidy.csv").open(newline="")))
        assert [tuple(row.values()) for row in rows] == [("0", "", "", "LV", "90.0")]
