"""A beating heart in one long-axis slice with known truth: the phantom's own geometry, cut along its axis."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from CardiacSegLib.anatomy import HEART_AXIS, LV, MYO, RV
from CardiacSegLib.cine import Cine, Segmentation, Status
from CardiacSegLib.phantom_heart import ANGLES, Heart, contraction, draw_heart

_ABOVE_MM = 62.0
_BLOOD, _ATRIUM, _WALL, _LUNG, _LIVER, _FAT = 1.0, 0.95, 0.35, 0.1, 0.45, 1.1


def long_axis_heart(
    seed: int, view: int = 4, frames: int = 20, size: int = 128, mm: float = 1.5
) -> tuple[Cine, Segmentation, np.ndarray]:
    """Return the cine (frames, 1, size, size), its true masks, and the LV's true volumes (frames,) in ml.

    view: 4, through septum and free wall, with the right ventricle; or 2, at right angles to it. The base is above.
    """
    heart = draw_heart(np.random.default_rng([seed, 0]), 12, 8.0, None)
    rng = np.random.default_rng([seed, view])
    angle = heart.septum + (0.0 if view == 4 else np.pi / 2)
    beat = contraction(frames, heart.systole)
    side = (np.arange(size) - size / 2) * mm
    depths = np.arange(size) * mm - _ABOVE_MM
    behind = _behind(rng, size)
    fine = np.arange(0.25, heart.length, 0.5)
    images, labels = np.empty((frames, 1, size, size)), np.zeros((frames, 1, size, size), np.uint8)
    for t, s in enumerate(beat):
        labels[t, 0] = np.stack([_row(heart, s, depth, side, angle) for depth in depths])
        picture = np.where(labels[t, 0] == MYO.value, _WALL, np.where(labels[t, 0] > 0, _BLOOD, behind))
        _paint_atria(picture, labels[t, 0] == 0, heart, s, side[None], depths[:, None], view)
        seen = gaussian_filter(picture, 0.7) * (1 + 0.1 * np.cos(side / 60 + t / frames))
        images[t, 0] = np.hypot(seen + 0.03 * rng.standard_normal(seen.shape), 0.03 * rng.standard_normal(seen.shape))
    affine = np.eye(4)
    affine[:3, :3] = _axes(view) * [mm, mm, 6.0]
    times = np.arange(frames) * (60000 / heart.rate / frames)
    cine = Cine((400 * images).astype(np.int16), affine, times, name=f"long axis {seed}")
    status = np.full((frames, 1), int(Status.ANNOTATED), np.uint8)
    volumes = np.array([heart.disc_areas(s, fine)[0] for s in beat]) * 0.5 / 1000
    return cine, Segmentation(labels, status, affine), volumes


def _axes(view: int) -> np.ndarray:
    """Unit vectors of a voxel in the patient (LPS): columns go down the heart, rows across it, 90° apart by view."""
    down = HEART_AXIS
    right = np.cross(down, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    across = right if view == 4 else np.cross(down, right)
    return np.column_stack([across, down, np.cross(across, down)])


def _row(heart: Heart, s: float, depth: float, side: np.ndarray, angle: float) -> np.ndarray:
    """The labels along one line across the axis."""
    points = side * np.array([[np.cos(angle)], [np.sin(angle)]])
    row = np.zeros(len(side), np.uint8)
    right, walls = heart.rv(s, depth), heart.walls(s, depth)
    if right:
        row[_inside(points - right[0][:, None], right[1])] = RV.value
    if walls:
        row[_inside(points, walls[1])] = MYO.value
        row[_inside(points, walls[0])] = LV.value
    return row


def _inside(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Which points (2, N) lie inside an outline given by its radius at ANGLES angles."""
    index = np.rint(np.arctan2(points[1], points[0]) * ANGLES / 2 / np.pi).astype(int) % ANGLES
    return np.hypot(*points) < radii[index]


def _behind(rng: np.random.Generator, size: int) -> np.ndarray:
    """Lung, with the diaphragm below and the chest wall on one side."""
    rows, columns = np.mgrid[:size, :size] / size
    unrest = gaussian_filter(rng.standard_normal((size, size)), 6)
    behind = _LUNG + 0.3 * np.clip(unrest, 0, None)
    behind[rows + 0.3 * columns + unrest / 3 > 1.02] = _LIVER
    behind[columns + 0.1 * rows + unrest / 5 > 0.98] = _FAT
    return behind


def _paint_atria(
    picture: np.ndarray, free: np.ndarray, heart: Heart, s: float, side: np.ndarray, depths: np.ndarray, view: int
) -> None:
    """Atria as bright as the ventricles, parted from them by thin leaflets and from one another by a septum."""
    base = heart.descent * s
    beyond = heart.radius + heart.wall
    for middle, radius, shown in ((0.0, 0.95 * heart.radius, True), (beyond + 16, 17.0, view == 4)):
        if shown:
            high = 21 + 0.6 * base
            distance = np.hypot((side - middle) / radius, (depths - base + high) / high)
            picture[(distance < 1.12) & free] = _WALL
            picture[(distance < 1) & free] = _ATRIUM
    leaflets = (np.abs(depths - base) < 1.2) & (np.abs(side) > 0.45 * heart.radius) & (np.abs(side) < heart.radius)
    picture[leaflets] = 0.6
