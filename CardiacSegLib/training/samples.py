"""Training samples of the memory network: short rows of pictures through time or the stack (CSTM, supplement)."""

from __future__ import annotations

from collections.abc import Sequence
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


def draw_subject(sources: Sequence[tuple[Sequence[Subject], float]], rng: np.random.Generator) -> Subject:
    """A subject of one of the sources, each of which has its share of the samples."""
    shares = np.array([share for _, share in sources])
    subjects, _ = sources[rng.choice(len(sources), p=shares / shares.sum())]
    return subjects[rng.integers(len(subjects))]


def draw_row(subject: Subject, rng: np.random.Generator, given: int = 1) -> Row:
    """One sample of a subject: ED-ES-ED (or ES-ED-ES), slices in order along z, or a walk through both.

    With two or three given frames it is what a reader's annotated stack offers: one or both slices beside and the slice
    itself at one phase, from which the slice at the other phase is to be found.
    """
    frames = max(3, given + 1)
    several = len(subject.volumes) > 1
    kind = rng.choice(["time", "space", "walk"], p=[0.5, 0.35, 0.15]) if several else "space"
    if several and given > 1:
        kind = "beside"
    draw = {"time": through_time, "space": through_stack, "walk": walk}
    for _ in range(20):
        places = beside(subject, rng, given) if kind == "beside" else draw[kind](subject, rng, frames)
        labelled = set.intersection(*(set(volume.labelled) for volume, _ in places))
        seen = np.stack([volume.labels[z] for volume, z in places[:given]])
        present = [v for v in sorted(labelled) if (seen == v).sum() >= MIN_PIXELS]
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


def two_phases(subject: Subject, rng: np.random.Generator) -> tuple[LabelledVolume, LabelledVolume]:
    first, second = rng.choice(len(subject.volumes), 2, replace=False)
    return subject.volumes[first], subject.volumes[second]


def slice_of_both(first: LabelledVolume, second: LabelledVolume, rng: np.random.Generator) -> int:
    """A slice with masks in the first phase; every other time one where a structure comes, goes or is at its end.

    At the base a structure leaves the slice for a third of the cycle. Drawn evenly, such slices are too rare to teach
    where the atrium begins, and their errors are the largest of all. Slices at the end of a structure that stays in
    them are the other half of that lesson.
    """
    if rng.random() < 0.5:
        seen, then = (np.stack([(v.labels == s).any(axis=(1, 2)) for s in (1, 2, 3)]) for v in (first, second))
        above, below = np.roll(seen, 1, axis=1), np.roll(seen, -1, axis=1)
        above[:, 0] = below[:, -1] = False
        leaving = np.flatnonzero((seen & ~then).any(axis=0))
        ends = np.flatnonzero((seen & ~(above & below)).any(axis=0))
        chosen = leaving if len(leaving) and rng.random() < 0.5 else ends
        return int(rng.choice(chosen))
    return random_slice(first, rng)


def through_time(subject: Subject, rng: np.random.Generator, frames: int) -> list[Place]:
    first, second = two_phases(subject, rng)
    z = slice_of_both(first, second, rng)
    return [((first, second)[i % 2], z) for i in range(frames)]


def through_stack(subject: Subject, rng: np.random.Generator, frames: int) -> list[Place]:
    volume = subject.volumes[rng.integers(len(subject.volumes))]
    z = random_slice(volume, rng)
    direction = rng.choice([-1, 1])
    steps = np.sort(rng.integers(1, MAX_DISTANCE + 1, frames - 1))
    return [(volume, int(np.clip(z + direction * s, 0, len(volume.image) - 1))) for s in (0, *steps)]


def beside(subject: Subject, rng: np.random.Generator, given: int) -> list[Place]:
    first, second = two_phases(subject, rng)
    z = slice_of_both(first, second, rng)
    sides = rng.permutation([-1, 1])[: given - 1]
    return [(first, int(np.clip(z + side, 0, len(first.image) - 1))) for side in sides] + [(first, z), (second, z)]


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
