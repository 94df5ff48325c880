"""NIfTI-1 files: the header as laid down in nifti1.h, read here because ITK refuses grids that are not orthonormal."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import CardiacSegError
from .image import Image, check_claim, left_over

# fmt: off
HEADER = np.dtype([
    ("sizeof_hdr", "<i4"), ("unused", "V35"), ("dim_info", "u1"), ("dim", "<i2", 8), ("intent_p", "<f4", 3),
    ("intent_code", "<i2"), ("datatype", "<i2"), ("bitpix", "<i2"), ("slice_start", "<i2"), ("pixdim", "<f4", 8),
    ("vox_offset", "<f4"), ("scl_slope", "<f4"), ("scl_inter", "<f4"), ("slice_end", "<i2"), ("slice_code", "u1"),
    ("xyzt_units", "u1"), ("cal", "<f4", 2), ("slice_duration", "<f4"), ("toffset", "<f4"), ("gl", "<i4", 2),
    ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "<i2"), ("sform_code", "<i2"), ("quatern", "<f4", 3),
    ("qoffset", "<f4", 3), ("srow", "<f4", (3, 4)), ("intent_name", "S16"), ("magic", "S4"),
])
# fmt: on
DATA_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
MM, SECONDS = 2, 8
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_MS_PER_UNIT = {SECONDS: 1000.0, 16: 1.0, 24: 0.001}


def read(path: Path) -> Image:
    """Read a 2D, 3D or 4D NIfTI-1 file; intensities are scaled by scl_slope and scl_inter where the header has them.

    Raises CardiacSegError if it is not one, is cut short, is no gray-scale image or holds more than 8 GiB.
    """
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        header = _header(path, file.read(HEADER.itemsize))
        shape = _shape(path, header)
        code = int(header["datatype"])
        if code not in DATA_TYPES:
            raise CardiacSegError(f"{path} is not a gray-scale image (NIfTI data type {code}); convert it to one.")
        dtype = np.dtype(DATA_TYPES[code]).newbyteorder(header.dtype["dim"].base.byteorder)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        check_claim(path, size)
        offset = float(header["vox_offset"])
        file.seek(max(int(offset) if 0 < offset < 2**31 else 0, HEADER.itemsize + 4))
        data, extra = file.read(size), file.read(1)
    if len(data) < size:
        raise CardiacSegError(f"{path} is cut short ({len(data)} of {size} bytes of voxels); copy or export it again.")
    voxels = _scaled(np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False), header)
    affine, remarks = _affine(header)
    times, no_times = _times(header, shape[0])
    return Image(voxels, affine, times, no_times, (*remarks, *left_over(extra)))


def _header(path: Path, data: bytes) -> np.void:
    for order in "<>":
        dtype = HEADER.newbyteorder(order)
        header = np.frombuffer(data, dtype)[0] if len(data) == HEADER.itemsize else None
        if header is not None and header["sizeof_hdr"] == HEADER.itemsize and header["magic"] == b"n+1":
            return header
    raise CardiacSegError(f"{path} is not a NIfTI-1 image, whatever its name says; export it again as .nii.gz.")


def _shape(path: Path, header: np.void) -> tuple[int, int, int, int]:
    """(T, Z, Y, X) of a header, whose own order is x, y, z, t."""
    count = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : count + 1]]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) not in (2, 3, 4) or min(sizes) < 1:
        found = " x ".join(map(str, sizes)) or "nothing"
        raise CardiacSegError(f"{path} has {len(sizes)} dimensions ({found}); give a 3D image or a 4D cine.")
    x, y, z, t = [*sizes, 1, 1][:4]
    return t, z, y, x


def _scaled(voxels: np.ndarray, header: np.void) -> np.ndarray:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite([slope, inter]).all() or slope == 0 or (slope, inter) == (1, 0):
        return voxels
    return voxels * slope + inter


def _affine(header: np.void) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxel to LPS mm by the sform, else the qform, else the voxel sizes alone; and what is odd about it."""
    remarks = []
    spacing = np.abs(np.nan_to_num(header["pixdim"][1:4].astype(float), posinf=0.0, neginf=0.0))
    sform, qform = _sform(header), _qform(header, np.where(spacing > 0, spacing, 1.0))
    affine = sform if sform is not None else qform
    if sform is not None:
        lengths = np.linalg.norm(sform[:3, :3], axis=0)
        if np.allclose(lengths, 1, atol=1e-3) and spacing.all() and not np.allclose(spacing, 1, atol=1e-3):
            affine[:3, :3] *= spacing  # ACDC's training volumes are like this
            sizes = " x ".join(f"{size:g}" for size in spacing)
            remarks.append(f"The header's sform has no voxel sizes; those of its pixdim are used ({sizes} mm).")
        elif qform is not None and not np.allclose(_directions(sform), _directions(qform), atol=0.02):
            remarks.append("The header's sform and qform turn the image differently; the sform is used.")
    else:
        if not spacing.all():
            remarks.append("A voxel size in the header is 0; 1 mm is taken for it, so volumes cannot be trusted.")
        if affine is None:
            affine = np.diag([*np.where(spacing > 0, spacing, 1.0), 1.0])
            remarks.append(
                "The header does not say where the image lies in the patient; only its voxel sizes are known."
            )
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return RAS_TO_LPS @ affine, tuple(remarks)


def _sform(header: np.void) -> np.ndarray | None:
    """Voxel to RAS in the header's unit, or None where it is not given or no grid."""
    rows = header["srow"].astype(float)
    if header["sform_code"] <= 0 or not np.isfinite(rows).all() or abs(np.linalg.det(rows[:, :3])) <= 1e-9:
        return None
    return np.vstack([rows, [0, 0, 0, 1]])


def _qform(header: np.void, spacing: np.ndarray) -> np.ndarray | None:
    """Voxel to RAS in the header's unit, or None where it is not given or no rotation."""
    b, c, d = header["quatern"].astype(float)
    if (
        header["qform_code"] <= 0
        or not np.isfinite([b, c, d, *header["qoffset"]]).all()
        or b * b + c * c + d * d > 1.01
    ):
        return None
    rotation = Rotation.from_quat([b, c, d, np.sqrt(max(0.0, 1 - b * b - c * c - d * d))]).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing * [1, 1, -1 if header["pixdim"][0] < 0 else 1]
    affine[:3, 3] = header["qoffset"]
    return affine


def _directions(affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)


def _times(header: np.void, count: int) -> tuple[np.ndarray | None, str]:
    """Frame times in ms, or None and the reason; whether a heart can beat like that is judged elsewhere."""
    step, unit = float(header["pixdim"][4]), int(header["xyzt_units"]) & 56
    if unit not in _MS_PER_UNIT:
        return None, f"the header gives a step of {step:g} without a unit of time"
    if not np.isfinite(step) or step <= 0:
        return None, f"the header gives a step of {step:g}"
    return np.arange(count) * (step * _MS_PER_UNIT[unit]), ""
