"""Image files of data sets: pixels and pixel size, whatever the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import CardiacSegError


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image file as array (..., Z, Y, X) and its spacing (x, y[, z]) in mm."""
    import SimpleITK

    # ITK writes a page of warnings about ACDC's headers to the terminal.
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise CardiacSegError(f"{path} cannot be read as an image; download it again.") from error
    return SimpleITK.GetArrayFromImage(image), np.array(image.GetSpacing()[:3])
