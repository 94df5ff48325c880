"""The bullseye: thickness at ED and ES and thickening of the AHA's segments, as one picture for print and screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

PANELS = (
    ("ed_mm", "Thickness at ED (mm)", (4, 16), "{:.1f}"),
    ("es_mm", "Thickness at ES (mm)", (4, 16), "{:.1f}"),
    ("thickening_percent", "Thickening (%)", (0, 100), "{:.0f}"),
)
"""Key, title, ends of the color scale (the same in every study, so that pictures can be compared), number format."""
RINGS = {6: (0.74, 1.0), 12: (0.48, 0.74), 16: (0.22, 0.48), 17: (0.0, 0.22)}  # last segment: inner, outer radius
_BELOW, _NOTHING, _LINE = "#f4a582", "#ffffff", "#3c3c3c"
_SCALE = ("#ffffd9", "#edf8b1", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#253494", "#081d58")
"""ColorBrewer's YlGnBu: light to dark, so that it survives a black-and-white printer."""
_SIDES = ((90, "anterior"), (180, "septal"), (270, "inferior"), (0, "lateral"))


def write_bullseye(path: str | Path, rows: Sequence[Mapping[str, object]], model: int = 16) -> None:
    """Draw the segments as a PNG, a bullseye each for thickness at ED, at ES, and thickening.

    rows: those under segments in measures.json: number, ed_mm, es_mm, thickening_percent, None where there is nothing;
    such segments are hatched and a line says so. model: 16 leaves the apical cap out, 17 shows it. The heart is seen
    from the apex, the septum on the left. Values beyond the scale get the color of its end; thinning is orange.
    Raises CardiacSegError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.3), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    shown = [row for row in rows if row["number"] <= model]
    gaps = False
    for axes, (key, title, scale, style) in zip(figure.subplots(1, 3), PANELS, strict=True):
        _draw(axes, {row["number"]: row[key] for row in shown}, scale, style)
        axes.set_title(title, fontsize=12, pad=8)
        gaps |= any(row[key] is None for row in shown)
        _draw_scale(figure, axes, scale)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.1, wspace=0.02)
    if gaps:
        figure.text(0.5, 0.025, "Hatched: no data.", ha="center", fontsize=9.5, color=_LINE)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def color_of(value: float | None, scale: tuple[float, float]) -> tuple[float, float, float]:
    """The color (RGB, 0..1) of a value: white for None, that of the scale's end beyond it, orange below 0 %."""
    if value is None:
        return _rgb(_NOTHING)
    if value < scale[0] == 0:
        return _rgb(_BELOW)
    place = np.clip((value - scale[0]) / (scale[1] - scale[0]), 0, 1) * (len(_SCALE) - 1)
    stops = np.array([_rgb(stop) for stop in _SCALE]).T
    red, green, blue = (float(np.interp(place, np.arange(len(_SCALE)), part)) for part in stops)
    return red, green, blue


def ink_on(color: tuple[float, float, float]) -> tuple[float, float, float]:
    """Black or white, whichever can be read on the color."""
    red, green, blue = color
    return (0.0,) * 3 if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else (1.0,) * 3


def _rgb(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue


def _colors(scale: tuple[float, float]) -> Colormap:
    """The scale for its bar."""
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("thickness", _SCALE)
    return colors.with_extremes(under=_BELOW) if scale[0] == 0 else colors


def sector(number: int) -> tuple[float, float, float, float]:
    """Inner and outer radius, and first and last angle in degrees, of a segment; anterior is on top."""
    last = next(end for end in RINGS if number <= end)
    inner, outer = RINGS[last]
    if last == 17:
        return inner, outer, 0.0, 360.0
    width, index = (90, number - 13) if last == 16 else (60, (number - 1) % 6)
    middle = 90 + width * index
    return inner, outer, middle - width / 2, middle + width / 2


def _draw(axes: Axes, values: Mapping[int, float | None], scale: tuple[float, float], style: str) -> None:
    """One bullseye."""
    import math

    from matplotlib.patches import Wedge

    for number, value in values.items():
        inner, outer, first, last = sector(number)
        color = color_of(value, scale)
        axes.add_patch(
            Wedge((0, 0), outer, first, last, width=outer - inner, facecolor=color, edgecolor=_LINE, linewidth=0.9,
                  hatch="////" if value is None else None)
        )  # fmt: skip
        middle, radius = math.radians((first + last) / 2), 0.0 if number == 17 else (inner + outer) / 2
        x, y = radius * math.cos(middle), radius * math.sin(middle)
        ink = ink_on(color)
        if value is not None:
            axes.text(
                x,
                y - 0.03,
                style.format(value).replace("-", "\u2212"),
                ha="center",
                va="center",
                fontsize=10,
                color=ink,
            )
            axes.text(x, y + 0.07, str(number), ha="center", va="center", fontsize=6, color=ink, alpha=0.8)
        else:
            axes.text(x, y, str(number), ha="center", va="center", fontsize=7, color=ink,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip
    for degrees, word in _SIDES:
        angle = math.radians(degrees)
        axes.text(1.07 * math.cos(angle), 1.07 * math.sin(angle), word, ha="center", va="center", fontsize=8,
                  rotation={180: 90, 0: -90}.get(degrees, 0), color=_LINE)  # fmt: skip
    axes.set(xlim=(-1.15, 1.15), ylim=(-1.12, 1.12), aspect="equal")
    axes.axis("off")


def _draw_scale(figure: Figure, axes: Axes, scale: tuple[float, float]) -> None:
    """The color scale under a bullseye."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(
        ScalarMappable(Normalize(*scale), _colors(scale)), ax=axes, orientation="horizontal", fraction=0.045, pad=0.02,
        shrink=0.6, extend="both",
    )  # fmt: skip
    bar.set_ticks([scale[0] + (scale[1] - scale[0]) * n / 4 for n in range(5)])
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_linewidth(0.6)
