"""Planes to one stack over time: which of them count, how the slices lie, and what has to be mended on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..errors import CardiacSegError
from .phases import Blend, arrange
from .planes import Plane, number
from .series import Series, levels_of, towards_apex

_OFF_MM = 0.5  # a slice may lie this far from its place in the grid
_OFF_SHARE = 0.05  # or this share of the slice distance
_DOUBLED = 0.3  # of the slice distance: nearer slices of two series are one, acquired again
_NEAR = 0.15  # of the slice distance: a slice this near counts as lying there
_WIDEST = 2.2  # slice distances; what is further apart cannot be interpolated
_TURNED = 0.02  # of a unit vector, about 1°
_FEW = 0.5  # of the slices; where more are doubled there are two stacks


@dataclass(frozen=True, eq=False)
class Draw:
    """That a plane goes into (frame, slice) with a weight; warp maps (row, column, 1) there to the plane, or None."""

    plane: Plane
    frame: int
    slice: int
    weight: float
    warp: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Layout:
    """A stack before its pixels are read: shape (T, Z, Y, X), affine voxel to LPS mm, times in ms, and its draws."""

    shape: tuple[int, int, int, int]
    affine: np.ndarray
    times: np.ndarray
    times_known: bool
    draws: list[Draw]
    remarks: tuple[str, ...]


def lay_out(what: str, series: list[Series]) -> Layout:
    """Lay the planes of parallel series out as one stack; a short-axis stack goes from base to apex.

    what: names it in errors. Raises CardiacSegError if frames or slices are missing that cannot be interpolated, or if
    there are two stacks in one place.
    """
    apex = towards_apex(series[0].normal)
    normal = series[0].normal if apex is None else apex
    planes, beside = _magnitude([plane for member in series for plane in member.planes])
    levels, doubled = _once(what, levels_of(planes, normal), normal)
    _check_levels(what, levels)
    phases = arrange(what, levels)
    heights = np.array([np.mean([plane.position @ normal for plane in level]) for level in levels])
    slots, uneven = _even(what, heights)
    usual = _usual([level[0] for level in levels])
    affine, thickness = _affine(usual, [level[0] for level in levels], heights, normal, len(slots))
    warps = {id(plane): _warp(plane, affine, usual.size) for level in levels for plane in level}
    moved = sum(any(warps[id(plane)] is not None for plane in level) for level in levels)
    shifted = (
        [f"{moved} of {len(levels)} slices were shifted or of another size in plane; they are interpolated there."]
        if moved
        else []
    )
    draws = _draws(phases.slices, slots, warps)
    shape = (len(phases.slices[0]), len(slots), *usual.size)
    remarks = (*beside, *doubled, *thickness, *uneven, *shifted, *phases.remarks)
    return Layout(shape, affine, phases.times, phases.known, draws, remarks)


def _magnitude(planes: list[Plane]) -> tuple[list[Plane], list[str]]:
    """Without the images of velocity, phase, real or imaginary part that stand beside those of the magnitude."""
    magnitude = [plane for plane in planes if not plane.beside]
    if not magnitude or len(magnitude) == len(planes):
        return planes, []
    left_out = len(planes) - len(magnitude)
    return magnitude, [f"{left_out} phase images (velocities, real or imaginary parts) were left out."]


def _once(what: str, levels: list[list[Plane]], normal: np.ndarray) -> tuple[list[list[Plane]], list[str]]:
    """Each slice once: of slices that were acquired again the later series counts, of copies of an image one."""
    groups, remarks, doubled, copies = _neighbours_joined(levels, normal), [], [], 0
    for slice_number, group in enumerate(groups):
        sizes = Counter(map(_series_id, group))
        if len(sizes) > 1 and min(sizes.values()) > 1:  # series of one image each are phases, not repetitions
            latest = max(map(_age, group))
            group[:] = [plane for plane in group if _age(plane) == latest]
            doubled.append(slice_number)
        copies += _drop_copies(group)
    if len(doubled) > max(1, _FEW * len(groups)):
        names = sorted({str(plane.header.get("SeriesDescription", "")) for level in levels for plane in level})
        raise CardiacSegError(
            f"{what} holds {len(doubled)} of {len(groups)} slices twice, so there are two stacks in one place "
            f"({', '.join(names)}); give a folder with the series of one of them."
        )
    if doubled:
        named = ", ".join(map(str, doubled))
        remarks.append(f"Acquired again, so that the later series is used: slice {named} of {len(groups)}.")
    if copies:
        remarks.append(f"{copies} images are there twice and count once.")
    return groups, remarks


def _neighbours_joined(levels: list[list[Plane]], normal: np.ndarray) -> list[list[Plane]]:
    """The levels, those of different series that nearly coincide in one."""
    gaps = np.diff([level[0].position @ normal for level in levels])
    groups = [list(levels[0])]
    for gap, level in zip(gaps, levels[1:], strict=True):
        if gap < _DOUBLED * np.median(gaps) and not {*map(_series_id, level)} & {*map(_series_id, groups[-1])}:
            groups[-1] += level
        else:
            groups.append(list(level))
    return groups


def _drop_copies(group: list[Plane]) -> int:
    """Take out images of one series that agree in every moment, if these count at all; returns how many."""
    if all(plane.moments["instance"] is None for plane in group):
        return 0
    unique = {(_series_id(plane), *plane.moments.values()): plane for plane in reversed(group)}
    dropped = len(group) - len(unique)
    group[:] = unique.values()
    return dropped


def _check_levels(what: str, levels: list[list[Plane]]) -> None:
    """Slices may differ from each other in plane, the frames of one slice may not."""
    for slice_number, level in enumerate(levels):
        formats = {(*plane.size, *plane.spacing.round(3)) for plane in level}
        if len(formats) > 1:
            raise CardiacSegError(
                f"{what} mixes {len(formats)} image sizes or pixel spacings in slice {slice_number}; "
                "give one stack of slices."
            )
        off = [np.abs(plane.centre - level[0].centre).max() for plane in level]
        turned = [np.abs(plane.orientation - level[0].orientation).max() for plane in level]
        if max(off) > 1.0 or max(turned) > _TURNED:
            raise CardiacSegError(
                f"{what} mixes images of several orientations or places in slice {slice_number}; "
                "give one stack of slices."
            )


def _series_id(plane: Plane) -> str:
    return str(plane.header.get("SeriesInstanceUID", ""))


def _age(plane: Plane) -> tuple[float, str]:
    """Of a series, in the order in which they were acquired."""
    return number(plane.header.get("SeriesNumber")) or 0.0, _series_id(plane)


def _usual(firsts: list[Plane]) -> Plane:
    """The plane whose size, spacing and orientation most slices share: the grid of the stack."""
    formats = [(*plane.size, *plane.spacing.round(3), *plane.orientation.round(3).ravel()) for plane in firsts]
    return firsts[formats.index(Counter(formats).most_common(1)[0][0])]


def _even(what: str, heights: np.ndarray) -> tuple[list[dict[int, float]], list[str]]:
    """For each slice of an even stack the slices it is made of, with their weights, and what to say about it."""
    as_they_are = [{index: 1.0} for index in range(len(heights))]
    if len(heights) < 3:
        return as_they_are, []
    gaps = np.diff(heights)
    step = _step(gaps)
    line = np.linspace(heights[0], heights[-1], len(heights))
    if np.abs(heights - line).max() <= max(_OFF_MM, _OFF_SHARE * gaps.mean()):
        return as_they_are, []
    if gaps.max() > _WIDEST * step:
        between = int(gaps.argmax())
        raise CardiacSegError(
            f"{what} has {gaps.max():.1f} mm between the slices {between} and {between + 1} where others have "
            f"{step:.1f} mm; add the slices that are missing."
        )
    count = round(float(heights[-1] - heights[0]) / step) + 1
    slots, made = [], []
    for slot, height in enumerate(np.linspace(heights[0], heights[-1], count)):
        nearest = int(np.abs(heights - height).argmin())
        if abs(heights[nearest] - height) <= _NEAR * step:
            slots.append({nearest: 1.0})
            continue
        after = int(np.searchsorted(heights, height))
        share = float((height - heights[after - 1]) / gaps[after - 1])
        slots.append({after - 1: 1 - share, after: share})
        made.append(slot)
    if count > len(heights) and len(made) == count - len(heights):
        named = ", ".join(map(str, made))
        return slots, [
            f"Missing between others ({gaps.max():.1f} mm where the rest have {step:.1f} mm): slice {named}, "
            "interpolated from the slices beside it."
        ]
    return slots, [
        f"The slices lie at uneven distances ({gaps.min():.1f} to {gaps.max():.1f} mm); {len(made)} of {count} are "
        "interpolated to even ones."
    ]


def _step(gaps: np.ndarray) -> float:
    """The slice distance: what all gaps are multiples of, or the usual gap if they are none."""
    times = np.rint(gaps / gaps.min())
    even = (np.abs(gaps / times - gaps.min()) <= _NEAR * gaps.min()).all()
    return float(np.mean(gaps / times) if even else np.median(gaps))


def _affine(
    usual: Plane, firsts: list[Plane], heights: np.ndarray, normal: np.ndarray, count: int
) -> tuple[np.ndarray, list[str]]:
    """Voxel to LPS mm; the slice distance is the one between the positions, for SliceThickness knows no gaps."""
    affine, remarks = np.eye(4), []
    affine[:3, :2] = (usual.orientation * usual.spacing[:, None]).T
    positions = np.array([plane.position for plane in firsts])
    if len(firsts) == 1:
        distance = usual.thickness or 1.0
        affine[:3, 2], affine[:3, 3] = normal * distance, positions[0]
        return affine, [f"There is one slice; its thickness is taken as {distance:g} mm."]
    line = positions[0] + np.outer((heights - heights[0]) / (heights[-1] - heights[0]), positions[-1] - positions[0])
    if np.linalg.norm(positions - line, axis=1).max() <= max(_OFF_MM, _OFF_SHARE * np.diff(heights).mean()):
        affine[:3, 2], affine[:3, 3] = (positions[-1] - positions[0]) / (count - 1), positions[0]
        return affine, remarks
    affine[:3, 2] = normal * (heights[-1] - heights[0]) / (count - 1)
    affine[:3, 3] = usual.position + normal * (heights[0] - usual.position @ normal)
    return affine, remarks


def _warp(plane: Plane, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """(2, 3): row and column in the plane of a pixel (row, column, 1) of the stack; None where they are the same."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    level = float((plane.position - affine[:3, 3]) @ normal / (affine[:3, 2] @ normal))
    to_plane = np.linalg.pinv((plane.orientation * plane.spacing[:, None]).T)
    columns = to_plane @ np.column_stack([affine[:3, :2], affine[:3, 3] + level * affine[:3, 2] - plane.position])
    warp = columns[::-1][:, [1, 0, 2]]
    corners = np.array([[row, column, 1] for row in (0, size[0] - 1) for column in (0, size[1] - 1)], float)
    moved = np.abs((corners @ warp.T - corners[:, :2]) * plane.spacing[::-1]).max()
    allowed = max(_OFF_MM, _OFF_SHARE * np.linalg.norm(affine[:3, 2]))
    return None if plane.size == size and moved <= allowed else warp


def _draws(slices: list[list[Blend]], slots: list[dict[int, float]], warps: dict[int, np.ndarray | None]) -> list[Draw]:
    return [
        Draw(plane, frame, slot, share * weight, warps[id(plane)])
        for slot, made_of in enumerate(slots)
        for level, share in made_of.items()
        for frame, blend in enumerate(slices[level])
        for plane, weight in blend
    ]
