"""Cines and segmentations to NIfTI (.nii.gz, .nii) and to the .seq.nrrd of 3D Slicer."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..atomic import atomic_path
from ..cine import Cine, Segmentation
from ..errors import CardiacSegError
from ..readers.nifti import DATA_TYPES, HEADER, MM, RAS_TO_LPS, SECONDS

_GZIP_LEVEL = 4
_NRRD_TYPES = {"u1": "uint8", "i2": "int16", "f4": "float"}


def write_cine(cine: Cine, path: str | Path) -> None:
    """Write a cine on its own grid as .nii.gz, .nii or .seq.nrrd.

    NIfTI keeps one time step, the mean; .seq.nrrd keeps each frame's time. Raises CardiacSegError, and leaves nothing
    behind, if the name has another ending or the disk refuses.
    """
    _write(cine.frames, cine.affine, cine.times if cine.times_known else None, path, "vtkMRMLScalarVolumeNode")


def write_segmentation(segmentation: Segmentation, path: str | Path, cine: Cine | None = None) -> None:
    """Write the labels on their own grid as .nii.gz, .nii, or a .seq.nrrd that Slicer opens as label maps.

    cine: where the frame times come from. Raises CardiacSegError, and leaves nothing behind, if the name has another
    ending or the disk refuses.
    """
    times = cine.times if cine is not None and cine.times_known else None
    _write(segmentation.labels, segmentation.affine, times, path, "vtkMRMLLabelMapVolumeNode")


def _write(voxels: np.ndarray, affine: np.ndarray, times: np.ndarray | None, path: str | Path, node: str) -> None:
    path, name = Path(path), Path(path).name.lower()
    if not name.endswith((".nii.gz", ".nii", ".seq.nrrd")):
        raise CardiacSegError(f"{path} cannot be written; choose a name that ends in .nii.gz, .nii or .seq.nrrd.")
    header = (
        _nrrd_header(voxels, affine, times, node) if name.endswith("nrrd") else _nifti_header(voxels, affine, times)
    )
    data = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if name.endswith(".nii"):
            file.write(header)
            file.write(data)
            return
        if name.endswith("nrrd"):
            file.write(header)
            header = b""
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
            packed.write(header)
            packed.write(data)


def _nifti_header(voxels: np.ndarray, affine: np.ndarray, times: np.ndarray | None) -> bytes:
    """The 352 bytes before the voxels; sform and, where the axes are at right angles, qform say the same."""
    header = np.zeros((), HEADER)
    code = next(code for code, name in DATA_TYPES.items() if name == voxels.dtype.str[1:])
    ras = RAS_TO_LPS @ affine
    spacing = np.linalg.norm(ras[:3, :3], axis=0)
    header["sizeof_hdr"], header["magic"], header["vox_offset"] = HEADER.itemsize, b"n+1", HEADER.itemsize + 4
    header["dim"] = [4, *voxels.shape[::-1], 1, 1, 1]
    header["datatype"], header["bitpix"] = code, voxels.dtype.itemsize * 8
    header["scl_slope"], header["xyzt_units"] = 1, MM
    header["pixdim"] = [1, *spacing, 1, 1, 1, 1]
    if times is not None and len(times) > 1:
        header["pixdim"][4], header["xyzt_units"] = (times[-1] - times[0]) / (len(times) - 1) / 1000, MM | SECONDS
    header["sform_code"], header["srow"] = 1, ras[:3]
    axes = ras[:3, :3] / spacing
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        if np.linalg.det(axes) < 0:
            header["pixdim"][0], axes = -1, axes * [1, 1, -1]
        quaternion = Rotation.from_matrix(axes).as_quat()
        header["quatern"] = quaternion[:3] * (-1 if quaternion[3] < 0 else 1)  # NIfTI takes the real part as >= 0
        header["qform_code"], header["qoffset"] = 1, ras[:3, 3]
    return header.tobytes() + bytes(4)


def _nrrd_header(voxels: np.ndarray, affine: np.ndarray, times: np.ndarray | None, node: str) -> bytes:
    """The header that vtkMRMLVolumeSequenceStorageNode writes; without known times the index is the frame number."""
    label, unit = ("frame", "") if times is None else ("time", "ms")
    values = range(len(voxels)) if times is None else times.tolist()
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[voxels.dtype.str[1:]]}",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, voxels.shape[::-1]))}",
        f"space directions: {' '.join(_vector(affine[:3, axis]) for axis in range(3))} none",
        "kinds: domain domain domain list",
        f'labels: "" "" "" "{label}"',
        f'units: "" "" "" "{unit}"',
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(affine[:3, 3])}",
        f"DataNodeClassName:={node}",
        "axis 3 index type:=numeric",
        f"axis 3 index values:={' '.join(map(str, values))}",
    ]
    return ("\n".join(lines) + "\n\n").encode()


def _vector(numbers: np.ndarray) -> str:
    return "(" + ",".join(map(str, numbers.tolist())) + ")"
