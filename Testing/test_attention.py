"""Efficient additive attention: one stream and coupled streams against plain loops, and what half precision does."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from CardiacSegLib.networks.attention import CrossE2A, E2ABlock

LV, MYO, RV = range(3)


def of(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in double precision with every parameter drawn anew, so that none hides another."""
    module = module.double().requires_grad_(False)
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(0.5 * of(1000 * seed + number, *parameter.shape))
    return module


def linear(conv: nn.Conv2d, token: Tensor, stream: int = 0) -> Tensor:
    """What a 1x1 convolution makes of one token of one stream."""
    channels = len(token)
    part = slice(stream * channels, (stream + 1) * channels)
    return conv.weight[part, :, 0, 0] @ token + conv.bias[part]


def global_query(queries: list[Tensor], weight: Tensor) -> Tensor:
    """Eq. 1 with weights of unit length over the tokens, divided by the square root of how many tokens there are."""
    worth = [(q * weight[:, 0]).sum() / len(q) ** 0.5 for q in queries]
    length = sum(w * w for w in worth) ** 0.5
    return sum(w / length * q for w, q in zip(worth, queries, strict=True)) / len(queries) ** 0.5


def attention_by_hand(block: E2ABlock, x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    for picture, result in zip(x, out, strict=True):
        tokens = list(picture.flatten(1).T)
        queries = [linear(block.query, t) for t in tokens]
        keys = [linear(block.key, t) for t in tokens]
        queries, keys = ([v / v.square().sum().sqrt() for v in vs] for vs in (queries, keys))
        asked = global_query(queries, block.weight)
        for n, (token, query, key) in enumerate(zip(tokens, queries, keys, strict=True)):
            found = linear(block.final, linear(block.project, asked * key) + query)
            result.flatten(1)[:, n] = token + block.scale[:, 0, 0] * found
    return out


def coupling_by_hand(block: CrossE2A, x: Tensor) -> Tensor:
    """Streams (S, B, C, H, W): each asks with its own query, looks at the keys of all, and has its own last layer."""
    out, channels = torch.empty_like(x), x.shape[2]
    for b in range(x.shape[1]):
        tokens = [list(stream.flatten(1).T) for stream in x[:, b]]
        units = {}
        for name, conv in (("query", block.query), ("key", block.key)):
            made = [[linear(conv, t, s) for t in stream] for s, stream in enumerate(tokens)]
            units[name] = [[v / v.square().sum().sqrt() for v in stream] for stream in made]
        for s, stream in enumerate(tokens):
            asked = global_query(units["query"][s], block.weight[s])
            scale = block.scale[s * channels : (s + 1) * channels, 0, 0]
            for n, token in enumerate(stream):
                seen = sum(block.project[s, :, other] @ (asked * units["key"][other][n]) for other in range(3))
                found = linear(block.final, seen + units["query"][s][n], s)
                out[s, b].flatten(1)[:, n] = token + scale * found
    return out


def coupled(block: CrossE2A, streams: Tensor) -> Tensor:
    return block(streams.flatten(0, 1)).unflatten(0, streams.shape[:2])


def test_the_attention_is_that_of_the_definition() -> None:
    block, x = filled(E2ABlock(6)), of(1, 2, 6, 3, 5)
    assert torch.allclose(block(x), attention_by_hand(block, x), rtol=1e-10, atol=1e-10)


def test_the_attention_of_a_repeated_picture_is_the_repeated_attention() -> None:
    block, x = filled(E2ABlock(6)), of(1, 1, 6, 4, 3)
    assert torch.allclose(block(x.repeat(1, 1, 2, 3)), block(x).repeat(1, 1, 2, 3), rtol=1e-10, atol=1e-10)


def test_every_pixel_sees_the_whole_picture() -> None:
    block, x = filled(E2ABlock(6)), of(1, 1, 6, 4, 5)
    moved = x.clone()
    moved[0, :, 2, 3] += 1
    assert ((block(moved) - block(x)).abs().amax(dim=1) > 1e-6).all()


def test_the_pictures_of_a_batch_do_not_see_each_other() -> None:
    x = of(1, 2, 6, 4, 5)
    for block, streams in ((filled(E2ABlock(6)), 1), (filled(CrossE2A(6)), 3)):
        both, alone = x.repeat(streams, 1, 1, 1), x[:1].repeat(streams, 1, 1, 1)
        assert torch.allclose(block(both)[::2], block(alone), rtol=1e-12, atol=1e-12)


def test_the_coupling_is_that_of_the_definition() -> None:
    block, streams = filled(CrossE2A(5)), of(2, 3, 2, 5, 3, 4)
    assert torch.allclose(coupled(block, streams), coupling_by_hand(block, streams), rtol=1e-10, atol=1e-10)


def test_a_specialist_sees_the_others_at_the_same_pixel_and_itself_everywhere() -> None:
    block, streams = filled(CrossE2A(5)), of(2, 3, 1, 5, 4, 6)
    moved = streams.clone()
    moved[MYO, 0, :, 1, 2] += 1
    changed = (coupled(block, moved) - coupled(block, streams)).abs().amax(dim=(1, 2)) > 1e-9
    there = torch.zeros(4, 6, dtype=torch.bool)
    there[1, 2] = True
    assert torch.equal(changed[LV], there) and torch.equal(changed[RV], there)
    assert changed[MYO].all()


def test_the_coupling_does_not_depend_on_the_size_of_the_picture() -> None:
    block, streams = filled(CrossE2A(5)), of(2, 3, 1, 5, 4, 3)
    large = coupled(block, streams.repeat(1, 1, 1, 2, 2))
    assert torch.allclose(large, coupled(block, streams).repeat(1, 1, 1, 2, 2), rtol=1e-10, atol=1e-10)


def permuted(block: CrossE2A, order: list[int]) -> CrossE2A:
    """The same block with its streams in another order."""
    other, n = copy.deepcopy(block), len(order)
    with torch.no_grad():
        for mine, its in zip(other.parameters(), block.parameters(), strict=True):
            if mine is other.weight:
                mine.copy_(its[order])
            elif mine is other.project:
                mine.copy_(its[order][:, :, order])
            else:
                mine.copy_(its.unflatten(0, (n, -1))[order].flatten(0, 1))
    return other


@pytest.mark.parametrize("order", [[1, 2, 0], [0, 2, 1]])
def test_permuted_streams_permute_the_result(order: list[int]) -> None:
    block, streams = filled(CrossE2A(5)), of(2, 3, 2, 5, 3, 4)
    other = coupled(permuted(block, order), streams[order])
    assert torch.allclose(other, coupled(block, streams)[order], rtol=1e-10, atol=1e-10)
    assert not torch.allclose(coupled(block, streams[order]), coupled(block, streams)[order], atol=1e-3)


@pytest.mark.parametrize("stream", [LV, MYO, RV])
def test_each_specialist_goes_through_its_own_last_layer(stream: int) -> None:
    block, streams = filled(CrossE2A(5)), of(2, 3, 1, 5, 3, 4)
    before = coupled(block, streams)
    with torch.no_grad():
        for values in (block.final.weight, block.final.bias):
            values[stream * 5 : (stream + 1) * 5] = 0
    after = coupled(block, streams)
    assert torch.equal(after[stream], streams[stream])
    others = [s for s in range(3) if s != stream]
    assert torch.equal(after[others], before[others])
    assert not torch.allclose(before[stream], streams[stream], atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("block", [E2ABlock(8), CrossE2A(8)], ids=["alone", "coupled"])
@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 100.0])
def test_half_precision_stays_finite_from_tokens_of_zeros_to_large_ones(
    dtype: torch.dtype, block: nn.Module, size: float
) -> None:
    half = copy.deepcopy(block).to(dtype)
    with torch.no_grad():
        for conv in (half.query, half.key):
            conv.bias.zero_()
    x = (size * of(3, 3, 8, 16, 16)).to(dtype).requires_grad_()
    result = half(x)
    assert result.dtype == dtype and result.isfinite().all()
    result.float().mean().backward()
    assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in half.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_agrees_with_single_precision(dtype: torch.dtype) -> None:
    x = of(3, 3, 8, 16, 16).float()
    for block in (E2ABlock(8), CrossE2A(8)):
        exact = block(x) - x
        found = copy.deepcopy(block).to(dtype)(x.to(dtype)).float() - x
        assert (found - exact).abs().max() < 0.02 * x.abs().max()
        with torch.autocast("cpu", dtype):
            assert (block(x).float() - x - exact).abs().max() < 0.02 * x.abs().max()
