"""Reading from memory: patch-level matching (CSTM), and dense matching (STCN) beside it.

A memory is a set of slots, each one encoded frame, in plain token-major buffers. A query names the slots that it may
read. Patches are never stored: a patch is a row of pixel indices, and keys and values are gathered by index.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Memory(NamedTuple):
    """Encoded frames. Tokens are the pixels of a feature map, row by row.

    key4, key3: (S, tokens, Ck) at the coarse and the fine scale; value4, value3: (S, tokens, objects * Cv).
    """

    key4: Tensor
    key3: Tensor
    value4: Tensor
    value3: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a grid cached by a propagation would else be refused by a training that follows
def patch_grid(height: int, width: int, patch: int, step: int, scale: int = 1) -> Tensor:
    """Pixel indices of overlapping patches on a map, row by row: (N, (patch * scale)^2).

    height, width, patch and step are given in pixels of the coarse map; with scale 2 the same N patches are laid on a
    map twice as large. Where the step does not divide the map, the last patch lies flush with the border; a map smaller
    than the patch has one patch as large as itself.
    """

    def starts(size: int) -> list[int]:
        side = min(patch, size)
        return sorted({*range(0, size - side + 1, step), size - side})

    rows = torch.arange(min(patch, height) * scale)
    columns = torch.arange(min(patch, width) * scale)
    corners = [(y * scale, x * scale) for y in starts(height) for x in starts(width)]
    return torch.stack([((y + rows)[:, None] * (width * scale) + (x + columns)[None, :]).flatten() for y, x in corners])


def squared_distance(query: Tensor, memory: Tensor) -> Tensor:
    """Similarity -|q - m|^2 / sqrt(C) without the |q|^2 that a softmax or a ranking over m cancels; (..., Q, M)."""
    with torch.autocast(query.device.type, enabled=False):
        return for_query(query) @ for_memory(memory).transpose(-1, -2)


def for_query(query: Tensor) -> Tensor:
    """Queries (..., C + 1) whose product with for_memory is the similarity.

    In float32 even under autocast: differences of large squares do not survive bfloat16. torch's softmax over it
    subtracts the row maximum, so large keys cannot overflow.
    """
    scaled = query.float() * (2 / math.sqrt(query.shape[-1]))
    return torch.nn.functional.pad(scaled, (0, 1), value=1.0)


def for_memory(memory: Tensor) -> Tensor:
    """Memory keys (..., C + 1), their squared length with them: one product instead of three passes over its result."""
    memory = memory.float()
    length = memory.square().sum(-1, keepdim=True) / -math.sqrt(memory.shape[-1])
    return torch.cat([memory, length], dim=-1)


def mean_keys(keys: Tensor, grid: Tensor) -> Tensor:
    """The mean key of each patch: (B, tokens, C) to (B, N, C)."""
    with torch.autocast(keys.device.type, enabled=False):
        pool = torch.zeros(len(grid), keys.shape[1], device=keys.device)
        pool.scatter_(1, grid, 1 / grid.shape[1])
        return pool @ keys.float()


def route(query: Tensor, memory: Tensor, slots: Tensor, valid: Tensor, grid: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Choose for each query patch its k best memory patches, by the affinity of mean keys, without softmax.

    query: (B, tokens, C); memory: (S, tokens, C); slots: (B, M) indices into S; valid: (B, M) bool, False where a row
    of slots is shorter than M; grid: (N, P) from patch_grid. Cost O(M N^2).
    Returns chosen (B, N, k') as slot * N + patch, and usable (B, N, k') bool, where k' = min(k, M N).
    """
    count = len(grid)
    # Only the named slots are touched, each once: the buffer may hold many more.
    named, position = slots.unique(return_inverse=True)
    candidates = mean_keys(memory[named], grid)[position].flatten(1, 2)
    affinity = squared_distance(mean_keys(query, grid), candidates)
    affinity = affinity.masked_fill(~valid.repeat_interleave(count, dim=1)[:, None], -torch.inf)
    best, chosen = affinity.topk(min(k, affinity.shape[-1]), dim=-1)
    slot = slots.gather(1, (chosen // count).flatten(1)).view_as(chosen)
    return slot * count + chosen % count, best > -torch.inf


def read_patches(query: Tensor, key: Tensor, value: Tensor, grid: Tensor, chosen: Tensor, usable: Tensor) -> Tensor:
    """Attend from the pixels of each query patch to those of its chosen memory patches; average where patches overlap.

    query: (B, tokens, C); key: (S, tokens, C); value: (S, tokens, V); grid: (N, P); chosen, usable: (B, N, k) of route.
    Cost O(N k P^2), whatever the number of slots. Returns (B, tokens, V).
    """
    batch, tokens, _ = query.shape
    count, pixels = grid.shape
    slot, patch = chosen // count, chosen % count
    index = (slot[..., None] * tokens + grid[patch]).flatten(2)
    with torch.autocast(query.device.type, enabled=False):
        similarity = for_query(query)[:, grid] @ for_memory(key.flatten(0, 1))[index].transpose(-1, -2)
    if not usable.all():
        similarity.masked_fill_(~usable.repeat_interleave(pixels, dim=2)[:, :, None], -torch.inf)
    weights = torch.softmax(similarity, dim=-1)
    read = weights.to(value.dtype) @ value.flatten(0, 1)[index]
    folded = read.new_zeros(batch, tokens, value.shape[-1])
    folded.index_add_(1, grid.flatten(), read.flatten(1, 2))
    overlaps = torch.bincount(grid.flatten(), minlength=tokens).to(read.dtype)
    return folded / overlaps[:, None]


def read_dense(query: Tensor, key: Tensor, value: Tensor, slots: Tensor, valid: Tensor, k: int = 20) -> Tensor:
    """Attend from every query pixel to its k best pixels of all its slots (STCN, Cheng et al., NeurIPS 2021).

    Shapes as in read_patches, slots and valid as in route. Cost O(M tokens^2). Returns (B, tokens, V).
    """
    tokens = query.shape[1]
    similarity = squared_distance(query, key[slots].flatten(1, 2))
    similarity = similarity.masked_fill(~valid.repeat_interleave(tokens, dim=1)[:, None], -torch.inf)
    best, chosen = similarity.topk(min(k, similarity.shape[-1]), dim=-1)
    slot = slots.gather(1, (chosen // tokens).flatten(1)).view_as(chosen)
    gathered = value.flatten(0, 1)[slot * tokens + chosen % tokens]
    weights = torch.softmax(best, dim=-1).to(value.dtype)
    return (weights.unsqueeze(-2) @ gathered).squeeze(-2)
