"""MetaImage files (.mha, or .mhd with its voxels beside it), read with SimpleITK after a look at the header."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np

from ..errors import CardiacSegError
from .image import Image, check_claim, left_over

_HEADER_BYTES = 1 << 16


def read(path: Path) -> Image:
    """Read a .mha or .mhd file of two to four dimensions, the fourth being the frames.

    Raises CardiacSegError if it is none, damaged, in color, larger than 8 GiB, or keeps its voxels anywhere but in one
    file beside it.
    """
    import SimpleITK

    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    data_file = re.search(rb"^ElementDataFile *= *(.*?) *\r?$", head, re.MULTILINE)
    if data_file is None:
        raise CardiacSegError(f"{path} is not a MetaImage, whatever its name says; export it again.")
    voxel_file, start = path, data_file.end() + 1
    if data_file[1].upper() != b"LOCAL":
        voxel_file, start = _beside(path, data_file[1].decode("utf-8", "replace")), 0
    packed = re.search(rb"^CompressedData *= *true", head, re.MULTILINE | re.IGNORECASE) is not None
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size, components = reader.GetSize(), reader.GetNumberOfComponents()
        bits = SimpleITK.Image([1] * 2, reader.GetPixelID()).GetSizeOfPixelComponent() * 8
        if components != 1 or not 2 <= len(size) <= 4 or min(size) < 1:
            raise CardiacSegError(f"{path} is not a gray-scale image of 2 to 4 dimensions; convert it to one.")
        claimed = int(np.prod(size, dtype=object)) * bits // 8
        check_claim(voxel_file, claimed, packed)
        extra = _left_over(voxel_file, start, claimed, packed)
        image = reader.Execute()
    except RuntimeError as error:
        raise CardiacSegError(f"{path} is damaged or no MetaImage; copy or export it again.") from error
    return _image(image, left_over(extra))


def _beside(path: Path, name: str) -> Path:
    """The one file with the voxels, in the header's own folder."""
    voxel_file = path.parent / name
    if Path(name).name != name or not voxel_file.is_file():
        raise CardiacSegError(
            f"{path} keeps its voxels in '{name}', which is no file beside it; save it as one .mha file."
        )
    return voxel_file


def _left_over(path: Path, start: int, claimed: int, packed: bool) -> bool:
    """Whether more voxels lie behind the header than it claims."""
    if not packed:
        return path.stat().st_size > start + claimed
    with path.open("rb") as file:
        file.seek(start)
        unpacked = zlib.decompressobj()
        return len(unpacked.decompress(file.read(), claimed + 1)) > claimed


def _image(image: SimpleITK.Image, remarks: tuple[str, ...]) -> Image:  # noqa: F821 (imported late, for it is slow)
    import SimpleITK

    dimension = image.GetDimension()
    voxels = SimpleITK.GetArrayFromImage(image)
    voxels = voxels.reshape((1,) * (4 - dimension) + voxels.shape)
    space = min(dimension, 3)
    directions = np.reshape(image.GetDirection(), (dimension, dimension))[:space, :space]
    affine = np.eye(4)
    affine[:space, :space] = directions * image.GetSpacing()[:space]
    affine[:space, 3] = image.GetOrigin()[:space]
    if dimension == 2:
        flat = "It is a 2D image; where it lies in the patient is not known, and its thickness is taken as 1 mm."
        remarks = (flat, *remarks)
    reason = "the file does not hold them"
    if dimension == 4:
        reason = f"the header gives a step of {image.GetSpacing()[3]:g} without a unit of time"
    return Image(voxels, affine, None, reason, remarks)
