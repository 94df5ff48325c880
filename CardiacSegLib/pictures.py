"""What the panel's pictures are made of, without any toolkit: lines of the volume curve, fields of the bullseye."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .anatomy import LV, MYO, Structure
from .writers.bullseye import RINGS, color_of, ink_on, sector

Point = tuple[float, float]
Color = tuple[float, float, float]

_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 34, 16, 18
"""Pixels round the curve, for its numbers."""
_SIDES = 16
"""Pixels round the bullseye, for the names of its sides."""
_STEP = 5.0  # degrees between the corners of a field's round sides


@dataclass(frozen=True)
class Curves:
    """A volume curve in pixels: by structure its color and points in pieces without gaps; marks are place and text.

    x_unit: of the numbers below, empty where they are frames.
    """

    box: tuple[int, int, int, int]
    lines: dict[str, tuple[Color, list[list[Point]]]]
    x_marks: list[tuple[float, str]]
    y_marks: list[tuple[float, str]]
    phases: list[tuple[float, str]]
    x_unit: str = ""


@dataclass(frozen=True)
class Field:
    """A segment of the bullseye in pixels: its outline, where its text stands, both colors; value None: no data."""

    number: int
    outline: list[Point]
    middle: Point
    text: str
    color: Color
    ink: Color
    value: float | None


def draw_curves(
    curves: Mapping[str, np.ndarray],
    structures: Sequence[Structure],
    times: np.ndarray | None,
    phases: Mapping[str, int | None],
    size: tuple[int, int],
) -> Curves:
    """The volumes of the cavities over the heart cycle; the myocardium is drawn only if it is all there is.

    curves: name -> (T,) ml, NaN where nothing is known; drawn in the color of the structure of that name, or in the
    LV's. times: (T,) ms, or None for frame numbers. phases: ED and ES, frames or None. size: width and height of the
    picture in pixels.
    """
    known = {name: curve for name, curve in curves.items() if np.nanmax(curve, initial=0) > 0}
    drawn = {name: curve for name, curve in known.items() if name != MYO.name} or known
    colors = {one.name: one.color for one in structures}
    width, height = max(size[0] - _LEFT - _RIGHT, 1), max(size[1] - _TOP - _BOTTOM, 1)
    box = (_LEFT, _TOP, width, height)
    if not drawn:
        return Curves(box, {}, [], [], [])
    x = np.arange(len(next(iter(drawn.values()))), dtype=float) if times is None else times
    most = max(float(np.nanmax(curve)) for curve in drawn.values()) * 1.08
    to_x = width / max(float(x[-1] - x[0]), 1e-9)

    def place(frame: int, ml: float) -> Point:
        return _LEFT + (float(x[frame]) - float(x[0])) * to_x, _TOP + height * (1 - ml / most)

    lines = {}
    for name, curve in drawn.items():
        pieces = np.split(np.arange(len(curve)), np.flatnonzero(np.diff(np.isfinite(curve))) + 1)
        pieces = [piece for piece in pieces if np.isfinite(curve[piece]).all()]
        lines[name] = colors.get(name, LV.color), [[place(f, float(curve[f])) for f in piece] for piece in pieces]
    x_marks = [
        (_LEFT + (v - float(x[0])) * to_x, f"{v:g}") for v in _round_numbers(float(x[0]), float(x[-1]), width // 60)
    ]
    y_marks = [(place(0, v)[1], f"{v:g}") for v in _round_numbers(0, most, height // 24)]
    found = [(place(frame, 0)[0], name) for name, frame in phases.items() if frame is not None]
    return Curves(box, lines, x_marks, y_marks, found, "" if times is None else "ms")


def draw_bullseye(
    rows: Sequence[tuple[int, float | None]], scale: tuple[float, float], style: str, size: tuple[int, int]
) -> list[Field]:
    """The fields of one bullseye. rows: numbers of segments and their values; scale, style: as in bullseye.PANELS."""
    radius = bullseye_radius(size)
    return [_field(number, value, scale, style, size, radius) for number, value in rows]


def bullseye_radius(size: tuple[int, int]) -> float:
    """Of the bullseye in a picture of this width and height, in pixels."""
    return max(min(size) / 2 - _SIDES, 1.0)


def _field(
    number: int, value: float | None, scale: tuple[float, float], style: str, size: tuple[int, int], radius: float
) -> Field:
    inner, outer, first, last = sector(number)

    def at(distance: float, degrees: float) -> Point:
        angle = math.radians(degrees)
        return size[0] / 2 + radius * distance * math.cos(angle), size[1] / 2 - radius * distance * math.sin(angle)

    steps = np.linspace(first, last, round((last - first) / _STEP) + 1)
    outline = [at(outer, degrees) for degrees in steps] + [at(inner, degrees) for degrees in steps[::-1]]
    middle = at(0 if inner == 0 else (inner + outer) / 2, (first + last) / 2)
    color = color_of(value, scale)
    text = "" if value is None else style.format(value)
    return Field(number, outline, middle, text, color, ink_on(color), value)


def segment_color(number: int) -> Color:
    """A color for a segment of the overlay: neighbours differ in hue, rings in lightness."""
    _, _, first, last = sector(number)
    ring = sorted(RINGS).index(next(end for end in sorted(RINGS) if number <= end))
    return colorsys.hls_to_rgb(((first + last) / 2 % 360) / 360, (0.45, 0.6, 0.72, 0.85)[ring], 0.75)


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high, at most so many of them or a few more."""
    rough = max((high - low) / max(most, 1), 1e-9)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(index * step, 9) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
