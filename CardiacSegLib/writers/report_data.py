"""What a report says, as one dictionary for measures.json: the measures and how they came about."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..anatomy import LV
from ..cine import Cine, Segmentation, Status
from ..weights import WeightsCard

if TYPE_CHECKING:
    from pydicom import Dataset

RESEARCH_USE = "Research use only. Not a medical device; not for diagnosis."
LETTERS = {
    Status.EMPTY: "-", Status.PREDICTED: "p", Status.ANNOTATED: "A", Status.CORRECTED: "C", Status.REVIEWED: "R",
}  # fmt: skip
_LEVELS = ("base", "mid", "apex")
_PATIENT = {
    "patient_name": "PatientName", "patient_id": "PatientID", "birth_date": "PatientBirthDate", "sex": "PatientSex",
    "age": "PatientAge", "study_date": "StudyDate", "study": "StudyDescription", "series": "SeriesDescription",
    "accession_number": "AccessionNumber", "institution": "InstitutionName",
}  # fmt: skip
_AGES = {"Y": "years", "M": "months", "W": "weeks", "D": "days"}
_SCANNER = {
    "manufacturer": "Manufacturer", "model": "ManufacturerModelName", "field_strength_t": "MagneticFieldStrength",
}  # fmt: skip


def study_facts(header: Dataset | None, cine: Cine) -> dict[str, str]:
    """What the DICOM header tells about patient and study, as text; without one only the name of the cine's file.

    Everything in it may identify the patient.
    """
    facts = {"file": cine.name}
    if header is None:
        return facts
    for name, keyword in _PATIENT.items():
        value = str(header.get(keyword) or "").strip()
        if keyword.endswith("Name"):
            value = ", ".join(part for part in value.replace("^", " ").split("=")[0].split("  ") if part).strip()
        if keyword.endswith("Date") and len(value) == 8:
            value = f"{value[:4]}-{value[4:6]}-{value[6:]}"
        if keyword == "PatientAge" and value[:-1].isdigit() and value[-1] in _AGES:
            value = f"{int(value[:-1])} {_AGES[value[-1]]}"
        if value:
            facts[name] = value
    return facts


def age_years(header: Dataset | None) -> float | None:
    """The patient's age at the study, from the DICOM header or from the dates in it; None where it does not tell."""
    if header is None:
        return None
    age = str(header.get("PatientAge") or "")
    if age[:-1].isdigit() and age[-1] == "Y":
        return float(age[:-1])
    try:
        born, seen = (
            datetime.datetime.strptime(str(header.get(keyword) or ""), "%Y%m%d")
            for keyword in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    return round((seen - born).days / 365.25, 2)


def scanner(header: Dataset | None) -> dict[str, object]:
    """Maker, model and field strength (T) of the scanner, as far as the DICOM header tells."""
    if header is None:
        return {}
    found = {name: str(header.get(keyword) or "").strip() for name, keyword in _SCANNER.items()}
    known: dict[str, object] = {name: value for name, value in found.items() if value}
    if "field_strength_t" in known:
        known["field_strength_t"] = float(str(known["field_strength_t"]))
    return known


def report_data(
    study: Mapping[str, object],
    cine: Cine,
    segmentation: Segmentation,
    weights: WeightsCard | Sequence[WeightsCard] | None = None,
    header: Dataset | None = None,
    with_patient: bool = True,
) -> dict[str, object]:
    """Everything that a report shows, as strict JSON: the measures of the study, then how they came about.

    study: as StudyMeasures.to_dict. weights: what predicted slices, those of the last whole run first, None where that
    is not known. header: of one DICOM image of the cine. with_patient: False leaves out what may identify the patient,
    the names of files too.
    """
    cards = (weights,) if isinstance(weights, WeightsCard) else tuple(weights or ())
    remarks = list(cine.remarks)
    if not with_patient:
        remarks = [remark.replace(cine.name, "The cine") for remark in remarks]
    return {
        **study,
        "patient": study_facts(header, cine) if with_patient else None,
        "images": {
            "modality": cine.modality,
            **scanner(header),
            "frames": cine.shape[0],
            "slices": cine.shape[1],
            "pixel_mm": [round(float(step), 3) for step in cine.spacing[:2]],
            "slice_distance_mm": round(float(cine.spacing[2]), 3),
            "times_known": cine.times_known,
            "height_cm": cine.patient.height_cm,
            "weight_kg": cine.patient.weight_kg,
            "remarks": remarks,
        },
        "masks": _masks(segmentation),
        "pictures": _pictures(study, segmentation),
        "software": {"name": "CardiacSeg", "version": __version__, "use": RESEARCH_USE},
        "weights": _weights(cards[0]) if cards else None,
        "more_weights": [_weights(card) for card in cards[1:]],
        "created": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
    }


def _masks(segmentation: Segmentation) -> dict[str, object]:
    """How many slices of which status, and a line a frame with a letter (LETTERS) a slice."""
    counts = {status.name.lower(): int((segmentation.status == status).sum()) for status in Status}
    lines = ["".join(LETTERS[Status(value)] for value in row) for row in segmentation.status]
    return {"count": counts, "total": int(segmentation.status.size), "status": lines}


def _weights(card: WeightsCard) -> dict[str, object]:
    return {
        "name": card.name, "method": card.network, "sha256": card.sha256, "licence": card.licence,
        "data": list(card.data),
    }  # fmt: skip


def _pictures(study: Mapping[str, object], segmentation: Segmentation) -> list[dict[str, object]]:
    """Which slices are shown: the middle one of base, mid and apex, at ED and ES."""
    slices = _slices_of_levels(study, segmentation)
    phases = {name: study.get(f"{name.lower()}_frame") for name in ("ED", "ES")}
    return [
        {"phase": phase, "frame": frame, "level": level, "slice": index}
        for phase, frame in phases.items()
        if frame is not None
        for level, index in slices.items()
    ]


def _slices_of_levels(study: Mapping[str, object], segmentation: Segmentation) -> dict[str, int]:
    """By the levels of the AHA segments; without them the thirds of the slices that show the LV, or anything, at ED.

    A long-axis slice is the only one of its level.
    """
    if study["conventions"]["long_axis"]:
        return {"long axis": 0}
    levels = study["segments"]["levels"]
    found = {level: [z for z, name in enumerate(levels) if name == level] for level in _LEVELS}
    if not all(found.values()):
        labels = segmentation.labels[study.get("ed_frame") or 0]
        shown = np.flatnonzero((labels == LV.value).any(axis=(1, 2)))
        shown = shown if len(shown) else np.flatnonzero(labels.any(axis=(1, 2)))
        if not study["conventions"]["base_is_slice_0"]:
            shown = shown[::-1]
        found = dict(zip(_LEVELS, np.array_split(shown, len(_LEVELS)), strict=True))
    return {level: int(indices[len(indices) // 2]) for level, indices in found.items() if len(indices)}
