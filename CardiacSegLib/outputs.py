"""What a study is written to, for the panel and the command line alike: its report, and files for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cine import Cine, Segmentation

if TYPE_CHECKING:
    from .measures.study import StudyMeasures
    from .weights import WeightsCard
    from .writers.dicom_sources import DicomSource

FORMATS = ("dicom", "nii.gz", "seq.nrrd", "seg.nrrd", "stl", "obj", "csv")
PAGE = "report.html"


@dataclass(frozen=True)
class Output:
    """A cine with its masks, and what is known of how they came about.

    source: where the cine lies, of a DICOM cine also its files. weights: what predicted slices, those of the last whole
    run first; empty where that is not known. ed, es: the frames that the user fixed; insertion_deg: the anterior RV
    insertion that the user fixed (as in SegmentTable); age_years: as the user told it; else None. second: the masks of
    another long-axis view; second_phases: its frames of ED and ES that the user fixed; both as in `measure`.
    """

    cine: Cine
    segmentation: Segmentation
    source: Path | Sequence[Path]
    weights: tuple[WeightsCard, ...] = ()
    ed: int | None = None
    es: int | None = None
    insertion_deg: float | None = None
    age_years: float | None = None
    second: Segmentation | None = None
    second_phases: tuple[int | None, int | None] = (None, None)

    def dicom(self) -> DicomSource | None:
        """The headers of the images, of a cine that is DICOM. Raises CardiacSegError where images are missing."""
        from .writers.dicom_sources import read_source

        return read_source(self.source, self.cine) if self.cine.sources else None

    def measured(self, age_years: float | None = None) -> StudyMeasures:
        """Everything that is measured in it. age_years: where the user has told none."""
        from .measures.study import measure_study

        times = self.cine.times if self.cine.times_known else None
        return measure_study(
            self.segmentation, self.cine.patient, times, self.ed, self.es, self.insertion_deg,
            self.age_years or age_years, self.second, self.second_phases,
        )  # fmt: skip


def write_study_report(folder: Path, study: Output, with_patient: bool = True) -> None:
    """Write measures.json, report.html and report.pdf into the folder.

    with_patient: False leaves out what may identify the patient. Raises CardiacSegError as `write_report` does, and
    where images of a DICOM cine are missing.
    """
    from .writers.report import write_report
    from .writers.report_data import age_years, report_data

    source = study.dicom()
    header = source.first if source else None
    measured = study.measured(age_years(header)).to_dict()
    data = report_data(measured, study.cine, study.segmentation, study.weights, header, with_patient)
    write_report(folder, data, study.cine, study.segmentation)


def write_export(kind: str, folder: Path, study: Output, name: str = "") -> None:
    """Write one of FORMATS into the folder. name: for the names of files that hold all frames, and before others'.

    Surfaces and DICOM objects keep their own names, which hold nothing of the cine's. Raises CardiacSegError where a
    package is missing, nothing is segmented, the cine is not DICOM, or a file cannot be written.
    """
    from .writers.images import write_segmentation
    from .writers.seg_nrrd import write_seg_nrrd
    from .writers.surfaces import write_surfaces
    from .writers.tables import write_tidy_volumes

    masks, prefix = study.segmentation, f"{name}_" if name else ""
    if kind == "dicom":
        _write_dicom(folder, study)
    elif kind in ("nii.gz", "seq.nrrd"):
        write_segmentation(masks, folder / f"{name or 'segmentation'}.{kind}", study.cine)
    elif kind == "seg.nrrd":
        for frame in range(len(masks.labels)):
            write_seg_nrrd(masks, frame, folder / f"{prefix}frame{frame:02d}.seg.nrrd")
    elif kind == "csv":
        found = study.measured()
        phases = found.measures.ed_frame, found.measures.es_frame
        write_tidy_volumes(folder / f"{prefix}volumes_tidy.csv", found.volumes_ml, found.times, *phases)
    else:
        write_surfaces(folder, masks, kind)


def _write_dicom(folder: Path, study: Output) -> None:
    """A SEG for every frame, and the SR."""
    from .writers.dicom_seg import write_dicom_seg
    from .writers.dicom_sources import read_source
    from .writers.dicom_sr import write_dicom_sr

    source, measures = read_source(study.source, study.cine), study.measured().measures.to_dict()
    phases = {"ED": measures["ed_frame"], "ES": measures["es_frame"]}
    weights = study.weights[0] if study.weights else None
    write_dicom_seg(folder, study.segmentation, study.cine, source, weights, phases)
    write_dicom_sr(folder / "measures_sr.dcm", measures, study.cine, source, weights)
