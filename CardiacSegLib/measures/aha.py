"""The segments of the LV after the American Heart Association: where they lie, how thick they are and how they thicken.

Cerqueira et al., Circulation 2002;105:539: segments 1 to 6 are the base, 7 to 12 the middle, 13 to 16 the apex, 17 the
apical cap beyond the cavity. Choices that other tools may make otherwise:
- Base, middle and apex are thirds of the slices in which the ring of myocardium is closed at ED (a gap of up to 30
  degrees is a flaw of the mask, not an open ring). Slices beyond them towards the base belong to no segment; those
  beyond them towards the apex that hold myocardium are the cap, whose thickness short-axis slices do not show.
- Sectors start at the anterior insertion of the RV, one direction for the whole study: the mean over the basal and
  middle slices, since it drifts along the ventricle (the apical ones count where the others show no RV). They turn
  about the centre of the cavity of each frame and slice.
- Thickness at ED is the mean over a segment's slices; thickness at ES and thickening count only the slices that show
  the segment in both frames, so that a basal slice that the ventricle leaves does not pass for a change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..anatomy import LV, MYO, RV
from ..cine import Segmentation
from .agreement import apex_first
from .wall import ANGLES, Memo, WallMap, measure_wall

NAMES = (
    "basal anterior", "basal anteroseptal", "basal inferoseptal", "basal inferior", "basal inferolateral",
    "basal anterolateral", "mid anterior", "mid anteroseptal", "mid inferoseptal", "mid inferior", "mid inferolateral",
    "mid anterolateral", "apical anterior", "apical septal", "apical inferior", "apical lateral", "apex",
)  # fmt: skip
"""Of segment 1 to 17."""
CAP = 17
_SIXTHS, _QUARTERS = np.array([2, 3, 4, 5, 6, 1]), np.array([14, 15, 16, 13])  # from the anterior insertion onwards
_OPEN = 30 / 360  # of a ring
_MOST_SHARE = 0.5  # of a sector that must have a wall
_TOUCH = 2  # pixels between the masks of wall and RV
_ARC = (30.0, 200.0)  # degrees of the ring that the RV may touch; anything else is no septum


@dataclass(frozen=True)
class Segment:
    """One segment; None is what the masks do not show. slices: those at ED; paired_slices: those at ED and ES."""

    number: int
    ed_mm: float | None = None
    es_mm: float | None = None
    thickening_percent: float | None = None
    slices: tuple[int, ...] = ()
    paired_slices: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The AHA's name."""
        return NAMES[self.number - 1]


@dataclass(frozen=True)
class SegmentTable:
    """The 17 segments of a study.

    levels: per slice "base", "mid", "apex", "cap" or "" (none of them). insertion_deg: direction of the anterior RV
    insertion from the LV's centre in the slice plane, 0 towards the patient's head, 90 towards the left (in axial
    slices 0 is the front), so it holds however the stack is flipped or ordered; None where it is not known.
    insertion_from: "masks", "given" or "". remarks: sentences on what is missing or uncertain.
    """

    segments: tuple[Segment, ...]
    levels: tuple[str, ...]
    insertion_deg: float | None
    insertion_from: str
    remarks: tuple[str, ...] = ()


def segment_wall(
    segmentation: Segmentation,
    ed: int | None,
    es: int | None = None,
    insertion_deg: float | None = None,
    memo: Memo | None = None,
) -> SegmentTable:
    """Thickness at ED and ES and thickening of the 17 segments, from the masks.

    insertion_deg: the anterior RV insertion as in SegmentTable, where the user has set it; else it is where the RV's
    mask leaves the septum on its anterior side, at ED. memo: as in measure_wall. Never raises for masks that show too
    little: segments without data are None and the remarks say why.
    """
    nothing = tuple(Segment(number) for number in range(1, CAP + 1))
    levels = ("",) * segmentation.labels.shape[1]
    if ed is None:
        return SegmentTable(nothing, levels, insertion_deg, "", ("No frame shows the LV.",))
    es = None if es == ed else es
    wall = measure_wall(segmentation, (ed,) if es is None else (ed, es), memo)
    levels = _levels(wall, segmentation.labels, ed)
    remarks, source = [], "given"
    if not any(level in ("base", "mid", "apex") for level in levels):
        remarks.append("No slice shows a closed ring of myocardium at end-diastole.")
    if insertion_deg is None:
        insertion_deg = _find_insertion(segmentation.labels[ed], wall, levels)
        source = "" if insertion_deg is None else "masks"
        remarks += _doubts(segmentation, insertion_deg)
    if insertion_deg is None:
        return SegmentTable(nothing, levels, None, "", tuple(remarks))
    means = _sector_means(wall, levels, insertion_deg)
    segments = tuple(_segment(number, means[..., number - 1]) for number in range(1, CAP + 1))
    return SegmentTable(segments, levels, insertion_deg % 360, source, tuple(remarks))


def segment_labels(segmentation: Segmentation, table: SegmentTable) -> np.ndarray:
    """The myocardium of all frames with the numbers of its segments: (T, Z, Y, X) uint8, 0 elsewhere.

    A slice keeps its level in all frames; sectors turn about the cavity's centre in that frame, or about the
    myocardium's where there is no cavity. Without a known insertion only the cap is labelled.
    """
    labels = segmentation.labels
    found = np.zeros(labels.shape, np.uint8)
    pixel = segmentation.affine[:3, :2]
    axes = _patient_axes(pixel)
    for z, level in enumerate(table.levels):
        if not level or (level != "cap" and table.insertion_deg is None):
            continue
        for frame in range(len(labels)):
            places = np.argwhere(labels[frame, z] == MYO.value)
            if not len(places):
                continue
            numbers = np.full(len(places), CAP)
            if level != "cap":
                cavity = np.argwhere(labels[frame, z] == LV.value)
                away = (places - (cavity if len(cavity) else places).mean(axis=0))[:, ::-1] @ pixel.T
                numbers = _numbers(level, table.insertion_deg - _angles(away, axes))
            found[frame, z][tuple(places.T)] = numbers
    return found


def _patient_axes(plane: np.ndarray) -> np.ndarray:
    """(2, 3) orthonormal LPS directions in the slices: towards the head and, across it, the patient's left.

    plane: (3, 2) the directions of columns and rows, of any length. In axial slices, in which no direction leads
    towards the head, the first one is to the front.
    """
    normal = np.cross(plane[:, 0], plane[:, 1])
    normal /= np.linalg.norm(normal)
    head, front = np.array([0.0, 0.0, 1.0]), np.array([0.0, -1.0, 0.0])
    up = head if abs(normal @ head) < 0.99 else front
    up = up - (up @ normal) * normal
    up /= np.linalg.norm(up)
    left = np.cross(normal, up)
    return np.array([up, left if left @ [1.0, 0.5, 0.0] > 0 else -left])


def _angles(directions: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Degrees of LPS directions (..., 3) from the first axis towards the second."""
    return np.degrees(np.arctan2(directions @ axes[1], directions @ axes[0]))


def _ray_angles(wall: WallMap, axes: np.ndarray) -> np.ndarray:
    """(ANGLES,) degrees of the directions in which the wall was measured."""
    turn = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    return _angles(np.cos(turn)[:, None] * wall.plane[0] + np.sin(turn)[:, None] * wall.plane[1], axes)


def _levels(wall: WallMap, labels: np.ndarray, ed: int) -> tuple[str, ...]:
    """Thirds of the slices from the first to the last closed ring at ED, and the cap beyond."""
    closed = np.flatnonzero(np.isnan(wall.thickness_mm[0]).mean(axis=1) <= _OPEN)
    levels = [""] * labels.shape[1]
    if not len(closed):
        return tuple(levels)
    backwards, (first, last) = apex_first(labels[ed : ed + 1]), (closed[0], closed[-1])
    for z in range(first, last + 1):
        place = (z - first + 0.5) / (last - first + 1)
        place = 1 - place if backwards else place
        levels[z] = "base" if place < 1 / 3 else "apex" if place > 2 / 3 else "mid"
    for z in range(first - 1, -1, -1) if backwards else range(last + 1, len(levels)):
        if (labels[ed, z] == MYO.value).any():
            levels[z] = "cap"
    return tuple(levels)


def _find_insertion(labels: np.ndarray, wall: WallMap, levels: tuple[str, ...]) -> float | None:
    """Degrees of the anterior insertion in one frame (Z, Y, X): the mean over the slices that show it."""
    axes = _patient_axes(wall.plane.T)
    for wanted in (("base", "mid"), ("apex",)):
        found = []
        for z in (z for z, level in enumerate(levels) if level in wanted):
            touching = _septum(labels[z])
            if len(touching) and np.isfinite(wall.centers[0, z]).all():
                found.append(_anterior_end(touching - wall.centers[0, z], wall, axes))
        turns = np.exp(1j * np.radians([angle for angle in found if angle is not None]))
        if len(turns) and abs(turns.mean()) > 1e-6:
            return float(np.degrees(np.angle(turns.mean())))
    return None


def _septum(labels: np.ndarray) -> np.ndarray:
    """(N, 2) column and row of the RV's pixels that lie on the wall of the LV in one slice."""
    heart = (labels == LV.value) | (labels == MYO.value)
    near = ndimage.binary_dilation(heart, np.ones((3, 3)), iterations=_TOUCH)
    return np.argwhere(near & (labels == RV.value))[:, ::-1]


def _anterior_end(away: np.ndarray, wall: WallMap, axes: np.ndarray) -> float | None:
    """Degrees of the end of the septum that is anterior; away: (N, 2) columns and rows from the LV's centre.

    Seen with the patient's head up and the left on the right-hand side, which is from the apex, the way from the
    anterior insertion over the septum to the inferior one is anticlockwise. This holds wherever the RV lies.
    """
    angles = np.sort(_angles(away @ wall.pixel.T @ wall.plane, axes))
    gaps = np.diff(angles, append=angles[0] + 360)
    widest = int(gaps.argmax())
    if not _ARC[0] <= 360 - gaps[widest] <= _ARC[1]:
        return None
    return float(angles[widest])


def _doubts(segmentation: Segmentation, insertion: float | None) -> list[str]:
    """What to say of an insertion that was looked for in the masks."""
    if insertion is None:
        return ["The masks show no RV beside the LV at end-diastole; set the anterior RV insertion to get segments."]
    directions = segmentation.affine[:3, :2] / np.linalg.norm(segmentation.affine[:3, :2], axis=0)
    if (np.abs(directions - np.rint(directions)) < 1e-3).all():
        return [
            "The file does not say how the slices lie in the patient, so they are taken to be shown as seen from the "
            "apex; check the anterior RV insertion."
        ]
    return []


def _numbers(level: str, onwards: np.ndarray) -> np.ndarray:
    """Segment numbers at a level, from the degrees onwards from the anterior insertion over the septum.

    Six sectors of 60 degrees; at the apex four of 90, the septal one in the middle of the two septal sixths.
    """
    if level == "apex":
        return _QUARTERS[((onwards - 15) % 360 // 90).astype(int) % 4]
    return _SIXTHS[(onwards % 360 // 60).astype(int) % 6] + (6 if level == "mid" else 0)


def _sector_means(wall: WallMap, levels: tuple[str, ...], insertion: float) -> np.ndarray:
    """(F, Z, 17) mean thickness in mm of every segment in every frame and slice, NaN where half of it has no wall."""
    onwards = insertion - _ray_angles(wall, _patient_axes(wall.plane.T))
    means = np.full((*wall.thickness_mm.shape[:2], CAP), np.nan)
    for z, level in enumerate(levels):
        if level not in ("base", "mid", "apex"):
            continue
        numbers = _numbers(level, onwards)
        for number in np.unique(numbers):
            rays = wall.thickness_mm[:, z, numbers == number]
            shown = np.isfinite(rays)
            total = np.where(shown, rays, 0).sum(axis=1)
            enough = shown.mean(axis=1) >= _MOST_SHARE
            means[enough, z, number - 1] = total[enough] / shown.sum(axis=1)[enough]
    return means


def _segment(number: int, means: np.ndarray) -> Segment:
    """One segment from its means (F, Z) at ED and, where there is one, at ES."""
    shown = np.flatnonzero(np.isfinite(means[0]))
    if not len(shown):
        return Segment(number)
    ed = float(means[0, shown].mean())
    paired = np.flatnonzero(np.isfinite(means).all(axis=0)) if len(means) > 1 else shown[:0]
    if not len(paired):
        return Segment(number, ed, slices=tuple(map(int, shown)))
    before, after = means[:, paired].mean(axis=1)
    return Segment(
        number, ed, float(after), float(100 * (after - before) / before), tuple(map(int, shown)),
        tuple(map(int, paired)),
    )  # fmt: skip
