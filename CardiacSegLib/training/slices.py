"""Training samples of the automatic networks: single slices with all structures labelled, and their losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CardiacSegError
from ..networks.crocnet import STRUCTURES, E2AUNet, first_masks
from .augmentation import Augmentation
from .losses import dice_loss
from .samples import draw_subject
from .subjects import Subject

ALL = (1, 2, 3)


class SliceBatch(NamedTuple):
    """pictures (B, 1, H, W), target (B, H, W) int64 of native values, and the number that drew it."""

    pictures: Tensor
    target: Tensor
    number: int


def slice_batches(
    sources: Sequence[tuple[Sequence[Subject], float]], batch: int, size: int, seed: int
) -> Callable[[int], SliceBatch]:
    """The batch of a number: slices anywhere in the stack, the heart anywhere near the middle of the picture.

    sources: lists of compact subjects, each with its share. Only frames in which all structures are labelled are used.
    Two slices in five are drawn at the end of a structure, where most errors are made. Raises CardiacSegError where no
    subject is left.
    """
    usable = [([s for s in subjects if fully_labelled(s)], share) for subjects, share in sources]
    usable = [(subjects, share) for subjects, share in usable if subjects]
    if not usable:
        raise CardiacSegError(
            "No subject has LV, MYO and RV labelled in one frame; add data that does, e.g. phantom=24."
        )
    augment = Augmentation(size, shift=0.25)

    def draw(number: int) -> SliceBatch:
        rng = np.random.default_rng([seed, number])
        samples = [draw_slice(draw_subject(usable, rng), rng) for _ in range(batch)]
        pairs = [augment(narrowed(p, lab, rng)[None], lab[None], rng) for p, lab in samples]
        return SliceBatch(torch.cat([p for p, _ in pairs]), torch.cat([t for _, t in pairs]), number)

    return draw


def fully_labelled(subject: Subject) -> bool:
    return any(volume.labelled == ALL for volume in subject.volumes)


def draw_slice(subject: Subject, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Picture and labels (H, W) uint8 of one slice."""
    volumes = [volume for volume in subject.volumes if volume.labelled == ALL]
    volume = volumes[rng.integers(len(volumes))]
    z = int(rng.integers(len(volume.image)))
    if rng.random() < 0.4:
        shown = np.stack([(volume.labels == value).any(axis=(1, 2)) for value in ALL])
        ends = np.flatnonzero((np.diff(shown, axis=1) != 0).any(axis=0))
        if len(ends):
            z = int(rng.choice(ends)) + int(rng.integers(2))
    return volume.image[z], volume.labels[z]


def narrowed(picture: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture (H, W) uint8 as a narrower field of view would have shown it, every third time.

    Only a rectangle round the heart stays, its surroundings become black or continue its border, and the intensities
    are scaled to what is left, as a reader of a cropped cine would scale them.
    """
    if rng.random() > 0.35 or not labels.any():
        return picture
    sides = []
    for axis in (1, 0):
        shown = np.flatnonzero(labels.any(axis=axis))
        margin = rng.integers(2, 60, 2)
        sides.append((max(shown[0] - margin[0], 0), min(shown[-1] + margin[1] + 1, len(picture))))
    (top, bottom), (left, right) = sides
    inside = picture[top:bottom, left:right].astype(np.float32)
    low, high = np.percentile(inside, (1, 99.5))
    inside = np.clip((inside - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    pad = ((top, len(picture) - bottom), (left, picture.shape[1] - right))
    return np.pad(inside, pad, mode="edge" if rng.random() < 0.5 else "constant")


class SliceLoss:
    """Cross-entropy plus soft Dice for networks whose classes compete for every pixel."""

    def __call__(self, network: nn.Module, batch: SliceBatch, progress: float) -> Tensor:
        device = next(network.parameters()).device
        logits = network(batch.pictures.to(device, memory_format=torch.channels_last)).float()
        target = batch.target.to(device)
        wanted = F.one_hot(target, 1 + STRUCTURES).movedim(-1, 1)[:, 1:]
        return F.cross_entropy(logits, target) + dice_loss(logits.softmax(dim=1)[:, 1:], wanted)


class FirstStageLoss:
    """Binary cross-entropy plus soft Dice on CroCNet's first stage: background, LV, MYO, RV, each with a sigmoid."""

    def __call__(self, network: nn.Module, batch: SliceBatch, progress: float) -> Tensor:
        device = next(network.parameters()).device
        logits = network(batch.pictures.to(device, memory_format=torch.channels_last)).float()
        wanted = F.one_hot(batch.target.to(device), 1 + STRUCTURES).movedim(-1, 1).float()
        return F.binary_cross_entropy_with_logits(logits, wanted) + dice_loss(logits.sigmoid(), wanted)


class SecondStageLoss:
    """The same on the specialists' outputs, in a crop round what a frozen first stage finds.

    first: the first stage as trained; side: of the crop in pixels. A third of the masks is spoilt, since on its own
    training subjects the first stage is better than it will ever be again.
    """

    def __init__(self, first: E2AUNet, side: int, seed: int) -> None:
        self.first, self.side, self.seed = first.eval().requires_grad_(False), side, seed

    def __call__(self, network: nn.Module, batch: SliceBatch, progress: float) -> Tensor:
        device = next(network.parameters()).device
        pictures = batch.pictures.to(device, memory_format=torch.channels_last)
        rng = np.random.default_rng([self.seed, batch.number, 1])
        with torch.no_grad():
            masks = first_masks(self.first.to(device)(pictures))
        masks = torch.stack([spoilt(m, rng) for m in masks])
        wanted = F.one_hot(batch.target.to(device), 1 + STRUCTURES).movedim(-1, 1)[:, 1:].float()
        crops = [crop_window(m, self.side, rng) for m in masks]
        pictures, masks, wanted = (cut(maps, crops) for maps in (pictures, masks, wanted))
        logits = network(pictures, masks).float()
        return F.binary_cross_entropy_with_logits(logits, wanted) + dice_loss(logits.sigmoid(), wanted)


def spoilt(masks: Tensor, rng: np.random.Generator) -> Tensor:
    """Masks (3, H, W) as a worse first stage might have found them: grown, shrunk, moved, with a hole, or missing."""
    if rng.random() > 0.35:
        return masks
    kind = rng.choice(["grow", "shrink", "move", "hole", "missing"])
    if kind in ("grow", "shrink"):
        sign = 1 if kind == "grow" else -1
        return sign * F.max_pool2d(sign * masks[None], 3, stride=1, padding=1)[0]
    if kind == "move":
        return masks.roll(tuple(int(s) for s in rng.integers(-4, 5, 2)), dims=(1, 2))
    masks = masks.clone()
    if kind == "missing":
        masks[int(rng.integers(STRUCTURES))] = 0
        return masks
    places = masks.any(dim=0).nonzero()
    if len(places):
        y, x = places[int(rng.integers(len(places)))].tolist()
        side = int(rng.integers(4, 16))
        masks[:, max(y - side, 0) : y + side, max(x - side, 0) : x + side] = 0
    return masks


def cut(maps: Tensor, windows: list[tuple[slice, slice]]) -> Tensor:
    """The window (rows, columns) of each of the maps (B, C, H, W)."""
    pieces = [m[:, rows, columns] for m, (rows, columns) in zip(maps, windows, strict=True)]
    return torch.stack(pieces).contiguous(memory_format=torch.channels_last)


def crop_window(masks: Tensor, side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a square round the masks (3, H, W), or round the middle where they are empty."""
    window = []
    for dim, size in ((2, masks.shape[1]), (1, masks.shape[2])):
        shown = masks.any(dim=0).any(dim=dim - 1).nonzero().flatten().tolist() or [size // 2]
        first = round((shown[0] + shown[-1] + 1) / 2 - side / 2 + rng.normal(0, 4))
        first = min(max(first, 0), size - side)
        window.append(slice(first, first + side))
    return window[0], window[1]
