"""Cines, masks and numbers in a scene of 3D Slicer: the only room of the library that knows MRML."""

from __future__ import annotations

from .cines import browser_of, cine_to_scene, patient_of, scene_to_cine, set_patient
from .study import Place, Study, image_of, open_study

__all__ = [
    "Place", "Study", "browser_of", "cine_to_scene", "image_of", "open_study", "patient_of", "scene_to_cine",
    "set_patient",
]  # fmt: skip
