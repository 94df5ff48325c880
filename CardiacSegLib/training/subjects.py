"""Labelled subjects, made compact: heart-sized uint8 crops at one pixel size, kept in one file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..atomic import atomic_path
from ..errors import CardiacSegError


@dataclass(frozen=True)
class LabelledVolume:
    """One frame of a cine with expert masks: image (Z, Y, X), labels (Z, Y, X) native values, pixel size (x, y) in mm.

    labelled: the native values that the data set labels in this frame; every other structure is unknown here, not
    background. phase: "ED", "ES" or a name of its own.
    """

    image: np.ndarray
    labels: np.ndarray
    pixel_mm: tuple[float, float]
    phase: str
    labelled: tuple[int, ...] = (1, 2, 3)


@dataclass(frozen=True)
class Subject:
    """All labelled frames of one person; what a split may never divide."""

    name: str
    volumes: tuple[LabelledVolume, ...]


def compact(subject: Subject, spacing_mm: float, size: int) -> Subject:
    """Resample in plane to spacing_mm, crop size x size pixels round the heart, scale intensities to uint8.

    The percentiles 1 and 99.5 of the crop become 0 and 255, over all frames of the subject together, as in the engine.
    """
    centre = heart_centre_mm(subject)
    images, labels = [], []
    for volume in subject.volumes:
        x_mm, y_mm = volume.pixel_mm
        rows = (centre[0] + (np.arange(size) - (size - 1) / 2) * spacing_mm) / y_mm
        columns = (centre[1] + (np.arange(size) - (size - 1) / 2) * spacing_mm) / x_mm
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))
        images.append(np.stack([ndimage.map_coordinates(s.astype(np.float32), grid, order=1) for s in volume.image]))
        labels.append(np.stack([resample_labels(s, grid) for s in volume.labels]))
    low, high = np.percentile(np.concatenate([i.ravel() for i in images]), (1, 99.5))
    scaled = [np.clip((i - low) / max(high - low, 1e-6) * 255, 0, 255).round().astype(np.uint8) for i in images]
    return Subject(
        subject.name,
        tuple(
            LabelledVolume(i, lab, (spacing_mm, spacing_mm), v.phase, v.labelled)
            for i, lab, v in zip(scaled, labels, subject.volumes, strict=True)
        ),
    )


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
