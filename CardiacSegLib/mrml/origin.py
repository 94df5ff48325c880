"""Where an image sequence was read from, and which other series of its study can be loaded instead."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer

from ..cine import Cine
from ..errors import CardiacSegError
from ..readers import read_cine
from .cines import cine_to_scene, set_files, uids_of

if TYPE_CHECKING:  # pydicom is slow to import
    from ..readers.study import Study

_ORIGIN, _STUDY_UID = "CardiacSeg.Origin", "CardiacSeg.StudyUID"


@dataclass(frozen=True)
class Origin:
    """path: of the study. series: the one that was taken, as in `Study.chosen`. choices: name -> what it shows."""

    path: str
    series: str
    choices: dict[str, str] = field(default_factory=dict)

    @property
    def gone(self) -> bool:
        """Whether the study is no longer at its path."""
        return not os.path.exists(self.path)


def load_cine(scene: slicer.vtkMRMLScene, source: Path | Study, series: str = "") -> slicer.vtkMRMLSequenceNode:
    """Load an image, or a series of a study (the short-axis stack where none is named), into the scene.

    A series that was loaded before is not loaded twice. Returns the image sequence. Raises CardiacSegError.
    """
    if isinstance(source, Path):
        image = cine_to_scene(scene, read_cine(source))
        set_files(image, str(source))
        return image
    origin = origin_in(source, series)
    known = _loaded(scene, origin)
    if known is not None:
        return known
    image = cine_to_scene(scene, source.chosen(series))
    _set_origin(image, origin)
    image.SetAttribute(_STUDY_UID, _study_uid(source, set(uids_of(image))) or None)
    if source.stack_series != source.choices().get(origin.series):
        image.SetName(scene.GenerateUniqueName(f"{image.GetName()} {_short(source, origin.series)}"))
    return image


def origin_in(study: Study, series: str = "") -> Origin:
    """The origin that a series of a study has; without one the stack's."""
    from ..readers.study import STACK, describe

    texts = {STACK: describe(study.stack_series)} if study.stack_series else {}
    for name, (member, *_) in study.choices().items():
        texts.setdefault(name, f"{describe((member,))}, series {name}: {member.description}")
    return Origin(str(study.path), series or STACK, texts if len(study.series) > len(study.stack_series) else {})


def origin_of(image: slicer.vtkMRMLSequenceNode) -> Origin | None:
    """Where an image sequence came from; None where that is not known."""
    try:
        return Origin(**json.loads(image.GetAttribute(_ORIGIN) or "null"))
    except (TypeError, ValueError):
        return None


def study_uid_of(image: slicer.vtkMRMLSequenceNode) -> str:
    """The Study Instance UID of an image sequence, as this module or Slicer's DICOM module loaded it; else empty."""
    known = image.GetAttribute(_STUDY_UID)
    hierarchy = image.GetScene().GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = hierarchy.GetItemByDataNode(image) if hierarchy is not None else 0
    if known or not item:
        return known or ""
    return hierarchy.GetItemUID(hierarchy.GetItemAncestorAtLevel(item, "Study"), "DICOM") or ""


def move_origin(image: slicer.vtkMRMLSequenceNode, cine: Cine, study: Study) -> None:
    """Take a study that was moved as the origin of an image sequence, and of all others that came from the old place.

    cine: what `scene_to_cine` read from the sequence. Raises CardiacSegError, and changes nothing, unless the study
    holds the same images on the same grid.
    """
    before, uids = origin_of(image), set(uids_of(image))
    series = _series_with(study, uids, before.series)
    if series is None:
        raise CardiacSegError(
            f"{study.path} does not hold the images of {cine.name}; choose the study that this cine was loaded from."
        )
    found = study.chosen(series)
    same = found.shape == cine.shape and np.allclose(found.affine, cine.affine, atol=1e-3)
    if not same or (found.sources != cine.sources if uids else (found.frames != cine.frames).any()):
        raise CardiacSegError(
            f"What {study.path} holds as {cine.name} are no longer the same images: slices, frames, or where they lie "
            "differ; choose the study as it was loaded."
        )
    _set_origin(image, origin_in(study, series))
    for other in _sequences(image.GetScene()):
        origin = origin_of(other)
        uids = set(uids_of(other)) if origin is not None and origin.path == before.path else set()
        series = _series_with(study, uids, origin.series) if uids else None
        if series is not None:
            _set_origin(other, origin_in(study, series))


def _series_with(study: Study, uids: set[str], series: str) -> str | None:
    """The name of the series that has the images with these UIDs, the one of this name if it is among them.

    Without UIDs it is the one of this name.
    """
    choices = study.choices()
    for name in sorted(choices, key=lambda name: name != series):
        held = {plane.uid for member in choices[name] for plane in member.planes}
        if uids <= held and (uids or name == series):
            return name
    return None


def _study_uid(study: Study, uids: set[str]) -> str:
    planes = (plane for series in study.series for plane in series.planes if plane.uid in uids)
    return next((str(plane.header.get("StudyInstanceUID", "")) for plane in planes), "")


def _set_origin(image: slicer.vtkMRMLSequenceNode, origin: Origin) -> None:
    set_files(image, origin.path)
    image.SetAttribute(_ORIGIN, json.dumps(asdict(origin)))


def _short(study: Study, series: str) -> str:
    """What tells an image of the study from the others in a list."""
    kinds = [member.kind.value for member in study.choices().get(series, ())]
    return f"{kinds[0]} {series}" if kinds else series


def _loaded(scene: slicer.vtkMRMLScene, origin: Origin) -> slicer.vtkMRMLSequenceNode | None:
    known = ((node, origin_of(node)) for node in _sequences(scene))
    same = (node for node, one in known if one and (one.path, one.series) == (origin.path, origin.series))
    return next(same, None)


def _sequences(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSequenceNode]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode")
    return [scene.GetNthNodeByClass(index, "vtkMRMLSequenceNode") for index in range(count)]
