"""Labelled subjects, made compact: heart-sized uint8 crops at one pixel size, kept in one file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..atomic import atomic_path
from ..errors import CardiacSegError


@dataclass(frozen=True)
class LabelledVolume:
    """One frame of a cine with expert masks: image (Z, Y, X), labels (Z, Y, X) native values, pixel size (x, y) in mm.

    labelled: the native values that the data set labels in this frame; every other structure is unknown here, not
    background. phase: "ED", "ES" or a name of its own. slice_mm: distance of slices, 0 where nothing depends on it.
    """

    image: np.ndarray
    labels: np.ndarray
    pixel_mm: tuple[float, float]
    phase: str
    labelled: tuple[int, ...] = (1, 2, 3)
    slice_mm: float = 0.0


@dataclass(frozen=True)
class Subject:
    """All labelled frames of one person; what a split may never divide."""

    name: str
    volumes: tuple[LabelledVolume, ...]


HOUNSFIELD = (-1024, 1024)
"""Where the intensities of CT are cut off."""


def compact(subject: Subject, spacing_mm: float, size: int, ct: bool = False) -> Subject:
    """Resample in plane to spacing_mm, crop size x size pixels round the heart, scale intensities to uint8.

    The percentiles 1 and 99.5 of the crop become 0 and 255, over all frames of the subject together, as in the engine;
    of ct, which is brought to spacing_mm along the stack too, HOUNSFIELD.
    """
    volumes = [isotropic(v, spacing_mm) for v in subject.volumes] if ct else subject.volumes
    centre, outside = heart_centre_mm(subject), HOUNSFIELD[0] if ct else 0
    images, labels = [], []
    for volume in volumes:
        x_mm, y_mm = volume.pixel_mm
        rows = (centre[0] + (np.arange(size) - (size - 1) / 2) * spacing_mm) / y_mm
        columns = (centre[1] + (np.arange(size) - (size - 1) / 2) * spacing_mm) / x_mm
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))
        planes = [ndimage.map_coordinates(s.astype(np.float32), grid, order=1, cval=outside) for s in volume.image]
        images.append(np.stack(planes))
        labels.append(np.stack([resample_labels(s, grid) for s in volume.labels]))
    low, high = HOUNSFIELD if ct else np.percentile(np.concatenate([i.ravel() for i in images]), (1, 99.5))
    scaled = [np.clip((i - low) / max(high - low, 1e-6) * 255, 0, 255).round().astype(np.uint8) for i in images]
    return Subject(
        subject.name,
        tuple(
            LabelledVolume(i, lab, (spacing_mm, spacing_mm), v.phase, v.labelled, spacing_mm if ct else 0.0)
            for i, lab, v in zip(scaled, labels, volumes, strict=True)
        ),
    )


def isotropic(volume: LabelledVolume, spacing_mm: float) -> LabelledVolume:
    """The volume with slices at this distance, interpolated linearly, labels too (the largest share wins)."""
    if not volume.slice_mm:
        raise CardiacSegError("These data have no known distance of slices, which a network for CT needs; take others.")
    depth = max(1, round(len(volume.image) * volume.slice_mm / spacing_mm))
    place = ((np.arange(depth) + 0.5) * spacing_mm / volume.slice_mm - 0.5).clip(0, len(volume.image) - 1)
    below = place.astype(int)
    above = np.minimum(below + 1, len(volume.image) - 1)
    share = (place - below)[:, None, None]

    def blended(stack: np.ndarray) -> np.ndarray:
        return stack[below] * (1 - share) + stack[above] * share

    values = np.arange(1 + int(volume.labels.max()))
    labels = np.argmax([blended(volume.labels == value) for value in values], axis=0)
    return replace(volume, image=blended(volume.image), labels=labels.astype(np.uint8), slice_mm=spacing_mm)


def labelled_frames(subject: Subject) -> Subject:
    """The subject without the frames of its cine that nobody has labelled, which would pass for background."""
    return Subject(subject.name, tuple(v for v in subject.volumes if v.labelled))


def heart_centre_mm(subject: Subject) -> np.ndarray:
    """Middle (y, x) in mm of the box round all masks of the subject."""
    volume = subject.volumes[0]
    footprint = np.zeros(volume.labels.shape[1:], bool)
    for v in subject.volumes:
        footprint |= v.labels.any(axis=0)
    if not footprint.any():
        raise CardiacSegError(f"The subject {subject.name} has no mask; leave it out of the training data.")
    y, x = np.nonzero(footprint)
    return np.array([(y.min() + y.max()) / 2 * volume.pixel_mm[1], (x.min() + x.max()) / 2 * volume.pixel_mm[0]])


def resample_labels(labels: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Labels at fractional positions: each structure interpolated linearly, the largest wins (no stair steps)."""
    values = np.unique(labels[labels > 0])
    shares = [ndimage.map_coordinates((labels == v).astype(np.float32), grid, order=1) for v in values]
    out = np.zeros(grid.shape[1:], np.uint8)
    if len(values):
        best = np.argmax(shares, axis=0)
        inside = np.sum(shares, axis=0) >= 0.5
        out[inside] = values[best][inside]
    return out


def save_subjects(path: Path, subjects: Iterable[Subject]) -> None:
    """Write compact subjects into one .npz file, which can travel to a machine without the data sets."""
    arrays, index = {}, []
    for s, subject in enumerate(subjects):
        entry = {"name": subject.name, "volumes": []}
        for v, volume in enumerate(subject.volumes):
            arrays[f"image_{s}_{v}"], arrays[f"labels_{s}_{v}"] = volume.image, volume.labels
            entry["volumes"].append([volume.phase, list(volume.labelled), list(volume.pixel_mm)])
        index.append(entry)
    # Several processes of one training may write the same file, and a training may be stopped while it is written.
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, index=np.frombuffer(json.dumps(index).encode(), np.uint8), **arrays)


def load_subjects(path: Path) -> list[Subject]:
    """Read the file that save_subjects wrote."""
    with np.load(path) as file:
        index = json.loads(file["index"].tobytes())
        return [
            Subject(
                entry["name"],
                tuple(
                    LabelledVolume(
                        file[f"image_{s}_{v}"], file[f"labels_{s}_{v}"], tuple(pixel), phase, tuple(labelled)
                    )
                    for v, (phase, labelled, pixel) in enumerate(entry["volumes"])
                ),
            )
            for s, entry in enumerate(index)
        ]
