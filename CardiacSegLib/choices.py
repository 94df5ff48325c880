"""The methods and weights that the panel offers, which of them are chosen, and why one cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import CardiacSegError
from .weights import WeightsCard, installed, read_card, unreadable
from .words import describe_card

Translate = Callable[[str], str]

MEMORY = "cstm"
"""The method that works from a person's slices; all others are automatic and need none."""


@dataclass(frozen=True)
class Choices:
    """What is offered and chosen.

    methods: network -> name. weights: name or path -> name, of the chosen method. method, chosen: what is chosen of
    them, chosen empty where there is nothing. card: licence, data and figures, and a line for each file of weights that
    cannot be offered. missing: why the method cannot be used, if so. memory: the memory network's weights, with which
    corrections are propagated; missing_memory: why not, if so.
    """

    methods: dict[str, str]
    weights: dict[str, str]
    method: str = MEMORY
    chosen: str = ""
    card: str = ""
    missing: str = ""
    memory: str = ""
    missing_memory: str = ""


def choices(method: str, memory: str, automatic: str, packages: Sequence[str], _: Translate = str) -> Choices:
    """The choices where method is wanted, with weights memory (of the memory network) or automatic: a name or a path.

    What is not there is replaced by the first that is. packages: those that are missing.
    """
    wanted = memory if method == MEMORY else automatic
    cards, memory_cards = weights_choices(wanted, method), weights_choices(memory)
    chosen = _present(wanted, cards)
    memory = _present(memory, memory_cards)
    return Choices(
        method_choices(method, _),
        {name: card.name for name, card in cards.items()},
        method,
        chosen,
        "\n".join(
            [*_instead(wanted, chosen, _), *([describe_card(cards[chosen], _)] if chosen else []), *unreadable()]
        ),
        why_no_engine(packages, cards.get(chosen), _),
        memory,
        why_no_engine(packages, memory_cards.get(memory), _),
    )


def _instead(wanted: str, chosen: str, _: Translate) -> list[str]:
    """What to say where wanted weights, as of a scene that comes from elsewhere, are not here."""
    if wanted in ("", chosen):
        return []
    lost = _("The weights {wanted} are not here.").format(wanted=Path(wanted).name)
    return [lost + (" " + _("{chosen} takes their place.").format(chosen=Path(chosen).name) if chosen else "")]


def _present(wanted: str, cards: dict[str, WeightsCard]) -> str:
    return wanted if wanted in cards else next(iter(cards), "")


def method_names(_: Translate = str) -> dict[str, str]:
    """Network -> what the method is called."""
    return {
        "cstm": _("Memory network"),
        "crocnet": _("CroCNet, automatic"),
        "unet": _("U-Net, automatic"),
        "cnn4d": _("4D CNN, automatic"),
        "cnn3d": _("3D CNN, automatic"),
    }


def method_choices(chosen: str, _: Translate = str) -> dict[str, str]:
    """The methods to choose from: the memory network, those whose weights are installed, and the chosen one."""
    present = {"cstm", chosen} | {card.network for card in installed()}
    return {network: name for network, name in method_names(_).items() if network in present}


def weights_choices(chosen: str = "", network: str = "cstm") -> dict[str, WeightsCard]:
    """Name -> card of a network's weights: the installed ones, and the .safetensors file chosen by its path."""
    cards = {card.name: card for card in installed() if card.network == network}
    if chosen.endswith(".safetensors"):
        with suppress(CardiacSegError):
            card = read_card(Path(chosen))
            cards |= {chosen: card} if card.network == network else {}
    return cards


def network_of(path: str) -> str:
    """The network that the weights in a file are for. Raises CardiacSegError for a file without a card."""
    network = read_card(Path(path)).network
    if network not in method_names():
        raise CardiacSegError(f"The weights {Path(path).name} are for {network}, which is no method of this panel.")
    return network


def why_no_engine(packages: Sequence[str], card: WeightsCard | None, _: Translate = str) -> str:
    """Why nothing can be found by an engine, or nothing where it can. packages: those that are missing."""
    if packages:
        names = ", ".join(package.split(">=")[0] for package in packages)
        return _("{names} is not installed; press Install what is missing.").format(names=names)
    return "" if card is not None else _("No weights are installed; choose a .safetensors file.")
