"""The picture of how two tables agree: for each measure the correlation and, beside it, Bland and Altman's plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import atomic_path
from ..measures.cohort import Agreement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = {
    "lv_edv_ml": "LV EDV (ml)", "lv_esv_ml": "LV ESV (ml)", "lv_ef_percent": "LV EF (%)", "lv_mass_g": "LV mass (g)",
    "rv_edv_ml": "RV EDV (ml)", "rv_esv_ml": "RV ESV (ml)", "rv_ef_percent": "RV EF (%)",
    "lv_mid_wall_ed_mm": "Mid wall at ED (mm)",
}  # fmt: skip
"""The measures that are drawn, in this order, of those that both tables know."""
_MOST = 8
_MINUS = "\u2212"
_DOT, _LINE, _LIMIT = "#2166ac", "#3c3c3c", "#b2182b"


def write_agreement(
    path: str | Path, pairs: Mapping[str, np.ndarray], rows: Sequence[Agreement], names: tuple[str, str] = ("A", "B")
) -> None:
    """Draw the main clinical measures (where there are none, the first eight) as a PNG.

    pairs: measure -> (N, 2), rows: their agreement, as from paired_values and compare_cohorts; names: of the tables.
    Raises CardiacSegError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [measure for measure in _TITLES if measure in pairs] or list(pairs)[:_MOST]
    by_measure = {row.measure: row for row in rows}
    lines = -(-len(shown) // 2)
    columns = 4 if len(shown) > 1 else 2
    figure = Figure(figsize=(3.3 * columns, 3.1 * lines), dpi=130, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_visible(False)
    for measure, left, right in zip(shown, grid[::2], grid[1::2], strict=False):
        title = _TITLES.get(measure, measure)
        _correlate(left, pairs[measure], by_measure[measure], title, names)
        _bland_altman(right, pairs[measure], by_measure[measure], title, names)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _frame(axes: Axes, title: str) -> None:
    axes.set_visible(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(labelsize=8)


def _correlate(axes: Axes, values: np.ndarray, row: Agreement, title: str, names: tuple[str, str]) -> None:
    """A against B with the line of identity."""
    _frame(axes, title)
    low, high = values.min(), values.max()
    room = 0.06 * (high - low or abs(high) or 1)
    axes.plot([low - room, high + room], [low - room, high + room], color=_LINE, linewidth=0.8)
    axes.plot(values[:, 1], values[:, 0], "o", color=_DOT, markersize=4, alpha=0.75, markeredgewidth=0)
    axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room), aspect="equal")
    axes.set_xlabel(names[1], fontsize=9)
    axes.set_ylabel(names[0], fontsize=9)
    correlation = "" if row.r is None else f"r = {row.r:.3f}\n"
    axes.text(0.04, 0.97, f"{correlation}n = {row.n}", transform=axes.transAxes, va="top", fontsize=8)


def _bland_altman(axes: Axes, values: np.ndarray, row: Agreement, title: str, names: tuple[str, str]) -> None:
    """Difference against mean, with bias and limits of agreement."""
    _frame(axes, title)
    axes.plot(values.mean(axis=1), values[:, 0] - values[:, 1], "o", color=_DOT, markersize=4, alpha=0.75,
              markeredgewidth=0)  # fmt: skip
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    marks = (
        (row.bias, _LINE, "-", "bias"),
        (row.low, _LIMIT, "--", f"{_MINUS}1.96 SD"),
        (row.high, _LIMIT, "--", "+1.96 SD"),
    )
    for value, color, style, word in marks:
        if value is not None:
            axes.axhline(value, color=color, linestyle=style, linewidth=1)
            text = f"{word}\n{value:.1f}".replace("-", _MINUS)
            axes.text(1.01, value, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color=color)
    axes.margins(0.08, 0.2)
    axes.set_xlabel(f"Mean of {names[0]} and {names[1]}", fontsize=9)
    axes.set_ylabel(f"{names[0]} {_MINUS} {names[1]}", fontsize=9)
