"""4D convolution and 4D group normalisation against their definitions."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from CardiacSegLib.networks.conv4d import FORMS, Conv4d, GroupNorm4d, conv4d, fastest, spread_in_time

SHAPES = [(3, 3, 4, 3), (4, 3, 6, 5), (1, 2, 3, 4), (2, 1, 1, 7)]
STRIDES = [(1, 1, 1, 1), (2, 2, 2, 2), (2, 1, 2, 2), (1, 2, 2, 1)]


def by_definition(x: Tensor, weight: Tensor, bias: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Every output voxel: the sum over all taps and input channels of weight times input, zero outside."""
    batch, _, _, *space = x.shape
    sizes = (x.shape[1], *space)
    kernel = (weight.shape[1], *weight.shape[3:])
    counts = [(n - 1) // s + 1 for n, s in zip(sizes, stride, strict=True)]
    out = []
    for place in product(*map(range, counts)):
        value = bias.expand(batch, -1)
        for tap in product(*map(range, kernel)):
            t, z, y, x_ = (p * s + k - n // 2 for p, s, k, n in zip(place, stride, tap, kernel, strict=True))
            if all(0 <= i < n for i, n in zip((t, z, y, x_), sizes, strict=True)):
                value = value + x[:, t, :, z, y, x_] @ weight[:, tap[0], :, tap[1], tap[2], tap[3]].T
        out.append(value)
    return torch.stack(out, dim=-1).unflatten(-1, counts).movedim(2, 1)


def arguments(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames, *space = shape

    def drawn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).requires_grad_()

    return drawn(2, frames, 2, *space), drawn(3, 3, 2, 3, 3, 3), drawn(3)


def with_gradients(found: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The result, and the gradients of a random sum of it."""
    along = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return [found.detach(), *torch.autograd.grad(found, inputs, along)]


@cache
def expected_of(shape: tuple[int, ...], stride: tuple[int, ...]) -> list[Tensor]:
    inputs = arguments(shape)
    return with_gradients(by_definition(*inputs, stride), inputs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "stride"), [*zip(SHAPES, STRIDES, strict=True), ((5, 3, 4, 3), (2, 2, 1, 2))])
def test_each_form_gives_what_the_definition_gives_forward_and_in_every_gradient(
    form: str, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    inputs = arguments(shape)
    found = with_gradients(conv4d(*inputs, stride, form), inputs)
    for mine, theirs in zip(found, expected_of(shape, stride), strict=True):
        assert mine.shape == theirs.shape
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("frames", [5, 6])
@pytest.mark.parametrize("stride", STRIDES)
def test_all_forms_agree_on_odd_and_even_sizes_and_all_strides(frames: int, stride: tuple[int, ...]) -> None:
    x, weight, bias = arguments((frames, 5, 8, 7))
    first, *others = (conv4d(x, weight, bias, stride, form) for form in FORMS)
    assert all(torch.allclose(first, other, rtol=0, atol=1e-12) for other in others)


@pytest.mark.parametrize("form", FORMS)
def test_with_one_tap_and_one_voxel_it_is_a_mixture_of_channels(form: str) -> None:
    x, *_ = arguments((4, 3, 5, 6))
    weight = torch.randn(3, 1, 2, 1, 1, 1, dtype=torch.float64)
    expected = torch.einsum("btczyx,oc->btozyx", x, weight[:, 0, :, 0, 0, 0])
    assert torch.allclose(conv4d(x, weight, None, form=form), expected, rtol=0, atol=1e-12)


def test_neighbours_become_channels_but_not_of_what_is_large_and_needs_no_gradient() -> None:
    small, large = (torch.empty(1, frames, 8, 16, 96, 96, device="meta") for frames in (8, 80))
    weight = torch.empty(8, 3, 8, 3, 3, 3, device="meta", requires_grad=True)
    assert fastest(small, weight) == fastest(large, weight) == "channels"
    small, large = (torch.zeros(1, 1, 1, 1, 1, 1).expand(1, frames, 8, 16, 96, 96) for frames in (8, 80))
    assert fastest(large, weight) == "channels"
    with torch.no_grad():
        assert (fastest(small, weight), fastest(large, weight)) == ("channels", "frames")


def test_it_is_not_separable_so_a_kernel_of_full_rank_is_reproduced() -> None:
    weight = torch.zeros(1, 3, 1, 3, 3, 3, dtype=torch.float64)
    for i in range(3):
        weight[0, i, 0, i, 2 - i, i] = i + 1.0
    x = torch.zeros(1, 3, 1, 3, 3, 3, dtype=torch.float64)
    x[0, 1, 0, 1, 1, 1] = 1
    # An impulse brings out the kernel, mirrored along every axis.
    assert torch.equal(conv4d(x, weight)[0, :, 0], weight[0, :, 0].flip(0, 1, 2, 3))


def test_a_3d_convolution_spread_in_time_sees_each_frame_as_before() -> None:
    torch.manual_seed(0)
    flat, whole = Conv4d(2, 3, taps=1), Conv4d(2, 3, taps=3)
    whole.weight.data = spread_in_time(flat.weight.data, whole.weight)
    x = torch.randn(1, 4, 2, 3, 5, 6)
    assert torch.allclose(whole(x), flat(x), atol=1e-5)
    same = torch.randn(3, 3, 2, 3, 3, 3)
    assert spread_in_time(same, whole.weight) is same


def layouts(x: Tensor) -> dict[str, Tensor]:
    """(B, T, C, Z, Y, X) with the same values in different orders in memory."""
    return {
        "channels first": x.contiguous(),
        "channels last": x.permute(0, 1, 3, 4, 5, 2).contiguous().permute(0, 1, 5, 2, 3, 4),
        "time last": x.permute(0, 2, 3, 4, 5, 1).contiguous().permute(0, 5, 1, 2, 3, 4),
        "strided": torch.stack([x, x], dim=-1)[..., 1],
    }


@pytest.mark.parametrize("layout", ["channels first", "channels last", "time last", "strided"])
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_the_norm_over_space_and_time_is_exact_to_1e_5_in_every_layout(layout: str, offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 8, 8, 16, 48, 48, generator=generator) + offset
    expected = F.group_norm(x.double().transpose(1, 2), 4).transpose(1, 2)
    found = GroupNorm4d(8, 4)(layouts(x)[layout])
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("channels", "groups"), [(8, 8), (16, 8), (6, 2), (4, 8)])
@pytest.mark.parametrize("relu", [False, True])
def test_the_norm_and_its_gradients_are_those_of_the_definition(channels: int, groups: int, relu: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = GroupNorm4d(channels, groups, relu).double()
    for parameter in norm.parameters():
        parameter.data = torch.randn(channels, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 3, channels, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    rows = x.transpose(1, 2).reshape(2, min(groups, channels), -1)
    rows = (rows - rows.mean(2, keepdim=True)) / (rows.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = rows.view(2, channels, 3, 2, 4, 5).transpose(1, 2)
    expected = expected * norm.weight.view(-1, 1, 1, 1) + norm.bias.view(-1, 1, 1, 1)
    expected = expected.relu() if relu else expected
    found = norm(x)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    inputs, along = (x, *norm.parameters()), torch.randn(x.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(found, inputs, along)
    for mine, theirs in zip(gradients, torch.autograd.grad(expected, inputs, along), strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-10)


def test_the_norm_keeps_the_type_of_half_precision_and_nearly_its_values() -> None:
    x = torch.randn(1, 4, 8, 6, 20, 20, generator=torch.Generator().manual_seed(0))
    found = GroupNorm4d(8)(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - GroupNorm4d(8)(x.bfloat16().float())).abs().max() < 0.03
