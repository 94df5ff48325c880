"""Work on many studies, one after the other: none stops the others, and what is finished need not be done again."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import __version__
from .atomic import complete_folder
from .errors import CardiacSegError
from .measures.cohort import PROBLEM, STUDY
from .writers.tables import write_rows

TABLE, UNFINISHED = "cohort.csv", "cohort_unfinished.csv"
INPUTS = "inputs"
"""The column that tells what a row was made of."""
_CHUNK = 1 << 20

Row = dict[str, object]


@dataclass(frozen=True)
class Study:
    """One of many: its name, the files and folders that it is made of, and the digest of all that its result is."""

    name: str
    paths: tuple[Path, ...]
    inputs: str


@dataclass(frozen=True)
class Outcome:
    """What became of a study: its row; problem: one sentence, empty if all went well; exit_code: as of a command."""

    row: Row
    problem: str = ""
    exit_code: int = 0
    skipped: bool = False


def studies(names: Sequence[str], paths: Iterable[tuple[Path, ...]], settings: object) -> list[Study]:
    """The studies with their digests: of every file's content, the settings (as JSON takes them) and the version."""
    made = []
    for name, group in zip(names, paths, strict=True):
        text = json.dumps([__version__, settings, [_digest(path) for path in group]])
        made.append(Study(name, group, "sha256:" + hashlib.sha256(text.encode()).hexdigest()))
    return made


def run_studies(
    many: Sequence[Study], output: Path, work: Callable[[Study], Outcome], resume: bool, verb: str, proof: str = ""
) -> list[Outcome]:
    """Work on each study and write cohort.csv, a row each; the table grows in a file of its own until all are done.

    work: must tell what a user can mend as an Outcome. resume: take the rows of studies that were finished before, if
    they were made of the same and left the file `proof` in the folder of their name. verb: what is done, e.g.
    "measured". Raises CardiacSegError if nothing came out.
    """
    before = _finished(output) if resume else {}
    outcomes: list[Outcome] = []
    with complete_folder(output) as folder:
        for study in many:
            row = before.get((study.name, study.inputs))
            if row and proof and not (output / study.name / proof).is_file():
                row = None
            outcomes.append(Outcome(row, skipped=True) if row else _tagged(work(study), study))
            if not outcomes[-1].problem:
                _write(output / UNFINISHED, outcomes)
        if all(outcome.problem for outcome in outcomes):
            raise CardiacSegError(
                f"None of the {len(outcomes)} studies could be {verb}; the first: {outcomes[0].problem}"
            )
        _write(folder / TABLE, outcomes)
    (output / UNFINISHED).unlink(missing_ok=True)
    return outcomes


def _tagged(outcome: Outcome, study: Study) -> Outcome:
    """The outcome with what identifies its row."""
    row = {STUDY: study.name} | outcome.row | {PROBLEM: outcome.problem or None, INPUTS: study.inputs}
    return Outcome(row, outcome.problem, outcome.exit_code)


def _write(path: Path, outcomes: Sequence[Outcome]) -> None:
    columns = dict.fromkeys(column for outcome in outcomes if not outcome.problem for column in outcome.row)
    write_rows(path, [columns | outcome.row for outcome in outcomes])


def _finished(output: Path) -> dict[tuple[str, str], Row]:
    """The rows of earlier runs, by the study's name and what it was made of."""
    found: dict[tuple[str, str], Row] = {}
    for name in (TABLE, UNFINISHED):
        with suppress(OSError, ValueError, csv.Error), open(output / name, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
            found |= {(row[STUDY], row[INPUTS]): row for row in rows if row.get(INPUTS) and not row.get(PROBLEM)}
    return found


def _digest(path: Path) -> str:
    """Of a file's content, or of all names and contents in a folder; empty where nothing can be read."""
    total = hashlib.sha256()
    try:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if not file.is_file():
                continue
            total.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with file.open("rb") as content:
                while chunk := content.read(_CHUNK):
                    total.update(chunk)
    except OSError:
        return ""
    return total.hexdigest()


def study_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own where all differ, else with its folder's, else its whole path."""
    own = [path.name.split(".")[0] for path in paths]
    for names in (own, [f"{path.absolute().parent.name}/{name}" for path, name in zip(paths, own, strict=True)]):
        if max(Counter(names).values()) == 1:
            return names
    return [str(path) for path in paths]


def folder_names(paths: Sequence[Path]) -> list[str]:
    """The same as names of folders that lie beside each other. Raises CardiacSegError if a path is given twice."""
    names = ["_".join(Path(name).relative_to(Path(name).anchor).parts) or "study" for name in study_names(paths)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CardiacSegError(f"Several studies would be named {twice[0]}; give each of them once.")
    return names
