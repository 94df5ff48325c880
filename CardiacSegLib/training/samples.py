"""Training samples of the memory network: short rows of pictures through time or the stack (CSTM, supplement)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .subjects import LabelledVolume, Subject

MAX_DISTANCE = 5
"""Largest distance between slices of a sample through the stack (CSTM, supplement, section 3)."""

MIN_PIXELS = 8
"""An object counts as present from this many pixels on."""


@dataclass(frozen=True)
class Row:
    """Pictures (F, H, W) uint8 and labels (F, H, W) of one sample, and the values that may be taken as objects."""

    pictures: np.ndarray
    labels: np.ndarray
    values: tuple[int, ...]


def draw_row(subject: Subject, rng: np.random.Generator, frames: int = 3) -> Row:
    """One sample of a subject: ED-ES-ED (or ES-ED-ES), slices in order along z, or a walk through both."""
    kind = rng.choice(["time", "space", "walk"], p=[0.5, 0.35, 0.15]) if len(subject.volumes) > 1 else "space"
    for _ in range(20):
        places = {"time": through_time, "space": through_stack, "walk": walk}[kind](subject, rng, frames)
        labelled = set.intersection(*(set(volume.labelled) for volume, _ in places))
        first, z = places[0]
        present = [v for v in sorted(labelled) if (first.labels[z] == v).sum() >= MIN_PIXELS]
        if present:
            break
        kind = "space"
    return Row(
        np.stack([volume.image[z] for volume, z in places]),
        np.stack([volume.labels[z] for volume, z in places]),
        tuple(present),
    )


Place = tuple[LabelledVolume, int]


def random_slice(volume: LabelledVolume, rng: np.random.Generator) -> int:
    return int(rng.choice(np.flatnonzero(volume.labels.any(axis=(1, 2)))))


def through_time(subject: Subject, rng: np.random.Generator, frames: int) -> list[Place]:
    first, second = rng.choice(len(subject.volumes), 2, replace=False)
    z = random_slice(subject.volumes[first], rng)
    return [(subject.volumes[(first, second)[i % 2]], z) for i in range(frames)]


def through_stack(subject: Subject, rng: np.random.Generator, frames: int) -> list[Place]:
    volume = subject.volumes[rng.integers(len(subject.volumes))]
    z = random_slice(volume, rng)
    direction = rng.choice([-1, 1])
    steps = np.sort(rng.integers(1, MAX_DISTANCE + 1, frames - 1))
    return [(volume, int(np.clip(z + direction * s, 0, len(volume.image) - 1))) for s in (0, *steps)]


def walk(subject: Subject, rng: np.random.Generator, frames: int) -> list[Place]:
    volume = subject.volumes[rng.integers(len(subject.volumes))]
    z = random_slice(volume, rng)
    places = [(volume, z)]
    for _ in range(frames - 1):
        volume = subject.volumes[rng.integers(len(subject.volumes))]
        places.append((volume, int(np.clip(z + rng.integers(-1, 2), 0, len(volume.image) - 1))))
    return places


def objects_of(row: Row, count: int, rng: np.random.Generator) -> np.ndarray:
    """Target (F, H, W) with 0 background and 1..count objects; objects that a sample lacks stay empty."""
    chosen = rng.permutation(row.values)[:count]
    target = np.zeros(row.labels.shape, np.uint8)
    for index, value in enumerate(chosen, start=1):
        target[row.labels == value] = index
    return target
