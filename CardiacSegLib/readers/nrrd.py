"""NRRD files: single volumes, and the .seq.nrrd in which 3D Slicer keeps a sequence of them with its times."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

import numpy as np

from ..errors import CardiacSegError
from .image import Image, check_claim, left_over

# fmt: off
_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8", "int64": "i8",
    "int64_t": "i8", "ulonglong": "u8", "unsigned long long": "u8", "uint64": "u8", "uint64_t": "u8", "float": "f4",
    "double": "f8",
}
# fmt: on
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
MS_PER_UNIT = {"s": 1000.0, "sec": 1000.0, "ms": 1.0, "msec": 1.0, "us": 0.001}


def read(path: Path) -> Image:
    """Read a NRRD file of three space axes and, in any place, at most one list axis: the frames; or of two axes.

    Raises CardiacSegError if it is not one, is cut short, holds more than 8 GiB, keeps its voxels in another file or
    its segments in overlapping layers.
    """
    with path.open("rb") as file:
        fields = _fields(path, file)
        try:
            dtype, sizes = np.dtype(_TYPES[fields["type"].lower()]), [int(size) for size in fields["sizes"].split()]
            if min(sizes) < 1:
                raise ValueError(f"the sizes {fields['sizes']}")
            affine, frame_axis, remarks = _affine(fields, len(sizes))
        except (KeyError, ValueError, IndexError) as error:
            raise CardiacSegError(
                f"{path} has a header that cannot be used ({error}); save it from 3D Slicer as a volume or a sequence."
            ) from error
        if frame_axis is not None and any(key.startswith("Segment0_") for key in fields):
            raise CardiacSegError(f"{path} holds overlapping segments; export them from 3D Slicer as a label map.")
        data, extra = _voxels(path, file, fields, int(np.prod(sizes, dtype=object)) * dtype.itemsize)
    remarks = (*remarks, *extra)
    dtype = dtype.newbyteorder("<" if fields.get("endian", "little") == "little" else ">")
    voxels = np.frombuffer(data, dtype).reshape(sizes[::-1]).astype(dtype.newbyteorder("="), copy=False)
    if frame_axis is None:
        return Image(voxels.reshape((1,) * (4 - len(sizes)) + voxels.shape), affine, remarks=remarks)
    voxels = np.moveaxis(voxels, len(sizes) - 1 - frame_axis, 0)
    return Image(voxels, affine, *_times(fields, frame_axis, len(voxels)), remarks)


def _fields(path: Path, file: io.BufferedReader) -> dict[str, str]:
    """The header's `field: value` and `key:=value` lines; the file is left at the first byte of the voxels."""
    if not file.readline(16).startswith(b"NRRD000"):
        raise CardiacSegError(f"{path} is not a NRRD image, whatever its name says; export it again.")
    fields = {}
    while line := file.readline(1 << 20).strip():
        key, separator, value = re.split(rb"(:=|: ?)", line, maxsplit=1) if b":" in line else (b"", b"", b"")
        if separator and not line.startswith(b"#"):
            fields[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace").strip()
    return fields


def _voxels(path: Path, file: io.BufferedReader, fields: dict[str, str], size: int) -> tuple[bytes, tuple[str, ...]]:
    """The voxels, and what to say where more of them are left."""
    encoding = fields.get("encoding", "").lower()
    if "data file" in fields or "datafile" in fields:
        raise CardiacSegError(f"{path} keeps its voxels in another file; save it as one .nrrd file.")
    if encoding not in ("raw", "gzip", "gz"):
        raise CardiacSegError(f"{path} has the encoding '{encoding}'; save it with the encoding gzip or raw.")
    check_claim(path, size, packed=encoding != "raw")
    stream = file if encoding == "raw" else gzip.GzipFile(fileobj=file)
    data, extra = stream.read(size), stream.read(1)
    if len(data) < size:
        raise CardiacSegError(f"{path} is cut short ({len(data)} of {size} bytes of voxels); copy or export it again.")
    return data, left_over(extra)


def _affine(fields: dict[str, str], dimension: int) -> tuple[np.ndarray, int | None, tuple[str, ...]]:
    """Voxel to LPS mm, which axis is the frames (None for a single volume), and what is odd about it."""
    if "space" not in fields and dimension in (2, 3, 4):
        return _without_space(fields, dimension)
    space = fields["space"].lower()
    if space not in _TO_LPS:
        raise ValueError(f"the space '{space}'")
    directions = re.findall(r"none|\([^)]*\)", fields["space directions"])
    space_axes = [axis for axis, direction in enumerate(directions) if direction != "none"]
    if len(directions) != dimension or len(space_axes) != 3 or dimension > 4:
        raise ValueError(f"{dimension} dimensions, {len(space_axes)} of them in space")
    affine = np.eye(4)
    affine[:3, :3] = np.transpose([_vector(directions[axis]) for axis in space_axes])
    affine[:3, 3] = _vector(fields["space origin"])
    affine[:3] *= np.reshape(_TO_LPS[space], (3, 1))
    return affine, next((axis for axis in range(dimension) if axis not in space_axes), None), ()


def _without_space(fields: dict[str, str], dimension: int) -> tuple[np.ndarray, int | None, tuple[str, ...]]:
    """A plain array with, at most, the distances of its samples; a fourth axis is the frames."""
    kinds = fields.get("kinds", "").lower().split()
    frame_axis = next((axis for axis, kind in enumerate(kinds) if kind in ("list", "time")), dimension - 1)
    frame_axis = frame_axis if dimension == 4 else None
    given = [float(text) for text in fields.get("spacings", "").split()] or [1.0] * dimension
    if len(given) != dimension:
        raise ValueError(f"{len(given)} spacings for {dimension} dimensions")
    spacing = [number for axis, number in enumerate(given) if axis != frame_axis]
    known = all(np.isfinite(number) and number > 0 for number in spacing)
    affine = np.diag([*(spacing if known else [1.0] * len(spacing)), *[1.0] * (4 - len(spacing))])
    said = "only its voxel sizes are known" if known and "spacings" in fields else "its voxel sizes are taken as 1 mm"
    return affine, frame_axis, (f"The header does not say where the image lies in the patient; {said}.",)


def _vector(text: str) -> list[float]:
    return [float(number) for number in text.strip("()").split(",")]


def _times(fields: dict[str, str], axis: int, count: int) -> tuple[np.ndarray | None, str]:
    """Frame times in ms as Slicer notes them, beside the axis or as a multi-volume's labels, or None and the reason."""
    units = re.findall(r'"([^"]*)"', fields.get("units", ""))
    unit = units[axis].strip().lower() if axis < len(units) else ""
    noted = fields.get(f"axis {axis} index values", "")
    if not noted and "MultiVolume.FrameLabels" in fields:
        noted = fields["MultiVolume.FrameLabels"].replace(",", " ")
        unit = fields.get("MultiVolume.FrameIdentifyingDICOMTagUnits", "").strip().lower()
    try:
        values = np.array([float(value) for value in noted.split()])
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        return None, "the file holds no number for each frame"
    if unit not in MS_PER_UNIT:
        return None, f"the index of the sequence has the unit '{unit}', which is no unit of time"
    return values * MS_PER_UNIT[unit], ""
