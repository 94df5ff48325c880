"""A folder of results as a study to go on with: masks, and a record of the cine, the status and the weights."""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from . import __version__
from .cine import Cine, Patient, Segmentation, Status
from .errors import CardiacSegError
from .readers import read_annotation, read_cine, read_segmentation
from .temporary import sweep
from .weights import WeightsCard
from .writers.images import write_segmentation
from .writers.tables import write_measures

MASKS, RECORD, SECOND_VIEW = "segmentation.nii.gz", "study.json", "second_view.nii.gz"
_SCHEMA = 1


@dataclass(frozen=True)
class StudyFolder:
    """A cine with its masks as a command left them.

    source: where the cine lies. weights: what predicted slices, None where that is not known. ed, es: the frames that
    the user fixed; insertion_deg: the anterior RV insertion that the user fixed (as in SegmentTable); age_years: as the
    user told it; else None. series: which one of a DICOM study it is, as in `read_cine`. second: the masks of another
    long-axis view, as in `measure`.
    """

    cine: Cine
    segmentation: Segmentation
    source: Path
    weights: WeightsCard | None = None
    ed: int | None = None
    es: int | None = None
    insertion_deg: float | None = None
    age_years: float | None = None
    series: str = ""
    second: Segmentation | None = None


def write_record(folder: Path, study: StudyFolder, final: Path | None = None) -> None:
    """Write study.json beside the masks, so that `read_study_folder` finds everything again.

    final: where the folder will lie, since the path of the cine is kept relative to it. Height, weight and sex are
    those of the cine's patient. Raises CardiacSegError if the file cannot be written.
    """
    try:
        source = os.path.relpath(study.source, final or folder)
    except ValueError:  # another drive
        source = str(study.source.resolve())
    weights = None if study.weights is None else asdict(dataclasses.replace(study.weights, path=None))
    record = {
        "schema_version": _SCHEMA,
        "software": f"CardiacSeg {__version__}",
        "cine": Path(source).as_posix(),
        "series": study.series,
        "second_view": SECOND_VIEW if study.second is not None else None,
        "shape": list(study.cine.shape),
        "status": study.segmentation.status.tolist(),
        "checksums": _checksums(study.segmentation.labels),
        "weights": weights,
        "ed_frame": study.ed,
        "es_frame": study.es,
        "height_cm": study.cine.patient.height_cm,
        "weight_kg": study.cine.patient.weight_kg,
        "sex": study.cine.patient.sex,
        "age_years": study.age_years,
        "insertion_deg": study.insertion_deg,
    }
    if study.second is not None:
        write_segmentation(study.second, folder / SECOND_VIEW)
    write_measures(folder / RECORD, record)


def read_study_folder(folder: str | Path, source: str | Path | None = None) -> StudyFolder:
    """Read a folder that a command of CardiacSeg has written.

    source: where the cine lies now, if it was moved. A slice whose mask was changed since has the status CORRECTED.
    Raises CardiacSegError if the record, the masks or the cine are missing, or do not belong together.
    """
    folder = Path(folder)
    sweep(folder)  # what a run that was killed while it moved its files has left
    record = _read_record(folder)
    path = Path(source) if source is not None else Path(os.path.normpath(folder / record["cine"]))
    if not path.exists():
        raise CardiacSegError(f"The cine of {folder} is no longer at {path}; say where it is with --cine.")
    cine = read_cine(path, record.get("series", ""))
    if list(cine.shape) != record["shape"]:
        raise CardiacSegError(
            f"{path} has the shape {cine.shape}, but the study in {folder} was made of one of "
            f"{tuple(record['shape'])}; give its own cine with --cine."
        )
    known = cine.patient
    patient = Patient(
        record["height_cm"] or known.height_cm, record["weight_kg"] or known.weight_kg, known.heart_rate_bpm,
        record.get("sex") or known.sex,
    )  # fmt: skip
    weights = record["weights"] and WeightsCard(**(record["weights"] | {"data": tuple(record["weights"]["data"])}))
    masks = read_annotation(folder / MASKS, cine)
    status = _status(masks.labels, record)
    return StudyFolder(
        dataclasses.replace(cine, patient=patient),
        dataclasses.replace(masks, status=status),
        path,
        weights or None,
        record["ed_frame"],
        record["es_frame"],
        record.get("insertion_deg"),
        record.get("age_years"),
        record.get("series", ""),
        read_segmentation(folder / record["second_view"]) if record.get("second_view") else None,
    )


def _read_record(folder: Path) -> dict:
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema_version"] != _SCHEMA:
            raise CardiacSegError(f"{path} was written by another version of CardiacSeg; run the command again.")
        return record
    except FileNotFoundError as error:
        raise CardiacSegError(
            f"{folder} is not a study: it has no {RECORD}; give a folder that 'cardiacseg propagate', 'segment' or "
            "'measure --cine' has written."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CardiacSegError(f"{path} cannot be read; run the command that made the study again.") from error


def _status(labels: np.ndarray, record: dict) -> np.ndarray:
    status = np.array(record["status"], np.uint8)
    changed = np.array(_checksums(labels)) != np.array(record["checksums"])
    return np.where(changed, np.uint8(Status.CORRECTED), status)


def _checksums(labels: np.ndarray) -> list[list[int]]:
    """One for the mask of each frame and slice."""
    return [[zlib.crc32(np.ascontiguousarray(mask)) for mask in frame] for frame in labels]
