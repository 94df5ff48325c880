"""Commands for many studies: one table of them all, and how two such tables agree."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import CardiacSegError

if TYPE_CHECKING:
    from .cine import Cine, Segmentation
    from .cohort_run import Outcome, Study

ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Of many studies, skip those that were finished before with the same files, weights and options.",
    ),
]


def read_masks(path: Path, cine: Path | None, label_map: str) -> tuple[Segmentation, Cine | None]:
    """The masks of one study and, where its path is given, the cine that they lie on."""
    from .readers import read_cine, read_segmentation

    images = read_cine(cine) if cine else None
    return read_segmentation(path, label_map, images), images


def measure_many(masks: Sequence[Path], cines: Sequence[Path], output: Path, label_map: str, resume: bool) -> None:
    """Measure many studies into one table with a row for each.

    A study that cannot be measured gets a row that says why. Raises CardiacSegError after the table is written if there
    was one, and before if the number of cines is not that of the masks or none of the studies can be measured.
    """
    from .cohort_run import studies, study_names
    from .measures.cohort import cohort_row
    from .measures.study import measure_study

    if cines and len(cines) != len(masks):
        raise CardiacSegError(
            f"{len(masks)} masks and {len(cines)} cines are given; give --cine once for each mask, in the same order."
        )

    def work(study: Study) -> Outcome:
        """The row of one study. It needs nothing but its paths, so that studies could be measured side by side."""
        from .cohort_run import Outcome

        try:
            found, images = read_masks(study.paths[0], study.paths[1] if cines else None, label_map)
        except CardiacSegError as error:
            return Outcome({}, str(error), 1)
        times = images.times if images and images.times_known else None
        measured = measure_study(found, images.patient if images else None, times)
        return Outcome(cohort_row(study.name, measured.to_dict()))

    paths = zip(masks, cines, strict=True) if cines else zip(masks, strict=True)
    _run(studies(study_names(masks), paths, ["measure", label_map]), output, work, resume, "measured")


def segment_many(
    context: typer.Context,
    groups: Sequence[dict[str, Path]],
    output: Path,
    network: str,
    weights: str | None,
    expert: Path | None,
) -> None:
    """Give the running command for each study alone, in a process of its own, into a folder of its own in `output`.

    groups: for each study what is its own, name of the parameter -> path, the cine first. What else the user gave is
    given to all. Raises CardiacSegError at the end if a study failed, and at once if the weights are not there or an
    expert's masks, which are of one study, are given.
    """
    from .cohort_run import folder_names, studies
    from .weights import find_weights

    if expert is not None:
        raise CardiacSegError(f"{expert} belongs to one study; leave --expert out with many cines.")
    own = {*groups[0], "output", "resume"}
    common = _given(context, own)
    part_of_result = _given(context, own | {"device", "weights"})
    settings = [context.command.name, part_of_result, find_weights(weights, network).sha256]
    many = studies(folder_names([group["cine"] for group in groups]), [tuple(g.values()) for g in groups], settings)
    flags = [f"--{name.replace('_', '-')}" for name in list(groups[0])[1:]]

    def work(study: Study) -> Outcome:
        first, *others = map(str, study.paths)
        others = [text for pair in zip(flags, others, strict=True) for text in pair]
        return _alone(study.name, [str(context.command.name), first, *others, *common], output / study.name)

    _run(many, output, work, context.params["resume"], "segmented", "study.json")


def _run(
    many: Sequence[Study], output: Path, work: Callable[[Study], Outcome], resume: bool, verb: str, proof: str = ""
) -> None:
    """Work on all of them and tell how it went; CardiacSegError at the end if it did not go well with all."""
    from .cohort_run import TABLE, run_studies
    from .console import show_problems, studies_progress
    from .measures.cohort import PROBLEM

    outcomes = run_studies(studies_progress(many), output, work, resume, verb, proof)
    skipped = [study.name for study, outcome in zip(many, outcomes, strict=True) if outcome.skipped]
    failed = [(study.name, o.exit_code, o.problem) for study, o in zip(many, outcomes, strict=True) if o.problem]
    if skipped:
        typer.echo(f"note: finished before and skipped: {', '.join(skipped)}", err=True)
    typer.echo(f"{verb.capitalize()} {len(many) - len(failed)} studies: {output / TABLE}")
    if failed:
        show_problems(failed)
        names = ", ".join(name for name, _, _ in failed)
        raise CardiacSegError(f"{names} could not be {verb}; the column '{PROBLEM}' of {output / TABLE} says why.")


def _given(context: typer.Context, without: set[str]) -> list[str]:
    """What the user gave besides these parameters, as it is written on a command line."""
    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if parameter.name not in without and source is not None and source.name == "COMMANDLINE":
            value = context.params[parameter.name]
            given += [parameter.opts[0], str(getattr(value, "value", value))]
    return given


def _alone(name: str, arguments: Sequence[str], folder: Path) -> Outcome:
    """The outcome of a command in a process of its own, which may die without harm to the others."""
    import json

    from .cohort_run import Outcome
    from .measures.cohort import cohort_row

    command = [sys.executable, "-m", "CardiacSegLib.cli", *arguments, "--output", str(folder)]
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    notes = [line for line in told.stderr.splitlines() if line.startswith("note: ")]
    for note in notes:
        typer.echo(f"note: {name}: {note.removeprefix('note: ')}", err=True)
    if told.returncode:
        last = (told.stderr.strip().splitlines() or [""])[-1].removeprefix("cardiacseg: ")
        ended = f"The process was ended by the system (signal {-told.returncode}); give this study again by itself."
        return Outcome({}, last if told.returncode > 0 and last else ended, told.returncode)
    measures = json.loads((folder / "measures.json").read_text(encoding="utf-8"))
    return Outcome(cohort_row(name, measures))


def agreement(
    a: Annotated[Path, typer.Argument(help="A table that 'cardiacseg measure' has written of many studies.")],
    b: Annotated[Path, typer.Argument(help="Another one of the same studies, e.g. of an expert's masks.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if it is not there.")],
) -> None:
    """Compare two tables of the same studies: Bland-Altman and correlation.

    Writes agreement.csv with a row for every measure, and agreement.png.
    Differences are A - B.
    """
    from .atomic import complete_folder
    from .console import show_cohorts
    from .measures.cohort import compare_cohorts, paired_values, read_cohort
    from .writers.agreement_plot import write_agreement
    from .writers.tables import write_rows

    with complete_folder(output) as folder:
        pairs = paired_values(read_cohort(a), read_cohort(b))
        rows = compare_cohorts(pairs)
        write_rows(folder / "agreement.csv", [vars(row) for row in rows])
        write_agreement(folder / "agreement.png", pairs, rows, _labels(a, b))
    show_cohorts(rows)
    typer.echo(f"Results: {output}")


def _labels(a: Path, b: Path) -> tuple[str, str]:
    """What the axes say: the names of the files, of their folders where these are alike, else A and B."""
    for names in ((a.stem, b.stem), (a.absolute().parent.name, b.absolute().parent.name)):
        if names[0] != names[1]:
            return names
    return "A", "B"
