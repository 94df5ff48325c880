"""Files and folders to the library's words: read_cine, read_annotation, read_segmentation."""

from __future__ import annotations

from pathlib import Path

from ..cine import Cine
from .annotation import read_annotation, read_labels, read_segmentation
from .image import Image, opening, read_cine_image, read_image

__all__ = ["Image", "read_annotation", "read_cine", "read_image", "read_labels", "read_segmentation"]


def read_cine(path: str | Path) -> Cine:
    """Read a cine from 4D NIfTI (.nii, .nii.gz), from .seq.nrrd, or from a folder or .zip of single-slice DICOM files.

    What is odd about it stands in its remarks. Raises CardiacSegError, one sentence that names the file and the remedy.
    """
    path = Path(path)
    with opening(path):
        dicom = path.is_dir() or path.suffix.lower() == ".zip"
    if dicom:
        from .dicom import read_dicom  # pydicom is slow to import and not needed for the other formats

        return read_dicom(path)
    return read_cine_image(path)
