"""Commands for many studies: one table of them all, and how two such tables agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import CardiacSegError

if TYPE_CHECKING:
    from .cine import Cine, Segmentation

TABLE = "cohort.csv"


def read_masks(path: Path, cine: Path | None, label_map: str) -> tuple[Segmentation, Cine | None]:
    """The masks of one study and, where its path is given, the cine that they lie on."""
    from .readers import read_cine, read_segmentation

    images = read_cine(cine) if cine else None
    return read_segmentation(path, label_map, images), images


def measure_many(masks: Sequence[Path], cines: Sequence[Path], output: Path, label_map: str) -> None:
    """Measure many studies into one table with a row for each.

    A study that cannot be measured gets a row that says why. Raises CardiacSegError after the table is written if there
    was one, and before if the number of cines is not that of the masks or none of the studies can be measured.
    """
    from .atomic import complete_folder
    from .console import studies_progress
    from .measures.cohort import PROBLEM, STUDY
    from .writers.tables import write_rows

    if cines and len(cines) != len(masks):
        raise CardiacSegError(
            f"{len(masks)} masks and {len(cines)} cines are given; give --cine once for each mask, in the same order."
        )
    with complete_folder(output) as folder:
        pairs = list(zip(study_names(masks), masks, cines or [None] * len(masks), strict=True))
        rows = [_row(name, path, cine, label_map) for name, path, cine in studies_progress(pairs)]
        measured = [row for row in rows if row[PROBLEM] is None]
        if not measured:
            raise CardiacSegError(f"None of the {len(rows)} studies could be measured; the first: {rows[0][PROBLEM]}")
        write_rows(folder / TABLE, [dict.fromkeys(measured[0]) | row for row in rows])
    typer.echo(f"Measured {len(measured)} studies: {output / TABLE}")
    if len(measured) < len(rows):
        failed = ", ".join(str(row[STUDY]) for row in rows if row[PROBLEM])
        raise CardiacSegError(f"{failed} could not be measured; the column '{PROBLEM}' of {output / TABLE} says why.")


def _row(name: str, path: Path, cine: Path | None, label_map: str) -> dict[str, object]:
    """The row of one study. It needs nothing but its arguments, so that studies could be measured side by side."""
    from .measures.cohort import PROBLEM, STUDY, cohort_row
    from .measures.study import measure_study

    try:
        masks, images = read_masks(path, cine, label_map)
    except CardiacSegError as error:
        return {STUDY: name, PROBLEM: str(error)}
    times = images.times if images and images.times_known else None
    return cohort_row(name, measure_study(masks, images.patient if images else None, times).to_dict()) | {PROBLEM: None}


def study_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own where all differ, else with its folder's, else its whole path."""
    own = [path.name.split(".")[0] for path in paths]
    for names in (own, [f"{path.absolute().parent.name}/{name}" for path, name in zip(paths, own, strict=True)]):
        if max(Counter(names).values()) == 1:
            return names
    return [str(path) for path in paths]


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
