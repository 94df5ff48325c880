"""True 4D convolution and group normalisation, over space and time; PyTorch has neither.

Myronenko et al.: 4D CNN for semantic segmentation of cardiac volumetric sequences, STACOM 2019.
Tensors are (B, T, C, Z, Y, X), so that the frames of all cines are one batch for the 3D operations underneath; in
memory the channels come last. Which form of the convolution is the fastest: Testing/benchmarks/conv4d.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Axes = tuple[int, int, int, int]
"""One number for each of time, slice, row, column."""

LARGE = 2**28
"""Bytes above which, without gradients, a CPU is quicker when it does not lay out the neighbours of all frames."""


def conv4d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Axes = (1, 1, 1, 1), form: str = ""
) -> Tensor:
    """Convolve over space and time, zeros beyond all borders: (B, T, C, Z, Y, X) to (B, T', Co, Z', Y', X').

    weight: (Co, taps, C, kz, ky, kx) with odd kernel sizes; a size n becomes (n - 1) // stride + 1. form: one of FORMS,
    which differ in time and memory only; without it the fastest for the device.
    """
    return FORMS[form or fastest(x, weight)](x, weight, bias, stride)


def fastest(x: Tensor, weight: Tensor) -> str:
    """The form that the benchmark found to be the fastest.

    On a GPU one large call fills the device better than many small ones; that has not been measured.
    """
    learning = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    joined = weight.shape[1] * x.numel() * x.element_size()
    return "frames" if x.device.type == "cpu" and not learning and joined > LARGE else "channels"


class Conv4d(nn.Module):
    """conv4d with its weights: `taps` frames, `side` slices, rows and columns; with one tap it is a 3D convolution."""

    def __init__(
        self, inputs: int, outputs: int, taps: int = 3, side: int = 3, stride: Axes = (1, 1, 1, 1), bias: bool = False
    ) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(outputs, taps, inputs, side, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        nn.init.normal_(self.weight, std=(2 / self.weight[0].numel()) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return conv4d(x, self.weight, self.bias, self.stride)


def in_channels(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Axes) -> Tensor:
    """One 3D convolution of all frames, each with its neighbours in time as further channels."""
    taps, kernel = weight.shape[1], weight.shape[3:]
    if taps > 1:
        x = WithNeighbours.apply(x, taps, stride[0])
    elif stride[0] > 1:
        x = x[:, :: stride[0]]
    flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last_3d)
    found = F.conv3d(flat, weight.flatten(1, 2), bias, stride[1:], [k // 2 for k in kernel])
    return found.unflatten(0, x.shape[:2])


class WithNeighbours(torch.autograd.Function):
    """The frames around every stride-th frame as its channels: (B, T, C, ...) to (B, T', taps * C, ...).

    The gradient of pad and cat would take several passes over tensors of this size, and as many fresh ones.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: int, stride: int) -> Tensor:
        ctx.shape, ctx.taps, ctx.stride = x.shape, taps, stride
        frames, inputs = x.shape[1:3]
        rows = as_rows(x)
        count = (frames - 1) // stride + 1
        found = rows.new_empty(len(rows), count, *rows.shape[2:-1], taps * inputs)
        for tap in range(taps):
            outputs, seen = within(frames, taps, stride, tap)
            part = found[..., tap * inputs : (tap + 1) * inputs]
            part[:, outputs] = rows[:, seen]
            part[:, : outputs.start] = 0
            part[:, outputs.stop :] = 0
        return in_rows(found)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        frames, inputs = ctx.shape[1:3]
        rows = as_rows(grad)
        given = rows.new_zeros(len(rows), frames, *ctx.shape[3:], inputs)
        for tap in range(ctx.taps):
            outputs, seen = within(frames, ctx.taps, ctx.stride, tap)
            given[:, seen] += rows[:, outputs, ..., tap * inputs : (tap + 1) * inputs]
        return in_rows(given), None, None


def within(frames: int, taps: int, stride: int, tap: int) -> tuple[slice, slice]:
    """The output frames to which a tap brings a frame that is there, and those frames."""
    reach, count = tap - taps // 2, (frames - 1) // stride + 1
    first, stop = max(0, -(reach // stride)), min(count, (frames - 1 - reach) // stride + 1)
    if stop <= first:
        return slice(count, count), slice(0, 0)
    return slice(first, stop), slice(first * stride + reach, (stop - 1) * stride + reach + 1, stride)


def as_rows(x: Tensor) -> Tensor:
    """(B, T, C, Z, Y, X) as it lies in memory: (B, T, Z, Y, X, C)."""
    return x.permute(0, 1, 3, 4, 5, 2)


def in_rows(rows: Tensor) -> Tensor:
    """The way back."""
    return rows.permute(0, 1, 5, 2, 3, 4)


def batched_taps(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Axes) -> Tensor:
    """One 3D convolution for each tap, of all frames that it touches; the results are added with a shift in time."""
    found = None
    for tap in middle_first(weight):
        outputs, seen = within(x.shape[1], weight.shape[1], stride[0], tap)
        if outputs.start == outputs.stop:
            continue
        frames = x[:, seen]
        part = conv3d(frames.flatten(0, 1), weight, tap, stride).unflatten(0, frames.shape[:2])
        if found is None:  # the middle tap touches every output frame
            found = part
        else:
            found[:, outputs] += part
    return with_bias(found, bias)


def naive(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Axes) -> Tensor:
    """The definition: each output frame is the sum of 3D convolutions of the input frames around it."""
    return with_bias(torch.stack([frame(x, weight, stride, t) for t in range(frames_out(x, stride))], dim=1), bias)


def one_frame_at_a_time(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Axes) -> Tensor:
    """The sums of the definition, each written where it belongs: hardly more memory than the result."""
    first = frame(x, weight, stride, 0)
    count = frames_out(x, stride)
    empty = torch.empty(count * len(first), *first.shape[1:], dtype=first.dtype, device=first.device)
    found = empty.contiguous(memory_format=torch.channels_last_3d).unflatten(0, (len(first), count))
    found[:, 0] = first
    for t in range(1, count):
        found[:, t] = frame(x, weight, stride, t)
    return with_bias(found, bias)


def rearranged(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Axes) -> Tensor:
    """The paper's loop: each input frame is convolved with each tap and added to the output frame that it reaches."""
    found: list[Tensor | None] = [None] * frames_out(x, stride)
    for t in range(x.shape[1]):
        for tap in range(weight.shape[1]):
            target, odd = divmod(t - tap + weight.shape[1] // 2, stride[0])
            if not odd and 0 <= target < len(found):
                part = conv3d(x[:, t], weight, tap, stride)
                found[target] = part if found[target] is None else found[target] + part
    return with_bias(torch.stack(found, dim=1), bias)


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor | None, Axes], Tensor]] = {
    "naive": naive,
    "rearranged": rearranged,
    "batched": batched_taps,
    "channels": in_channels,
    "frames": one_frame_at_a_time,
}


def frames_out(x: Tensor, stride: Axes) -> int:
    return (x.shape[1] - 1) // stride[0] + 1


def middle_first(weight: Tensor) -> list[int]:
    taps = weight.shape[1]
    return sorted(range(taps), key=lambda tap: abs(tap - taps // 2))


def conv3d(frames: Tensor, weight: Tensor, tap: int, stride: Axes) -> Tensor:
    """One tap's share of frames (N, C, Z, Y, X)."""
    return F.conv3d(frames, weight[:, tap], None, stride[1:], [k // 2 for k in weight.shape[3:]])


def frame(x: Tensor, weight: Tensor, stride: Axes, t: int) -> Tensor:
    """The output frame t without bias."""
    total = None
    for tap in middle_first(weight):
        place = t * stride[0] + tap - weight.shape[1] // 2
        if 0 <= place < x.shape[1]:
            part = conv3d(x[:, place], weight, tap, stride)
            total = part if total is None else total + part
    return total


def spread_in_time(weight: Tensor, like: Tensor) -> Tensor:
    """A 3D convolution's weight as the middle tap of one `like` it, which then sees each frame as the 3D one does.

    What is no such weight comes back as it is.
    """
    if weight.ndim != 6 or like.ndim != 6 or weight.shape[1] != 1 or like.shape[1] == 1:
        return weight
    spread = weight.new_zeros(weight.shape[0], like.shape[1], *weight.shape[2:])
    spread[:, like.shape[1] // 2] = weight[:, 0]
    return spread


def with_bias(found: Tensor, bias: Tensor | None) -> Tensor:
    return found if bias is None else found + bias.to(found.dtype).view(-1, 1, 1, 1)


class GroupNorm4d(nn.Module):
    """Group normalisation (Wu and He 2018) over space and time, with a ReLU behind it if wanted.

    The same within 1e-5 in every memory layout, which torch's own is not (1e-2 at the paper's first level with the
    channels last). Sums are of float32 also under autocast, the result has the type of the input.
    """

    def __init__(self, channels: int, groups: int = 8, relu: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.relu, self.eps = min(groups, channels), relu, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C, Z, Y, X), any layout; the result has the channels last in memory."""
        rows = x.permute(0, 1, 3, 4, 5, 2)
        shape = rows.shape
        rows = rows.reshape(len(x), -1, shape[-2] * shape[-1])
        found = Normalise.apply(rows, self.weight, self.bias, self.groups, self.eps, self.relu)
        return found.view(shape).permute(0, 1, 5, 2, 3, 4)


class Normalise(torch.autograd.Function):
    """Group normalisation of rows (B, N, X * C), with few passes over them in both directions.

    The result is x times one number a channel plus another, and so is its gradient with respect to x; sums go down the
    rows first, which is quick and, being sums of sums, exact enough.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, relu: bool) -> Tensor:
        channels, wide = len(weight), torch.promote_types(x.dtype, torch.float32)
        count = x[0].numel() // groups
        mean = by_group(by_channel(x.sum(dim=1, dtype=wide), channels), groups) / count
        squares = centred(x, mean).square_().sum(dim=1)
        rstd = torch.rsqrt(by_group(by_channel(squares, channels), groups) / count + eps)
        scale = weight * rstd
        shift = bias - mean * scale
        y = torch.addcmul(tiled(shift, x), x, tiled(scale, x))
        if relu:
            y.relu_()
        ctx.save_for_backward(x, y if relu else x, weight, mean, rstd)
        ctx.groups, ctx.relu, ctx.count, ctx.wide = groups, relu, count, wide
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, rstd = ctx.saved_tensors
        grad = grad.contiguous()
        if ctx.relu:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        channels = len(weight)
        of_shift = by_channel(grad.sum(dim=1, dtype=ctx.wide), channels)
        of_scale = by_channel(centred(x, mean).mul_(grad).sum(dim=1), channels) * rstd
        # x's own gradient, and what it changes in the mean and in the variance of its group.
        slope = -rstd * rstd * by_group(weight * of_scale, ctx.groups) / ctx.count
        offset = -rstd * by_group(weight * of_shift, ctx.groups) / ctx.count - slope * mean
        given = torch.addcmul(tiled(offset, x), x, tiled(slope, x))
        given.addcmul_(grad, tiled(weight * rstd, x))
        return given, of_scale.sum(dim=0).to(weight.dtype), of_shift.sum(dim=0).to(weight.dtype), None, None, None


def centred(x: Tensor, mean: Tensor) -> Tensor:
    """Rows (B, N, X * C) minus the mean (B, C), in the type of the mean: sums of x itself would lose digits."""
    return x - mean.repeat(1, x.shape[-1] // mean.shape[-1])[:, None]


def by_channel(sums: Tensor, channels: int) -> Tensor:
    """(B, X * C) to (B, C)."""
    return sums.view(len(sums), -1, channels).sum(dim=1)


def by_group(sums: Tensor, groups: int) -> Tensor:
    """The sum over each channel's group, for every channel: (B, C)."""
    grouped = sums.view(len(sums), groups, -1)
    return grouped.sum(dim=2, keepdim=True).expand_as(grouped).reshape(sums.shape)


def tiled(values: Tensor, like: Tensor) -> Tensor:
    """One number a channel (B, C) along the rows (B, 1, X * C), in their type; short rows of C alone would be slow."""
    return values.to(like.dtype).repeat(1, like.shape[-1] // values.shape[-1])[:, None]
