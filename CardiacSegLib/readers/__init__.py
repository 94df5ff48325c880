"""Files and folders to the library's words: read_cine, read_study, read_annotation, read_segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..cine import Cine
from ..errors import CardiacSegError
from .annotation import read_annotation, read_labels, read_segmentation
from .archive import holds_dicom
from .frames import frame_files, read_frames
from .image import Image, opening, read_cine_image, read_image

if TYPE_CHECKING:
    from .study import Study

__all__ = ["Image", "read_annotation", "read_cine", "read_image", "read_labels", "read_segmentation", "read_study"]


def is_dicom(path: str | Path) -> bool:
    """Whether `read_study` reads it: a DICOM file, or a folder or .zip that is no folder of image files.

    Raises CardiacSegError if it does not exist or may not be read.
    """
    path = Path(path)
    with opening(path):
        return holds_dicom(path) and not (path.is_dir() and frame_files(path))


def read_cine(path: str | Path, series: str = "") -> Cine:
    """Read a cine from an image or DICOM file, or from a folder or .zip of DICOM files, or a folder of 3D frames.

    Of a study with many series this is its short-axis stack, put together from base to apex. A single image comes as
    one frame. series: another one of the study, as in `Study.chosen`. What is odd about it stands in its remarks.
    Raises CardiacSegError, one sentence that names the file and the remedy.
    """
    path = Path(path)
    if is_dicom(path):
        return read_study(path).chosen(series)
    if series:
        raise CardiacSegError(f"{path} is no DICOM study and has no series to choose from; leave the series out.")
    with opening(path):
        return read_frames(path, frame_files(path)) if path.is_dir() else read_cine_image(path)


def read_study(path: str | Path) -> Study:
    """Read what a DICOM file, or a folder or .zip of them, holds: series with kinds, the stack, long-axis cines.

    Raises CardiacSegError if there are no images, if one is damaged, or if they are of several patients.
    """
    from .study import read_study  # pydicom is slow to import and not needed for the other formats

    return read_study(path)
