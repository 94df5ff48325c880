"""The command line `cardiacseg`: thin, quick to start, one clear sentence for every mistake."""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import __version__
from .anatomy import LABEL_MAPS
from .cli_cohort import ResumeOption, agreement, measure_many, segment_many
from .cli_study import export, report
from .errors import CardiacSegError
from .temporary import sweep
from .threads import wait_briefly

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
AutomaticEngine = Enum("AutomaticEngine", {name: name for name in ("crocnet", "unet", "cnn4d", "cnn3d")}, type=str)
Sex = Enum("Sex", {"F": "F", "M": "M"}, type=str)
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

    return app.command()(told)


def _unexpected(error: Exception) -> str:
    first_line = (str(error).strip().splitlines() or [""])[0]
    return (
        f"This should not have happened ({type(error).__name__}: {first_line}); repeat the command as "
        "'cardiacseg --debug ...' to see where, and report it."
    )


def main() -> None:
    """The entry point of the installed command."""
    wait_briefly(os.environ)
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cardiacseg {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    global _debug
    _debug = debug
    sweep()


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
WeightsOption = Annotated[
    str | None, typer.Option(help="Installed weights by name (see 'cardiacseg weights') or a .safetensors file.")
]
ExpertOption = Annotated[
    Path | None, typer.Option(help="An expert's masks on the cine's grid, shown beside the results.")
]
SeriesOption = Annotated[
    str,
    typer.Option(
        help="Of a DICOM study: sax (the short-axis stack, the default), 2ch, 3ch, 4ch, or a series as 'cardiacseg "
        "inspect' lists it."
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes the GPU if there is one.")]


@command
def propagate(
    context: typer.Context,
    cine: Annotated[
        list[Path],
        typer.Argument(help="The cine: a 4D .nii.gz or .seq.nrrd, or a folder or zip of DICOM files; or many."),
    ],
    annotation: Annotated[
        list[Path],
        typer.Option(
            help="The mask: 3D, of one frame; or 4D, of which only the annotated slices are not empty. Once for each "
            "cine, in the same order."
        ),
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
    series: SeriesOption = "",
    weights: WeightsOption = None,
    device: DeviceOption = Device.auto,
    expert: ExpertOption = None,
    resume: ResumeOption = False,
) -> None:
    """Carry a few annotated slices over the whole cine.

    Writes segmentation.nii.gz (the cine's own grid; 1 LV, 2 myocardium, 3 RV),
    measures.json, volumes.csv, curve.png, overlay.gif and study.json, from which
    'cardiacseg report' and 'export' go on. Annotated slices come out exactly as they went in.
    Of many cines it writes a folder for each, and one table, cohort.csv.
    """
    empty = _slices(annotated_slices)
    if len(cine) != len(annotation):
        raise CardiacSegError(
            f"{len(cine)} cines and {len(annotation)} masks are given; give --annotation once for each cine, in the "
            "same order."
        )
    if len(cine) > 1 or resume:
        groups = [{"cine": path, "annotation": mask} for path, mask in zip(cine, annotation, strict=True)]
        segment_many(context, groups, output, "cstm", weights, expert)
        return
    from .atomic import complete_folder
    from .console import show_measures
    from .measures.study import measure_study
    from .readers import read_annotation
    from .study_folder import StudyFolder, write_record
    from .weights import find_weights
    from .writers.results import write_results

    with complete_folder(output) as folder:
        images = _read(cine[0], series)
        start = read_annotation(annotation[0], images, frame, label_map.value, empty)
        if start.fixed.all():
            raise CardiacSegError(f"{annotation[0]} annotates every slice; use 'cardiacseg measure' to measure it.")
        truth = read_annotation(expert, images, frame, label_map.value) if expert else None
        from .engines import load_engine  # only now, since it takes seconds that a mistake should not wait for

        engine = load_engine(weights=weights, device=device.value)
        segmentation = _segment(engine, images, start)
        study = measure_study(segmentation, images.patient, images.times if images.times_known else None)
        write_results(folder, segmentation, study, images, truth)
        card = find_weights(weights, "cstm")
        write_record(folder, StudyFolder(images, segmentation, cine[0], card, series=series), output)
    show_measures(study.to_dict(), measure_study(truth).to_dict() if truth else None)
    typer.echo(f"Results: {output}")


@command
def segment(
    context: typer.Context,
    cine: Annotated[
        list[Path],
        typer.Argument(
            help="A cine as for propagate, or one frame: a 3D image; or one slice: a 2D image (.nii.gz, .nrrd); or "
            "many of these."
        ),
    ],
    output: OutputOption,
    engine: Annotated[AutomaticEngine, typer.Option(help="The automatic method.")] = AutomaticEngine.unet,
    series: SeriesOption = "",
    weights: WeightsOption = None,
    device: DeviceOption = Device.auto,
    expert: ExpertOption = None,
    label_map: LabelMapOption = LabelMap.native,
    resume: ResumeOption = False,
) -> None:
    """Find the structures in the whole cine without an annotation.

    Writes the same files as propagate. What it finds is to be checked by a person.
    """
    if len(cine) > 1 or resume:
        segment_many(context, [{"cine": path} for path in cine], output, engine.value, weights, expert)
        return
    from .atomic import complete_folder
    from .cine import empty_segmentation
    from .console import show_measures
    from .measures.study import measure_study
    from .readers import read_annotation
    from .study_folder import StudyFolder, write_record
    from .weights import find_weights
    from .writers.results import write_results

    with complete_folder(output) as folder:
        images = _read(cine[0], series)
        truth = read_annotation(expert, images, label_map=label_map.value) if expert else None
        from .engines import load_engine  # only now, since it takes seconds that a mistake should not wait for

        method = load_engine(engine.value, weights, device.value)
        segmentation = _segment(method, images, empty_segmentation(images))
        study = measure_study(segmentation, images.patient, images.times if images.times_known else None)
        write_results(folder, segmentation, study, images, truth)
        card = find_weights(weights, engine.value)
        write_record(folder, StudyFolder(images, segmentation, cine[0], card, series=series), output)
    show_measures(study.to_dict(), measure_study(truth).to_dict() if truth else None)
    typer.echo(f"Results: {output}")


def _read(path: Path, series: str) -> Cine:
    """The cine, after everything is said that is odd about it, and that there are other series."""
    from .readers import is_dicom, read_cine, read_study

    study = read_study(path) if is_dicom(path) else None
    images = study.chosen(series) if study else read_cine(path, series)
    for remark in images.remarks:
        typer.echo(f"note: {remark}", err=True)
    if study and not series and len(study.series) > len(study.stack_series):
        typer.echo("note: --series takes another one; 'cardiacseg inspect' lists them.", err=True)
    return images


def _tell_partial(masks: Segmentation) -> None:
    """Say which frames hold only a part of the stack: their volumes would be too small."""
    from .measures import counted_frames

    drawn = masks.labels.any(axis=(1, 2, 3))
    frames = [str(frame) for frame in (drawn & ~counted_frames(masks)).nonzero()[0]]
    if frames:
        typer.echo(f"note: left out, since only a part of the stack is drawn: frame {', '.join(frames)}", err=True)


def _segment(engine: Engine, cine: Cine, annotation: Segmentation) -> Segmentation:
    """Everything the engine finds, in one segmentation."""
    import dataclasses

    from .cine import Status
    from .console import slices_progress

    labels, status = annotation.labels.copy(), annotation.status.copy()
    for found in slices_progress(engine.segment(cine, annotation), int((~annotation.fixed).sum())):
        labels[found.frame, found.slice] = found.labels
        status[found.frame, found.slice] = Status.PREDICTED
    return dataclasses.replace(annotation, labels=labels, status=status)


@command
def measure(
    segmentation: Annotated[
        list[Path], typer.Argument(help="The masks of the cine, 4D; or of one frame, 3D; or those of many studies.")
    ],
    output: OutputOption,
    cine: Annotated[
        list[Path] | None,
        typer.Option(help="The cine on the same grid, for the times and the overlay; once for each of many masks."),
    ] = None,
    series: SeriesOption = "",
    second_view: Annotated[
        Path | None,
        typer.Option(help="Masks of another long-axis view of this heart, for volumes by area and length of two."),
    ] = None,
    ed: Annotated[int | None, typer.Option(help="End-diastolic frame; else that of the largest LV.")] = None,
    es: Annotated[int | None, typer.Option(help="End-systolic frame; else that of the smallest LV.")] = None,
    height_cm: Annotated[float | None, typer.Option(min=1, help="Height, for values by body surface area.")] = None,
    weight_kg: Annotated[float | None, typer.Option(min=1, help="Weight, for values by body surface area.")] = None,
    sex: Annotated[Sex | None, typer.Option(help="For the normal ranges.")] = None,
    age_years: Annotated[float | None, typer.Option(min=0, help="For the normal ranges.")] = None,
    insertion_deg: Annotated[
        float | None,
        typer.Option(
            help="Where the RV begins on the anterior wall, seen from the centre of the LV: degrees from the patient's "
            "head towards the left. Else as the masks show it. The AHA's segments start there."
        ),
    ] = None,
    label_map: LabelMapOption = LabelMap.native,
    resume: ResumeOption = False,
) -> None:
    """Measure volumes, ejection fraction, mass, wall and segments of given masks.

    Of one long-axis slice it gives the LV's volumes and ejection fraction by area
    and length, marked as such.

    Writes measures.json, volumes.csv and curve.png, and with --cine also
    segmentation.nii.gz (native labels), overlay.gif and study.json. Of many masks
    it writes one table, cohort.csv, with a row for each.
    """
    if len(segmentation) > 1 or (cine and len(cine) > 1) or resume:
        if {ed, es, height_cm, weight_kg, sex, age_years, insertion_deg, second_view, series or None} != {None}:
            raise CardiacSegError(
                "ED, ES, the insertion, the series, a second view and facts about a patient belong to one study; leave "
                "them out with many masks."
            )
        measure_many(segmentation, cine or (), output, label_map.value, resume)
        return
    from dataclasses import replace

    from .atomic import complete_folder
    from .cine import Patient
    from .console import show_measures
    from .measures.study import measure_study
    from .readers import read_segmentation
    from .study_folder import StudyFolder, write_record
    from .writers.results import write_results

    with complete_folder(output) as folder:
        images = _read(cine[0], series) if cine else None
        masks = read_segmentation(segmentation[0], label_map.value, images)
        _tell_partial(masks)
        known = images.patient if images else Patient()
        patient = replace(
            known,
            height_cm=height_cm or known.height_cm,
            weight_kg=weight_kg or known.weight_kg,
            sex=sex.value if sex else known.sex,
        )
        times = images.times if images and images.times_known else None
        second = read_segmentation(second_view, label_map.value) if second_view else None
        study = measure_study(masks, patient, times, ed, es, insertion_deg, age_years, second)
        write_results(folder, masks, study, images)
        if images and cine:
            images = replace(images, patient=patient)
            record = StudyFolder(images, masks, cine[0], None, ed, es, insertion_deg, age_years, series, second)
            write_record(folder, record, output)
    show_measures(study.to_dict())
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
    from .console import show_agreement
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
    show_agreement(rows)


@command
def train(
    network: Annotated[str, typer.Argument(help="The network: cstm, unet or crocnet.")],
    data: Annotated[
        list[str],
        typer.Option(
            help="KIND=WHERE, again for every source: the folder of a data set (e.g. acdc=FOLDER) or phantom=HEARTS; "
            "with @NUMBER behind it, its share of the samples."
        ),
    ],
    output: OutputOption,
    size: Annotated[str, typer.Option(help="The size, e.g. small; a wrong one lists those of the network.")] = "small",
    exclude: Annotated[str, typer.Option(help="Subjects to leave out for validation, with commas between.")] = "",
    steps: Annotated[int, typer.Option(help="The most steps.")] = 5000,
    minutes: Annotated[float, typer.Option(help="The most minutes; 0 for no limit.")] = 0.0,
    batch: Annotated[int, typer.Option(help="Samples in a step.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the first weights and of the samples.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    imagenet: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Files of a standard ResNet-50 and ResNet-18 to start CSTM's size base from."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Weights to begin with, as far as they fit, e.g. CroCNet's first stage.")
    ] = None,
    rate: Annotated[float, typer.Option(help="The largest learning rate.")] = 1e-3,
    name: Annotated[str, typer.Option(help="What to call the weights; else by network and size.")] = "",
    device: DeviceOption = Device.auto,
) -> None:
    """Train a network and write its weights (.safetensors) with their card.

    A training that was stopped goes on with --resume.
    """
    from .console import training_progress
    from .engines import choose_device
    from .training.command import train as trained
    from .training.loop import Settings

    settings = Settings(steps=steps, minutes=minutes, learning_rate=rate, device=choose_device(device.value).type)
    excluded = [subject for subject in (part.strip() for part in exclude.split(",")) if subject]
    with training_progress() as report:
        path = trained(
            network, data, output, size=size, exclude=excluded, settings=settings, batch=batch, seed=seed,
            resume=resume, imagenet=imagenet, start=start, name=name, command=shlex.join(["cardiacseg", *sys.argv[1:]]),
            report=report,
        )  # fmt: skip
    typer.echo(f"Weights: {path}")


@command
def inspect(
    path: Annotated[Path, typer.Argument(help="An image file, or a file, folder or zip of DICOM.")],
    series: SeriesOption = "",
) -> None:
    """Tell what a study holds and how its cine is read: series, views, what was odd and what was done about it."""
    from .console import show_cine, show_study
    from .readers import is_dicom, read_cine, read_study

    if is_dicom(path):
        study = read_study(path)
        show_study(study)
        show_cine(study.chosen(series))
    else:
        show_cine(read_cine(path, series))


@command
def weights() -> None:
    """Show the installed weights: network, data, licence and figures."""
    from .console import show_weights
    from .weights import installed, unreadable

    show_weights(installed(), unreadable())


command(agreement)
command(report)
command(export)


if __name__ == "__main__":
    sys.exit(main())
