"""Engines: a network with its pre- and post-processing, all with one face; load_engine finds one by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..cine import Engine
from ..errors import CardiacSegError
from ..networks import cnn4d, crocnet, cstm, unet
from ..weights import WeightsCard, find_weights, load_weights
from .propagation import PropagationEngine
from .slicewise import CroCNetEngine, SlicewiseEngine
from .windows import WindowEngine

__all__ = ["AUTOMATIC", "ENGINES", "PropagationEngine", "choose_device", "load_engine"]


def loaded(network: nn.Module, card: WeightsCard) -> nn.Module:
    """The network with the weights of the card."""
    load_weights(network, card)
    return network


ENGINES: dict[str, Callable[[WeightsCard, torch.device], Engine]] = {
    "cstm": lambda card, device: PropagationEngine(loaded(cstm.CSTM(cstm.SIZES[card.size]), card), device),
    "crocnet": lambda card, device: CroCNetEngine(
        "crocnet", loaded(crocnet.CroCNet(crocnet.SIZES[card.size]), card), device
    ),
    "unet": lambda card, device: SlicewiseEngine("unet", loaded(unet.UNet(unet.SIZES[card.size]), card), device),
    "cnn4d": lambda card, device: WindowEngine("cnn4d", loaded(cnn4d.CNN4D(cnn4d.SIZES_4D[card.size]), card), device),
    "cnn3d": lambda card, device: WindowEngine("cnn3d", loaded(cnn4d.CNN4D(cnn4d.SIZES_3D[card.size]), card), device),
}
"""Engine by name, made of a card and a device."""

SIZES = {
    "cstm": cstm.SIZES, "crocnet": crocnet.SIZES, "unet": unet.SIZES, "cnn4d": cnn4d.SIZES_4D, "cnn3d": cnn4d.SIZES_3D
}  # fmt: skip
"""The sizes of each network, by engine."""

AUTOMATIC = tuple(name for name in ENGINES if name != "cstm")
"""The engines that need no annotation."""


def choose_device(device: str) -> torch.device:
    """The device for auto (CUDA where there is one), cpu or cuda. Raises CardiacSegError if it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise CardiacSegError("No CUDA device was found; choose --device cpu or auto.")
    if device not in ("cpu", "cuda"):
        raise CardiacSegError(f"The device '{device}' is not known; choose auto, cpu or cuda.")
    return torch.device(device)


def load_engine(name: str = "cstm", weights: str | Path | None = None, device: str = "auto") -> Engine:
    """The engine of a name with its weights: an installed set by name, a .safetensors file, or the default for None."""
    if name not in ENGINES:
        raise CardiacSegError(f"The engine '{name}' is not known; choose one of {', '.join(ENGINES)}.")
    card = find_weights(weights, name)
    if card.size not in SIZES[name]:
        raise CardiacSegError(
            f"The weights {card.name} are of the size '{card.size}', which this version of {name} does not have (but "
            f"{', '.join(SIZES[name])}); update CardiacSeg or choose other weights."
        )
    return ENGINES[name](card, choose_device(device))
