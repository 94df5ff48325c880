"""Commands that go on with a study: its report, and its export to other programs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .outputs import FORMATS

if TYPE_CHECKING:
    from .outputs import Output
    from .study_folder import StudyFolder

Format = Enum("Format", {name: name for name in FORMATS}, type=str)
StudyArgument = Annotated[
    Path, typer.Argument(help="The study: a folder that propagate, segment or measure --cine has written.")
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the files; made if it is not there.")]
CineOption = Annotated[Path | None, typer.Option(help="Where the study's cine lies, if it was moved.")]


def report(
    study: StudyArgument,
    output: OutputOption,
    cine: CineOption = None,
    without_patient: Annotated[
        bool, typer.Option("--without-patient", help="Leave out what may identify the patient.")
    ] = False,
) -> None:
    """Make the report of a study: a page and its PDF.

    Writes report.html, report.pdf and measures.json, which holds every number on them.
    """
    from .atomic import complete_folder
    from .outputs import write_study_report
    from .study_folder import read_study_folder

    with complete_folder(output) as folder:
        write_study_report(folder, _output(read_study_folder(study, cine)), not without_patient)
    typer.echo(f"Report: {output / 'report.html'}, {output / 'report.pdf'}")


def export(
    study: StudyArgument,
    output: OutputOption,
    formats: Annotated[
        list[Format],
        typer.Option(
            "--format",
            help="Again for every format: dicom (SEG for every frame and SR, from a cine that is DICOM), nii.gz or "
            "seq.nrrd (masks of all frames), seg.nrrd (a file a frame, for 3D Slicer), stl or obj (surfaces), csv "
            "(a row for every frame and structure).",
        ),
    ],
    cine: CineOption = None,
) -> None:
    """Export a study to other programs."""
    from .atomic import complete_folder
    from .outputs import write_export
    from .study_folder import read_study_folder

    with complete_folder(output) as folder:
        found = _output(read_study_folder(study, cine))
        for kind in dict.fromkeys(choice.value for choice in formats):
            write_export(kind, folder, found)
        count = sum(1 for _ in folder.iterdir())
    typer.echo(f"Exported {count} files: {output}")


def _output(study: StudyFolder) -> Output:
    """What a folder of results holds, to be written in another form."""
    from .outputs import Output

    weights = (study.weights,) if study.weights else ()
    phases = study.ed, study.es
    told = study.insertion_deg, study.age_years, study.second
    return Output(study.cine, study.segmentation, study.source, weights, *phases, *told)
