"""What cannot be is mended in what a network found: pieces too small for the heart, holes in the blood."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..anatomy import LV, RV

CORNERS = np.ones((3, 3, 3), bool)
"""Pixels that touch at a corner belong together: a thin wall that runs diagonally is one piece."""

HEART_GAP = 6
"""Pixels that may lie between parts of one heart: a network may leave a gap between the ventricles."""

SPECK = 0.1
"""A piece of a structure smaller than this share of its largest piece in the same slice is a speck."""


def largest_piece(mask: np.ndarray, gap: int = 0) -> np.ndarray:
    """Of a stack (Z, H, W) bool, the connected piece that has the most voxels.

    Parts belong together if no more than `gap` pixels lie between them in a slice.
    """
    # A part that is grown by the half of the gap meets its neighbour in the middle.
    joined = ndimage.binary_dilation(mask, CORNERS[:1], iterations=(gap + 1) // 2) if gap else mask
    pieces, count = ndimage.label(joined, CORNERS)
    if count < 2:
        return mask
    return mask & (pieces == 1 + np.argmax(np.bincount(pieces[mask])[1:]))


def cleaned(labels: np.ndarray) -> np.ndarray:
    """Labels (Z, Y, X) of one frame without stray spots: of the heart as of each structure the largest piece stays.

    Background that a cavity surrounds in a slice belongs to the cavity: papillary muscles count as blood.
    """
    kept = np.zeros_like(labels)
    heart = largest_piece(labels > 0, HEART_GAP)
    for value in np.unique(labels[heart]):
        piece = largest_piece((labels == value) & heart)
        kept[piece] = value
        if value in (LV.value, RV.value):
            for plane, mask in zip(kept, piece, strict=True):
                plane[ndimage.binary_fill_holes(mask) & (plane == 0)] = value
    return kept


def without_specks(labels: np.ndarray) -> np.ndarray:
    """Labels (Y, X) of one slice without the pieces of a structure that are specks beside its largest piece."""
    kept = labels.copy()
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        pieces, count = ndimage.label(labels[box] == value, CORNERS[0])
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = sizes[1:].max()
            kept[box][(sizes < SPECK * sizes[0])[pieces]] = 0
    return kept
