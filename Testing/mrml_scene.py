"""A scene with real MRML logics and no application, for tests of what the library does with nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def real_scene(cache: Path) -> Iterator[object]:
    """Yield a vtkMRMLScene that sequences, segmentations and .mrb files work in; cache: where archives are unpacked."""
    import slicer

    scene = slicer.vtkMRMLScene()
    manager = slicer.vtkCacheManager()
    manager.SetRemoteCacheDirectory(str(cache))
    manager.SetMRMLScene(scene)
    storage = slicer.vtkDataIOManager()
    storage.SetCacheManager(manager)
    scene.SetCacheManager(manager)
    scene.SetDataIOManager(storage)
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    colors = application.GetColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    application.SetModuleLogic("Colors", colors)
    names = {
        "Volumes": "vtkSlicerVolumesLogic",
        "Segmentations": "vtkSlicerSegmentationsModuleLogic",
        "Sequences": "vtkSlicerSequencesLogic",
    }
    logics = []
    for name, kind in names.items():
        logic = getattr(slicer, kind)()
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        logics.append(logic)
    yield scene
    scene.Clear(True)
    for logic in logics:
        logic.SetMRMLScene(None)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[object]:
    """An empty scene with real logics."""
    pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")
    with real_scene(tmp_path / "cache") as scene:
        yield scene
