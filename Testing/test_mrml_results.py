"""Numbers as table and plot nodes, and a study as files, on real MRML."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import vtk  # noqa: E402

from CardiacSegLib import mrml  # noqa: E402
from CardiacSegLib.cine import SlicePrediction  # noqa: E402
from CardiacSegLib.errors import CardiacSegError  # noqa: E402
from CardiacSegLib.measures import Measures, measure  # noqa: E402
from CardiacSegLib.mrml.labels import read_labels  # noqa: E402
from CardiacSegLib.outputs import Output  # noqa: E402
from CardiacSegLib.phantom import Phantom  # noqa: E402
from CardiacSegLib.readers import read_labels as read_file  # noqa: E402
from CardiacSegLib.weights import WeightsCard  # noqa: E402
from CardiacSegLib.writers.results import known_curves  # noqa: E402


@pytest.fixture
def study(scene, heart: Phantom) -> Iterator[mrml.Study]:
    image = mrml.cine_to_scene(scene, heart.cine)
    study = mrml.open_study(mrml.scene_to_cine(image), image)
    study.apply(SlicePrediction(t, z, heart.truth.labels[t, z]) for t in range(6) for z in range(4))
    yield study
    study.close()


def show(study: mrml.Study) -> Measures:
    segmentation = study.read()
    measures = measure(segmentation, study.cine.patient, study.cine.times)
    mrml.update_results(study, measures, known_curves(segmentation), study.cine.times)
    return measures


def output(study: mrml.Study) -> Output:
    """The study as the library writes it."""
    return Output(study.cine, study.read(), ())


def column(study: mrml.Study, table: str, name: str) -> list:
    values = mrml.result_node(study, table).GetTable().GetColumnByName(name)
    return [values.GetValue(row) for row in range(values.GetNumberOfTuples())]


def test_the_tables_hold_the_librarys_own_numbers(study: mrml.Study, heart: Phantom) -> None:
    measures = show(study)
    assert column(study, "volumes", "Frame") == list(range(6))
    assert column(study, "volumes", "Time [ms]") == pytest.approx(heart.cine.times, abs=1e-3)
    volumes = (heart.truth.labels == 1).sum(axis=(1, 2, 3)) * heart.cine.voxel_ml
    assert column(study, "volumes", "LV [ml]") == pytest.approx(volumes, abs=1e-3)
    row = column(study, "measures", "Measure").index("LV EF")
    assert column(study, "measures", "Value")[row] == f"{measures.lv_ef_percent:.1f}"
    assert column(study, "measures", "Value")[column(study, "measures", "Measure").index("ED frame")] == "0"
    assert column(study, "measures", "Unit")[row] == "%"
    assert column(study, "ED and ES", "LV [ml]") == pytest.approx([measures.lv_edv_ml, measures.lv_esv_ml])


def test_without_frame_times_curve_and_phases_stand_over_frame_numbers(study: mrml.Study) -> None:
    segmentation = study.read()
    measures = measure(segmentation)
    mrml.update_results(study, measures, known_curves(segmentation), None)
    assert column(study, "ED and ES", "Frame") == [measures.ed_frame, measures.es_frame]
    assert mrml.result_node(study, "volume curve").GetXAxisTitle() == "Frame"


def test_the_chart_shows_a_curve_for_each_structure_in_its_color_and_the_phases(study: mrml.Study) -> None:
    show(study)
    chart = mrml.result_node(study, "volume curve")
    series = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [one.GetName() for one in series] == ["LV", "MYO", "RV", "ED, ES"]
    assert series[0].GetColor() == study.structures[0].color
    assert series[0].GetTableNode() is mrml.result_node(study, "volumes")
    assert series[0].GetTableNode().GetTable().GetColumnByName(series[0].GetYColumnName())


def test_frames_of_which_nothing_is_known_have_no_row(scene, heart: Phantom) -> None:
    image = mrml.cine_to_scene(scene, heart.cine)
    study = mrml.open_study(mrml.scene_to_cine(image), image)
    show(study)
    assert column(study, "volumes", "Frame") == []
    study.apply(SlicePrediction(t, z, heart.truth.labels[t, z]) for t in (1, 4) for z in range(4))
    show(study)
    assert column(study, "volumes", "Frame") == [1, 4]
    study.close()


def test_new_numbers_go_into_the_same_nodes_and_can_be_removed(scene, study: mrml.Study) -> None:
    without = scene.GetNumberOfNodes()
    show(study)
    count = scene.GetNumberOfNodes()
    show(study)
    assert scene.GetNumberOfNodes() == count
    mrml.remove_results(study)
    assert scene.GetNumberOfNodes() == without
    assert mrml.image_of(study.masks) is study.image


def test_an_exported_sequence_loads_back_with_masks_and_status(scene, study, heart: Phantom, tmp_path: Path) -> None:
    before = scene.GetNumberOfNodes()
    show(study)
    names = mrml.export_study(study, output(study), tmp_path / "out", ("seq.mrb",))
    mrml.remove_results(study)
    assert scene.GetNumberOfNodes() == before
    loaded = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "loaded")
    storage = scene.AddNewNodeByClass("vtkMRMLSequenceStorageNode")
    storage.SetFileName(str(tmp_path / "out" / names[0]))
    assert storage.ReadData(loaded)
    items = [loaded.GetNthDataNode(frame) for frame in range(6)]
    found = np.stack([read_labels(item.GetSegmentation(), heart.cine.shape[1:]) for item in items])
    assert (found == heart.truth.labels).all()
    assert items[3].GetAttribute("CardiacSeg.Status") == "1 1 1 1"


def test_single_frames_and_the_whole_as_nifti_hold_the_masks(study, heart: Phantom, tmp_path: Path) -> None:
    names = mrml.export_study(study, output(study), tmp_path, ("seg.nrrd", "nii.gz"))
    assert len([name for name in names if name.endswith(".seg.nrrd")]) == 6
    nifti = next(name for name in names if name.endswith(".nii.gz"))
    labels, affine, _ = read_file(tmp_path / nifti)
    assert (labels == heart.truth.labels).all()
    assert np.abs(affine - heart.cine.affine).max() < 1e-4
    node = slicer.vtkMRMLSegmentationNode()
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / next(name for name in names if name.endswith("frame04.seg.nrrd"))))
    assert storage.ReadData(node)
    assert (read_labels(node.GetSegmentation(), heart.cine.shape[1:]) == heart.truth.labels[4]).all()


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(study: mrml.Study, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(CardiacSegError, match="file is a file"):
        mrml.export_study(study, output(study), blocked, ("seq.mrb", "csv"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["file"]


def test_the_tables_of_an_export_are_tidy_and_hold_the_librarys_own_numbers(study, heart: Phantom, tmp_path) -> None:
    names = mrml.export_study(study, output(study), tmp_path, ("csv",))
    stem = names[0].removesuffix("_measures.json")
    with open(tmp_path / f"{stem}_volumes_tidy.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 3
    lv = [float(row["volume_ml"]) for row in rows if row["structure"] == "LV"]
    truth = (heart.truth.labels == 1).sum(axis=(1, 2, 3)) * heart.cine.voxel_ml
    assert lv == pytest.approx(truth, abs=1e-3)
    measures = json.loads((tmp_path / f"{stem}_measures.json").read_text(encoding="utf-8"))
    assert measures["lv_edv_ml"] == pytest.approx(max(truth), abs=1e-3)
    assert len(measures["segments"]["rows"]) == 17


def test_slices_that_come_from_several_images_keep_the_others_sources(scene, heart: Phantom) -> None:
    rows = tuple(tuple("" if z == 1 else f"1.2.{t}.{z}" for z in range(4)) for t in range(6))
    image = mrml.cine_to_scene(scene, dataclasses.replace(heart.cine, sources=rows))
    assert mrml.scene_to_cine(image).sources == rows
    assert image.GetNthDataNode(2).GetAttribute("DICOM.instanceUIDs") == "1.2.2.0 1.2.2.2 1.2.2.3"


def test_the_files_of_a_cine_are_those_it_was_loaded_from_or_what_a_database_knows(scene, heart, tmp_path) -> None:
    rows = tuple(tuple(f"1.2.{t}.{z}" for z in range(4)) for t in range(6))
    image = mrml.cine_to_scene(scene, dataclasses.replace(heart.cine, sources=rows))
    assert mrml.files_of(image, None) is None
    assert mrml.files_of(image, lambda uid: "") is None
    assert mrml.files_of(image, lambda uid: f"{uid}.dcm") == tuple(Path(f"{u}.dcm") for row in rows for u in row)
    mrml.set_files(image, str(tmp_path))
    assert mrml.files_of(image, lambda uid: f"{uid}.dcm") == tmp_path
    mrml.set_files(image, str(tmp_path / "moved"))
    assert mrml.files_of(image, None) is None


def test_the_overlay_shows_the_segments_in_the_label_layer_and_leaves_nothing(scene, study: mrml.Study) -> None:
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    before = scene.GetNumberOfNodes()
    overlay = mrml.SegmentOverlay(scene, composite)
    labels = np.zeros(study.cine.shape[1:], np.uint8)
    labels[2, 10:20, 30:40] = 7
    overlay.show(labels, study.cine.affine)
    node = scene.GetNodeByID(composite.GetLabelVolumeID())
    assert (slicer.util.arrayFromVolume(node) == labels).all()
    matrix = np.zeros((4, 4))
    study.volume.GetIJKToRASMatrix(shown := vtk.vtkMatrix4x4())
    node.GetIJKToRASMatrix(own := vtk.vtkMatrix4x4())
    for row, column_ in np.ndindex(4, 4):
        matrix[row, column_] = shown.GetElement(row, column_) - own.GetElement(row, column_)
    assert np.abs(matrix).max() < 1e-6
    assert not node.GetSaveWithScene()
    color = [0.0] * 4
    node.GetDisplayNode().GetColorNode().GetColor(0, color)
    assert color[3] == 0
    overlay.remove()
    assert scene.GetNumberOfNodes() == before
    assert composite.GetLabelVolumeID() is None


def test_weights_and_insertion_are_kept_with_the_masks_and_taken_back_with_a_run(study: mrml.Study) -> None:
    card = WeightsCard("some", "unet", "small", ("ACDC",), "CC0", "train", 1, {"dice": 0.9}, sha256="ab")
    before = study.snapshot()
    study.weights = (card,)
    study.facts = (1, 3, 180.0, None, 45.0)
    assert study.weights == (card,)
    assert (study.insertion_deg, study.facts) == (45.0, (1, 3, 180.0, None, 45.0))
    study.restore(before)
    assert study.weights == ()
    study.facts = (None,) * 5
    assert study.insertion_deg is None
