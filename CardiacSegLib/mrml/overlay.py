"""The AHA's segments as a label map over the slices; it belongs to nobody's data and is never saved."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..pictures import segment_color
from .space import LPS_TO_RAS, matrix_of

_CAP = 17
_OPACITY = 0.8  # the masks lie over it


class SegmentOverlay:
    """A label map in the label layer of one slice view; what lay there before comes back."""

    def __init__(self, scene: slicer.vtkMRMLScene, composite: slicer.vtkMRMLSliceCompositeNode) -> None:
        self._composite, self._before = composite, (composite.GetLabelVolumeID(), composite.GetLabelOpacity())
        self._colors = _add_unsaved(scene, slicer.vtkMRMLColorTableNode(), "AHA segments colors")
        self._colors.SetTypeToUser()
        self._colors.SetNumberOfColors(_CAP + 1)
        self._colors.SetColor(0, "none", 0, 0, 0, 0)
        for number in range(1, _CAP + 1):
            self._colors.SetColor(number, str(number), *segment_color(number), 1)
        self._node = _add_unsaved(scene, slicer.vtkMRMLLabelMapVolumeNode(), "AHA segments")
        display = _add_unsaved(scene, slicer.vtkMRMLLabelMapVolumeDisplayNode(), "AHA segments display")
        display.SetAndObserveColorNodeID(self._colors.GetID())
        self._node.SetAndObserveDisplayNodeID(display.GetID())

    def show(self, labels: np.ndarray, affine: np.ndarray) -> None:
        """Show segment numbers (Z, Y, X) uint8 on the grid of the affine (LPS)."""
        image = vtk.vtkImageData()
        image.SetDimensions(*labels.shape[::-1])
        scalars = numpy_to_vtk(np.ascontiguousarray(labels).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
        image.GetPointData().SetScalars(scalars)
        self._node.SetIJKToRASMatrix(matrix_of(LPS_TO_RAS @ affine))
        self._node.SetAndObserveImageData(image)
        self._composite.SetLabelVolumeID(self._node.GetID())
        self._composite.SetLabelOpacity(_OPACITY)

    def remove(self) -> None:
        """Take it out of the view and the scene; nodes that a closing scene has taken already are left to it."""
        if self._composite.GetLabelVolumeID() == self._node.GetID():
            self._composite.SetLabelVolumeID(self._before[0])
            self._composite.SetLabelOpacity(self._before[1])
        for node in (self._node.GetDisplayNode(), self._node, self._colors):
            if node is not None and node.GetScene() is not None:
                node.GetScene().RemoveNode(node)


def _add_unsaved(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode, name: str) -> slicer.vtkMRMLNode:
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return scene.AddNode(node)
