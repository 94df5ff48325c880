"""Engines that find every slice by itself, without an annotation: U-Net and CroCNet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..cine import Cine, Segmentation, SlicePrediction
from ..networks.crocnet import CroCNet, first_masks, fuse
from ..networks.precision import autocast
from .cleaning import HEART_GAP, cleaned, largest_piece
from .predictions import Place, Predictions, border_confidence, check_places
from .view import WholeView

BATCH = 5
"""Slices that go through a network together; more gain nothing on a CPU and make a cancelled run linger."""

SPECIALISTS = 0.6
"""Their share in what CroCNet's stages find together: where both are sure, the specialists are right."""

Box = tuple[slice, slice]
"""Rows and columns."""


class SlicewiseEngine:
    """Finds the structures in every frame of a cine by itself; a frame's slices come out together.

    The frame is the smallest unit because stray spots are told from the heart by the whole stack.
    """

    def __init__(self, name: str, network: nn.Module, device: torch.device) -> None:
        self.name = name
        self.network = network.eval().to(device, memory_format=torch.channels_last)
        self.device = device

    def segment(
        self,
        cine: Cine,
        annotation: Segmentation | None = None,
        *,
        start: Place | None = None,
        previous: Segmentation | None = None,
    ) -> Iterator[SlicePrediction]:
        """Yield a prediction for every slice that is not fixed in the annotation, the frames nearest to start first.

        start: (frame, slice). previous plays no part: what is found does not depend on what a person has drawn.
        Raises CardiacSegError if the grids differ or start is not a slice of the cine.
        """
        check_places(cine, annotation, start)
        wanted = np.ones(cine.shape[:2], bool) if annotation is None else ~annotation.fixed
        return Predictions(self._frames(cine, wanted, start or (0, 0)), int(wanted.sum()))

    @property
    def smallest(self) -> int:
        """The side in pixels to which smaller pictures are continued."""
        return 0

    def _frames(self, cine: Cine, wanted: np.ndarray, start: Place) -> Iterator[SlicePrediction]:
        config = self.network.config
        view = WholeView(cine, config.spacing_mm, config.stride, self.smallest)
        for frame in sorted(np.flatnonzero(wanted.any(axis=1)), key=lambda t: abs(t - start[0])):
            labels, sure = self._stack(cine.frames[frame], view)
            for z in sorted(np.flatnonzero(wanted[frame]), key=lambda z: abs(z - start[1])):
                yield SlicePrediction(int(frame), int(z), labels[z], sure[z])

    @torch.inference_mode()
    def _stack(self, planes: np.ndarray, view: WholeView) -> tuple[np.ndarray, list[float]]:
        """Labels (Z, Y, X) of one frame on the native grid, and how sure each slice is."""
        pictures = torch.cat([view.picture(plane) for plane in planes])
        pictures = pictures.to(self.device, memory_format=torch.channels_last)
        with autocast(self.device):
            probabilities = self.probabilities(pictures)
        native = view.native(probabilities)
        best, winner = native.max(dim=1)
        found = cleaned(winner.to(torch.uint8).cpu().numpy())
        shape = planes.shape[1:]
        return np.stack([view.paste(plane, shape) for plane in found]), border_confidence(best, winner)

    def probabilities(self, pictures: Tensor) -> Tensor:
        """(Z, 4, H, W) of background, LV, MYO, RV for a stack (Z, 1, H, W)."""
        return in_batches(self.network, pictures).float().softmax(dim=1)


class CroCNetEngine(SlicewiseEngine):
    """CroCNet: the first stage finds the heart in the stack, the specialists refine it in one crop for all slices.

    Attention compares a pixel with the whole picture, so the first stage is at its best in pictures of the size that it
    was trained with: smaller ones are continued, and in larger ones it looks a second time, at such a window round the
    heart. What both looks find is averaged, and so is what both stages find, in favour of the specialists.
    """

    network: CroCNet

    @property
    def smallest(self) -> int:
        return self.network.config.window

    def probabilities(self, pictures: Tensor) -> Tensor:
        config = self.network.config
        first = self._look(pictures)
        window = heart_box(heart_of(first), config.margin, config.stride, config.window)
        if window is not None and pictures[..., window[0], window[1]].shape != pictures.shape:
            again = self._look(pictures[..., window[0], window[1]])
            first = (first + pasted(again, first, window)) / 2
        heart = heart_of(first)
        box = heart_box(heart, config.margin, config.stride)
        if self.network.second is None or box is None:
            return first
        masks = first_masks(first) * torch.from_numpy(heart).to(first)[:, None]
        refined = in_batches(self.network, pictures[..., box[0], box[1]], masks[..., box[0], box[1]])
        return first.lerp(pasted(fuse(refined), first, box), SPECIALISTS)

    def _look(self, pictures: Tensor) -> Tensor:
        """What the first stage finds: probabilities (Z, 4, H, W)."""
        sure = in_batches(self.network, pictures).float().sigmoid()
        return sure / sure.sum(dim=1, keepdim=True)


def heart_of(probabilities: Tensor) -> np.ndarray:
    """The largest piece (Z, H, W) of all that is more likely heart than background."""
    return largest_piece(first_masks(probabilities).any(dim=1).cpu().numpy(), HEART_GAP)


def pasted(part: Tensor, whole: Tensor, box: Box) -> Tensor:
    """Probabilities in a box of the whole, round which all is background."""
    found = torch.zeros_like(whole)
    found[:, 0] = 1
    found[..., box[0], box[1]] = part
    return found


def in_batches(network: nn.Module, *maps: Tensor) -> Tensor:
    """The network's output for maps (B, C, H, W), a few at a time."""
    pieces = zip(*(m.split(BATCH) for m in maps), strict=True)
    parts = [network(*(p.contiguous(memory_format=torch.channels_last) for p in piece)) for piece in pieces]
    return torch.cat(parts)


def heart_box(heart: np.ndarray, margin: int, multiple: int, smallest: int = 0) -> Box | None:
    """Rows and columns of the heart (Z, H, W) with a margin on every side, or None where nothing was found.

    The box is clipped at the border of the picture, then grown within it to sides that are multiples of `multiple`, as
    those of the picture are. They have at least `smallest` pixels, such a multiple, too, where the picture has.
    """
    if not heart.any():
        return None
    box = []
    for axis, size in ((2, heart.shape[1]), (1, heart.shape[2])):
        shown = np.flatnonzero(heart.any(axis=(0, axis)))
        first, last = max(shown[0] - margin, 0), min(shown[-1] + 1 + margin, size)
        side = max(-(-(last - first) // multiple) * multiple, min(smallest, size))
        first = min(max((first + last - side) // 2, 0), size - side)
        box.append(slice(int(first), int(first + side)))
    return box[0], box[1]
