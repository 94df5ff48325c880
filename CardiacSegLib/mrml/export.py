"""A study to files: the segmentation sequence for Slicer, single frames, and what the library's writers make."""

from __future__ import annotations

from pathlib import Path

import slicer

from ..atomic import complete_folder
from ..errors import CardiacSegError
from ..measures import Measures
from ..terminology import safe_name
from ..writers.images import write_segmentation
from ..writers.results import known_curves
from ..writers.tables import write_measures, write_volumes
from .study import Study

FORMATS = ("seq.mrb", "seg.nrrd", "nii.gz", "csv")


def export_study(study: Study, measures: Measures, folder: str | Path, formats: tuple[str, ...]) -> list[str]:
    """Write the study into a folder, all of it or nothing; returns the names of the files.

    formats: of FORMATS. "seq.mrb" is the segmentation sequence as Slicer loads it back, "seg.nrrd" one file a frame,
    "nii.gz" all frames as labels in 4D, "csv" the volumes with the measures as JSON beside them.
    Raises CardiacSegError, naming the folder, if it cannot be written, and if no folder or no format is given.
    """
    if not str(folder) or not formats:
        raise CardiacSegError("Choose a folder and at least one kind of file to export.")
    stem = safe_name(study.cine.name, "cine")
    segmentation = study.read()
    times = study.cine.times if study.cine.times_known else None
    with complete_folder(folder) as partial:
        if "seq.mrb" in formats:
            _write_sequence(study, partial / f"{stem}.seq.mrb")
        if "seg.nrrd" in formats:
            for frame in range(study.cine.shape[0]):
                item, path = study.masks.GetNthDataNode(frame), partial / f"{stem}_frame{frame:02d}.seg.nrrd"
                _write(slicer.vtkMRMLSegmentationStorageNode(), item, path)
        if "nii.gz" in formats:
            write_segmentation(segmentation, partial / f"{stem}.nii.gz", study.cine)
        if "csv" in formats:
            write_volumes(partial / f"{stem}_volumes.csv", known_curves(segmentation), times)
            write_measures(partial / f"{stem}_measures.json", measures.to_dict())
        names = sorted(path.name for path in partial.iterdir())
    return names


def _write_sequence(study: Study, path: Path) -> None:
    storage = slicer.vtkMRMLSequenceStorageNode()
    study.masks.GetScene().AddNode(storage)  # the archive is packed with the help of the scene's cache
    try:
        _write(storage, study.masks, path)
    finally:
        study.masks.GetScene().RemoveNode(storage)


def _write(storage: slicer.vtkMRMLStorageNode, node: slicer.vtkMRMLStorableNode, path: Path) -> None:
    storage.SetFileName(str(path))
    if not storage.WriteData(node) or not path.is_file():
        raise CardiacSegError(f"{path} could not be written; choose another folder.")
