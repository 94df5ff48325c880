"""How measures, methods, weights and places are called in panel, command line and report; `_` translates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .cine import Cine
from .measures import Measures
from .weights import WeightsCard

Translate = Callable[[str], str]

_UNITS = {"points": "points", "percent": "%", "mm": "mm", "ml": "ml", "s": "s"}
_ABBREVIATIONS = {
    "ed": "ED", "es": "ES", "lv": "LV", "myo": "MYO", "rv": "RV", "lvef": "LV EF", "hd": "HD", "hd95": "HD95",
    "dice": "Dice",
}  # fmt: skip


@dataclass(frozen=True)
class Wording:
    """How a measure is called: in words, where room is short, its unit, and the decimals that a reader is shown."""

    words: str
    short: str
    unit: str = ""
    decimals: int = 1

    @property
    def title(self) -> str:
        """The words with the unit, e.g. LV end-diastolic volume (ml)."""
        return f"{self.words[0].upper()}{self.words[1:]}" + (f" ({self.unit})" if self.unit else "")

    @property
    def title_without_side(self) -> str:
        """The same where the column says which ventricle is meant, e.g. End-diastolic volume (ml)."""
        words = self.words.removeprefix("LV ").removeprefix("RV ")
        return Wording(words, self.short, self.unit).title


_OF_VENTRICLES = {
    "edv_ml": Wording("end-diastolic volume", "EDV", "ml"),
    "esv_ml": Wording("end-systolic volume", "ESV", "ml"),
    "sv_ml": Wording("stroke volume", "SV", "ml"),
    "ef_percent": Wording("ejection fraction", "EF", "%"),
    "edvi_ml_per_m2": Wording("end-diastolic volume index", "EDVI", "ml/m²"),
    "esvi_ml_per_m2": Wording("end-systolic volume index", "ESVI", "ml/m²"),
    "svi_ml_per_m2": Wording("stroke volume index", "SVI", "ml/m²"),
}
MEASURES = {
    **{
        f"{side.lower()}_{key}": Wording(f"{side} {one.words}", f"{side} {one.short}", one.unit)
        for side in ("LV", "RV")
        for key, one in _OF_VENTRICLES.items()
    },
    "lv_mass_g": Wording("LV mass", "LV mass", "g"),
    "lv_massi_g_per_m2": Wording("LV mass index", "LV mass index", "g/m²"),
    "lv_mid_wall_ed_mm": Wording("LV mid wall at ED, mean", "LV mid wall", "mm"),
    "lv_thickest_segment_ed_mm": Wording("LV thickest segment at ED", "LV thickest segment", "mm"),
    "lv_edv_area_length_ml": Wording("LV end-diastolic volume, area-length", "LV EDV, area-length", "ml"),
    "lv_esv_area_length_ml": Wording("LV end-systolic volume, area-length", "LV ESV, area-length", "ml"),
    "lv_sv_area_length_ml": Wording("LV stroke volume, area-length", "LV SV, area-length", "ml"),
    "lv_ef_area_length_percent": Wording("LV ejection fraction, area-length", "LV EF, area-length", "%"),
    "lv_length_ed_mm": Wording("LV length at ED", "LV length, ED", "mm"),
    "lv_length_es_mm": Wording("LV length at ES", "LV length, ES", "mm"),
    "heart_rate_bpm": Wording("heart rate", "heart rate", "1/min", 0),
    "cardiac_output_l_per_min": Wording("cardiac output", "cardiac output", "l/min", 2),
    "cardiac_index_l_per_min_per_m2": Wording("cardiac index", "cardiac index", "l/min/m²", 2),
    "bsa_mosteller_m2": Wording("body surface area, Mosteller", "BSA", "m²", 2),
    "ed_frame": Wording("end-diastolic frame", "ED frame"),
    "es_frame": Wording("end-systolic frame", "ES frame"),
    "ed_time_ms": Wording("time of end-diastole", "ED time", "ms", 0),
    "es_time_ms": Wording("time of end-systole", "ES time", "ms", 0),
}
"""By the name in measures.json. More decimals would promise what counted voxels do not hold; files hold more."""

METHODS = {
    "cstm": "Memory network (CSTM): carries annotated slices over the cine",
    "crocnet": "CroCNet, automatic",
    "unet": "U-Net with position, automatic",
    "cnn4d": "4D CNN, automatic",
    "cnn3d": "3D CNN, automatic",
}
"""What each network is, for reports and lists; the panel's box has room for less (`choices.method_names`)."""


def shown(key: str, value: float) -> str:
    """The value of a measure as a reader is shown it, without its unit."""
    return str(value) if isinstance(value, int) else f"{value:.{MEASURES[key].decimals}f}"


def describe_card(card: WeightsCard, _: Translate = str) -> str:
    """Licence, data and figures of weights."""
    parts = [_("Licence: {licence}.").format(licence=card.licence)]
    if card.data:
        parts.append(_("Trained on {data}.").format(data=", ".join(card.data)))
    if figures := describe_figures(card, _):
        parts.append(figures)
    return " ".join(parts)


def describe_figures(card: WeightsCard, _: Translate = str) -> str:
    """What was measured of weights, and on what, in one sentence; empty where nothing was."""
    figures = ", ".join(_figure(name, value) for name, value in card.figures.items() if _is_number(value))
    where = card.figures.get("validation") or _("Measured")
    return f"{where}: {figures}." if figures else ""


def _figure(name: str, value: float) -> str:
    """A figure of a card as a reader says it, e.g. lvef_mean_absolute_error_points 2.645 -> LV EF mean absolute error
    2.6 points.
    """
    words = name.split("_")
    unit = words.pop() if words[-1] in _UNITS else ""
    number = f"{value:.1f} {_UNITS[unit]}" if unit else f"{value:.2f}"
    return f"{' '.join(_ABBREVIATIONS.get(word, word) for word in words)} {number}"


def describe_measures(measures: Measures, _: Translate = str) -> str:
    """The numbers that a reader looks for first; why there are none, where no frame counts yet."""
    if measures.lv_edv_area_length_ml is not None:
        return _describe_area_length(measures, _)
    if measures.lv_edv_ml is None:
        return _("No volumes yet: a frame counts when its whole stack is found or drawn.")
    values = (
        (_("EF"), measures.lv_ef_percent, "%"),
        (_("EDV"), measures.lv_edv_ml, "ml"),
        (_("ESV"), measures.lv_esv_ml, "ml"),
        (_("SV"), measures.lv_sv_ml, "ml"),
        (_("Mass"), measures.lv_mass_g, "g"),
    )
    return _in_one_line(values)


def _describe_area_length(measures: Measures, _: Translate) -> str:
    values = (
        (_("EF"), measures.lv_ef_area_length_percent, "%"),
        (_("EDV"), measures.lv_edv_area_length_ml, "ml"),
        (_("ESV"), measures.lv_esv_area_length_ml, "ml"),
        (_("Length at ED"), measures.lv_length_ed_mm, "mm"),
    )
    return _("By {method}:").format(method=measures.volume_method) + "  " + _in_one_line(values)


def _in_one_line(values: Iterable[tuple[str, float | None, str]]) -> str:
    known = [(name, f"{value:.0f}", unit) for name, value, unit in values if value is not None]
    return "  ".join("\N{NO-BREAK SPACE}".join(each) for each in known)


def describe_cine(cine: Cine) -> str:
    """Kind, size, spacing and duration of a cine in one line."""
    frames, slices, rows, columns = cine.shape
    spacing = " x ".join(f"{size:.4g}" for size in cine.spacing)
    step = f", {(cine.times[-1] - cine.times[0]) / (frames - 1):.1f} ms apart" if cine.times_known else ""
    counts = f"{slices} slice{'s' * (slices != 1)} of {columns} x {rows} pixels"
    return f"{cine.modality}, {counts}, {spacing} mm; {frames} frame{'s' * (frames != 1)}{step}"


def describe_place(cine: Cine | None, frame: int, z: int, _: Translate = str) -> str:
    """Frame, its time and the slice in view, counted from 0; z is -1 where the view shows no slice of the cine."""
    if cine is None:
        return _("No cine is open.")
    frames, slices = cine.shape[:2]
    text = _("Frame {frame} (0 to {last})").format(frame=frame, last=frames - 1)
    if cine.times_known:
        text += f" · {cine.times[frame]:.0f} ms"
    if z < 0:
        return text + " · " + _("the view shows no slice of the cine")
    return text + " · " + _("slice {slice} (0 to {last})").format(slice=z, last=slices - 1)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
