"""The engine of the 4D CNN and of its 3D twin: windows that slide through space and time, blended where they overlap.

Myronenko et al.: 4D CNN for semantic segmentation of cardiac volumetric sequences, STACOM 2019. The heart cycle is
closed: behind its last frame comes the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, product

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ..cine import Cine, Segmentation, SlicePrediction
from ..errors import CardiacSegError
from ..networks.cnn4d import CNN4D
from ..networks.precision import autocast
from .cleaning import cleaned
from .predictions import Place, Predictions, border_confidence, check_places
from .view import View, intensity_range

HOUNSFIELD = (-1024.0, 1024.0)
"""What CT networks see as -1 and 1."""

FIELD_MM = 224.0
"""What is seen of a slice, as in training."""

BLUR_MM = 25.0
"""Motion is looked for on the scale of a heart."""

MIDDLE_MM = 70.0
"""Standard deviation of where hearts lie in a picture."""

SIGMA = 1 / 8
"""The bell by which windows count towards their ends has this share of their length as its standard deviation."""


class WindowEngine:
    """Finds the structures in all frames of a cine without an annotation.

    Memory holds the probabilities of less than two windows in time, however long the cine is.
    """

    def __init__(self, name: str, network: CNN4D, device: torch.device) -> None:
        self.name = name
        self.network = network.eval().to(device)
        self.device = device

    def segment(
        self,
        cine: Cine,
        annotation: Segmentation | None = None,
        *,
        start: Place | None = None,
        previous: Segmentation | None = None,
    ) -> Iterator[SlicePrediction]:
        """Yield a prediction for every slice that is not fixed in the annotation, from start's frame on through time.

        start: (frame, slice). previous plays no part: what is found does not depend on what a person has drawn.
        Raises CardiacSegError if the grids differ, start is not a slice of the cine, or weights for CT get MR.
        """
        check_places(cine, annotation, start)
        if self.network.config.modality == "CT" != cine.modality:
            raise CardiacSegError(
                f"{cine.name} is {cine.modality}, but these weights of {self.name} need the Hounsfield units of CT; "
                "choose other weights."
            )
        wanted = np.ones(cine.shape[:2], bool) if annotation is None else ~annotation.fixed
        return Predictions(Run(self, cine, wanted, start or (0, 0)).predictions(), int(wanted.sum()))


class MovingView(View):
    """A square of FIELD_MM round what moves most, or the whole picture along the axes where that is smaller.

    Far from the heart a network has seen nothing in its training and could find anything.
    """

    def __init__(self, cine: Cine, spacing_mm: float) -> None:
        spans = []
        for size, mm, centre in zip(cine.shape[2:], cine.spacing[[1, 0]], most_motion(cine), strict=True):
            length = min(size, round(FIELD_MM / mm))
            first = min(max(round(centre + 0.5 - length / 2), 0), size - length)
            spans.append((first, first + length))
        self.rows, self.columns = spans
        self.size = tuple(
            max(1, round((last - first) * mm / spacing_mm))
            for (first, last), mm in zip(spans, cine.spacing[[1, 0]], strict=True)
        )
        self.low, self.high = intensity_range(cine, self.rows, self.columns)


def most_motion(cine: Cine) -> tuple[int, int]:
    """The pixel (row, column) round which the intensities change most over the cycle, rather near the middle.

    On ED and ES of 38 ACDC subjects it lay at most 39 mm from the middle of the heart along either axis.
    """
    y_mm, x_mm = cine.spacing[[1, 0]]
    step = max(1, len(cine.frames) // 12)
    change = cine.frames[::step].astype(np.float32).std(axis=0).mean(axis=0)
    change = ndimage.gaussian_filter(change, (BLUR_MM / y_mm, BLUR_MM / x_mm)) + 1e-6
    rows, columns = ((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(change.shape, (y_mm, x_mm), strict=True))
    near = np.exp(-(rows[:, None] ** 2 + columns**2) / 2 / MIDDLE_MM**2)
    row, column = np.unravel_index(np.argmax(change * near), change.shape)
    return int(row), int(column)


class Field:
    """A cine as the network sees it, frame by frame, and the way back to its own grid."""

    def __init__(self, cine: Cine, network: CNN4D) -> None:
        config = network.config
        self.cine, self.ct = cine, config.modality == "CT"
        self.view = MovingView(cine, config.spacing_mm)
        if self.ct:
            self.view.low, self.view.high = HOUNSFIELD
        slices = cine.shape[1]
        depth = max(1, round(slices * cine.spacing[2] / config.spacing_mm)) if config.isotropic else slices
        self.size = (depth, *self.view.size)

    def frame(self, index: int) -> Tensor:
        """One frame (Z, H, W)."""
        stack = torch.cat([self.view.picture(plane) for plane in self.cine.frames[index]])[:, 0]
        stack = along_the_stack(stack[None], self.size[0])[0]
        return 2 * stack - 1 if self.ct else stack

    def labels(self, chances: Tensor) -> tuple[np.ndarray, list[float]]:
        """Labels (Z, Y, X) on the cine's grid, and how sure each slice is, from probabilities (classes, Z, H, W)."""
        planes = along_the_stack(chances, self.cine.shape[1]).transpose(0, 1)
        found, sure = [], []
        for plane in planes:  # one by one: all slices of a CT on their own pixels would be large
            best, winner = self.view.native(plane[None]).max(dim=1)
            found.append(winner[0].to(torch.uint8).cpu().numpy())
            sure += border_confidence(best, winner)
        shape = self.cine.shape[2:]
        return np.stack([self.view.paste(plane, shape) for plane in cleaned(np.stack(found))]), sure


def along_the_stack(stack: Tensor, slices: int) -> Tensor:
    """Maps (C, Z, H, W) with another number of slices."""
    if stack.shape[1] == slices:
        return stack
    return F.interpolate(stack[None], size=(slices, *stack.shape[2:]), mode="trilinear", align_corners=False)[0]


class Run:
    """One segmentation: the windows, and what the finished ones say about frames that others still have to see."""

    def __init__(self, engine: WindowEngine, cine: Cine, wanted: np.ndarray, start: Place) -> None:
        self.network, self.device = engine.network, engine.device
        self.cine, self.wanted, self.start = cine, wanted, start
        self.field = Field(cine, self.network)
        config = self.network.config
        self.times = windows_in_time(len(cine.frames), config.seen[0] if config.temporal else 1, start[0])
        self.times = [frames for frames in self.times if wanted[frames].any()]
        self.places = list(product(*map(starts, self.field.size, config.seen[1:])))
        self.sums: dict[int, Tensor] = {}

    def predictions(self) -> Iterator[SlicePrediction]:
        """Slices once their frame is done, spread evenly over the next windows, so that no step takes long."""
        ready: Iterator[SlicePrediction] = iter(())
        waiting = 0
        for number, frames in enumerate(self.times):
            pictures = torch.stack([self.field.frame(t) for t in frames]).to(self.device)
            given = 0
            for seen, place in enumerate(self.places, start=1):
                self.look(pictures, frames, place)
                due = waiting * seen // len(self.places)
                yield from islice(ready, due - given)
                given = due
            done = self.done(number)
            ready = chain.from_iterable(self.slices(t) for t in done)
            waiting = int(self.wanted[done].sum())
        yield from ready

    def done(self, number: int) -> list[int]:
        """The frames that no window after this one sees, the one wanted first in front."""
        ahead = {t for later in self.times[number + 1 :] for t in later}
        done = {t for t in self.times[number] if t not in ahead and self.wanted[t].any()}
        return sorted(done, key=lambda t: (t - self.start[0]) % len(self.cine.frames))

    @torch.inference_mode()
    def look(self, pictures: Tensor, frames: Sequence[int], place: tuple[int, int, int]) -> None:
        """Add what the network finds in one window to the sums of its frames that are wanted."""
        box = tuple(
            slice(first, min(first + length, size))
            for first, length, size in zip(place, self.network.config.seen[1:], self.field.size, strict=True)
        )
        with autocast(self.device):
            logits = self.network(pictures[(slice(None), *box)][None])
        chances = logits[0].float().softmax(dim=1)
        weights = bell([len(frames), *chances.shape[2:]]).to(self.device)
        for found, weight, t in zip(chances, weights, frames, strict=True):
            if self.wanted[t].any():
                if t not in self.sums:
                    self.sums[t] = torch.zeros(found.shape[0], *self.field.size, device=self.device)
                self.sums[t][(slice(None), *box)] += found * weight

    @torch.inference_mode()
    def slices(self, frame: int) -> Iterator[SlicePrediction]:
        """The slices of a frame that are wanted, the one wanted first in front."""
        chances = self.sums.pop(frame)
        labels, sure = self.field.labels(chances / chances.sum(dim=0))
        for z in sorted(np.flatnonzero(self.wanted[frame]), key=lambda z: abs(z - self.start[1])):
            yield SlicePrediction(frame, int(z), labels[z], sure[z])


def windows_in_time(frames: int, length: int, start: int = 0) -> list[list[int]]:
    """The frames of each window, round the closed cycle, each frame in at least two windows, start's windows first.

    With fewer frames than half a window there is no motion to see, and each is a still, as in training.
    """
    if frames < max(length // 2, 2):
        return [[(start + i) % frames] * length for i in range(frames)]
    count = frames if length == 1 else -(-frames // (length // 2))
    first = start - (length - 1)  # the last place that still sees start
    return [[(first + round(i * frames / count) + k) % frames for k in range(length)] for i in range(count)]


def starts(size: int, length: int) -> list[int]:
    """Where windows begin along one axis in space, so that neighbours share at least half of their length."""
    if size <= length:
        return [0]
    count = -(-(size - length) // max(length // 2, 1)) + 1
    return [round(i * (size - length) / (count - 1)) for i in range(count)]


def bell(shape: Sequence[int]) -> Tensor:
    """How much each place in a window counts: a Gaussian along every axis, nowhere quite nothing."""
    weights = torch.ones(())
    for length in shape:
        distance = torch.arange(length) - (length - 1) / 2
        weights = weights[..., None] * torch.exp(-0.5 * (distance / (SIGMA * length)) ** 2)
    return weights.clamp(min=1e-3)
