"""Training samples of the 4D CNN: short stretches of cines with few labelled frames; and its loss.

Myronenko et al. 2019: a random crop, centred on the foreground with a probability of 0.6 and else on the background;
soft Dice on the labelled frames plus the change over time, both with equal weight. Subjects with single frames only
are stills: one frame, set in motion. The paper augments nothing; with a few dozen hearts it helps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.cnn4d import CNN4DConfig
from .augmentation import affine
from .samples import draw_subject
from .subjects import LabelledVolume, Subject

FOREGROUND = 0.6
"""So often a crop is centred on a voxel of a structure."""

ROOM = 1.43
"""So much wider than the window is what is cut out before it is turned and zoomed."""


class SequenceBatch(NamedTuple):
    """pictures (B, T, Z, Y, X), target (B, T, Z, Y, X) int64, and which structures are labelled (B, T, structures)."""

    pictures: Tensor
    target: Tensor
    labelled: Tensor


@dataclass(frozen=True)
class Crop:
    """images, labels (T, Z, H, W) uint8; labelled (T, structures) bool; still: whether all frames are the same one."""

    images: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray
    still: bool


def sequence_batches(
    sources: Sequence[tuple[Sequence[Subject], float]], batch: int, config: CNN4DConfig, seed: int
) -> Callable[[int], SequenceBatch]:
    """The batch of a number. sources: lists of compact subjects, each with its share.

    All samples of a batch get as many slices as the smallest has. For the 3D twin they are single labelled frames.
    """
    frames, slices, rows, columns = config.window
    window = (frames if config.temporal else 1, slices, rows, columns)

    def draw(number: int) -> SequenceBatch:
        rng = np.random.default_rng([seed, number])
        crops = [draw_crop(draw_subject(sources, rng), window, rng) for _ in range(batch)]
        fewest = min(crop.images.shape[1] for crop in crops)
        samples = [varied(crop, fewest, window[2:], config.modality, rng) for crop in crops]
        return SequenceBatch(*(torch.stack(parts) for parts in zip(*samples, strict=True)))

    return draw


def is_cine(subject: Subject) -> bool:
    """Whether the volumes are all frames in order, as in data sets of cines, where some are unlabelled."""
    return any(not volume.labelled for volume in subject.volumes)


def draw_crop(subject: Subject, window: tuple[int, int, int, int], rng: np.random.Generator) -> Crop:
    """A random crop, wider in plane by ROOM than the window (frames, slices, rows, columns) where the picture is.

    Time goes round: behind the last frame comes the first. The frame of the centre may be anywhere in the stretch.
    """
    cine = is_cine(subject) and window[0] > 1
    volume, centre = draw_centre(subject, cine, rng)
    frames = [volume] * window[0]
    if cine:
        at = next(i for i, v in enumerate(subject.volumes) if v is volume)
        first = at - int(rng.integers(window[0]))
        frames = [subject.volumes[(first + i) % len(subject.volumes)] for i in range(window[0])]
    sizes = (window[1], round(window[2] * ROOM), round(window[3] * ROOM))
    place = tuple(
        slice(first, first + size)
        for first, size in (around(c, s, full) for c, s, full in zip(centre, sizes, volume.image.shape, strict=True))
    )
    structures = (1, 2, 3)
    return Crop(
        np.stack([v.image[place] for v in frames]),
        np.stack([v.labels[place] for v in frames]),
        np.array([[s in v.labelled for s in structures] for v in frames]),
        not cine,
    )


def draw_centre(subject: Subject, cine: bool, rng: np.random.Generator) -> tuple[LabelledVolume, np.ndarray]:
    """A frame and a voxel (z, y, x) of it: of a structure, or one that is not known to belong to one.

    The background may lie in a frame without labels, so a crop without any is legal; black margins are not drawn.
    """
    labelled = [v for v in subject.volumes if v.labelled]
    if rng.random() < FOREGROUND:
        volume = labelled[rng.integers(len(labelled))]
        voxels = np.argwhere(volume.labels)
        if len(voxels):
            return volume, voxels[rng.integers(len(voxels))]
    choices = subject.volumes if cine else labelled
    volume = choices[rng.integers(len(choices))]
    voxels = np.argwhere((volume.labels == 0) & volume.image.any(axis=0))
    return volume, voxels[rng.integers(len(voxels))]


def around(centre: int, size: int, full: int) -> tuple[int, int]:
    """First index and length of a stretch round the centre, moved into 0..full and no longer than that."""
    size = min(size, full)
    return min(max(int(centre) - size // 2, 0), full - size), size


def varied(
    crop: Crop, slices: int, size: tuple[int, int], modality: str, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (T, Z, *size) as the network sees them, target and labelled, after random motion and contrast."""
    first = int(rng.integers(crop.images.shape[1] - slices + 1))
    images, labels = (torch.from_numpy(a[:, first : first + slices]) for a in (crop.images, crop.labels))
    grid = motion(crop, slices, size, rng)
    stacked = images.flatten(0, 1)[:, None].float() / 255
    moved = F.grid_sample(stacked, grid, mode="bilinear", align_corners=False)
    one_hot = F.one_hot(labels.flatten(0, 1).long(), 4).movedim(-1, 1).float()
    shares = F.grid_sample(one_hot, grid, mode="bilinear", align_corners=False)
    shares[:, 0] += 1 - shares.sum(dim=1)
    pictures = moved[:, 0].unflatten(0, images.shape[:2])
    change = vary_mr if modality == "MR" else vary_ct
    return change(pictures, rng), shares.argmax(dim=1).unflatten(0, images.shape[:2]), torch.from_numpy(crop.labelled)


def motion(crop: Crop, slices: int, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Sampling grid (T * Z, *size, 2): one rotation, zoom, shear, shift and mirroring for all, and breathing between
    slices; a still beats, its zoom and place going there and back."""
    frames, side = len(crop.images), np.array(crop.images.shape[:1:-1])
    shared = affine(rng, degrees=25, zoom=0.15, shear=0.05, shift=0.08)
    if rng.random() < 0.5:
        shared = np.diag([*rng.choice([-1.0, 1.0], 2), 1.0]) @ shared
    breath = [affine(rng, degrees=0, zoom=0, shear=0, shift=0.01) for _ in range(slices)]
    beats = [np.eye(3)] * frames
    if crop.still and frames > 1:
        far, begins = affine(rng, degrees=3, zoom=0.08, shear=0.02, shift=0.015), rng.random()
        share = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(frames) / rng.uniform(1, 4) / frames + begins))
        beats = [np.eye(3) + s * (far - np.eye(3)) for s in share]
    scale = np.diag([*(np.array(size[::-1]) / side), 1.0])
    matrices = np.stack([(scale @ shared @ b @ beat)[:2] for beat in beats for b in breath])
    return F.affine_grid(torch.tensor(matrices, dtype=torch.float32), [len(matrices), 1, *size], align_corners=False)


def vary_mr(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Another contrast, gain and offset for all frames, a gain for each slice, a smooth shade, and noise."""
    slices, rows, columns = pictures.shape[1:]
    varied = pictures.clamp(min=0) ** float(np.exp(rng.normal(0, 0.25)))
    gain = torch.tensor(rng.uniform(0.75, 1.25) * rng.normal(1, 0.05, slices), dtype=torch.float32)
    slopes = rng.normal(0, 0.15, 2)
    shade = torch.linspace(-1, 1, rows)[:, None] * slopes[0] + torch.linspace(-1, 1, columns) * slopes[1]
    varied = varied * (gain[:, None, None] * (1 + shade)) + rng.uniform(-0.08, 0.08)
    return (varied + noise(pictures, rng, 0.05)).clamp(-0.3, 1.5)


def vary_ct(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """-1..1 for -1024..1024 HU, with the density moved a little and noise."""
    moved = pictures * 2 - 1
    return (moved + rng.normal(0, 0.02) + noise(pictures, rng, 0.03)).clamp(-1, 1)


def noise(like: Tensor, rng: np.random.Generator, strongest: float) -> Tensor:
    """Noise of its own in every frame."""
    return torch.from_numpy(rng.standard_normal(like.shape, dtype=np.float32)) * float(rng.uniform(0, strongest))


class SequenceLoss:
    """Soft Dice of the labelled frames plus the change over time, equally weighted, plus cross-entropy.

    The change is the squared difference between consecutive frames' probabilities, summed over the classes, as a mean
    over voxels and pairs of frames; cyclic adds the pair of the last and the first. A crop without labels has that term
    alone. The 3D twin, which sees frames alone, has no such term. The paper has no cross-entropy: it trains for a
    hundred times as long. In a short training Dice alone ended with nothing found anywhere.
    """

    def __init__(self, temporal: bool = True, cyclic: bool = False) -> None:
        self.temporal, self.cyclic = temporal, cyclic

    def __call__(self, network: nn.Module, batch: SequenceBatch, progress: float) -> Tensor:
        device = next(network.parameters()).device
        logits = network(batch.pictures.to(device)).float()
        target, labelled = batch.target.to(device), batch.labelled.to(device)
        chances = logits.softmax(dim=2)
        value = sparse_dice(chances, target, labelled) + sparse_cross_entropy(logits, target, labelled)
        return value + change_over_time(chances, self.cyclic) if self.temporal else value


def sparse_cross_entropy(logits: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """The mean over the voxels of the frames in which all structures are labelled; 0 without any."""
    known = labelled.all(dim=2)
    return F.cross_entropy(logits[known], target[known]) if known.any() else logits.sum() * 0


def sparse_dice(chances: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """1 - Dice, the mean over labelled structures and frames; 0 without any.

    chances: (B, T, classes, Z, Y, X); target: (B, T, Z, Y, X); labelled: (B, T, structures) bool.
    """
    if not labelled.any():
        return chances.sum() * 0
    found = chances[:, :, 1:]
    wanted = F.one_hot(target, found.shape[2] + 1).movedim(-1, 2)[:, :, 1:].to(found.dtype)
    both = (found * wanted).sum(dim=(3, 4, 5))
    total = (found * found).sum(dim=(3, 4, 5)) + wanted.sum(dim=(3, 4, 5))
    # One voxel more in both, so that nothing found where nothing is costs nothing.
    return (1 - (2 * both + 1) / (total + 1))[labelled].mean()


def change_over_time(chances: Tensor, cyclic: bool = False) -> Tensor:
    """The mean over voxels and pairs of consecutive frames of the classes' squared differences; 0 for one frame."""
    if chances.shape[1] < 2:
        return chances.sum() * 0
    after = chances.roll(-1, dims=1) if cyclic else chances[:, 1:]
    before = chances if cyclic else chances[:, :-1]
    return (after - before).square().sum(dim=2).mean()
