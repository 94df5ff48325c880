"""What the panel says about places, weights and numbers, in words; `_` translates."""

from __future__ import annotations

from collections.abc import Callable

from .cine import Cine
from .measures import Measures
from .weights import WeightsCard

Translate = Callable[[str], str]

_UNITS = {"points": "points", "percent": "%", "mm": "mm", "ml": "ml", "s": "s"}
_ABBREVIATIONS = {
    "ed": "ED", "es": "ES", "lv": "LV", "myo": "MYO", "rv": "RV", "lvef": "LV EF", "hd": "HD", "hd95": "HD95",
    "dice": "Dice",
}  # fmt: skip


def describe_card(card: WeightsCard, _: Translate = str) -> str:
    """Licence, data and figures of weights."""
    parts = [_("Licence: {licence}.").format(licence=card.licence)]
    if card.data:
        parts.append(_("Trained on {data}.").format(data=", ".join(card.data)))
    figures = ", ".join(_figure(name, value) for name, value in card.figures.items() if _is_number(value))
    if figures:
        where = card.figures.get("validation") or _("Measured")
        parts.append(f"{where}: {figures}.")
    return " ".join(parts)


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
    if measures.lv_edv_ml is None:
        return _("No volumes yet: a frame counts when its whole stack is found or drawn.")
    values = (
        (_("EF"), measures.lv_ef_percent, "%"),
        (_("EDV"), measures.lv_edv_ml, "ml"),
        (_("ESV"), measures.lv_esv_ml, "ml"),
        (_("SV"), measures.lv_sv_ml, "ml"),
        (_("Mass"), measures.lv_mass_g, "g"),
    )
    known = [(name, f"{value:.0f}", unit) for name, value, unit in values if value is not None]
    return "  ".join("\N{NO-BREAK SPACE}".join(each) for each in known)


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
