"""Residual trunks: the standard ResNet up to res4, and its compact relative for a CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def normalization(kind: str, channels: int) -> nn.Module:
    """A normalization layer: "batch" (as ImageNet weights need it) or "group" (no statistics between images)."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(math.gcd(8, channels), channels)


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., CVPR 2016), parameter names as in the standard ResNet."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = normalization(norm, width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = normalization(norm, width)
        self.downsample = shortcut(inputs, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al., CVPR 2016), stride in the 3x3."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = normalization(norm, width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = normalization(norm, width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = normalization(norm, width * self.expansion)
        self.downsample = shortcut(inputs, width * self.expansion, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def shortcut(inputs: int, outputs: int, stride: int, norm: str) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), normalization(norm, outputs))


class Trunk(nn.Module):
    """conv1, res2, res3 and res4 of a ResNet.

    imagenet_stem: the 7x7 convolution of stride 2 and the pooling of stride 2 of the original, so that res2, res3, res4
    have the strides 4, 8, 16; without it a 3x3 convolution of stride 2 and no pooling: strides 2, 4, 8.
    widths: of res2, res3, res4 before the block's expansion; blocks: how many in each.
    """

    def __init__(
        self,
        inputs: int,
        block: type[BasicBlock] | type[Bottleneck],
        stem: int,
        widths: tuple[int, int, int],
        blocks: tuple[int, int, int],
        norm: str,
        imagenet_stem: bool,
    ) -> None:
        super().__init__()
        kernel = 7 if imagenet_stem else 3
        self.conv1 = nn.Conv2d(inputs, stem, kernel, stride=2, padding=kernel // 2, bias=False)
        self.bn1 = normalization(norm, stem)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if imagenet_stem else nn.Identity()
        channels = stem
        for index, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            layers = []
            for i in range(count):
                layers.append(block(channels, width, 2 if i == 0 and index > 1 else 1, norm))
                channels = width * block.expansion
            setattr(self, f"layer{index}", nn.Sequential(*layers))
        self.channels = tuple(width * block.expansion for width in widths)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, inputs, H, W). Returns the features of res2, res3 and res4."""
        res2 = self.layer1(self.pool(torch.relu(self.bn1(self.conv1(x)))))
        res3 = self.layer2(res2)
        return res2, res3, self.layer3(res3)

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a standard ImageNet ResNet; res5 and the classifier are left out.

        conv1 is summed over red, green and blue for the gray image channel (the exact equivalent for a gray picture);
        further input channels (masks) keep their own initial weights. Raises KeyError or RuntimeError on a wrong file.
        """
        own = self.state_dict()
        conv1 = own["conv1.weight"].clone()
        conv1[:, :1] = state["conv1.weight"].sum(dim=1, keepdim=True)
        # num_batches_tracked is missing from older files and plays no part in the result.
        wanted = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
        wanted |= {k: state[k] for k in own if k not in wanted}
        self.load_state_dict(wanted | {"conv1.weight": conv1})
