"""Labels in one vtkSegmentation: written as one shared label map, read from whatever an editor has made of it."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..anatomy import Code, Structure
from ..terminology import VALUE_TAG, segment_id, terminology_entry
from .space import LPS_TO_RAS, matrix_of

BINARY = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def add_segments(segmentation: slicer.vtkSegmentation, structures: tuple[Structure, ...]) -> None:
    """Give the segmentation an empty segment for every structure, with its color and coded type."""
    for structure in structures:
        identifier = segment_id(structure)
        segmentation.AddEmptySegment(identifier, structure.name, structure.color)
        segment = segmentation.GetSegment(identifier)
        segment.SetTag(VALUE_TAG, str(structure.value))
        if structure.code is not None:
            segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(structure.code))


def set_reference_grid(segmentation: slicer.vtkSegmentation, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Let what an editor paints lie on the volume's voxels."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    converter = slicer.vtkSegmentationConverter
    grid = converter.SerializeImageGeometry(matrix, volume.GetImageData())
    segmentation.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), grid)


def values_of(segmentation: slicer.vtkSegmentation) -> dict[str, int]:
    """Segment ID -> structure value; segments that are not numbered yet, which a person added, are left out."""
    values = {}
    for identifier in segmentation.GetSegmentIDs():
        value = tag_of(segmentation.GetSegment(identifier), VALUE_TAG)
        if value is not None:
            values[identifier] = int(value)
    return values


def structures_of(segmentation: slicer.vtkSegmentation) -> tuple[Structure, ...]:
    """The numbered segments as structures, in the order of their values."""
    structures = []
    for identifier, value in values_of(segmentation).items():
        segment = segmentation.GetSegment(identifier)
        structures.append(Structure(value, segment.GetName(), tuple(segment.GetColor()), _code(segment)))
    return tuple(sorted(structures, key=lambda structure: structure.value))


def read_labels(segmentation: slicer.vtkSegmentation, shape: tuple[int, int, int]) -> np.ndarray:
    """The structure values as uint8 (Z, Y, X); where segments overlap, the later one wins.

    A stored label map may be cropped to its content or be shared by several segments, so its extent and each segment's
    own label value are what counts.
    """
    labels = np.zeros(shape, np.uint8)
    for identifier, value in values_of(segmentation).items():
        segment = segmentation.GetSegment(identifier)
        image = segment.GetRepresentation(BINARY)
        if image is None or image.IsEmpty() or not image.GetPointData().GetScalars():
            continue
        x0, x1, y0, y1, z0, z1 = image.GetExtent()
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
        low = np.maximum((z0, y0, x0), 0)
        high = np.minimum((z1 + 1, y1 + 1, x1 + 1), shape)
        if (high <= low).any():
            continue
        inside = tuple(slice(*ends) for ends in zip(low, high, strict=True))
        stored = tuple(slice(*ends) for ends in zip(low - (z0, y0, x0), high - (z0, y0, x0), strict=True))
        labels[inside][voxels[stored] == segment.GetLabelValue()] = value
    return labels


def write_labels(segmentation: slicer.vtkSegmentation, labels: np.ndarray, affine: np.ndarray) -> None:
    """Replace the masks of all numbered segments by labels (Z, Y, X) of structure values, on the affine's grid (LPS).

    All segments share one label map. No node is made: `slicer.util` would leave display nodes and color tables behind.
    """
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*labels.shape[::-1])
    image.SetGeometryFromImageToWorldMatrix(matrix_of(LPS_TO_RAS @ affine))
    scalars = numpy_to_vtk(np.ascontiguousarray(labels).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    for identifier, value in values_of(segmentation).items():
        segment = segmentation.GetSegment(identifier)
        segment.SetLabelValue(value)
        segment.AddRepresentation(BINARY, image)
    segmentation.InvalidateNonSourceRepresentations()
    segmentation.InvokeEvent(segmentation.SourceRepresentationModified)


def _code(segment: slicer.vtkSegment) -> Code | None:
    """The coded type in the segment's tag, or None where the tag is missing or says nothing."""
    entry = tag_of(segment, segment.GetTerminologyEntryTagName()) or ""
    parts = entry.split("~")
    kind = parts[2].split("^") if len(parts) > 2 else []
    return Code(*kind) if len(kind) == 3 and kind[1] else None


def tag_of(segment: slicer.vtkSegment, name: str) -> str | None:
    text = vtk.mutable("")
    return str(text) if segment.GetTag(name, text) else None
