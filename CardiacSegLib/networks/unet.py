"""U-Net and a small CNN that may be told the position of every pixel.

Murase, Suganuma, Okatani: How can CNNs use image position for segmentation?, arXiv 2005.03463, tables 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class UNetConfig:
    """What makes a U-Net of this family.

    width: channels of the first level (64 in the paper); position: lambda, the largest coordinate, or 0 for no
    coordinates; padding: "zeros" or "reflect", at every convolution; levels: times the picture is halved (0 is the
    small CNN of table 4, three convolutions deep); spacing_mm: pixel size for which the weights are made.
    """

    width: int = 64
    position: float = 0.0
    padding: str = "zeros"
    levels: int = 4
    classes: int = 4
    spacing_mm: float = 1.5

    @property
    def stride(self) -> int:
        """Sides of pictures are multiples of this."""
        return 2**self.levels


SIZES = {
    "small": UNetConfig(width=16, position=1.0),
    "plain": UNetConfig(width=16),
    "paper": UNetConfig(width=64, position=1.0),
    "cnn": UNetConfig(levels=0),
    "cnn-position": UNetConfig(levels=0, position=256.0),
}


class UNet(nn.Module):
    """The U-Net of table 3: maximum pooling, bilinear upsampling, concatenation, batch normalization."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * min(2**level, 8) for level in range(config.levels + 1)]
        first = 3 if config.position else 1
        if config.levels:
            self.down = nn.ModuleList(
                conv_block([a, b, b], config.padding) for a, b in zip([first, *widths], widths, strict=False)
            )
        else:
            self.down = nn.ModuleList([conv_block([first, *3 * widths], config.padding)])
        narrow = [max(w // 2, config.width) for w in widths[:-1]]
        below = [*narrow, widths[-1]][1:]
        inputs = [a + b for a, b in zip(widths[:-1], below, strict=True)]
        self.up = nn.ModuleList(conv_block([a, b, b], config.padding) for a, b in zip(inputs, narrow, strict=True))
        self.score = nn.Conv2d(config.width, config.classes, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: (B, 1, H, W), sides multiples of config.stride. Returns logits (B, classes, H, W)."""
        x = with_position(pictures, self.config.position) if self.config.position else pictures
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            grown = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([skip, grown], dim=1))
        return self.score(x)


def with_position(pictures: Tensor, largest: float) -> Tensor:
    """Append the column and the row of every pixel, both from 0 to largest (eq. 1 of the paper).

    pictures: (B, 1, H, W). Returns (B, 3, H, W).
    """
    count, _, height, width = pictures.shape
    rows, columns = (torch.linspace(0, largest, n).to(pictures) for n in (height, width))
    x, y = columns.expand(height, width), rows[:, None].expand(height, width)
    return torch.cat([pictures, torch.stack([x, y]).expand(count, 2, height, width)], dim=1)


def conv_block(widths: list[int], padding: str) -> nn.Sequential:
    """3x3 convolutions from width to width, each with batch normalization and ReLU."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Conv2d(a, b, 3, padding=1, padding_mode=padding, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]
    return nn.Sequential(*layers)
