"""A study in the scene as files: the segmentation sequence for Slicer, and what `outputs` writes of any study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import slicer

from ..atomic import complete_folder
from ..errors import CardiacSegError
from ..outputs import Output, write_export
from ..terminology import safe_name
from ..writers.tables import write_measures
from .study import Study

SEQUENCE = "seq.mrb"
"""The segmentation sequence as Slicer loads it back."""


def export_study(study: Study, output: Output, folder: str | Path, formats: Sequence[str]) -> list[str]:
    """Write the study into a folder, all of it or nothing; returns the names of the files.

    formats: "seq.mrb", and those of `outputs.FORMATS`, for which output is the same study as the library sees it; with
    "csv" comes the measures.json of the study.
    Raises CardiacSegError, naming the folder, if it cannot be written, and if no folder or no format is given.
    """
    if not str(folder) or not formats:
        raise CardiacSegError("Choose a folder and at least one kind of file to export.")
    dicom = bool(study.cine.sources)  # its name may be that of a folder, which may be the patient's
    stem = "cine" if dicom else safe_name(study.cine.name, "cine")
    with complete_folder(folder) as partial:
        for kind in formats:
            if kind == SEQUENCE:
                _write_sequence(study, partial / f"{stem}.{SEQUENCE}")
            else:
                write_export(kind, partial, output, stem)
            if kind == "csv":
                write_measures(partial / f"{stem}_measures.json", output.measured().to_dict())
        names = sorted(path.name for path in partial.iterdir())
    return names


def _write_sequence(study: Study, path: Path) -> None:
    storage = slicer.vtkMRMLSequenceStorageNode()
    study.masks.GetScene().AddNode(storage)  # the archive is packed with the help of the scene's cache
    try:
        storage.SetFileName(str(path))
        if not storage.WriteData(study.masks) or not path.is_file():
            raise CardiacSegError(f"{path} could not be written; choose another folder.")
    finally:
        study.masks.GetScene().RemoveNode(storage)
