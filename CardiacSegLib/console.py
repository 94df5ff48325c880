"""What the command line shows: tables, and bars with the time left on a terminal (none when piped)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from .cine import SlicePrediction
    from .training.loop import Report
    from .weights import WeightsCard


def slices_progress(predictions: Iterable[SlicePrediction], total: int) -> Iterator[SlicePrediction]:
    """Pass the predictions on; the last line says how long they took."""
    console, began = Console(stderr=True), time.perf_counter()
    columns = (
        TextColumn("Segmenting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slices,"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(predictions, total=total)
    print(f"Segmented {total} slices in {time.perf_counter() - began:.1f} s.", file=sys.stderr)


@contextmanager
def training_progress() -> Iterator[Callable[[Report], None]]:
    """A function that takes the reports of the training: a bar on a terminal, else a line for every hundred steps."""
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Training", total=1.0)

        def report(news: Report) -> None:
            told = f"step {news.step}, loss {news.loss:.4f}"
            progress.update(task, completed=min(news.progress, 1.0), description=told)
            if not console.is_terminal and news.step % 100 == 0:
                print(f"{told}, {news.progress:.0%}, {news.seconds:.0f} s", file=sys.stderr)

        yield report


_ROWS = {
    "lv_edv_ml": "LV end-diastolic volume (ml)",
    "lv_esv_ml": "LV end-systolic volume (ml)",
    "lv_sv_ml": "LV stroke volume (ml)",
    "lv_ef_percent": "LV ejection fraction (%)",
    "lv_mass_g": "LV mass (g)",
    "rv_edv_ml": "RV end-diastolic volume (ml)",
    "rv_esv_ml": "RV end-systolic volume (ml)",
    "rv_sv_ml": "RV stroke volume (ml)",
    "rv_ef_percent": "RV ejection fraction (%)",
    "ed_frame": "End-diastolic frame",
    "es_frame": "End-systolic frame",
}


def show_measures(measures: dict, expert: dict | None = None) -> None:
    """A row for every measure that is known, an expert's value beside it."""
    columns = [measures] if expert is None else [measures, expert]
    table = _table("Measure", *(("Value",) if expert is None else ("CardiacSeg", "Expert")))
    for key, title in _ROWS.items():
        values = [column.get(key) for column in columns]
        if any(value is not None for value in values):
            table.add_row(title, *(_number(value) for value in values))
    _print(table)


def _number(value: object, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right")
    return table


def _print(table: Table) -> None:
    console = Console()
    console.print(table, width=None if console.is_terminal else 120)


def show_agreement(rows: list[dict]) -> None:
    """One line for every frame and structure, then the means."""
    table = _table("Frame", "Structure", "Dice", "HD mm", "HD95 mm", "Dice base", "mid", "apex")
    groups: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        for frame in (row["frame"], "mean"):
            group = groups.setdefault((str(frame), row["structure"]), {})
            group.setdefault(row["region"], []).append(row)
    for (frame, structure), regions in sorted(groups.items(), key=lambda item: item[0][0] == "mean"):
        cells = [_mean(regions, "all", key, digits) for key, digits in (("dice", 3), ("hd_mm", 1), ("hd95_mm", 1))]
        cells += [_mean(regions, region, "dice", 3) for region in ("base", "mid", "apex")]
        table.add_row(frame, structure, *cells)
    _print(table)


def _mean(regions: dict, region: str, key: str, digits: int) -> str:
    values = [row[key] for row in regions.get(region, []) if row[key] is not None]
    return _number(float(sum(values) / len(values)) if values else None, digits)


def show_weights(cards: list[WeightsCard]) -> None:
    """A row for every set of weights."""
    table = _table("Name", "Network", "Parameters", "Data", "Licence", "Figures")
    for column in table.columns:
        column.justify, column.overflow = "left", "fold"
    for card in cards:
        figures = ", ".join(f"{name} {_number(value, 3)}" for name, value in card.figures.items())
        network = f"{card.network} {card.size}"
        table.add_row(card.name, network, f"{card.parameters:,}", ", ".join(card.data), card.licence, figures)
    _print(table)
