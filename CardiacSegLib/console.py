"""What the command line shows: tables, and bars with the time left on a terminal (none when piped)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .words import MEASURES, METHODS, describe_cine, describe_figures, shown

if TYPE_CHECKING:
    from .cine import Cine, SlicePrediction
    from .measures.cohort import Agreement
    from .readers.study import Study
    from .training.loop import Report
    from .weights import WeightsCard

Item = TypeVar("Item")


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


def studies_progress(studies: Sequence[Item]) -> Iterator[Item]:
    """Pass the studies on, with a bar on a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(studies, description="Studies")


def show_problems(failed: Sequence[tuple[str, int, str]]) -> None:
    """Show a row for every study that failed: name, exit code, what is wrong."""
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("Study", "Exit code", "Problem"):
        table.add_column(title, overflow="fold")
    for name, code, problem in failed:
        table.add_row(escape(name), str(code), escape(problem))
    _print(table)


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


_ROWS = (
    "lv_edv_area_length_ml", "lv_esv_area_length_ml", "lv_sv_area_length_ml", "lv_ef_area_length_percent",
    "lv_length_ed_mm", "lv_length_es_mm",
    "lv_edv_ml", "lv_esv_ml", "lv_sv_ml", "lv_ef_percent", "lv_mass_g", "rv_edv_ml", "rv_esv_ml", "rv_sv_ml",
    "rv_ef_percent", "cardiac_output_l_per_min", "bsa_mosteller_m2", "lv_edvi_ml_per_m2", "lv_esvi_ml_per_m2",
    "lv_massi_g_per_m2", "rv_edvi_ml_per_m2", "rv_esvi_ml_per_m2", "lv_mid_wall_ed_mm", "ed_frame", "es_frame",
)  # fmt: skip


def show_measures(measures: dict, expert: dict | None = None) -> None:
    """A row for every measure that is known, an expert's value beside it."""
    columns = [measures] if expert is None else [measures, expert]
    table = _table("Measure", *(("Value",) if expert is None else ("CardiacSeg", "Expert")))
    for key in _ROWS:
        values = [column.get(key) for column in columns]
        if any(value is not None for value in values):
            table.add_row(MEASURES[key].title, *("-" if value is None else shown(key, value) for value in values))
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
    """A line for every frame and structure, then the means over the frames."""
    from .measures.agreement import METRICS, summary

    table = _table("Frame", "Structure", "Dice", "HD mm", "HD95 mm", "Dice base", "mid", "apex")
    frames = sorted({row["frame"] for row in rows})
    for title, some in (*((str(f), [row for row in rows if row["frame"] == f]) for f in frames), ("mean", rows)):
        found = {(row["structure"], row["region"]): row for row in summary(some)}
        for structure in dict.fromkeys(row["structure"] for row in some):
            whole = [_number(found[structure, "all"][name], 3 if name == "dice" else 1) for name in METRICS]
            parts = [_number(found[structure, region]["dice"], 3) for region in ("base", "mid", "apex")]
            table.add_row(title, structure, *whole, *parts)
    _print(table)


def show_cohorts(rows: list[Agreement]) -> None:
    """A line for every measure of the table of one study; rates and segments stay in the file."""
    table = _table("Measure", "n", "Mean A", "Mean B", "Bias A - B", "Limits of agreement", "r")
    for row in rows:
        if row.measure not in _ROWS:
            continue
        limits = "-" if row.low is None else f"{row.low:.1f} to {row.high:.1f}"
        means = [_number(value) for value in (row.mean_a, row.mean_b, row.bias)]
        table.add_row(MEASURES[row.measure].title, str(row.n), *means, limits, _number(row.r, 3))
    _print(table)


def show_weights(cards: list[WeightsCard], problems: list[str]) -> None:
    """A paragraph for every set of weights; on standard error what is wrong with files that are none."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for card in cards:
        console.print(f"{card.name}: {METHODS.get(card.network, card.network)}")
        console.print(f"  {card.parameters:,} parameters, trained on {', '.join(card.data) or 'nothing that is told'}")
        console.print(f"  Licence: {card.licence}")
        console.print(f"  {describe_figures(card) or 'Not measured yet.'}\n")
    for problem in problems:
        print(problem, file=sys.stderr)


def show_study(study: Study) -> None:
    """Show the series of a study with what each of them shows; those with a star make the stack."""
    from .readers.study import STACK

    table = _table("Series", "", "Shows", "Slices", "Frames", "Description")
    for column in (table.columns[2], table.columns[5]):
        column.justify = "left"
    for name, (series, *_) in study.choices().items():
        if name == STACK:
            continue
        row = (name, "*" if series.in_stack else "", series.kind.value, str(series.slices), str(series.frames))
        table.add_row(*row, escape(series.description))
    _print(table)


def show_cine(cine: Cine) -> None:
    """Show the size, spacing and duration of a cine, and every remark of its reader on a line."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(describe_cine(cine))
    for remark in cine.remarks:
        console.print(f"- {remark}")
