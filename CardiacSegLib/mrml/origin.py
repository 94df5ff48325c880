"""Where an image sequence was read from, and which other series of its study can be loaded instead."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import slicer

from ..readers import read_cine
from .cines import cine_to_scene, set_files

if TYPE_CHECKING:  # pydicom is slow to import
    from ..readers.study import Study

_ORIGIN = "CardiacSeg.Origin"


@dataclass(frozen=True)
class Origin:
    """path: of the study. series: the one that was taken, as in `Study.chosen`. choices: name -> what it shows."""

    path: str
    series: str
    choices: dict[str, str] = field(default_factory=dict)


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
    set_files(image, origin.path)
    image.SetAttribute(_ORIGIN, json.dumps(asdict(origin)))
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


def _short(study: Study, series: str) -> str:
    """What tells an image of the study from the others in a list."""
    kinds = [member.kind.value for member in study.choices().get(series, ())]
    return f"{kinds[0]} {series}" if kinds else series


def _loaded(scene: slicer.vtkMRMLScene, origin: Origin) -> slicer.vtkMRMLSequenceNode | None:
    nodes = [
        scene.GetNthNodeByClass(index, "vtkMRMLSequenceNode")
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode"))
    ]
    known = ((node, origin_of(node)) for node in nodes)
    same = (node for node, one in known if one and (one.path, one.series) == (origin.path, origin.series))
    return next(same, None)
