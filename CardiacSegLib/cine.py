"""The two words the library speaks: Cine (the beating heart as acquired) and Segmentation (what was found in it)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np

from .anatomy import STRUCTURES, Structure
from .errors import CardiacSegError


@dataclass(frozen=True)
class Patient:
    """Facts about the patient that the measures need; None where not known."""

    height_cm: float | None = None
    weight_kg: float | None = None
    heart_rate_bpm: float | None = None
    sex: str | None = None


@dataclass(frozen=True)
class Cine:
    """A short-axis stack (or one long-axis slice) over the heart cycle.

    frames: (T, Z, Y, X) float32 or int16. affine: 4x4, voxel index (x, y, z, 1) to patient coordinates LPS in mm;
    its third column is the distance between slice centres, gaps included. times: (T,) ms from the first frame,
    strictly increasing; where times_known is False they are only nominal. sources: per frame and slice the SOP
    Instance UID of the image it came from, or empty. remarks: sentences on what the reader found odd.
    Raises CardiacSegError if shapes disagree, the affine is singular or a frame holds NaN or infinity.
    """

    frames: np.ndarray
    affine: np.ndarray
    times: np.ndarray
    modality: str = "MR"
    times_known: bool = True
    patient: Patient = field(default_factory=Patient)
    sources: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()
    name: str = "the cine"

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or 0 in self.frames.shape:
            raise CardiacSegError(
                f"{self.name} has the shape {self.frames.shape}, but a cine needs frames, slices, rows and columns; "
                "give a 4D image."
            )
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all() or abs(np.linalg.det(self.affine)) < 1e-9:
            raise CardiacSegError(
                f"The affine of {self.name} does not describe a grid in space; export the image again."
            )
        if self.times.shape != (len(self.frames),) or (np.diff(self.times) <= 0).any():
            raise CardiacSegError(f"The frame times of {self.name} do not increase; export the image again.")
        if self.frames.dtype.kind == "f" and not all(np.isfinite(frame).all() for frame in self.frames):
            raise CardiacSegError(f"{self.name} holds NaN or infinite values; export the image again without them.")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, Z, Y, X)."""
        return self.frames.shape

    @property
    def spacing(self) -> np.ndarray:
        """(x, y, z) distance between voxel centres in mm; z is the slice distance with its gap."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, gap included, in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


class Status(IntEnum):
    """How the mask of one slice of one frame came to be; everything from ANNOTATED on is a person's work."""

    EMPTY = 0
    PREDICTED = 1
    ANNOTATED = 2
    CORRECTED = 3
    REVIEWED = 4


@dataclass(frozen=True)
class Segmentation:
    """Masks on the grid of a cine, with the status of every slice.

    labels: (T, Z, Y, X) uint8, values of structures, 0 background. status: (T, Z) uint8 of Status.
    affine: as in Cine. structures: what the values mean. Raises CardiacSegError if the shapes disagree.
    """

    labels: np.ndarray
    status: np.ndarray
    affine: np.ndarray
    structures: tuple[Structure, ...] = STRUCTURES

    def __post_init__(self) -> None:
        if self.labels.ndim != 4 or self.labels.dtype != np.uint8 or self.status.shape != self.labels.shape[:2]:
            raise CardiacSegError(
                f"A segmentation needs uint8 labels (T, Z, Y, X) and a status (T, Z), not {self.labels.dtype} "
                f"{self.labels.shape} and {self.status.shape}."
            )

    @property
    def fixed(self) -> np.ndarray:
        """(T, Z) bool: slices that a person annotated, corrected or reviewed and that no engine may change."""
        return self.status >= Status.ANNOTATED

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, gap included, in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


def empty_segmentation(cine: Cine, structures: tuple[Structure, ...] = STRUCTURES) -> Segmentation:
    """A segmentation of the cine in which nothing is annotated yet."""
    return Segmentation(
        np.zeros(cine.shape, np.uint8), np.zeros(cine.shape[:2], np.uint8), cine.affine.copy(), structures
    )


@dataclass(frozen=True)
class SlicePrediction:
    """What an engine found in one slice of one frame.

    labels: (Y, X) uint8 on the cine's grid. confidence: 0..1, the mean probability of the winning label over the pixels
    near the masks' borders; low values deserve a look first.
    """

    frame: int
    slice: int
    labels: np.ndarray
    confidence: float = 1.0


class Engine(Protocol):
    """Anything that segments: it yields one (frame, slice) at a time; to cancel it, stop asking."""

    name: str

    def segment(self, cine: Cine, annotation: Segmentation | None = None) -> Iterator[SlicePrediction]:
        """Yield a prediction for every slice of the cine that no person has fixed in the annotation."""
        ...
