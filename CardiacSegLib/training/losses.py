"""Losses for masks of objects."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class MaskLoss:
    """Bootstrapped cross-entropy (STCN) plus soft Dice (MONAI), on aggregated logits.

    The share of the hardest pixels that count falls from all to `hardest` while progress goes from 0.1 to 0.5.
    """

    def __init__(self, hardest: float = 0.3) -> None:
        from monai.losses import DiceLoss

        self.hardest = hardest
        # Over the batch, so that an object that is absent from one picture does not make a gradient out of noise.
        self.dice = DiceLoss(include_background=False, softmax=True, to_onehot_y=True, batch=True)

    def __call__(self, logits: Tensor, target: Tensor, progress: float) -> Tensor:
        """logits: (B, 1 + O, H, W); target: (B, H, W) int64; progress: 0..1 of the training."""
        logits = logits.float()
        pixels = F.cross_entropy(logits, target, reduction="none").flatten()
        share = 1 - (1 - self.hardest) * min(max((progress - 0.1) / 0.4, 0), 1)
        hardest = pixels.topk(int(len(pixels) * share)).values if share < 1 else pixels
        return hardest.mean() + self.dice(logits, target[:, None])


def dice_scores(logits: Tensor, target: Tensor) -> Tensor:
    """Dice of each object over the batch (O,), to watch a training; NaN where neither has a pixel."""
    found = logits.argmax(dim=1)
    objects = range(1, logits.shape[1])
    both = torch.stack([((found == o) & (target == o)).sum() for o in objects])
    total = torch.stack([(found == o).sum() + (target == o).sum() for o in objects])
    return 2 * both / total.where(total > 0, torch.nan)


def dice_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """One minus the soft Dice of each channel over the batch, with squares in the denominator (V-Net), averaged.

    found: (B, C, ...) probabilities; wanted: the same shape, 0 or 1. A channel that is absent from the whole batch
    costs in proportion to what is found in it.
    """
    dims = [0, *range(2, found.ndim)]
    both = (found * wanted).sum(dims)
    total = found.square().sum(dims) + wanted.sum(dims)
    return 1 - ((2 * both + 1) / (total + 1)).mean()
