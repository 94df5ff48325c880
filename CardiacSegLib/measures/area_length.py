"""The LV's volume from one or two long-axis views by area and length, where there is no stack of slices to sum.

One view: V = 8 A² / (3 pi L), as if the ventricle were as thick as it is wide (Sandler and Dodge, Am Heart J
1968;75:325). Two views: V = 8 A1 A2 / (3 pi L) (Dodge et al., Am Heart J 1960;60:762): of an ellipsoid as long as the
longer view shows it and in each view as wide as area and length of that view say, which leaves the shorter length as L.
L goes from the middle of the mitral valve's line to the most distant point of the cavity's outline, the apex (Lang et
al., J Am Soc Echocardiogr 2015;28:1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import ndimage

from ..anatomy import HEART_AXIS, LV, MYO
from ..cine import Segmentation
from ..errors import CardiacSegError

FORMULAS = {1: "V = 8 A² / (3 pi L)", 2: "V = 8 A1 A2 / (3 pi L), L the shorter of the two lengths"}
"""By the number of views."""
_LONG = np.cos(np.radians(60.0))
_ALMOST_ALL = 0.95  # of the outline along the wall: the ring of a short-axis slice
_HARDLY = 0.35  # of the outline along the wall: too little to tell the valve by it
_AROUND = 2
"""Pixels round the cavity in which a wall counts."""
_ACROSS = np.cos(np.radians(30.0))


@dataclass(frozen=True)
class Profile:
    """The cavity in one frame of a long-axis view.

    area_mm2: of its mask. length_mm: from base to apex. base, apex: (x, y) of the middle of the valve's line and of the
    apex, in pixels. from_wall: the valve was found where the cavity has no wall; else, without a wall in the mask, base
    and apex are the ends of the cavity's longest axis.
    """

    area_mm2: float
    length_mm: float
    base: tuple[float, float]
    apex: tuple[float, float]
    from_wall: bool


def shows_long_axis(segmentation: Segmentation) -> bool:
    """Whether it is one slice along the heart, by the direction of its plane and by an open ring of myocardium.

    A plane is along the heart if the heart's usual axis lies within 30° of it, so a file that does not say how its
    slice lies in the patient never passes for one.
    """
    if segmentation.labels.shape[1] != 1 or not lies_along_heart(segmentation.affine):
        return False
    spacing = _spacing_of(segmentation)
    found = [_cut_out(frame[0]) for frame in segmentation.labels]
    rings = [_measured(one[0].tobytes(), one[0].shape, spacing)[1] for one in found if one is not None]
    return not rings or float(np.median(rings)) < _ALMOST_ALL


def lies_along_heart(affine: np.ndarray) -> bool:
    """Whether the heart's usual axis lies within 30° of the slices of this affine (as in Cine)."""
    normal = np.cross(*affine[:3, :2].T)
    return bool(abs(normal @ HEART_AXIS) <= _LONG * np.linalg.norm(normal))


def profile(labels: np.ndarray, spacing: tuple[float, float]) -> Profile | None:
    """Area and length of the cavity in one frame; None where it has none. labels: (Y, X); spacing: (x, y) in mm."""
    found = _cut_out(labels)
    if found is None:
        return None
    part, corner = found
    inside = _measured(part.tobytes(), part.shape, tuple(spacing))[0]
    base, apex = (tuple(float(v + c) for v, c in zip(end, corner, strict=True)) for end in (inside.base, inside.apex))
    return replace(inside, base=base, apex=apex)


def _cut_out(labels: np.ndarray) -> tuple[np.ndarray, tuple[int, int]] | None:
    """The part of a slice that the profile depends on, with the (x, y) of its first pixel; None without a cavity."""
    cavity = labels == LV.value
    rows, columns = (np.flatnonzero(cavity.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, left = (max(int(index[0]) - _AROUND, 0) for index in (rows, columns))
    part = labels[top : rows[-1] + 1 + _AROUND, left : columns[-1] + 1 + _AROUND]
    return part.astype(np.uint8, copy=False), (left, top)


@lru_cache(maxsize=256)
def _measured(mask: bytes, shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[Profile, float]:
    """The profile of what was cut out, and the share of its outline along the wall.

    Kept for many masks, since after an edit of one frame all frames are asked for again, several times.
    """
    labels = np.frombuffer(mask, np.uint8).reshape(shape)
    cavity, scale = labels == LV.value, np.asarray(spacing, float)
    outline, open_ = _outline(labels)
    outline = outline * scale
    share = 1 - float(open_.mean())
    valve = outline[_largest_group(outline, open_, 2.5 * scale.max())] if _HARDLY < share < 1 else outline[:0]
    if len(valve) > 1:
        base = _farthest_pair(valve).mean(axis=0)
        apex = outline[((outline - base) ** 2).sum(axis=1).argmax()]
    else:
        base, apex = _ends_of_axis(cavity, outline, scale)
    area = float(cavity.sum() * scale.prod())
    ends = [tuple(float(value) for value in point / scale) for point in (base, apex)]
    return Profile(area, float(np.linalg.norm(apex - base)), *ends, from_wall=len(valve) > 1), share


def profiles(segmentation: Segmentation) -> list[Profile | None]:
    """The profile of every frame of a long-axis view."""
    return [profile(frame[0], _spacing_of(segmentation)) for frame in segmentation.labels]


def _spacing_of(segmentation: Segmentation) -> tuple[float, float]:
    x_mm, y_mm = np.linalg.norm(segmentation.affine[:3, :2], axis=0)
    return float(x_mm), float(y_mm)


def volume_ml(first: Profile, second: Profile | None = None) -> float:
    """The volume by area and length from one view, or from two."""
    other = second or first
    return 8 * first.area_mm2 * other.area_mm2 / (3 * np.pi * min(first.length_mm, other.length_mm)) / 1000


def area_length_curve(segmentation: Segmentation, second: Segmentation | None = None) -> np.ndarray:
    """(T,) ml of the LV from one long-axis view, or from two with as many frames; 0 where one of them shows none."""
    first = profiles(segmentation)
    other = first if second is None else profiles(second)
    pairs = zip(first, other, strict=True)
    return np.array([0.0 if one is None or two is None else volume_ml(one, two) for one, two in pairs])


def check_views(first: Segmentation, second: Segmentation) -> None:
    """Raise CardiacSegError unless these are two long-axis views that cross at 30° or more."""
    for name, view in (("first", first), ("second", second)):
        if not shows_long_axis(view):
            raise CardiacSegError(
                f"The {name} masks are not of one long-axis slice, as their place in the patient says; "
                "volumes by area and length from two views need two long-axis cines."
            )
    normals = [np.cross(*view.affine[:3, :2].T) for view in (first, second)]
    across = abs(normals[0] @ normals[1]) / np.prod([np.linalg.norm(normal) for normal in normals])
    if across > _ACROSS:
        raise CardiacSegError(
            f"The two views are only {np.degrees(np.arccos(min(across, 1.0))):.0f}° apart; "
            "give two that cross, such as 4-chamber and 2-chamber."
        )


def _outline(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) the middles (x, y) of the pixel edges round the cavity, in pixels, and whether each has no wall beyond."""
    cavity = np.pad(labels == LV.value, 1)
    wall = ndimage.binary_dilation(np.pad(labels == MYO.value, 1), np.ones((3, 3), bool))
    points, open_ = [], []
    for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        beyond = np.roll(cavity, (-step[0], -step[1]), (0, 1))
        rows, columns = np.nonzero(cavity & ~beyond)
        points.append(np.column_stack([columns - 1 + step[1] / 2, rows - 1 + step[0] / 2]))
        open_.append(~wall[rows + step[0], columns + step[1]])
    return np.concatenate(points), np.concatenate(open_)


def _largest_group(outline: np.ndarray, open_: np.ndarray, reach: float) -> np.ndarray:
    """The indices of the open points that hang together in the largest group: the valve, and no gap of the mask."""
    left = set(np.flatnonzero(open_).tolist())
    best: list[int] = []
    while left:
        group, waiting = [], [left.pop()]
        while waiting:
            point = waiting.pop()
            group.append(point)
            near = [other for other in left if np.abs(outline[other] - outline[point]).max() <= reach]
            left.difference_update(near)
            waiting += near
        best = max(best, group, key=len)
    return np.array(best, int)


def _farthest_pair(points: np.ndarray) -> np.ndarray:
    """The two points that are farthest apart: the ends of the valve's line."""
    apart = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    return points[list(np.unravel_index(apart.argmax(), apart.shape))]


def _ends_of_axis(cavity: np.ndarray, outline: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the line along which the cavity is longest leaves it; the wider end, at the valve, comes first."""
    points = np.column_stack(np.nonzero(cavity))[:, ::-1] * scale
    middle = points.mean(axis=0)
    axis = np.linalg.eigh((points - middle).T @ (points - middle))[1][:, 1]
    along, beside = (outline - middle) @ axis, np.abs((outline - middle) @ [-axis[1], axis[0]])
    on_axis = np.flatnonzero(beside <= scale.max())
    ends = [outline[on_axis[along[on_axis].argmin()]], outline[on_axis[along[on_axis].argmax()]]]
    wider_first = beside[along < along.min() / 2].mean() >= beside[along > along.max() / 2].mean()
    return (ends[0], ends[1]) if wider_first else (ends[1], ends[0])
