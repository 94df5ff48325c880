"""What the panel says about places, weights and numbers, in words; `_` translates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from .cine import Cine
from .errors import CardiacSegError
from .measures import Measures
from .weights import WeightsCard, installed, read_card

Translate = Callable[[str], str]


def weights_choices(chosen: str = "") -> dict[str, WeightsCard]:
    """Name -> card of the weights to choose from: the installed ones, and the .safetensors file chosen by its path."""
    cards: dict[str, WeightsCard] = {}
    with suppress(CardiacSegError):  # weights without their card cannot be chosen
        cards = {card.name: card for card in installed()}
    if chosen.endswith(".safetensors"):
        with suppress(CardiacSegError):
            cards[chosen] = read_card(Path(chosen))
    return cards


def why_no_engine(packages: Sequence[str], card: WeightsCard | None, _: Translate = str) -> str:
    """Why nothing can be found by an engine, or nothing where it can. packages: those that are missing."""
    if packages:
        names = ", ".join(package.split(">=")[0] for package in packages)
        return _("{names} is not installed; press Install what is missing.").format(names=names)
    return "" if card is not None else _("No weights are installed; choose a .safetensors file.")


def describe_card(card: WeightsCard, _: Translate = str) -> str:
    """Licence, data and figures of weights."""
    parts = [_("Licence {licence}").format(licence=card.licence), ", ".join(card.data)]
    figures = [f"{name.replace('_', ' ')} {value:g}" for name, value in card.figures.items() if _is_number(value)]
    if figures:
        parts.append(", ".join(figures[:4]))
    return " · ".join(part for part in parts if part)


def describe_measures(measures: Measures, _: Translate = str) -> str:
    """The numbers that a reader looks for first."""
    values = (
        (_("EF"), measures.lv_ef_percent, "%"),
        (_("EDV"), measures.lv_edv_ml, "ml"),
        (_("ESV"), measures.lv_esv_ml, "ml"),
        (_("SV"), measures.lv_sv_ml, "ml"),
        (_("Mass"), measures.lv_mass_g, "g"),
    )
    return "  ".join(f"{name} {value:.0f} {unit}" for name, value, unit in values if value is not None)


def describe_place(cine: Cine, frame: int, z: int, _: Translate = str) -> str:
    """Frame, its time and the slice in view, counted from 0; z is -1 where the view shows no slice of the cine."""
    frames, slices = cine.shape[:2]
    text = _("Frame {frame} of 0-{last}").format(frame=frame, last=frames - 1)
    if cine.times_known:
        text += f" · {cine.times[frame]:.0f} ms"
    if z < 0:
        return text + " · " + _("the view shows no slice of the cine")
    return text + " · " + _("slice {slice} of 0-{last}").format(slice=z, last=slices - 1)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
