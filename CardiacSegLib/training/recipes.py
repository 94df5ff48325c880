"""How each network is trained: its sizes, how its subjects are made compact, its samples and its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CardiacSegError
from ..networks import cnn4d, crocnet, cstm, unet
from ..networks.conv4d import spread_in_time
from .memory import MemoryLoss, memory_batches
from .sequences import SequenceLoss, sequence_batches
from .slices import FirstStageLoss, SecondStageLoss, SliceLoss, slice_batches
from .subjects import Subject

Sources = Sequence[tuple[Sequence[Subject], float]]
Batches = Callable[[int], Any]
Loss = Callable[[nn.Module, Any, float], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a network of one size is trained.

    spacing_mm and crop: pixel size and side in pixels of the compact subjects; batches: of (sources, batch, seed);
    loss: of (network, seed), the network as it starts; trained: the part of it that learns; needs_start: which weights
    it has to start from, where it cannot do without; ct: whether it is for CT.
    """

    network: Callable[[], nn.Module]
    spacing_mm: float
    crop: int
    batches: Callable[[Sources, int, int], Batches]
    loss: Callable[[nn.Module, int], Loss]
    trained: Callable[[nn.Module], nn.Module] = lambda network: network
    needs_start: str = ""
    ct: bool = False


def memory_recipe(size: str) -> Recipe:
    config = cstm.SIZES[size]
    picture, spacing_mm = (112, config.spacing_mm) if config.spacing_mm else (config.shorter_side, 0.9)
    return Recipe(
        lambda: cstm.CSTM(config),
        spacing_mm,
        int(picture * 1.43),
        lambda sources, batch, seed: memory_batches(sources, batch, picture, seed),
        lambda network, seed: MemoryLoss(),
    )


WIDE = 224
"""Side in pixels of the compact subjects of automatic networks, which have to know what is not the heart."""

PICTURE = 160
"""Side in pixels of the U-Net's samples."""

CROP = 128
"""Side in pixels of the crops of CroCNet's second stage."""


def unet_recipe(size: str) -> Recipe:
    config = unet.SIZES[size]
    return Recipe(
        lambda: unet.UNet(config),
        config.spacing_mm,
        WIDE,
        lambda sources, batch, seed: slice_batches(sources, batch, PICTURE, seed),
        lambda network, seed: SliceLoss(),
    )


def crocnet_recipe(size: str) -> Recipe:
    """The first stage alone, or the second on top of the first, which then stays as it starts."""
    config = crocnet.SIZES[size]
    return Recipe(
        lambda: crocnet.CroCNet(config),
        config.spacing_mm,
        WIDE,
        lambda sources, batch, seed: slice_batches(sources, batch, config.window, seed),
        lambda network, seed: SecondStageLoss(network.first, CROP, seed) if config.refine else FirstStageLoss(),
        lambda network: network.second if config.refine else network,
        "on top of weights of the size stage1" if config.refine else "",
    )


FIELD_MM = {"MR": 224, "CT": 160}
"""Side of the compact subjects of the 4D CNN and its twin."""


def sequence_recipe(config: cnn4d.CNN4DConfig) -> Recipe:
    """The 4D CNN, or its 3D twin, which learns from single frames."""
    return Recipe(
        lambda: cnn4d.CNN4D(config),
        config.spacing_mm,
        round(FIELD_MM[config.modality] / config.spacing_mm),
        lambda sources, batch, seed: sequence_batches(sources, batch, config, seed),
        lambda network, seed: SequenceLoss(temporal=config.temporal),
        ct=config.modality == "CT",
    )


RECIPES: dict[str, tuple[Sequence[str], Callable[[str], Recipe]]] = {
    "cstm": (tuple(cstm.SIZES), memory_recipe),
    "unet": (tuple(unet.SIZES), unet_recipe),
    "crocnet": (tuple(crocnet.SIZES), crocnet_recipe),
    "cnn4d": (tuple(cnn4d.SIZES_4D), lambda size: sequence_recipe(cnn4d.SIZES_4D[size])),
    "cnn3d": (tuple(cnn4d.SIZES_3D), lambda size: sequence_recipe(cnn4d.SIZES_3D[size])),
}
"""Network -> its sizes and the recipe of a size."""


def find_recipe(network: str, size: str) -> Recipe:
    """The recipe by name. Raises CardiacSegError if there is none."""
    if network not in RECIPES:
        raise CardiacSegError(f"The network '{network}' is not known; choose one of {', '.join(RECIPES)}.")
    sizes, recipe = RECIPES[network]
    if size not in sizes:
        raise CardiacSegError(f"The size '{size}' is not known; choose one of {', '.join(sizes)}.")
    return recipe(size)


def start_from(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Take over every tensor of a trained network whose name and shape fit, e.g. CroCNet's first stage.

    3D convolutions fit 4D ones: they are the middle tap, the other taps begin at zero.
    """
    own = network.state_dict()
    fitting = {k: spread_in_time(v, own[k]) for k, v in state.items() if k in own}
    fitting = {k: v for k, v in fitting.items() if v.shape == own[k].shape}
    if not fitting:
        raise CardiacSegError("The weights to start from have nothing in common with the network; give others.")
    with torch.no_grad():
        network.load_state_dict(fitting, strict=False)
