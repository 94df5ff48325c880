"""Every number of one study in one place: volumes, rates, wall and segments, normal ranges, conventions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from ..anatomy import LV, RV
from ..cine import Patient, Segmentation
from .agreement import apex_first
from .aha import SegmentTable, segment_wall
from .area_length import FORMULAS
from .curves import VentricleCurve, known_curves, ventricle_curve
from .norms import compare_with_norms
from .smoothness import label_change, surface_motion
from .volumes import AREA_LENGTH, DISCS, Measures, Phases, counted_frames, measure
from .wall import Memo

_MID = range(7, 13)


@dataclass(frozen=True)
class StudyMeasures:
    """What was measured in one study; to_dict is what measures.json holds, and the only source of a report's numbers.

    volumes_ml: structure name -> (T,) ml, NaN where it is not segmented. times: (T,) ms, None where not known.
    conventions: how it was measured, in words and numbers. smoothness: of the sequence, label_change_sqrt_ml and
    surface_motion_mm, None where not all frames are segmented. age_years: for the normal ranges, None where not known.
    """

    measures: Measures
    volumes_ml: dict[str, np.ndarray]
    times: np.ndarray | None
    lv: VentricleCurve
    rv: VentricleCurve
    segments: SegmentTable
    conventions: dict[str, object]
    smoothness: dict[str, float | None]
    sex: str | None = None
    age_years: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Strict JSON: the measures at the top, then what belongs together; real numbers rounded to 0.001."""
        values = {**self.measures.to_dict(), **_wall_summary(self.segments)}
        norms = compare_with_norms(values, self.sex, self.age_years)
        nested = {
            "lv_curve": asdict(self.lv),
            "rv_curve": asdict(self.rv),
            "volumes": _frames(self.volumes_ml, self.times),
            "segments": {
                "insertion_deg": self.segments.insertion_deg,
                "insertion_from": self.segments.insertion_from,
                "levels": self.segments.levels,
                "remarks": self.segments.remarks,
                "rows": [{"name": segment.name, **asdict(segment)} for segment in self.segments.segments],
            },
            "smoothness": self.smoothness,
            "norms": norms,
            "conventions": self.conventions,
        }
        return _plain({**values, **nested})


def measure_study(
    segmentation: Segmentation,
    patient: Patient | None = None,
    times: np.ndarray | None = None,
    ed: int | None = None,
    es: int | None = None,
    insertion_deg: float | None = None,
    age_years: float | None = None,
    second: Segmentation | None = None,
    second_phases: Phases = (None, None),
) -> StudyMeasures:
    """Measure everything in a segmented cine.

    patient, times (T,) ms, ed, es: as in measure. insertion_deg: the anterior RV insertion where the user has set it,
    as in SegmentTable. second, second_phases: as in measure. Raises CardiacSegError for an ED or ES frame that does not
    exist.
    """
    patient = patient or Patient()
    measures = measure(segmentation, patient, times, ed, es, second, second_phases)
    volumes = known_curves(segmentation, second)
    if AREA_LENGTH in volumes:
        return _long_axis_study(segmentation, measures, volumes, times, patient, age_years, second)
    names = {structure.value: structure.name for structure in segmentation.structures}
    ed, es = measures.ed_frame, measures.es_frame
    unknown = np.full(len(segmentation.labels), np.nan)
    lv, rv = (
        ventricle_curve(volumes.get(names.get(one.value), unknown), times, ed, es, patient.heart_rate_bpm)
        for one in (LV, RV)
    )
    segments = study_segments(segmentation, measures, insertion_deg)
    conventions, smoothness = _conventions(segmentation, ed, es), _smoothness(segmentation)
    return StudyMeasures(measures, volumes, times, lv, rv, segments, conventions, smoothness, patient.sex, age_years)


def study_segments(
    segmentation: Segmentation, measures: Measures, insertion_deg: float | None = None, memo: Memo | None = None
) -> SegmentTable:
    """The AHA segments at the ED and ES of the measures; none of a long-axis slice. memo: as in measure_wall."""
    if measures.volume_method in (None, DISCS):
        return segment_wall(segmentation, measures.ed_frame, measures.es_frame, insertion_deg, memo)
    return replace(segment_wall(segmentation, None), remarks=("Segments need a stack of short-axis slices.",))


def _long_axis_study(
    segmentation: Segmentation,
    measures: Measures,
    volumes: dict[str, np.ndarray],
    times: np.ndarray | None,
    patient: Patient,
    age_years: float | None,
    second: Segmentation | None,
) -> StudyMeasures:
    """What one long-axis slice tells: lengths, and volumes by area and length; no rates, walls and segments."""
    rates = VentricleCurve(missing="Rates need a stack of slices.")
    segments = study_segments(segmentation, measures)
    views = "one long-axis view" if second is None else "two long-axis views"
    conventions = {
        "papillary_muscles": "Papillary muscles and trabeculae belong to the cavity.",
        "volume": f"By area and length of {views}, {FORMULAS[1 if second is None else 2]}: an estimate for ventricles "
        "shaped like an ellipsoid, not to be compared with the volume of a stack.",
        **_curve_of(segmentation, second),
        "length": "L goes from the middle of the mitral valve's line to the most distant point of the cavity.",
        "long_axis": True,
        "lv_slices_ed": None,
        "lv_slices_es": None,
    }
    unrest: dict[str, float | None] = {"label_change_sqrt_ml": None, "surface_motion_mm": None}
    return StudyMeasures(measures, volumes, times, rates, rates, segments, conventions, unrest, patient.sex, age_years)


def _curve_of(segmentation: Segmentation, second: Segmentation | None) -> dict[str, str]:
    """What to say of the curve of two views."""
    if second is None:
        return {}
    if len(second.labels) == len(segmentation.labels):
        return {"curve": "EDV and ESV are of each view's own ED and ES; the curve takes both views frame by frame."}
    return {"curve": "The curve is of the first view alone, since the second has another number of frames."}


def _conventions(segmentation: Segmentation, ed: int | None, es: int | None) -> dict[str, object]:
    """What the numbers count, and which slices of the LV they count."""

    def slices(frame: int | None) -> list[int] | None:
        if frame is None:
            return None
        return [int(z) for z in np.flatnonzero((segmentation.labels[frame] == LV.value).any(axis=(1, 2)))]

    return {
        "papillary_muscles": "Papillary muscles and trabeculae belong to the cavity, not to the mass.",
        "basal_slices": "Every slice with a mask counts whole; none is cut at the valve plane.",
        "volume": "Sum of the masks' pixels in each slice times the distance between slice centres.",
        "wall": "Length of the field lines of Laplace's equation from endo- to epicardium, in the slice.",
        "long_axis": False,
        "base_is_slice_0": not apex_first(segmentation.labels[slice(None) if ed is None else slice(ed, ed + 1)]),
        "lv_slices_ed": slices(ed),
        "lv_slices_es": slices(es),
    }


def _smoothness(segmentation: Segmentation) -> dict[str, float | None]:
    """Of a sequence without gaps; between frames that lie apart, change is no unrest."""
    whole = len(segmentation.labels) > 1 and counted_frames(segmentation).all() and segmentation.labels.any()
    return {
        "label_change_sqrt_ml": label_change(segmentation) if whole else None,
        "surface_motion_mm": surface_motion(segmentation) if whole else None,
    }


def _wall_summary(table: SegmentTable) -> dict[str, object]:
    """The mean over the mid segments at ED, where all six are known, and the thickest segment at ED."""
    mid = [segment.ed_mm for segment in table.segments if segment.number in _MID]
    known = [segment for segment in table.segments if segment.ed_mm is not None]
    thickest = max(known, key=lambda segment: segment.ed_mm, default=None)
    return {
        "lv_mid_wall_ed_mm": None if None in mid else float(np.mean(mid)),
        "lv_thickest_segment_ed_mm": thickest.ed_mm if thickest else None,
        "lv_thickest_segment": thickest.number if thickest else None,
    }


def _frames(volumes: dict[str, np.ndarray], times: np.ndarray | None) -> dict[str, object]:
    """Columns with a value a frame."""
    return {
        "time_ms": None if times is None else list(map(float, times)),
        **{f"{name}_ml": [None if np.isnan(v) else float(v) for v in curve] for name, curve in volumes.items()},
    }


def _plain(value: object) -> object:
    """The same with lists for tuples and real numbers rounded to 0.001."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return round(value, 3) if isinstance(value, float) else value
