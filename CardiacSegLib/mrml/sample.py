"""The bundled cine in a scene."""

from __future__ import annotations

from pathlib import Path

import slicer

from ..cine import Status
from ..readers import read_annotation, read_cine
from .cines import cine_to_scene
from .study import open_study

ANNOTATED_FRAME = 18
"""End-diastole, which the expert drew."""


def load_sample(scene: slicer.vtkMRMLScene, folder: Path, annotated: bool) -> slicer.vtkMRMLSequenceNode:
    """Load the cine in the folder; annotated: with the expert's masks. Returns the image sequence.

    Raises CardiacSegError where the files are missing.
    """
    cine = read_cine(folder / "cine.nii.gz")
    image = cine_to_scene(scene, cine)
    image.SetName(scene.GenerateUniqueName("CardiacSeg sample"))
    if annotated:
        expert = read_annotation(folder / "annotation.nii.gz", cine, ANNOTATED_FRAME)
        study = open_study(cine, image)
        for frame, z in zip(*expert.fixed.nonzero(), strict=True):
            study.set_slice(int(frame), int(z), expert.labels[frame, z], Status.ANNOTATED)
        study.close()
    return image
