"""Which prediction deserves a look first: the unsure ones, and those that no smoothly beating heart explains."""

from __future__ import annotations

import numpy as np

from .cine import Segmentation, Status

Place = tuple[int, int]

TIME_WEIGHT = 1.0
STACK_WEIGHT = 0.5
"""A slice may differ from its neighbours in the stack for good reason, at base and apex, so this counts less."""


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
    """How much each slice deserves a look: (T, Z), 0 for none.

    The sum of what the engine was unsure of, 1 - confidence, and of the share of its mask that the neighbours in time
    (round the closed cycle) and those in the stack do not explain: pixels that both neighbours hold and the slice does
    not, or that the slice holds and neither neighbour does, as a part of all pixels concerned. A mask between its two
    neighbours, as in smooth motion, has none of these.
    """
    labels = _cropped(segmentation.labels)
    found = segmentation.status != Status.EMPTY
    total = 1.0 - np.asarray(confidence, float)
    for structure in segmentation.structures:
        mask = labels == structure.value
        if not mask.any():
            continue
        if len(mask) > 2:
            total += TIME_WEIGHT * _unexplained(mask, found, axis=0, closed=True)
        if mask.shape[1] > 2:
            total += STACK_WEIGHT * _unexplained(mask, found, axis=1, closed=False)
    return total


def _cropped(labels: np.ndarray) -> np.ndarray:
    """Rows and columns in which nothing is ever drawn do not count."""
    used = labels.any(axis=(0, 1))
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    if not len(rows):
        return labels[:, :, :1, :1]
    return labels[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _unexplained(mask: np.ndarray, found: np.ndarray, axis: int, closed: bool) -> np.ndarray:
    """The share of each slice's mask that its two neighbours along an axis contradict: (T, Z), 0..1."""
    before, after = np.roll(mask, 1, axis), np.roll(mask, -1, axis)
    wrong = ((before & after & ~mask) | (mask & ~before & ~after)).sum(axis=(2, 3))
    concerned = (before | after | mask).sum(axis=(2, 3))
    known = np.roll(found, 1, axis) & np.roll(found, -1, axis)
    if not closed:
        known[:, [0, -1]] = False
    return np.where(known, wrong / np.maximum(concerned, 1), 0.0)
