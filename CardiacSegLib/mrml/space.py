"""Between the library's space (LPS, numpy) and Slicer's (RAS, vtkMatrix4x4)."""

from __future__ import annotations

import numpy as np
import vtk

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Its own inverse."""


def matrix_of(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """The 4x4 array as a VTK matrix."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(array.ravel().tolist())
    return matrix


def array_of(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """The VTK matrix as a 4x4 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
