"""The strip of frames and slices: which rectangle has which color, and which slice lies under a point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

COLORS = ("#3a3f46", "#5b9bd5", "#f2c14e", "#ee8434", "#5fad56")
"""In the order of cine.Status."""

Box = tuple[int, int, int, int]


def cell(shape: tuple[int, int], size: tuple[int, int], frame: int, z: int) -> Box:
    """Left, top, width and height in pixels of a slice; shape: frames and slices; size: width and height of the strip.

    Frames go from left to right, slices from top to bottom, with a line of one pixel between them.
    """
    (frames, slices), (width, height) = shape, size
    left, right = frame * width // frames, (frame + 1) * width // frames
    top, bottom = z * height // slices, (z + 1) * height // slices
    return left, top, max(right - left - 1, 1), max(bottom - top - 1, 1)


def cells(status: np.ndarray, size: tuple[int, int]) -> list[tuple[Box, str]]:
    """Rectangle and color of every slice; status: (T, Z) of cine.Status."""
    return [(cell(status.shape, size, *place), COLORS[value]) for place, value in np.ndenumerate(status)]


def place_at(shape: tuple[int, int], size: tuple[int, int], x: int, y: int) -> tuple[int, int]:
    """Frame and slice under a point of the strip; the nearest one for a point outside."""
    found = (
        ((point + 1) * count - 1) // max(length, 1) for point, count, length in zip((x, y), shape, size, strict=True)
    )
    frame, z = (min(max(index, 0), count - 1) for index, count in zip(found, shape, strict=True))
    return frame, z


def legend(_: Callable[[str], str] = str) -> str:
    """What the colors mean, as rich text."""
    names = (_("empty"), _("found"), _("annotated"), _("corrected"), _("reviewed"))
    pairs = zip(COLORS, names, strict=True)
    return "&nbsp; ".join(f'<span style="color:{color}">&#9632;</span>&nbsp;{name} ' for color, name in pairs)
