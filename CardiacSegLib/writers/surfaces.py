"""Masks as closed surfaces in patient coordinates: STL or OBJ, a file for every frame and structure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..anatomy import Structure
from ..atomic import atomic_path
from ..cine import Segmentation
from ..errors import CardiacSegError
from ..terminology import safe_name

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

FORMATS = ("stl", "obj")
_ITERATIONS, _PASS_BAND = 20, 0.05
_HEADER = "CardiacSeg, mm. SPACE=LPS"  # Slicer looks for the last word


def write_surfaces(folder: str | Path, segmentation: Segmentation, kind: str = "stl") -> list[Path]:
    """Write frameNN_NAME.stl (or .obj) for every frame and structure that has a voxel; returns the paths.

    Coordinates are LPS in mm. Raises CardiacSegError if VTK is missing, nothing is segmented, the kind is not of
    FORMATS, or a file cannot be written.
    """
    if kind not in FORMATS:
        raise CardiacSegError(f"The surface format '{kind}' is not known; choose one of {', '.join(FORMATS)}.")
    paths = []
    for frame, structure in _present(segmentation):
        name = safe_name(structure.name, "segment")
        path = Path(folder) / f"frame{frame:02d}_{name}.{kind}"
        _write(surface(segmentation, frame, structure), path, kind)
        paths.append(path)
    if not paths:
        raise CardiacSegError("There is no mask to make a surface of; segment the cine first.")
    return paths


def surface(segmentation: Segmentation, frame: int, structure: Structure) -> vtkPolyData:
    """The closed surface of one structure in one frame, in LPS mm, its normals pointing outwards.

    Flying edges at the borders of the voxels, each slice as thick as the slice distance; then a windowed sinc filter
    takes away the steps and, unlike Laplacian smoothing, keeps the volume (Taubin et al., ECCV 1996). Raises
    CardiacSegError if VTK is missing.
    """
    vtk = _import_vtk()
    mask = np.pad(segmentation.labels[frame] == structure.value, 1).astype(np.uint8)  # padded, so that it is closed
    image = vtk.vtkImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.SetOrigin(-1, -1, -1)
    image.GetPointData().SetScalars(vtk.numpy_to_vtk(mask.ravel(), deep=True))
    edges = vtk.vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    edges.ComputeScalarsOff()
    placed = _to_patient(vtk, edges, segmentation.affine)
    smooth = vtk.vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(placed.GetOutputPort())
    smooth.SetNumberOfIterations(_ITERATIONS)
    smooth.SetPassBand(_PASS_BAND)
    smooth.BoundarySmoothingOff()
    smooth.FeatureEdgeSmoothingOff()
    smooth.NonManifoldSmoothingOn()
    smooth.NormalizeCoordinatesOn()
    smooth.Update()
    return smooth.GetOutput()


def _present(segmentation: Segmentation) -> Iterator[tuple[int, Structure]]:
    for frame, labels in enumerate(segmentation.labels):
        values = set(np.unique(labels))
        yield from ((frame, structure) for structure in segmentation.structures if structure.value in values)


def _to_patient(vtk, source, affine: np.ndarray):
    """Voxel indices to LPS mm; a left-handed grid would turn the surface inside out, so its cells are turned back."""
    transform = vtk.vtkTransform()
    transform.SetMatrix(affine.ravel().tolist())
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetInputConnection(source.GetOutputPort())
    placed.SetTransform(transform)
    if np.linalg.det(affine[:3, :3]) > 0:
        return placed
    turned = vtk.vtkReverseSense()
    turned.SetInputConnection(placed.GetOutputPort())
    return turned


def _write(polygons: vtkPolyData, path: Path, kind: str) -> None:
    vtk = _import_vtk()
    with atomic_path(path) as temporary:
        if kind == "stl":
            writer = vtk.vtkSTLWriter()
            writer.SetHeader(_HEADER)
            writer.SetFileTypeToBinary()
        else:
            writer = vtk.vtkOBJWriter()
        writer.SetInputData(polygons)
        writer.SetFileName(str(temporary))
        if not writer.Write() or not temporary.is_file():
            raise CardiacSegError(f"{path} could not be written; choose another folder.")


def _import_vtk():
    """The few classes of VTK that are needed, which takes a fraction of the time of all of it."""
    try:
        from vtkmodules import (
            vtkCommonDataModel,
            vtkCommonTransforms,
            vtkFiltersCore,
            vtkFiltersGeneral,
            vtkIOGeometry,
        )
        from vtkmodules.util.numpy_support import numpy_to_vtk
    except ImportError as error:
        raise CardiacSegError("Surfaces need the package vtk; install it with 'cardiacseg[surfaces]'.") from error
    from types import SimpleNamespace

    rooms = (vtkCommonDataModel, vtkCommonTransforms, vtkFiltersCore, vtkFiltersGeneral, vtkIOGeometry)
    classes = {name: getattr(room, name) for room in rooms for name in dir(room) if name.startswith("vtk")}
    return SimpleNamespace(numpy_to_vtk=numpy_to_vtk, **classes)
