"""Engines: a network with its pre- and post-processing, all with one face; load_engine finds one by name."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import CardiacSegError
from ..networks.cstm import CSTM, SIZES
from ..weights import find_weights, load_weights
from .propagation import PropagationEngine

__all__ = ["ENGINES", "PropagationEngine", "choose_device", "load_engine"]

ENGINES = ("cstm",)


def choose_device(device: str) -> torch.device:
    """The device for auto (CUDA where there is one), cpu or cuda. Raises CardiacSegError if it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise CardiacSegError("No CUDA device was found; choose --device cpu or auto.")
    if device not in ("cpu", "cuda"):
        raise CardiacSegError(f"The device '{device}' is not known; choose auto, cpu or cuda.")
    return torch.device(device)


def load_engine(name: str = "cstm", weights: str | Path | None = None, device: str = "auto") -> PropagationEngine:
    """The engine of a name with its weights: an installed set by name, a .safetensors file, or the default for None."""
    if name not in ENGINES:
        raise CardiacSegError(f"The engine '{name}' is not known; choose one of {', '.join(ENGINES)}.")
    card = find_weights(weights, name)
    network = CSTM(SIZES[card.size])
    load_weights(network, card)
    return PropagationEngine(network, choose_device(device))
