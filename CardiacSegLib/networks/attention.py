"""Efficient additive attention, within one stream and across streams.

Shaker et al.: SwiftFormer, ICCV 2023; Khan et al.: Crop and Couple, ISBI 2024, eqs. 1 and 2. What they leave open and
how it was decided: docs/architecture.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYER_SCALE = 0.1
"""Share of the attention in its block's output at first. SwiftFormer's 1e-5 is for trainings of hundreds of epochs."""

SMALLEST_NORM = 1e-4
"""A norm is never taken for less, so that a token of zeros stays one. Its reciprocal is still a number in half
precision, which ends at 65504."""


class E2ABlock(nn.Module):
    """x plus its efficient additive attention, at a cost that grows with the number of pixels, not with its square."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.weight = nn.Parameter(torch.randn(channels, 1) * channels**-0.5)
        self.project = nn.Conv2d(channels, channels, 1)
        self.final = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W), any size; so is the result."""
        query, key = unit(self.query(x), dim=1), unit(self.key(x), dim=1)
        asked = global_query(query.flatten(2).transpose(1, 2), self.weight)
        context = asked[:, :, None, None] * key
        return x + self.scale * self.final(self.project(context) + query)


class CrossE2A(nn.Module):
    """Couples the streams of specialists: the global query of each looks at the keys of all.

    Queries, keys and projections are each stream's own. The product of query and key goes into the projection's matrix,
    so that no map is made for every pair of streams.
    """

    def __init__(self, channels: int, streams: int = 3) -> None:
        super().__init__()
        self.streams = streams
        wide = streams * channels
        self.query = nn.Conv2d(wide, wide, 1, groups=streams)
        self.key = nn.Conv2d(wide, wide, 1, groups=streams)
        self.weight = nn.Parameter(torch.randn(streams, channels, 1) * channels**-0.5)
        self.project = nn.Parameter(torch.randn(streams, channels, streams, channels) * wide**-0.5)
        self.final = nn.Conv2d(wide, wide, 1, groups=streams)
        self.scale = nn.Parameter(torch.full((wide, 1, 1), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """x: (S * B, C, H, W), one stream after the other along the batch; so is the result."""
        beside = from_batch(x, self.streams)
        query, key = self.tokens(self.query(beside)), self.tokens(self.key(beside))
        asked = torch.stack([global_query(query[:, :, s], self.weight[s]) for s in range(self.streams)], dim=1)
        # (B, S, C out, S, C in): what stream S makes of every key, given what it asks for.
        looks = self.project * asked[:, :, None, None, :].to(self.project.dtype)
        found = key.flatten(2) @ looks.flatten(3).flatten(1, 2).transpose(1, 2).to(key.dtype) + query.flatten(2)
        maps = found.transpose(1, 2).unflatten(2, x.shape[2:])
        return to_batch(beside + self.scale * self.final(maps), self.streams)

    def tokens(self, maps: Tensor) -> Tensor:
        """(B, S * C, H, W) -> (B, H * W, S, C), every token of unit length."""
        return unit(maps.flatten(2).transpose(1, 2).unflatten(2, (self.streams, -1)), dim=3)


def global_query(tokens: Tensor, weight: Tensor) -> Tensor:
    """The mean of all tokens (B, N, C), weighted by what each is worth by weight (C, 1): (B, C).

    The published weights have unit length over the tokens, so that their sum grows with the square root of their
    number; divided by it, the result does not depend on how large the picture is. The factor 1 / sqrt(d) of eq. 1
    cancels in the normalization.
    """
    worth = unit(tokens @ weight.to(tokens.dtype), dim=1)
    return (worth.transpose(1, 2) @ tokens)[:, 0] / tokens.shape[1] ** 0.5


def unit(x: Tensor, dim: int) -> Tensor:
    """x divided by its Euclidean length along dim, which is computed in single precision at least."""
    precision = torch.promote_types(x.dtype, torch.float32)
    length = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=precision)
    return x * length.clamp(min=SMALLEST_NORM).reciprocal().to(x.dtype)


def from_batch(x: Tensor, streams: int) -> Tensor:
    """(S * B, C, H, W) -> (B, S * C, H, W)."""
    return torch.cat(x.chunk(streams), dim=1)


def to_batch(x: Tensor, streams: int) -> Tensor:
    """(B, S * C, H, W) -> (S * B, C, H, W)."""
    return torch.cat(x.chunk(streams, dim=1))
