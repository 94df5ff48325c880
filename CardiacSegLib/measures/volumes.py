"""Volumes by counting voxels, and what clinics derive from them: EF, mass, cardiac output, indexed values.

Of one long-axis slice, which has no volume to count, they are those of `area_length`, under names of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ..anatomy import LV, MYO, RV
from ..cine import Patient, Segmentation, Status
from ..errors import CardiacSegError
from .area_length import Profile, area_length_curve, check_views, profiles, shows_long_axis, volume_ml

SCHEMA_VERSION = 1
"""Raised when a key of Measures.to_dict is renamed, removed or gets another meaning."""
MYOCARDIUM_G_PER_ML = 1.05
BSA_FORMULA = "Mosteller"
DISCS = "discs"
AREA_LENGTH = "LV area-length"
"""The name of the LV's curve where its volumes are by area and length; no other structure has any then."""


Phases = tuple[int | None, int | None]
"""Frames of ED and ES, counted from 0; None where they are to be found."""


@dataclass(frozen=True)
class Measures:
    """The numbers of one cine, units in the names; None is what is not known.

    A structure that is not segmented in a frame has no volume there, nor has a frame that does not count; so neither
    has what is computed from it.
    LV mass is the volume of the myocardium at ED times 1.05 g/ml. Body surface area: Mosteller, NEJM 1987;317:1098,
    sqrt(height in cm x weight in kg / 3600); the values indexed by it end in _per_m2.
    volume_method: "discs", or of one long-axis slice "area-length, one view" or "area-length, two views"; then only
    what has area_length or length in its name is known.
    """

    ed_frame: int | None = None
    es_frame: int | None = None
    ed_time_ms: float | None = None
    es_time_ms: float | None = None
    lv_edv_ml: float | None = None
    lv_esv_ml: float | None = None
    lv_sv_ml: float | None = None
    lv_ef_percent: float | None = None
    lv_mass_g: float | None = None
    rv_edv_ml: float | None = None
    rv_esv_ml: float | None = None
    rv_sv_ml: float | None = None
    rv_ef_percent: float | None = None
    heart_rate_bpm: float | None = None
    cardiac_output_l_per_min: float | None = None
    bsa_formula: str | None = None
    bsa_mosteller_m2: float | None = None
    lv_edvi_ml_per_m2: float | None = None
    lv_esvi_ml_per_m2: float | None = None
    lv_svi_ml_per_m2: float | None = None
    lv_massi_g_per_m2: float | None = None
    rv_edvi_ml_per_m2: float | None = None
    rv_esvi_ml_per_m2: float | None = None
    rv_svi_ml_per_m2: float | None = None
    cardiac_index_l_per_min_per_m2: float | None = None
    volume_method: str | None = None
    lv_edv_area_length_ml: float | None = None
    lv_esv_area_length_ml: float | None = None
    lv_sv_area_length_ml: float | None = None
    lv_ef_area_length_percent: float | None = None
    lv_length_ed_mm: float | None = None
    lv_length_es_mm: float | None = None

    def to_dict(self) -> dict[str, object]:
        """All fields in a fixed order after schema_version, real numbers rounded to 0.001; fit for strict JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
        return {"schema_version": SCHEMA_VERSION, **rounded}


def volume_curves(segmentation: Segmentation, second: Segmentation | None = None) -> dict[str, np.ndarray]:
    """The volume of every structure over time: name -> (T,) ml.

    Voxels are counted and multiplied by the volume of the affine's cell, whose third side is the distance between
    slice centres: gaps between slices count as tissue, as in the disc summation of clinical practice. Of one long-axis
    slice there is nothing but AREA_LENGTH, the LV's volume by area and length of this view and, where it is given, of
    the second, which has as many frames.
    """
    if shows_long_axis(segmentation):
        return {AREA_LENGTH: area_length_curve(segmentation, second)}
    return {
        structure.name: np.array([np.count_nonzero(frame == structure.value) for frame in segmentation.labels])
        * segmentation.voxel_ml
        for structure in segmentation.structures
    }


def counted_frames(segmentation: Segmentation) -> np.ndarray:
    """Which frames count as segmented: (T,) bool. Half a stack must not pass for a small volume.

    A frame counts when all its slices are decided, that is found, drawn, or said to hold nothing. Where an engine has
    not been at work in it, it also counts when the decided slices are one unbroken stack of at least half of all
    slices: a person who draws by hand leaves out what lies beyond the heart.
    """
    decided = segmentation.status != Status.EMPTY
    count = decided.sum(axis=1)
    borders = np.diff(decided.astype(np.int8), axis=1, prepend=0, append=0) != 0
    by_hand = (borders.sum(axis=1) == 2) & (2 * count >= decided.shape[1])
    return decided.all(axis=1) | (by_hand & ~(segmentation.status == Status.PREDICTED).any(axis=1))


def measure(
    segmentation: Segmentation,
    patient: Patient | None = None,
    times: np.ndarray | None = None,
    ed: int | None = None,
    es: int | None = None,
    second: Segmentation | None = None,
    second_phases: Phases = (None, None),
) -> Measures:
    """Measure a segmented cine at end-diastole and end-systole.

    ED and ES are the frames of the largest and of the smallest LV volume among the `counted_frames` that show the LV;
    where that is one frame only there is no ES. The RV is measured in the same frames. patient: height and weight for
    indexed values, heart rate for the cardiac output. times: (T,) ms, None where not known. ed, es: frames (from 0)
    that the user has fixed. second: another long-axis view of the same heart, for volumes from two views; it has its
    own ED and ES, found or, as second_phases, fixed by the user. Raises CardiacSegError if one of the frames does not
    exist, or the views are no two long-axis ones.
    """
    _check_phases(segmentation, (ed, es))
    if second is not None:
        check_views(segmentation, second)
        _check_phases(second, second_phases)
    if shows_long_axis(segmentation):
        return _measure_long_axis(segmentation, patient or Patient(), times, (ed, es), second, second_phases)
    curves = _curves_by_value(segmentation)
    ed, es = _find_phases(curves.get(LV.value), ed, es)
    values = {
        "ed_frame": ed,
        "es_frame": es,
        "ed_time_ms": None if times is None or ed is None else float(times[ed]),
        "es_time_ms": None if times is None or es is None else float(times[es]),
        **_ventricle("lv", curves.get(LV.value), ed, es),
        **_ventricle("rv", curves.get(RV.value), ed, es),
    }
    wall = _volume(curves.get(MYO.value), ed)
    if any(curve.any() for curve in curves.values()):
        values["volume_method"] = DISCS
    values["lv_mass_g"] = None if wall is None else wall * MYOCARDIUM_G_PER_ML
    return Measures(**values, **_patient_values(values, patient or Patient()))


def _check_phases(segmentation: Segmentation, phases: Phases) -> None:
    for name, frame in zip(("end-diastolic", "end-systolic"), phases, strict=True):
        if frame is not None and not 0 <= frame < len(segmentation.labels):
            raise CardiacSegError(
                f"The {name} frame {frame} does not exist; choose one of 0 to {len(segmentation.labels) - 1}."
            )


def _measure_long_axis(
    segmentation: Segmentation,
    patient: Patient,
    times: np.ndarray | None,
    phases: Phases,
    second: Segmentation | None,
    second_phases: Phases,
) -> Measures:
    """By area and length; ED and ES of each view are the frames of its own largest and smallest volume."""
    ed, es, *shown = _long_axis_phases(segmentation, *phases)
    others = [None, None] if second is None else _long_axis_phases(second, *second_phases)[2:]
    if second is not None and None in (*shown, *others):
        raise CardiacSegError("Volumes from two views need two frames with the LV in each; draw or find them first.")
    edv, esv = (None if one is None else volume_ml(one, other) for one, other in zip(shown, others, strict=True))
    stroke = None if edv is None or esv is None else edv - esv
    return Measures(
        ed_frame=ed,
        es_frame=es,
        ed_time_ms=None if times is None or ed is None else float(times[ed]),
        es_time_ms=None if times is None or es is None else float(times[es]),
        heart_rate_bpm=float(patient.heart_rate_bpm) if patient.heart_rate_bpm else None,
        volume_method=f"area-length, {'one view' if second is None else 'two views'}",
        lv_edv_area_length_ml=edv,
        lv_esv_area_length_ml=esv,
        lv_sv_area_length_ml=stroke,
        lv_ef_area_length_percent=None if stroke is None else 100 * stroke / edv,
        lv_length_ed_mm=shown[0].length_mm if shown[0] else None,
        lv_length_es_mm=shown[1].length_mm if shown[1] else None,
    )


def _long_axis_phases(
    segmentation: Segmentation, ed: int | None, es: int | None
) -> tuple[int | None, int | None, Profile | None, Profile | None]:
    """ED and ES of a view, where the user has not fixed them, and the cavity in them."""
    counted = counted_frames(segmentation)
    found = [one if counted[frame] else None for frame, one in enumerate(profiles(segmentation))]
    ed, es = _find_phases(np.array([0.0 if one is None else volume_ml(one) for one in found]), ed, es)
    return ed, es, *(None if frame is None else found[frame] for frame in (ed, es))


def _curves_by_value(segmentation: Segmentation) -> dict[int, np.ndarray]:
    """Structure value -> (T,) ml, 0 in frames that do not count."""
    curves, counted = volume_curves(segmentation), counted_frames(segmentation)
    return {structure.value: curves[structure.name] * counted for structure in segmentation.structures}


def _find_phases(volumes: np.ndarray | None, ed: int | None, es: int | None) -> tuple[int | None, int | None]:
    """ED and ES, where the user has not fixed them."""
    if volumes is None:
        return ed, es
    candidates = np.flatnonzero(volumes > 0)
    if ed is None and len(candidates):
        ed = int(candidates[volumes[candidates].argmax()])
    if es is None and len(candidates) > 1:
        es = int(candidates[volumes[candidates].argmin()])
    return ed, es


def _volume(volumes: np.ndarray | None, frame: int | None) -> float | None:
    """ml in a frame; None where the structure is not segmented in it."""
    if volumes is None or frame is None or volumes[frame] == 0:
        return None
    return float(volumes[frame])


def _ventricle(name: str, volumes: np.ndarray | None, ed: int | None, es: int | None) -> dict[str, float | None]:
    """EDV, ESV, SV = EDV - ESV, EF = SV / EDV."""
    edv, esv = _volume(volumes, ed), _volume(volumes, es)
    stroke = None if edv is None or esv is None else edv - esv
    ef = None if stroke is None else 100 * stroke / edv
    return {f"{name}_edv_ml": edv, f"{name}_esv_ml": esv, f"{name}_sv_ml": stroke, f"{name}_ef_percent": ef}


def _patient_values(values: dict, patient: Patient) -> dict[str, float | str | None]:
    """Cardiac output, body surface area and the values indexed by it, where the patient's facts are known.

    Scanners write 0 for a height, weight or heart rate that nobody entered, so 0 is not known either.
    """
    found: dict[str, float | str | None] = {}
    if patient.heart_rate_bpm:
        found["heart_rate_bpm"] = float(patient.heart_rate_bpm)
        if values["lv_sv_ml"] is not None:
            found["cardiac_output_l_per_min"] = values["lv_sv_ml"] * patient.heart_rate_bpm / 1000
    if not patient.height_cm or not patient.weight_kg:
        return found
    area = float(np.sqrt(patient.height_cm * patient.weight_kg / 3600))
    indexed = {
        f"{side}_{name}i_ml_per_m2": values[f"{side}_{name}_ml"]
        for side in ("lv", "rv")
        for name in ("edv", "esv", "sv")
    }
    indexed["lv_massi_g_per_m2"] = values["lv_mass_g"]
    indexed["cardiac_index_l_per_min_per_m2"] = found.get("cardiac_output_l_per_min")
    found |= {name: None if value is None else value / area for name, value in indexed.items()}
    return {**found, "bsa_formula": BSA_FORMULA, "bsa_mosteller_m2": area}
