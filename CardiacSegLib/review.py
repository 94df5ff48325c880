"""Which prediction deserves a look first: where most pixels are likely to be wrong.

How well the order does is measured by Testing/benchmarks/review.py.
"""

from __future__ import annotations

import numpy as np

from .cine import Segmentation, Status

Place = tuple[int, int]

_TIME_WEIGHT = 0.1
_STACK_WEIGHT = 0.05
"""Neighbours in the stack may differ for good reason, at base and apex, so they count less than those in time."""


def review_order(segmentation: Segmentation, confidence: np.ndarray) -> list[Place]:
    """The predicted slices (frame, slice), the one that deserves a look first in front.

    confidence: (T, Z), 0..1, as the engine gave it. Slices that a person has fixed or that are not found yet are no
    part of it.
    """
    doubts = doubt(segmentation, confidence)
    places = np.argwhere(segmentation.status == Status.PREDICTED)
    order = np.argsort([-doubts[tuple(place)] for place in places], kind="stable")
    return [(int(t), int(z)) for t, z in places[order]]


def doubt(segmentation: Segmentation, confidence: np.ndarray) -> np.ndarray:
    """How much each slice deserves a look: (T, Z), 0 for none. The sum of

    - what the engine was unsure of: (1 - confidence) times the slice's share of all border pixels of its frame;
    - for each structure, the pixels that the neighbours in time (round the closed cycle) and those in the stack do not
      explain, which both neighbours hold and the slice does not, or the slice holds and neither neighbour does, as a
      share of the structure's pixels in the frame. A mask between its neighbours, as in smooth motion, has none.

    Shares of the frame, and not of the slice, since a large slice that is a little wrong changes the volume more.
    """
    labels = _cropped(segmentation.labels)
    found = segmentation.status != Status.EMPTY
    border = np.maximum(_border_pixels(labels), 1)
    total = (1.0 - np.asarray(confidence, float)) * border / border.sum(axis=1, keepdims=True)
    for structure in segmentation.structures:
        mask = labels == structure.value
        if not mask.any():
            continue
        if len(mask) > 2:
            total += _TIME_WEIGHT * _unexplained(mask, found, axis=0, closed=True)
        if mask.shape[1] > 2:
            total += _STACK_WEIGHT * _unexplained(mask, found, axis=1, closed=False)
    return total


def _cropped(labels: np.ndarray) -> np.ndarray:
    """Rows and columns in which nothing is ever drawn do not count, but for one round the masks."""
    used = labels.any(axis=(0, 1))
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    if not len(rows):
        return labels[:, :, :1, :1]
    return labels[:, :, max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2]


def _border_pixels(labels: np.ndarray) -> np.ndarray:
    """(T, Z): how many pixels lie beside one of another label."""
    border = np.zeros(labels.shape, bool)
    for axis in (2, 3):
        differs = np.diff(labels.astype(np.int16), axis=axis) != 0
        before, after = ([slice(None)] * 4 for _ in range(2))
        before[axis], after[axis] = slice(0, -1), slice(1, None)
        border[tuple(before)] |= differs
        border[tuple(after)] |= differs
    return border.sum(axis=(2, 3))


def _unexplained(mask: np.ndarray, found: np.ndarray, axis: int, closed: bool) -> np.ndarray:
    """The pixels of each slice that its two neighbours along an axis contradict, as a share of the frame's: (T, Z)."""
    before, after = np.roll(mask, 1, axis), np.roll(mask, -1, axis)
    wrong = ((before & after & ~mask) | (mask & ~before & ~after)).sum(axis=(2, 3))
    known = np.roll(found, 1, axis) & np.roll(found, -1, axis)
    if not closed:
        known[:, [0, -1]] = False
    return np.where(known, wrong / np.maximum(mask.sum(axis=(1, 2, 3)), 1)[:, None], 0.0)
