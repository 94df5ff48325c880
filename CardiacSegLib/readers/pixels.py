"""The pixels of a layout: decoded file by file, rescaled and put where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid
from scipy.ndimage import affine_transform

from ..errors import CardiacSegError
from ..temporary import private_folder
from .archive import Member
from .image import MAX_BYTES, compact
from .planes import Plane
from .stack import Draw, Layout

# fmt: off
_PIXEL_MODULE = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelData",
)
# fmt: on


def read_pixels(path: Path, files: list[Member], layout: Layout) -> np.ndarray:
    """The frames (T, Z, Y, X) of a layout, int16 where that loses nothing, else float32.

    Raises CardiacSegError that names the file whose pixels cannot be read, or if there are more than 8 GiB of them.
    """
    by_name = {member.name: member for member in files}
    by_file: dict[str, list[Draw]] = {}
    for draw in layout.draws:
        by_file.setdefault(draw.plane.file, []).append(draw)
    exact = all(_whole(draw) for draw in layout.draws) and len({draw.plane.gain for draw in layout.draws}) == 1
    dtype = np.int16 if exact else np.float32
    size = int(np.prod(layout.shape, dtype=object)) * np.dtype(dtype).itemsize
    if size > MAX_BYTES:
        raise CardiacSegError(f"{path} holds {size / 1024**3:.0f} GiB of pixels; give fewer images.")
    frames, gain = np.zeros(layout.shape, dtype), layout.draws[0].plane.gain
    for name, draws in by_file.items():
        try:
            stored = _decoded(by_name[name])
            for draw in draws:
                frames[draw.frame, draw.slice] += _drawn(stored, draw, gain, dtype, layout.shape[2:])
        except Exception as error:  # decoders raise whatever they like
            raise CardiacSegError(
                f"{name} in {path} has pixels that cannot be read; copy it again, or export uncompressed "
                "gray-scale images."
            ) from error
    return compact(frames)


def _whole(draw: Draw) -> bool:
    """Whether the values are whole numbers that int16 surely holds, by the header."""
    plane, header = draw.plane, draw.plane.header
    if draw.warp is not None or draw.weight != 1 or plane.slope % 1 or plane.intercept % 1:
        return False
    bits, signed = header.BitsStored, header.PixelRepresentation
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    return bool((np.abs(ends * plane.slope + plane.intercept + 0.5) < 2**15).all())


def _drawn(stored: np.ndarray, draw: Draw, gain: float, dtype: type, size: tuple[int, int]) -> np.ndarray:
    plane, header = draw.plane, draw.plane.header
    picture = stored[plane.index]
    if picture.shape != plane.size:
        raise ValueError(f"a picture of {picture.shape}, {plane.size} are said")
    signed, ceiling = header.PixelRepresentation, 2**header.BitsStored - 1
    if not signed:
        picture = picture & ceiling  # overlays may lie in the bits above
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        picture = (-1 if signed else ceiling) - picture.astype(np.int32)  # black is the largest value
    if dtype is np.int16:
        return (picture.astype(np.int32) * int(plane.slope) + int(plane.intercept)).astype(np.int16)
    values = picture.astype(np.float64) * plane.slope + plane.intercept
    if draw.warp is not None:
        values = affine_transform(
            values, draw.warp[:, :2], draw.warp[:, 2], output_shape=size, order=1, cval=values.min()
        )
    return (values * (gain / plane.gain) * draw.weight).astype(np.float32)


def _decoded(member: Member) -> np.ndarray:
    """The stored values (frames, rows, columns) of a file."""
    with member.stream() as file:
        data = pydicom.dcmread(file)
    try:
        pixels = data.pixel_array
    except Exception:
        if not data.file_meta.TransferSyntaxUID.is_compressed:
            raise
        pixels = _decoded_by_gdcm(data)
    return pixels.reshape(-1, *pixels.shape[-2:])


def _decoded_by_gdcm(data: pydicom.Dataset) -> np.ndarray:
    """What pydicom has no decoder for, such as lossless JPEG, SimpleITK has; it gets the pixels, no patient data."""
    import SimpleITK

    bare = pydicom.Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid()
    for keyword in _PIXEL_MODULE:
        if keyword in data:
            bare[keyword] = data[keyword]
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    bare.is_little_endian, bare.is_implicit_VR = True, False
    with private_folder() as folder:
        path = folder / "pixels.dcm"
        bare.save_as(path, write_like_original=False)
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        return SimpleITK.GetArrayFromImage(reader.Execute())


def sources(layout: Layout) -> tuple[tuple[str, ...], ...]:
    """Per frame and slice the SOP Instance UID of its image; empty where it is interpolated from several."""
    uids: dict[tuple[int, int], set[str]] = {}
    for draw in layout.draws:
        uids.setdefault((draw.frame, draw.slice), set()).add(draw.plane.uid)
    count, slices = layout.shape[:2]
    found = [[uids[frame, number] for number in range(slices)] for frame in range(count)]
    return tuple(tuple(next(iter(names)) if len(names) == 1 else "" for names in row) for row in found)


def planes_of(layout: Layout) -> list[Plane]:
    """The planes that make the layout, those of its first frame first."""
    return [draw.plane for draw in sorted(layout.draws, key=lambda draw: draw.frame)]
