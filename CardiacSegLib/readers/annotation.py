"""Masks from files: a person's annotation on the grid of a cine, or a whole segmentation."""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..anatomy import STRUCTURES, Structure, to_native
from ..cine import Cine, Segmentation, Status
from ..errors import CardiacSegError
from .image import read_image

_TOLERANCE = 0.1  # of a voxel, at the corners of the grid: headers round


def read_labels(path: str | Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read a 3D or 4D mask (NIfTI or NRRD) with the label values of the file.

    Returns the labels (T, Z, Y, X) as uint8 or, where they do not fit, int64 (T is 1 for a 3D mask), the affine voxel
    (x, y, z) to LPS mm, and the reader's remarks. Raises CardiacSegError if it cannot be read, holds NaN or fractions.
    """
    image = read_image(path)
    labels = image.voxels
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise CardiacSegError(
                f"{path} holds NaN or infinite values, but a mask holds whole numbers; export it again."
            )
        fractions = labels[labels % 1 != 0]
        if fractions.size:
            raise CardiacSegError(
                f"{path} holds the value {fractions[0]:g}, but a mask holds whole numbers; "
                "resample it with nearest neighbour, or check that it is the mask and not the image."
            )
    small = labels.min() >= 0 and labels.max() <= 255
    return labels.astype(np.uint8 if small else np.int64), image.affine, image.remarks


def read_annotation(
    path: str | Path,
    cine: Cine,
    frame: int = 0,
    label_map: str | Mapping[int, int] = "native",
    annotated_slices: Sequence[tuple[int, int]] = (),
) -> Segmentation:
    """Read the slices of a cine that a person annotated.

    path: a 3D mask of `frame`, or a 4D mask with the cine's frames. A slice counts as annotated where its mask is not
    empty or where annotated_slices names it as (frame, slice); the rest has the status EMPTY. Frames and slices count
    from 0. A mask whose axes are flipped or swapped, on the same points in space, is turned to the cine's grid.
    Raises CardiacSegError if it is on another grid, holds no label or one the label_map does not know, or if the frame
    or a named slice does not exist.
    """
    labels, affine, _ = read_labels(path)
    frames, slices = cine.shape[:2]
    _check_range("frame", frame, frames, cine)
    if len(labels) not in (1, frames):
        raise CardiacSegError(
            f"{path} has {len(labels)} frames where {cine.name} has {frames}; "
            "give a mask of one frame, or one of all frames with the annotated slices filled."
        )
    labels = to_native(_on_grid(labels, affine, cine, path), label_map, str(path))
    if not labels.any():
        raise CardiacSegError(f"{path} holds no annotated voxel; give a mask in which at least one slice is drawn.")
    if len(labels) == 1:
        whole = np.zeros(cine.shape, np.uint8)
        whole[frame] = labels[0]
        labels = whole
    annotated = labels.any(axis=(2, 3))
    for named_frame, named_slice in annotated_slices:
        _check_range("frame", named_frame, frames, cine)
        _check_range("slice", named_slice, slices, cine)
        annotated[named_frame, named_slice] = True
    status = np.where(annotated, Status.ANNOTATED, Status.EMPTY).astype(np.uint8)
    return Segmentation(labels, status, cine.affine.copy(), _structures(labels))


def read_segmentation(
    path: str | Path, label_map: str | Mapping[int, int] = "native", cine: Cine | None = None
) -> Segmentation:
    """Read a mask as a result: every slice of a frame that is segmented has the status PREDICTED.

    A frame is taken as segmented where its slices with a label are one unbroken stack of at least half as many as in
    the fullest frame; in others only the slices with a label are PREDICTED, the rest is EMPTY. cine: turn the mask to
    its grid. Raises CardiacSegError as read_annotation, or read_labels and to_native, do.
    """
    if cine is not None:
        labels, affine = read_annotation(path, cine, label_map=label_map).labels, cine.affine.copy()
    else:
        labels, affine, _ = read_labels(path)
        labels = to_native(labels, label_map, str(path))
    drawn = labels.any(axis=(2, 3))
    count = drawn.sum(axis=1)
    unbroken = (np.diff(drawn.astype(np.int8), axis=1, prepend=0, append=0) != 0).sum(axis=1) == 2
    whole = unbroken & (2 * count >= count.max())
    status = np.where(drawn | whole[:, None], Status.PREDICTED, Status.EMPTY).astype(np.uint8)
    return Segmentation(labels, status, affine, _structures(labels))


def _structures(labels: np.ndarray) -> tuple[Structure, ...]:
    """The product's own structures and, for each other value, one with a hue of its own (golden-ratio steps)."""
    own = {structure.value for structure in STRUCTURES}
    others = [int(value) for value in np.flatnonzero(np.bincount(labels.ravel())) if value and value not in own]
    return STRUCTURES + tuple(
        Structure(value, f"segment {value}", colorsys.hsv_to_rgb(0.12 + 0.618 * value % 1, 0.7, 0.85))
        for value in others
    )


def _check_range(what: str, number: int, count: int, cine: Cine) -> None:
    if not 0 <= number < count:
        raise CardiacSegError(f"{cine.name} has no {what} {number}; choose 0 to {count - 1} (counted from 0).")


def _on_grid(labels: np.ndarray, affine: np.ndarray, cine: Cine, path: str | Path) -> np.ndarray:
    """The labels (T, Z, Y, X) with axes swapped and flipped so that each voxel has its index in the cine."""
    size, wanted = np.array(labels.shape[:0:-1]), np.array(cine.shape[:0:-1])
    to_cine = np.linalg.inv(cine.affine) @ affine
    turn, shift = np.rint(to_cine[:3, :3]), np.rint(to_cine[:3, 3])
    corners = np.array(list(itertools.product(*((0, n - 1) for n in size))))
    exact = corners @ turn.T + shift
    off = np.abs(corners @ to_cine[:3, :3].T + to_cine[:3, 3] - exact).max()
    permutes = (np.abs(turn).sum(0) == 1).all() and (np.abs(turn).sum(1) == 1).all()
    if not permutes or off > _TOLERANCE or (exact.min(0) != 0).any() or (exact.max(0) != wanted - 1).any():
        raise CardiacSegError(
            f"{path} is not on the grid of {cine.name}: {_difference(size, affine, wanted, cine)}; "
            "give a mask drawn on this cine, or resample it to the cine with nearest neighbour."
        )
    sources = np.abs(turn).argmax(axis=1)
    turned = labels.transpose(0, 3, 2, 1).transpose(0, *(1 + sources))
    flips = [1 + axis for axis in range(3) if turn[axis, sources[axis]] < 0]
    return np.ascontiguousarray(np.flip(turned, flips).transpose(0, 3, 2, 1))


def _difference(size: np.ndarray, affine: np.ndarray, wanted: np.ndarray, cine: Cine) -> str:
    """What a user would say is different between a mask's grid and the cine's."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if sorted(size) != sorted(wanted):
        return f"it has {_by(size)} voxels (x, y, z) and the cine {_by(wanted)}"
    if not np.allclose(sorted(spacing), sorted(cine.spacing), rtol=0.01):
        return f"its voxels measure {_by(spacing)} mm and those of the cine {_by(cine.spacing)} mm"
    centre, wanted_centre = ((a @ np.append((n - 1) / 2, 1))[:3] for a, n in ((affine, size), (cine.affine, wanted)))
    distance = np.linalg.norm(centre - wanted_centre)
    if distance > _TOLERANCE * spacing.min():
        return f"its centre lies {distance:.1f} mm from that of the cine"
    return "it is turned against the cine in space"


def _by(numbers: np.ndarray) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)
