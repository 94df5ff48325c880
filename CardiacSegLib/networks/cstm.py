"""CSTM, a space-time memory network that carries masks through time and through the stack.

Ye, Xin, Axel, Metaxas: Continuous Spatio-Temporal Memory Networks for 4D Cardiac Cine MRI Segmentation, WACV 2025.
What the paper leaves open and how it was decided: docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .matching import Memory, patch_grid, read_dense, read_patches, route
from .resnet import BasicBlock, Bottleneck, Trunk


@dataclass(frozen=True)
class CSTMConfig:
    """What makes a size of CSTM.

    stem, widths, blocks: of the key and the value trunk (see Trunk); key4, key3, value4, value3: channels of keys and
    values at the coarse and the fine scale; decoder: channels at res4, res3, res2; patch, step: side and step of the
    patches in coarse pixels; top_k: memory patches per query patch; matching: "patch" or "dense"; stride: of the coarse
    scale, to whose multiples pictures are padded; spacing_mm: pixel size for which the weights are made (0: the shorter
    side of the picture is brought to shorter_side pixels instead).
    """

    bottleneck: bool
    imagenet_stem: bool
    norm: str
    key_stem: int
    key_widths: tuple[int, int, int]
    key_blocks: tuple[int, int, int]
    value_stem: int
    value_widths: tuple[int, int, int]
    value_blocks: tuple[int, int, int]
    key4: int
    key3: int
    value4: int
    value3: int
    decoder: tuple[int, int, int]
    patch: int = 4
    step: int = 2
    top_k: int = 4
    matching: str = "patch"
    stride: int = 16
    spacing_mm: float = 0.0
    shorter_side: int = 384


SIZES = {
    "base": CSTMConfig(
        bottleneck=True,
        imagenet_stem=True,
        norm="batch",
        key_stem=64,
        key_widths=(64, 128, 256),
        key_blocks=(3, 4, 6),
        value_stem=64,
        value_widths=(64, 128, 256),
        value_blocks=(2, 2, 2),
        key4=64,
        key3=64,
        value4=512,
        value3=256,
        decoder=(512, 256, 256),
        top_k=8,
    ),
    "small": CSTMConfig(
        bottleneck=False,
        imagenet_stem=False,
        norm="group",
        key_stem=24,
        key_widths=(32, 64, 128),
        key_blocks=(2, 2, 2),
        value_stem=16,
        value_widths=(16, 48, 96),
        value_blocks=(1, 1, 1),
        key4=64,
        key3=32,
        value4=96,
        value3=32,
        decoder=(96, 48, 32),
        top_k=3,
        stride=8,
        spacing_mm=1.5,
    ),
}


class Features(NamedTuple):
    """What the key encoder finds: keys (B, tokens, C) at both scales, and the maps (B, C, h, w) of its stages."""

    key4: Tensor
    key3: Tensor
    res4: Tensor
    res3: Tensor
    res2: Tensor


class Fusion(nn.Module):
    """Joins the value trunk's features with the key encoder's, as STCN does at res4, here at both scales."""

    def __init__(self, value: int, key: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(value + key, outputs, 1)
        self.block = BasicBlock(outputs, outputs, 1, "group")

    def forward(self, value: Tensor, key: Tensor) -> Tensor:
        return self.block(self.mix(torch.cat([value, key], dim=1)))


class CSTM(nn.Module):
    """The network: encode pictures, encode masks into a memory, read it, decode masks.

    Pictures are (B, 1, H, W) with H and W multiples of config.stride, scaled to about 0..1. Masks are (B, O, H, W) in
    0..1, one channel per object; objects share all weights, so any number and any kind can be carried.
    """

    def __init__(self, config: CSTMConfig) -> None:
        super().__init__()
        c = self.config = config
        block = Bottleneck if c.bottleneck else BasicBlock
        self.key_encoder = Trunk(1, block, c.key_stem, c.key_widths, c.key_blocks, c.norm, c.imagenet_stem)
        self.value_encoder = Trunk(3, BasicBlock, c.value_stem, c.value_widths, c.value_blocks, c.norm, c.imagenet_stem)
        res2, res3, res4 = self.key_encoder.channels
        _, value3, value4 = self.value_encoder.channels
        self.key4 = nn.Conv2d(res4, c.key4, 3, padding=1)
        self.key3 = nn.Conv2d(res3, c.key3, 3, padding=1)
        self.fusion4 = Fusion(value4, res4, c.value4)
        self.fusion3 = Fusion(value3, res3, c.value3)
        d4, d3, d2 = c.decoder
        self.skip4 = nn.Conv2d(res4, d4, 3, padding=1)
        self.skip3 = nn.Conv2d(res3, d3, 3, padding=1)
        self.skip2 = nn.Conv2d(res2, d2, 3, padding=1)
        self.read4 = nn.Conv2d(c.value4, d4, 1)
        self.read3 = nn.Conv2d(c.value3, d3, 1)
        self.up3 = nn.Conv2d(d4, d3, 1)
        self.up2 = nn.Conv2d(d3, d2, 1)
        self.decode4 = BasicBlock(d4, d4, 1, "group")
        self.decode3 = BasicBlock(d3, d3, 1, "group")
        self.decode2 = BasicBlock(d2, d2, 1, "group")
        self.predict = nn.Conv2d(d2, 1, 3, padding=1)
        for projection in (self.key4, self.key3):
            nn.init.orthogonal_(projection.weight)
            nn.init.zeros_(projection.bias)

    def encode_key(self, pictures: Tensor) -> Features:
        """pictures: (B, 1, H, W)."""
        res2, res3, res4 = self.key_encoder(pictures)
        return Features(tokens(self.key4(res4)), tokens(self.key3(res3)), res4, res3, res2)

    def encode_value(self, pictures: Tensor, features: Features, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Values (B, tokens, O * Cv) at the coarse and the fine scale; masks: (B, O, H, W), empty ones included."""
        objects = masks.shape[1]
        others = masks.sum(dim=1, keepdim=True) - masks
        stacked = torch.stack([pictures.expand_as(masks), masks, others], dim=2).flatten(0, 1)
        _, value3, value4 = self.value_encoder(stacked)
        value4 = self.fusion4(value4, repeat(features.res4, objects))
        value3 = self.fusion3(value3, repeat(features.res3, objects))
        return join_objects(value4, objects), join_objects(value3, objects)

    def read(self, query: Features, memory: Memory, slots: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Read both scales (B, tokens, O * Cv); each query b reads the memory's slots[b] where valid[b].

        With patch matching the routing is chosen once, at the coarse scale, and handed to the fine one.
        """
        c = self.config
        if c.matching == "dense":
            read4 = read_dense(query.key4, memory.key4, memory.value4, slots, valid)
            return read4, read_dense(query.key3, memory.key3, memory.value3, slots, valid)
        height, width = query.res4.shape[-2:]
        coarse = patch_grid(height, width, c.patch, c.step).to(slots.device)
        fine = patch_grid(height, width, c.patch, c.step, scale=2).to(slots.device)
        chosen, usable = route(query.key4, memory.key4, slots, valid, coarse, c.top_k)
        read4 = read_patches(query.key4, memory.key4, memory.value4, coarse, chosen, usable)
        return read4, read_patches(query.key3, memory.key3, memory.value3, fine, chosen, usable)

    def decode(self, query: Features, read4: Tensor, read3: Tensor, objects: int) -> Tensor:
        """Logits (B, O, H, W) of each object on its own, before soft aggregation."""
        maps4 = split_objects(read4, objects, query.res4)
        maps3 = split_objects(read3, objects, query.res3)
        x = self.decode4(self.read4(maps4) + repeat(self.skip4(query.res4), objects))
        x = upsample(self.up3(x), 2) + self.read3(maps3) + repeat(self.skip3(query.res3), objects)
        x = upsample(self.up2(self.decode3(x)), 2) + repeat(self.skip2(query.res2), objects)
        x = upsample(self.predict(torch.relu(self.decode2(x))), self.config.stride // 4)
        return x.view(-1, objects, *x.shape[-2:])

    def forward(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """Carry the masks of the given frames through the others, each predicted frame joining the memory.

        pictures: (B, F, 1, H, W); masks: (B, G, O, H, W) of the first G frames.
        Returns logits (B, F - G, 1 + O, H, W), background first.
        """
        batch, frames = pictures.shape[:2]
        given, objects = masks.shape[1:3]
        features = self.encode_key(pictures.flatten(0, 1))
        by_frame = [Features(*(f.unflatten(0, (batch, frames))[:, i] for f in features)) for i in range(frames)]
        values, logits = [], []
        for i in range(frames):
            if i < given:
                mask = masks[:, i]
            else:
                memory, slots = stack_memory(by_frame[:i], values)
                read = self.read(by_frame[i], memory, slots, torch.ones_like(slots, dtype=torch.bool))
                logits.append(aggregate(self.decode(by_frame[i], *read, objects)))
                mask = torch.softmax(logits[-1], dim=1)[:, 1:]
            if i < frames - 1:
                values.append(self.encode_value(pictures[:, i], by_frame[i], mask))
        return torch.stack(logits, dim=1)


def stack_memory(features: list[Features], values: list[tuple[Tensor, Tensor]]) -> tuple[Memory, Tensor]:
    """The memory of a batch of samples, each with the same number of frames, and the slots (B, frames) of each."""
    batch, frames = len(features[0].key4), len(features)
    parts = [[f.key4 for f in features], [f.key3 for f in features], *zip(*values, strict=True)]
    memory = Memory(*(torch.stack(list(part), dim=1).flatten(0, 1) for part in parts))
    return memory, torch.arange(batch * frames, device=memory.key4.device).view(batch, frames)


def aggregate(logits: Tensor) -> Tensor:
    """Soft aggregation of STM: background = prod(1 - p); (B, O, H, W) to logits (B, 1 + O, H, W) for a softmax."""
    logits = logits.float().clamp(-15, 15)
    background = -F.softplus(logits).sum(dim=1, keepdim=True)
    # log(p / (1 - p)) of the background's p; the clamp keeps 1 - p above 0 where every object is sure to be absent.
    background = background - torch.log(-torch.expm1(background.clamp(max=-1e-6)))
    return torch.cat([background, logits], dim=1)


def tokens(maps: Tensor) -> Tensor:
    """(B, C, h, w) to token-major (B, h * w, C)."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def repeat(maps: Tensor, objects: int) -> Tensor:
    """(B, C, h, w) to (B * O, C, h, w): what all objects of a picture share."""
    return maps.repeat_interleave(objects, dim=0)


def join_objects(maps: Tensor, objects: int) -> Tensor:
    """(B * O, C, h, w) to token-major (B, h * w, O * C)."""
    return tokens(maps).unflatten(0, (-1, objects)).transpose(1, 2).flatten(2).contiguous()


def split_objects(read: Tensor, objects: int, like: Tensor) -> Tensor:
    """(B, h * w, O * C) to (B * O, C, h, w), the inverse of join_objects."""
    maps = read.unflatten(2, (objects, -1)).permute(0, 2, 3, 1).flatten(0, 1)
    return maps.unflatten(2, like.shape[-2:])


def upsample(maps: Tensor, factor: int) -> Tensor:
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
