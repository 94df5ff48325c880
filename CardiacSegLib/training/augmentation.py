"""Augmentation made for MR: one motion for a whole sample, a smaller one for each frame, and MONAI's MR artefacts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Augmentation:
    """Turns uint8 crops into varied network input.

    size: side of the output in pixels; shift: standard deviation of the motion of all frames together, in halves of
    that side.
    """

    def __init__(self, size: int, shift: float = 0.08) -> None:
        from monai.transforms import (
            Compose,
            RandAdjustContrast,
            RandBiasField,
            RandGaussianSmooth,
            RandGibbsNoise,
            RandRicianNoise,
        )

        self.size, self.shift = size, shift
        self.artefacts = Compose(
            [
                RandBiasField(degree=2, coeff_range=(0.0, 0.3), prob=0.3),
                RandAdjustContrast(prob=0.5, gamma=(0.6, 1.6)),
                RandGaussianSmooth((0.3, 1.0), (0.3, 1.0), (0.0, 0.0), prob=0.15),
                RandGibbsNoise(prob=0.1, alpha=(0.2, 0.6)),
                RandRicianNoise(prob=0.3, std=0.05, sample_std=True),
            ]
        )

    def __call__(self, pictures: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """pictures, target: (F, H, W) uint8. Returns (F, 1, size, size) float in 0..1 and (F, size, size) int64.

        The same state of rng gives the same pictures.
        """
        grid = self.motion(len(pictures), pictures.shape[-1], rng)
        stacked = torch.from_numpy(np.ascontiguousarray(pictures)).float()[:, None] / 255
        moved = F.grid_sample(stacked, grid, mode="bilinear", align_corners=False, padding_mode="border")
        count = int(target.max()) + 1
        one_hot = F.one_hot(torch.from_numpy(target).long(), count).movedim(-1, 1).float()
        shares = F.grid_sample(one_hot, grid, mode="bilinear", align_corners=False)
        shares[:, 0] += 1 - shares.sum(dim=1)
        return self.intensities(moved, rng), shares.argmax(dim=1)

    def motion(self, frames: int, side: int, rng: np.random.Generator) -> Tensor:
        """Sampling grid (F, size, size, 2): rotation, flips, zoom, shear, shift and a smooth warp for all frames, and a
        small affine motion of each frame's own (breathing between slices)."""
        shared = affine(rng, degrees=25, zoom=0.18, shear=0.08, shift=self.shift)
        if rng.random() < 0.5:
            shared = np.diag([*rng.choice([-1.0, 1.0], 2), 1.0]) @ shared
        if rng.random() < 0.3:
            shared = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ shared
        own = [affine(rng, degrees=3, zoom=0.02, shear=0.02, shift=0.012) for _ in range(frames)]
        matrices = torch.tensor(np.stack([(shared @ o)[:2] for o in own]), dtype=torch.float32)
        matrices *= self.size / side
        grid = F.affine_grid(matrices, [frames, 1, self.size, self.size], align_corners=False)
        if rng.random() < 0.5:
            coarse = torch.tensor(rng.normal(0, 0.012, (1, 2, 6, 6)), dtype=torch.float32)
            warp = F.interpolate(coarse, size=self.size, mode="bicubic", align_corners=True)
            grid = grid + warp.movedim(1, -1)
        return grid

    def intensities(self, pictures: Tensor, rng: np.random.Generator) -> Tensor:
        """MR artefacts and contrast for all frames, and a slight change of gain for each."""
        from monai.utils import convert_to_tensor

        count = len(pictures)
        self.artefacts.set_random_state(int(rng.integers(2**31)))
        changed = self.artefacts(pictures[:, 0].clamp(0, 1))
        # MONAI's own kind of tensor would slow down every operation of the network that follows.
        changed = convert_to_tensor(changed, track_meta=False).float()[:, None]
        gain = torch.tensor(rng.uniform(0.8, 1.2) * rng.normal(1, 0.04, count), dtype=torch.float32)
        offset = rng.uniform(-0.1, 0.1)
        return (changed * gain[:, None, None, None] + offset).clamp(-0.3, 1.5)


def affine(rng: np.random.Generator, degrees: float, zoom: float, shear: float, shift: float) -> np.ndarray:
    """A random 3x3 matrix in the unit of half a picture's side; the arguments are standard deviations."""
    angle = np.deg2rad(rng.normal(0, degrees))
    scale = np.exp(rng.normal(0, zoom))
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[0, 1] += rng.normal(0, shear)
    matrix[:2, 2] = rng.normal(0, shift, 2)
    return matrix
