"""The command line `cardiacseg`: thin, quick to start, one clear sentence for every mistake."""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import __version__
from .anatomy import LABEL_MAPS
from .errors import CardiacSegError

if TYPE_CHECKING:
    from .cine import Cine, Engine, Segmentation

app = typer.Typer(
    help="Segments cardiac cine from a few annotated slices and measures ejection fraction. "
    "Research use, not a medical device. Frames and slices are counted from 0.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
LabelMap = Enum("LabelMap", {name: name for name in LABEL_MAPS}, type=str)
Device = Enum("Device", {name: name for name in ("auto", "cpu", "cuda")}, type=str)
_debug = False


def command(function: Callable) -> Callable:
    """Register a command that ends in exit code 1 and one sentence, or 130 where the user stopped it."""

    @functools.wraps(function)
    def told(*args, **kwargs) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except typer.BadParameter:
            raise
        except Exception as error:
            if _debug:
                raise
            sentence = str(error) if isinstance(error, CardiacSegError) else _unexpected(error)
            typer.echo(f"cardiacseg: {sentence}", err=True)
            raise typer.Exit(1) from None

    return app.command(name=function.__name__.rstrip("_"))(told)


def _unexpected(error: Exception) -> str:
    first_line = (str(error).strip().splitlines() or [""])[0]
    return (
        f"This should not have happened ({type(error).__name__}: {first_line}); repeat the command as "
        "'cardiacseg --debug ...' to see where, and report it."
    )


def main() -> None:
    """The entry point of the installed command."""
    app()


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    global _debug
    _debug = debug
    if version:
        typer.echo(f"cardiacseg {__version__}")
        raise typer.Exit()


def _slices(text: str) -> tuple[tuple[int, int], ...]:
    """'0:3,5:0-2' -> ((0, 3), (5, 0), (5, 1), (5, 2))."""
    pairs: list[tuple[int, int]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d+):(\d+)(?:-(\d+))?", part)
        if not match:
            raise typer.BadParameter(f"'{part}' is not of the form frame:slice or frame:first-last.")
        frame, first, last = int(match[1]), int(match[2]), int(match[3] or match[2])
        pairs += [(frame, index) for index in range(first, last + 1)]
    return tuple(pairs)


OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if it is not there.")]
LabelMapOption = Annotated[
    LabelMap,
    typer.Option(
        help="The label values in the given masks: native and mnms are 1 LV, 2 myocardium, 3 RV; acdc is 1 RV, 2 "
        "myocardium, 3 LV."
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes the GPU if there is one.")]


@command
def propagate(
    cine: Annotated[
        Path, typer.Argument(help="The cine: a 4D .nii.gz or .seq.nrrd, or a folder or zip of DICOM files.")
    ],
    annotation: Annotated[
        Path,
        typer.Option(help="The mask: 3D, of one frame; or 4D, of which only the annotated slices are not empty."),
    ],
    output: OutputOption,
    frame: Annotated[int, typer.Option(help="The frame that a 3D mask belongs to, counted from 0.")] = 0,
    annotated_slices: Annotated[
        str,
        typer.Option(
            help="Empty slices of the mask that say 'nothing here', as frame:slice or frame:first-last, e.g. "
            "0:0,0:9-10. Other empty slices count as not annotated."
        ),
    ] = "",
    label_map: LabelMapOption = LabelMap.native,
    weights: Annotated[
        str | None, typer.Option(help="Installed weights by name (see 'cardiacseg weights') or a .safetensors file.")
    ] = None,
    device: DeviceOption = Device.auto,
    expert: Annotated[
        Path | None, typer.Option(help="An expert's masks on the cine's grid, shown beside the results.")
    ] = None,
) -> None:
    """Carry a few annotated slices over the whole cine.

    Writes segmentation.nii.gz (the cine's own grid; 1 LV, 2 myocardium, 3 RV),
    measures.json, volumes.csv, curve.png and overlay.gif.
    Annotated slices come out exactly as they went in.
    """
    empty = _slices(annotated_slices)
    from .engines import load_engine
    from .measures import measure as measured
    from .readers import read_annotation, read_cine
    from .writers.results import complete_folder, write_results

    with complete_folder(output) as folder:
        images = read_cine(cine)
        _tell_remarks(images)
        start = read_annotation(annotation, images, frame, label_map.value, empty)
        truth = read_annotation(expert, images, frame, label_map.value) if expert else None
        engine = load_engine(weights=weights, device=device.value)
        segmentation = _segment(engine, images, start)
        measures = measured(segmentation, images.patient, images.times if images.times_known else None)
        write_results(folder, segmentation, measures, images, truth)
    _show_measures(measures.to_dict(), measured(truth).to_dict() if truth else None)
    typer.echo(f"Results: {output}")


def _tell_remarks(cine: Cine) -> None:
    for remark in cine.remarks:
        typer.echo(f"note: {remark}", err=True)


def _segment(engine: Engine, cine: Cine, annotation: Segmentation) -> Segmentation:
    """Everything the engine finds, in one segmentation; a bar on a terminal tells the time left."""
    import dataclasses

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .cine import Status

    labels, status = annotation.labels.copy(), annotation.status.copy()
    total, began = int((~annotation.fixed).sum()), time.perf_counter()
    console = Console(stderr=True)
    columns = (
        TextColumn("Segmenting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slices,"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        for found in progress.track(engine.segment(cine, annotation), total=total):
            labels[found.frame, found.slice] = found.labels
            status[found.frame, found.slice] = Status.PREDICTED
    typer.echo(f"Segmented {total} slices in {time.perf_counter() - began:.1f} s.", err=True)
    return dataclasses.replace(annotation, labels=labels, status=status)


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


def _show_measures(measures: dict, expert: dict | None = None) -> None:
    columns = [measures] if expert is None else [measures, expert]
    table = _table("Measure", *(("Value",) if expert is None else ("CardiacSeg", "Expert")))
    for key, title in _ROWS.items():
        values = [column.get(key) for column in columns]
        if any(value is not None for value in values):
            table.add_row(title, *(_number(value) for value in values))
    _print(table)


def _number(value: object, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _table(first: str, *others: str):
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right")
    return table


def _print(table) -> None:
    from rich.console import Console

    console = Console()
    console.print(table, width=None if console.is_terminal else 120)


@command
def measure(
    segmentation: Annotated[Path, typer.Argument(help="The masks of the cine, 4D; or of one frame, 3D.")],
    output: OutputOption,
    cine: Annotated[Path | None, typer.Option(help="The cine on the same grid, for the times and the overlay.")] = None,
    ed: Annotated[int | None, typer.Option(help="End-diastolic frame; else that of the largest LV.")] = None,
    es: Annotated[int | None, typer.Option(help="End-systolic frame; else that of the smallest LV.")] = None,
    height_cm: Annotated[float | None, typer.Option(help="Height, for values by body surface area.")] = None,
    weight_kg: Annotated[float | None, typer.Option(help="Weight, for values by body surface area.")] = None,
    label_map: LabelMapOption = LabelMap.native,
) -> None:
    """Measure volumes, ejection fraction and mass of given masks.

    Writes measures.json, volumes.csv and curve.png, and with --cine also
    segmentation.nii.gz (native labels) and overlay.gif.
    """
    from .cine import Patient
    from .measures import measure as measured
    from .readers import read_annotation, read_cine, read_segmentation
    from .writers.results import complete_folder, write_results

    with complete_folder(output) as folder:
        images = read_cine(cine) if cine else None
        if images:
            _tell_remarks(images)
            masks = read_annotation(segmentation, images, label_map=label_map.value)
        else:
            masks = read_segmentation(segmentation, label_map.value)
        known = images.patient if images else Patient()
        patient = Patient(height_cm or known.height_cm, weight_kg or known.weight_kg, known.heart_rate_bpm, known.sex)
        times = images.times if images and images.times_known else None
        measures = measured(masks, patient, times, ed, es)
        write_results(folder, masks, measures, images)
    _show_measures(measures.to_dict())
    typer.echo(f"Results: {output}")


@command
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="The masks to judge.")],
    truth: Annotated[Path, typer.Argument(help="The expert's masks; only frames that hold some are compared.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .csv file for all rows.")] = None,
    label_map: Annotated[LabelMap, typer.Option(help="The label values in TRUTH.")] = LabelMap.native,
    prediction_label_map: Annotated[LabelMap, typer.Option(help="The label values in PREDICTION.")] = LabelMap.native,
) -> None:
    """Compare masks with an expert's: Dice, HD and HD95 (mm) per structure, frame, and base, mid and apex."""
    from .measures.agreement import agreement
    from .readers import read_segmentation
    from .writers.tables import write_rows

    rows = agreement(
        read_segmentation(prediction, prediction_label_map.value), read_segmentation(truth, label_map.value)
    )
    if not rows:
        raise CardiacSegError(
            f"{truth} and {prediction} hold no frame and structure that could be compared; check both."
        )
    if output:
        write_rows(output, rows)
    _show_agreement(rows)


def _show_agreement(rows: list[dict]) -> None:
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


@command
def weights() -> None:
    """Show the installed weights: network, data, licence and figures."""
    from .weights import installed

    table = _table("Name", "Network", "Size", "Parameters", "Data", "Licence", "Figures")
    for column in table.columns:
        column.justify, column.overflow = "left", "fold"
    for card in installed():
        figures = ", ".join(f"{name} {_number(value, 3)}" for name, value in card.figures.items())
        table.add_row(card.name, card.network, card.size, f"{card.parameters:,}", card.data, card.licence, figures)
    _print(table)


if __name__ == "__main__":
    sys.exit(main())
