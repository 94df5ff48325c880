"""CroCNet: a first network finds the heart, coupled specialists for LV, myocardium and RV refine it in a crop.

Khan et al.: Crop and Couple: cardiac image segmentation using interlinked specialist networks, ISBI 2024.
What the paper leaves open and how it was decided: docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import CrossE2A, E2ABlock

STRUCTURES = 3
"""LV, myocardium and RV; the first stage has a fourth output, the background."""

DEPTH = 4
"""Times the channels double and the picture is halved."""


@dataclass(frozen=True)
class CroCNetConfig:
    """What makes a CroCNet of this family.

    refine: "coupled" specialists, "uncoupled" (without cross attention), "single" (one network in the second stage) or
    "" (the first stage alone); width1, width2: channels of the first level of each stage; margin: pixels added to every
    side of the heart's box; window: side of the pictures that the first stage is trained with, in pixels; spacing_mm:
    pixel size for which the weights are made.
    """

    refine: str = "coupled"
    width1: int = 32
    width2: int = 16
    margin: int = 15
    window: int = 160
    spacing_mm: float = 1.5

    @property
    def stride(self) -> int:
        """Sides of pictures and crops are multiples of this: the patch embedding halves them once more."""
        return 2 ** (DEPTH + 1)


SIZES = {
    "full": CroCNetConfig("coupled"),
    "uncoupled": CroCNetConfig("uncoupled"),
    "single": CroCNetConfig("single"),
    "stage1": CroCNetConfig(""),
}
"""The network and the paper's ablations."""


class CroCNet(nn.Module):
    """Both stages; the crop between them is made by the engine and by the training."""

    def __init__(self, config: CroCNetConfig) -> None:
        super().__init__()
        self.config = config
        self.first = E2AUNet(config.width1)
        self.second = Specialists(config.width2, config.refine) if config.refine else None

    def forward(self, pictures: Tensor, masks: Tensor | None = None) -> Tensor:
        """The first stage for pictures alone (see E2AUNet), the second for pictures and masks (see Specialists)."""
        return self.first(pictures) if masks is None else self.second(pictures, masks)


class Body(nn.Module):
    """What both stages are made of: a U-Net of convolutions and additive attention on pictures halved by a patch
    embedding, and a way round it at full resolution for fine borders.

    inputs, outputs: channels; stem: channels at full resolution; width: of the first halved level; streams: how many
    are coupled in the encoder, one after the other along the batch, 0 for none; attention: in the decoder, too.
    """

    def __init__(self, inputs: int, stem: int, width: int, outputs: int, streams: int, attention: bool) -> None:
        super().__init__()
        self.stem = convolutions(inputs, stem, 2)
        self.embed = halve(stem, width)
        self.encoder = Encoder(width, streams)
        self.decoder = Decoder(width, attention)
        self.grow = nn.ConvTranspose2d(width, stem, 2, stride=2)
        self.join = convolutions(2 * stem, stem, 2)
        self.head = nn.Conv2d(stem, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inputs, H, W), sides multiples of 32. Returns logits (B, outputs, H, W)."""
        full = self.stem(x)
        coarse = self.decoder(*self.encoder(self.embed(full)))
        return self.head(self.join(torch.cat([full, self.grow(coarse)], dim=1)))


class E2AUNet(Body):
    """The first stage. From pictures (B, 1, H, W) to logits (B, 4, H, W): background, LV, MYO, RV."""

    def __init__(self, width: int) -> None:
        super().__init__(1, width // 2, width, 1 + STRUCTURES, streams=0, attention=True)


class Specialists(nn.Module):
    """The second stage: one specialist for each structure, with shared weights, coupled in the encoder.

    refine: "coupled"; "uncoupled", without the coupling; "single", one network that sees all masks and finds all.
    """

    def __init__(self, width: int, refine: str) -> None:
        super().__init__()
        self.streams = 1 if refine == "single" else STRUCTURES
        each = STRUCTURES // self.streams
        coupled = self.streams if refine == "coupled" else 0
        self.body = Body(1 + each, width, width, each, coupled, attention=False)

    def forward(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """pictures: (B, 1, H, W), masks: (B, 3, H, W) of the first stage, sides multiples of 32.

        Returns logits (B, 3, H, W): LV, MYO, RV, each of its own specialist.
        """
        seen = torch.cat([torch.cat([pictures, m], dim=1) for m in masks.chunk(self.streams, dim=1)])
        return torch.cat(self.body(seen).chunk(self.streams), dim=1)


class Encoder(nn.Module):
    """Four levels of convolutions and additive attention, and the bottleneck; streams > 0 couples so many streams."""

    def __init__(self, width: int, streams: int = 0) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH + 1)]
        self.blocks = nn.ModuleList(nn.Sequential(convolutions(w, w, 2), E2ABlock(w)) for w in widths[:-1])
        self.halve = nn.ModuleList(halve(a, b) for a, b in pairwise(widths))
        self.couple = nn.ModuleList(CrossE2A(w, streams) if streams else nn.Identity() for w in widths)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The bottleneck and the maps of each level, all of them after the coupling."""
        levels = []
        for block, couple, smaller in zip(self.blocks, self.couple, self.halve, strict=False):
            x = couple(block(x))
            levels.append(x)
            x = smaller(x)
        return self.couple[-1](x), levels


class Decoder(nn.Module):
    """Four levels up, each joined with the encoder's map of that level."""

    def __init__(self, width: int, attention: bool) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH + 1)]
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.Sequential(convolutions(2 * w, w, 2), E2ABlock(w) if attention else nn.Identity()) for w in widths[:-1]
        )

    def forward(self, x: Tensor, levels: list[Tensor]) -> Tensor:
        for grow, block, level in zip(reversed(self.grow), reversed(self.blocks), reversed(levels), strict=True):
            x = block(torch.cat([level, grow(x)], dim=1))
        return x


def convolutions(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """3x3 convolutions, each with batch normalization and ReLU."""
    layers: list[nn.Module] = []
    for i in range(count):
        layers += [
            nn.Conv2d(inputs if i == 0 else outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers)


def halve(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution of stride 2 with batch normalization."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs))


def fuse(logits: Tensor) -> Tensor:
    """What the three specialists mean together: probabilities (B, 4, H, W) of background, LV, MYO, RV.

    logits: (B, 3, H, W). The surest specialist wins a pixel if it is sure by more than a half, which the paper leaves
    open: the largest of 0.5 for the background and the three sigmoids. Put as logits, of which 0 is the background's,
    the winner is the same, and the probabilities fall alike on both sides of a border, so that resampling them does not
    move it.
    """
    return F.pad(logits.float(), (0, 0, 0, 0, 1, 0)).softmax(dim=1)


def first_masks(logits: Tensor) -> Tensor:
    """Masks (B, 3, H, W) of 0 and 1 of the first stage: its four outputs compete for every pixel."""
    return F.one_hot(logits.argmax(dim=1), 1 + STRUCTURES).movedim(-1, 1)[:, 1:].to(logits.dtype)
