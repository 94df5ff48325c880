"""How the memory network learns: its batches and its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .augmentation import Augmentation
from .losses import MaskLoss
from .samples import draw_row, draw_subject, objects_of
from .subjects import Subject, labelled_frames


class MemoryBatch(NamedTuple):
    """pictures (B, F, 1, H, W), target (B, F, H, W) int64, how many frames are given, how many objects there are."""

    pictures: Tensor
    target: Tensor
    given: int
    objects: int


def memory_batches(
    sources: Sequence[tuple[Sequence[Subject], float]],
    batch: int,
    size: int,
    seed: int,
    max_objects: int = 3,
) -> Callable[[int], MemoryBatch]:
    """The batch of a number. sources: lists of compact subjects, each with the share of samples that comes from it.

    A batch has two objects (the paper's most) or max_objects, and one given frame or, every other time, two or three.
    """
    augment = Augmentation(size)
    sources = [([labelled_frames(s) for s in subjects], share) for subjects, share in sources]

    def draw(number: int) -> MemoryBatch:
        rng = np.random.default_rng([seed, number])
        objects = int(rng.integers(2, max_objects + 1))
        given = int(rng.choice([1, 2, 3], p=[0.5, 0.2, 0.3]))
        pictures, targets = [], []
        for _ in range(batch):
            row = draw_row(draw_subject(sources, rng), rng, given=given)
            picture, target = augment(row.pictures, objects_of(row, objects, rng), rng)
            pictures.append(picture)
            targets.append(target)
        return MemoryBatch(torch.stack(pictures), torch.stack(targets), given, objects)

    return draw


class MemoryLoss:
    """The mean mask loss over the frames that the network had to find."""

    def __init__(self) -> None:
        self.mask_loss = MaskLoss()

    def __call__(self, network: nn.Module, batch: MemoryBatch, progress: float) -> Tensor:
        device = next(network.parameters()).device
        target = batch.target.to(device)
        masks = F.one_hot(target[:, : batch.given], batch.objects + 1).movedim(-1, 2)[:, :, 1:].float()
        logits = network(batch.pictures.to(device), masks)
        wanted = target[:, batch.given :]
        return self.mask_loss(logits.flatten(0, 1), wanted.flatten(0, 1), progress)
