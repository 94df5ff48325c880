"""Commands that go on with a study: its report, and its export to other programs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .study_folder import StudyFolder
    from .writers.dicom_sources import DicomSource

Format = Enum(
    "Format", {name: name for name in ("dicom", "nii.gz", "seq.nrrd", "seg.nrrd", "stl", "obj", "csv")}, type=str
)
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
    from .measures.study import measure_study
    from .study_folder import read_study_folder
    from .writers.report import write_report
    from .writers.report_data import age_years, report_data

    with complete_folder(output) as folder:
        found = read_study_folder(study, cine)
        images, masks = found.cine, found.segmentation
        source = _source(found)
        header = source.first if source else None
        times = images.times if images.times_known else None
        age = found.age_years or age_years(header)
        measured = measure_study(masks, images.patient, times, found.ed, found.es, found.insertion_deg, age)
        data = report_data(measured.to_dict(), images, masks, found.weights, header, not without_patient)
        write_report(folder, data, images, masks)
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
    from .study_folder import read_study_folder

    with complete_folder(output) as folder:
        found = read_study_folder(study, cine)
        for kind in dict.fromkeys(choice.value for choice in formats):
            _export(kind, folder, found)
        count = sum(1 for _ in folder.iterdir())
    typer.echo(f"Exported {count} files: {output}")


def _source(study: StudyFolder) -> DicomSource | None:
    """The headers of the images, of a cine that is DICOM."""
    from .writers.dicom_sources import read_source

    return read_source(study.source, study.cine) if study.cine.sources else None


def _export(kind: str, folder: Path, study: StudyFolder) -> None:
    from .measures import measure
    from .writers.images import write_segmentation
    from .writers.results import known_curves
    from .writers.seg_nrrd import write_seg_nrrd
    from .writers.surfaces import write_surfaces
    from .writers.tables import write_tidy_volumes

    images, masks = study.cine, study.segmentation
    times = images.times if images.times_known else None
    measures = measure(masks, images.patient, times, study.ed, study.es)
    if kind == "dicom":
        _export_dicom(folder, study, measures.to_dict())
    elif kind in ("nii.gz", "seq.nrrd"):
        write_segmentation(masks, folder / f"segmentation.{kind}", images)
    elif kind == "seg.nrrd":
        for frame in range(len(masks.labels)):
            write_seg_nrrd(masks, frame, folder / f"frame{frame:02d}.seg.nrrd")
    elif kind == "csv":
        write_tidy_volumes(
            folder / "volumes_tidy.csv", known_curves(masks), times, measures.ed_frame, measures.es_frame
        )
    else:
        write_surfaces(folder, masks, kind)


def _export_dicom(folder: Path, study: StudyFolder, measures: dict) -> None:
    from .writers.dicom_seg import write_dicom_seg
    from .writers.dicom_sources import read_source
    from .writers.dicom_sr import write_dicom_sr

    source = read_source(study.source, study.cine)
    phases = {"ED": measures["ed_frame"], "ES": measures["es_frame"]}
    write_dicom_seg(folder, study.segmentation, study.cine, source, study.weights, phases)
    write_dicom_sr(folder / "measures_sr.dcm", measures, study.cine, source, study.weights)
