"""The 4D CNN, which sees a beating heart as one 4D picture, and its 3D twin, which sees each frame alone.

Myronenko et al.: 4D CNN for semantic segmentation of cardiac volumetric sequences, STACOM 2019.
What the paper leaves open and how it was decided: docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from .conv4d import Axes, Conv4d, GroupNorm4d

IN_PLANE: Axes = (2, 1, 2, 2)
EVERYWHERE: Axes = (2, 2, 2, 2)


@dataclass(frozen=True)
class CNN4DConfig:
    """What makes a size of the 4D CNN or of its twin.

    temporal: False for the 3D twin; blocks: residual blocks at each level; strides: of each step down, for time, slice,
    row and column; width: channels of the first level, doubled with each step down; classes: background included.
    spacing_mm: pixel size for which the weights are made; isotropic: whether slices are brought to that distance too;
    modality: "MR" or "CT", which decides how intensities are scaled; window: frames, slices, rows and columns of a
    training crop; seen: the same of the windows that the engine slides over a cine.
    """

    temporal: bool
    blocks: tuple[int, ...]
    strides: tuple[Axes, ...]
    spacing_mm: float
    isotropic: bool
    modality: str
    window: Axes
    seen: Axes
    width: int = 8
    groups: int = 8
    classes: int = 4


SAX = {"spacing_mm": 2.0, "isotropic": False, "modality": "MR", "window": (8, 8, 64, 64), "seen": (8, 12, 64, 64)}
CT = {"spacing_mm": 1.0, "isotropic": True, "modality": "CT", "window": (16, 64, 96, 96), "seen": (16, 64, 96, 96)}
COARSE = {"spacing_mm": 2.0, "isotropic": True, "modality": "CT", "window": (8, 32, 48, 48), "seen": (8, 32, 64, 64)}

SIZES_4D = {
    "sax": CNN4DConfig(temporal=True, blocks=(1, 2, 4), strides=(IN_PLANE,) * 2, **SAX),
    "ct": CNN4DConfig(temporal=True, blocks=(1, 2, 4), strides=(EVERYWHERE,) * 2, **CT),
    "ct-coarse": CNN4DConfig(temporal=True, blocks=(1, 2, 4), strides=(EVERYWHERE,) * 2, **COARSE),
}
"""Short-axis stacks, whose 8 to 10 slices are never strided; isotropic CT as in the paper; CT at half the resolution,
which can be trained without a GPU."""

SIZES_3D = {
    "sax": CNN4DConfig(temporal=False, blocks=(1, 2, 4, 4), strides=(IN_PLANE,) * 3, **SAX),
    "ct": CNN4DConfig(temporal=False, blocks=(1, 2, 4, 4), strides=(EVERYWHERE,) * 3, **CT),
    "ct-coarse": CNN4DConfig(temporal=False, blocks=(1, 2, 4, 4), strides=(EVERYWHERE,) * 3, **COARSE),
}
"""The same without time and with one level more, as in the paper's comparison."""


class Block(nn.Module):
    """Normalise, convolve, twice, and add what came in."""

    def __init__(self, channels: int, taps: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm4d(channels, groups, relu=True)
        self.conv1 = Conv4d(channels, channels, taps)
        self.norm2 = GroupNorm4d(channels, groups, relu=True)
        self.conv2 = Conv4d(channels, channels, taps)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.norm2(self.conv1(self.norm1(x))))


class CNN4D(nn.Module):
    """Table 1 of the paper, for any number of frames, slices, rows and columns.

    The 3D twin is the same with one tap in time and each frame as a picture of its own.
    """

    def __init__(self, config: CNN4DConfig) -> None:
        super().__init__()
        c = self.config = config
        taps = 3 if c.temporal else 1
        widths = [c.width * 2**level for level in range(len(c.blocks))]
        pairs = list(pairwise(widths))
        self.stem = Conv4d(1, c.width, taps)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(Block(width, taps, c.groups) for _ in range(blocks)))
            for width, blocks in zip(widths, c.blocks, strict=True)
        )
        strides = [stride if c.temporal else (1, *stride[1:]) for stride in c.strides]
        self.down = nn.ModuleList(
            Conv4d(fine, coarse, taps, stride=stride) for (fine, coarse), stride in zip(pairs, strides, strict=True)
        )
        self.up = nn.ModuleList(Conv4d(coarse, fine, taps=1, side=1) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(Block(fine, taps, c.groups) for fine, _ in pairs)
        self.predict = Conv4d(c.width, c.classes, taps=1, side=1, bias=True)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (B, T, classes, Z, Y, X) of pictures (B, T, Z, Y, X), in about 0..1 for MR and -1..1 for CT."""
        batch, frames = pictures.shape[:2]
        if not self.config.temporal:
            pictures = pictures.flatten(0, 1)[:, None]
        x, skips = self.stem(pictures[:, :, None]), []
        for level, blocks in enumerate(self.encoder):
            x = blocks(self.down[level - 1](x) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.down))):
            x = self.decoder[level](skips[level] + enlarged(self.up[level](x), skips[level]))
        return self.predict(x).flatten(0, 1).unflatten(0, (batch, frames))


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    """Nearest upsampling in space and time to the size of `like`; odd sizes lose the last half of a pixel."""
    frames = like.shape[1]
    if x.shape[1] != frames:
        x = x.repeat_interleave(2, dim=1)[:, :frames]
    factors = [2 if fine != coarse else 1 for fine, coarse in zip(like.shape[3:], x.shape[3:], strict=True)]
    doubled = F.interpolate(x.flatten(0, 1), scale_factor=factors, mode="nearest").unflatten(0, x.shape[:2])
    return doubled[..., : like.shape[3], : like.shape[4], : like.shape[5]]
