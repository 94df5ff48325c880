"""What a network sees of a cine: the heart's field of view at the pixel size it was trained for, and the way back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cine import Cine

MARGIN_MM = 25.0
"""So much is seen round the annotation, on one side up to half a LATTICE_MM less: the heart outside the annotated
slices, and the structures beside it."""

SMALLEST_MM = 156.8
"""About the side of the training crops; a smaller view would show less context than the network knows."""

LATTICE_MM = 5.6
"""Steps in which the view grows and moves: both sides together about eight pixels of the small network."""

CONTEXT_MM = 224.0
"""The intensities are scaled on a window of this side, as for training."""


class View:
    """A rectangle of native pixels round the heart, resampled to `size` network pixels.

    rows, columns: first native pixel and one past the last; they may lie outside the picture, which is continued by its
    border. size: (height, width) for the network, multiples of `multiple`. The same rectangle is used in both
    directions, so a mask comes back exactly where it was found.
    """

    def __init__(self, cine: Cine, heart: np.ndarray, spacing_mm: float, shorter_side: int, multiple: int) -> None:
        """heart: (Y, X) bool, where the annotation has structures; spacing_mm: 0 for shorter_side pixels a picture."""
        x_mm, y_mm = cine.spacing[:2]
        height, width = cine.shape[2:]
        if not spacing_mm:
            self.rows, self.columns = (0, height), (0, width)
            spacing_mm = min(height * y_mm, width * x_mm) / shorter_side
        else:
            self.rows = window(np.flatnonzero(heart.any(axis=1)), height, y_mm)
            self.columns = window(np.flatnonzero(heart.any(axis=0)), width, x_mm)
        self.size = tuple(
            max(2, round((last - first) * mm / spacing_mm / multiple)) * multiple
            for (first, last), mm in ((self.rows, y_mm), (self.columns, x_mm))
        )
        self.low, self.high = intensity_range(cine, self.rows, self.columns)

    def picture(self, plane: np.ndarray) -> Tensor:
        """A native slice (Y, X) as (1, 1, height, width), its intensities scaled to 0..1."""
        cut = torch.from_numpy(self._cut(plane).astype(np.float32))[None, None]
        scaled = ((cut - self.low) / (self.high - self.low)).clamp(0, 1)
        return F.interpolate(scaled, size=self.size, mode="bilinear", align_corners=False, antialias=True)

    def masks(self, labels: np.ndarray, values: tuple[int, ...]) -> Tensor:
        """Native labels (Y, X) as (1, O, height, width), a channel per value, soft at the borders."""
        cut = torch.from_numpy(self._cut(labels, border=False))
        channels = torch.stack([cut == value for value in values])[None].float()
        return F.interpolate(channels, size=self.size, mode="bilinear", align_corners=False, antialias=True)

    def native(self, probabilities: Tensor) -> Tensor:
        """Network maps (B, C, height, width) on the native pixels of the rectangle."""
        size = (self.rows[1] - self.rows[0], self.columns[1] - self.columns[0])
        return F.interpolate(probabilities, size=size, mode="bilinear", align_corners=False, antialias=True)

    def paste(self, found: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Labels of the rectangle as a whole native slice of the given shape, background outside."""
        whole = np.zeros(shape, np.uint8)
        (top, bottom), (left, right) = self.rows, self.columns
        inside = found[max(-top, 0) : found.shape[0] - max(bottom - shape[0], 0)]
        inside = inside[:, max(-left, 0) : found.shape[1] - max(right - shape[1], 0)]
        whole[max(top, 0) : min(bottom, shape[0]), max(left, 0) : min(right, shape[1])] = inside
        return whole

    def _cut(self, plane: np.ndarray, border: bool = True) -> np.ndarray:
        """The rectangle of a slice; outside the picture its border is continued, or there are zeros."""
        (top, bottom), (left, right) = self.rows, self.columns
        inside = plane[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        pad = ((max(-top, 0), max(bottom - plane.shape[0], 0)), (max(-left, 0), max(right - plane.shape[1], 0)))
        return np.pad(inside, pad, mode="edge" if border else "constant") if np.any(pad) else inside


class WholeView(View):
    """The whole picture at a network's pixel size, continued on all sides to multiples of `multiple` pixels.

    smallest: what its sides have at least, such a multiple, too.
    """

    def __init__(self, cine: Cine, spacing_mm: float, multiple: int, smallest: int = 0) -> None:
        spans = []
        for size, mm in zip(cine.shape[2:], cine.spacing[[1, 0]], strict=True):
            wide = max(int(np.ceil(size * mm / spacing_mm / multiple)) * multiple, smallest)
            native = round(wide * spacing_mm / mm)
            first = (size - native) // 2
            spans.append((wide, (first, first + native)))
        (height, self.rows), (width, self.columns) = spans
        self.size = (height, width)
        self.low, self.high = intensity_range(cine, self.rows, self.columns)


def window(indices: np.ndarray, size: int, mm: float) -> tuple[int, int]:
    """First and one past the last pixel along one axis: the heart with its margin, at least the smallest view.

    Middle and width are rounded to LATTICE_MM, so that a correction that draws a little further out rarely moves it.
    """
    unit = LATTICE_MM / mm
    first, last = int(indices[0]), int(indices[-1]) + 1
    half = max((last - first) / 2 + MARGIN_MM / mm, SMALLEST_MM / 2 / mm)
    half = np.ceil(half / unit - 1e-6) * unit
    centre = round((first + last) / 2 / unit) * unit
    centre = size / 2 if 2 * half >= size else min(max(centre, half), size - half)
    return round(centre - half), round(centre + half)


def intensity_range(cine: Cine, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[float, float]:
    """The percentiles 1 and 99.5 of the heart's surroundings over the cine; every fourth frame is enough for them."""
    x_mm, y_mm = cine.spacing[:2]
    cuts = []
    for (first, last), mm, size in ((rows, y_mm, cine.shape[2]), (columns, x_mm, cine.shape[3])):
        grow = max(CONTEXT_MM / mm - (last - first), 0) / 2
        cuts.append(slice(max(round(first - grow), 0), min(round(last + grow), size)))
    step = max(1, len(cine.frames) // 6)
    low, high = np.percentile(cine.frames[::step, :, cuts[0], cuts[1]], (1, 99.5))
    return float(low), max(float(high), float(low) + 1e-6)
