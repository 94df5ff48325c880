"""Thickness of the LV wall in each slice: field lines of Laplace's equation between sub-pixel outlines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..anatomy import LV, MYO
from ..cine import Segmentation

ANGLES = 120
"""Directions from the cavity's centre in which a slice is measured, every 3 degrees."""
_THETA = np.arange(ANGLES) * (2 * np.pi / ANGLES)
_RAYS = np.exp(1j * _THETA)
_ORDER = 12  # harmonics of the solution; the outlines of a heart have hardly more
_STEPS = 12  # of Runge and Kutta from endo- to epicardium
_SOFT = 0.8  # pixels, standard deviation of the smoothing that takes the stairs off the outlines
_BLUNT = 2.5  # pixels; so far from where the ring is open its outlines are rounded
_LEAST = 0.5  # pixels; less than that between the outlines is no wall


Memo = dict[bytes, tuple[np.ndarray, np.ndarray] | None]
"""What was found in slices before, by their masks; of one cine only, since the size of the pixels is not in the key."""


@dataclass(frozen=True)
class WallMap:
    """The thickness of the LV wall by frame, slice and direction.

    frames: F frame numbers. thickness_mm: (F, Z, ANGLES), NaN where there is no wall. centers: (F, Z, 2) column and row
    of the cavity's centre, NaN where there is no cavity. plane: (2, 3) orthonormal directions (LPS) in the slices; the
    n-th direction is cos(a) plane[0] + sin(a) plane[1] with a = n x 3 degrees, the middle of its field line. pixel:
    (2, 2) a step of one column and of one row (its columns) along these directions in mm.
    """

    frames: tuple[int, ...]
    thickness_mm: np.ndarray
    centers: np.ndarray
    plane: np.ndarray
    pixel: np.ndarray


def measure_wall(segmentation: Segmentation, frames: Iterable[int] | None = None, memo: Memo | None = None) -> WallMap:
    """Measure the wall of the frames given (all where None) in every slice with LV and MYO.

    Method: the length of the field lines of Laplace's equation between endocardium and epicardium (Jones, Buchbinder
    and Aharon, Hum Brain Mapp 2000;11:12). They start and end at right angles, do not cross, and give one value to
    every point of a wall of uneven thickness, which neither radii nor nearest distances do. The potential is a
    harmonic series about the cavity's centre, fitted to both outlines, so that no grid finer than the picture's is
    needed; the outlines are the zero lines of smoothed distance maps, which lie between pixels. Papillary muscles
    belong to the cavity, also where they are labelled as myocardium inside it. Lengths lie in the slice: where the
    wall runs obliquely through it, as at the apex, they are longer than the wall is thick. Where the ring is open,
    thinner than half a pixel, or there is no cavity, there is no value (NaN). memo: slices that are in it are not
    measured again, others are added.
    """
    wanted = tuple(range(len(segmentation.labels)) if frames is None else frames)
    plane, pixel = _plane(segmentation.affine)
    slices = segmentation.labels.shape[1]
    thickness = np.full((len(wanted), slices, ANGLES), np.nan)
    centers = np.full((len(wanted), slices, 2), np.nan)
    for f, frame in enumerate(wanted):
        for z in range(slices):
            found = measure_slice(segmentation, frame, z, {} if memo is None else memo)
            if found:
                thickness[f, z], centers[f, z] = found
    return WallMap(wanted, thickness, centers, plane, pixel)


def measure_slice(segmentation: Segmentation, frame: int, z: int, memo: Memo) -> tuple[np.ndarray, np.ndarray] | None:
    """Thickness (ANGLES,) in mm and the centre (column, row) of one slice, from the memo or else into it."""
    labels = np.ascontiguousarray(segmentation.labels[frame, z])
    key = hashlib.blake2b(labels, digest_size=16).digest()
    if key not in memo:
        memo[key] = _measure_slice(labels, _plane(segmentation.affine)[1])
    return memo[key]


def _plane(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(2, 3) orthonormal directions of the slices, and (2, 2) a step in column and row in them, in mm."""
    first = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    second = affine[:3, 1] - (affine[:3, 1] @ first) * first
    plane = np.array([first, second / np.linalg.norm(second)])
    return plane, plane @ affine[:3, :2]


def _measure_slice(labels: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Thickness (ANGLES,) in mm and the centre (column, row) of one slice (Y, X); None without a cavity."""
    cavity, heart, corner = _regions(labels)
    if cavity is None:
        return None
    center = np.array(ndimage.center_of_mass(cavity))[::-1]
    if not cavity[tuple(np.rint(center[::-1]).astype(int))]:  # a crescent: its deepest point is inside
        center = np.array(np.unravel_index(ndimage.distance_transform_edt(cavity).argmax(), cavity.shape))[::-1]
    rays = np.linalg.solve(pixel, np.stack([_RAYS.real, _RAYS.imag]))  # columns and rows for 1 mm
    spacing = np.linalg.norm(pixel, axis=0)
    endo, epi = (_outline(region, center, rays, spacing, abs(np.linalg.det(pixel))) for region in (cavity, heart))
    wall = _without_ends(epi - endo > _LEAST * spacing.min(), _BLUNT * spacing.max() / endo.mean())
    if not wall.any():
        return np.full(ANGLES, np.nan), center + corner
    epi = endo + np.interp(_THETA, _THETA[wall], (epi - endo)[wall], period=2 * np.pi)
    return np.where(wall, _field_lines(endo, epi), np.nan), center + corner


def _regions(labels: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]:
    """The filled cavity and the cavity with its wall, cut to their surroundings, and the cut's corner (x, y)."""
    both = (labels == LV.value) | (labels == MYO.value)
    if not (labels == LV.value).any():
        return None, None, np.zeros(2)
    (rows, columns) = ndimage.find_objects(both.astype(np.uint8))[0]
    margin, corner = 4, np.array([columns.start, rows.start])
    cut = np.pad(labels[rows, columns], margin)
    heart = _largest(ndimage.binary_fill_holes((cut == LV.value) | (cut == MYO.value)))
    cavity = _largest(ndimage.binary_fill_holes(cut == LV.value) & heart)
    return cavity, heart, corner - margin


def _largest(mask: np.ndarray) -> np.ndarray | None:
    """The largest connected part."""
    parts, count = ndimage.label(mask)
    return None if count == 0 else parts == 1 + np.bincount(parts.ravel())[1:].argmax()


def _outline(region: np.ndarray, center: np.ndarray, rays: np.ndarray, spacing: np.ndarray, area: float) -> np.ndarray:
    """(ANGLES,) distance in mm from the centre to where each ray leaves the region for good."""
    sampling = spacing[::-1]
    distance = ndimage.distance_transform_edt(region, sampling) - ndimage.distance_transform_edt(~region, sampling)
    distance = ndimage.gaussian_filter(distance, _SOFT)
    reach = np.hypot(*(np.array(region.shape) * sampling))
    steps = np.arange(0, reach, 0.4 * spacing.min())
    columns, rows = center[:, None, None] + rays[:, :, None] * steps
    along = ndimage.map_coordinates(distance, [rows, columns], order=1, mode="nearest")
    inside = along > 0
    last = np.where(inside.any(axis=1), len(steps) - 1 - inside[:, ::-1].argmax(axis=1), 0).clip(max=len(steps) - 2)
    here, there = (np.take_along_axis(along, (last + n)[:, None], axis=1)[:, 0] for n in (0, 1))
    radii = steps[last] + (steps[1] - steps[0]) * np.clip(here / np.maximum(here - there, 1e-9), 0, 1)
    radii = np.maximum(radii, 0.25 * spacing.min())
    return radii * np.sqrt(region.sum() * area / (np.pi * np.mean(radii**2)))  # smoothing shrinks what is small


def _without_ends(wall: np.ndarray, reach: float) -> np.ndarray:
    """(ANGLES,) bool: directions with a wall, without those nearer than reach (radians) to where it ends."""
    if wall.all() or not wall.any():
        return wall
    apart = np.abs((_THETA[:, None] - _THETA[~wall] + np.pi) % (2 * np.pi) - np.pi).min(axis=1)
    return apart > reach


def _field_lines(endo: np.ndarray, epi: np.ndarray) -> np.ndarray:
    """(ANGLES,) lengths in mm of the field lines between two outlines given by their radii.

    The potential is the real part of f(z) = b log z + sum c_n z^n + d_n z^-n, 0 on the endo- and 1 on the epicardium;
    along a field line dz/du = 1 / f'(z), so equal steps of the potential u lead from one outline to the other.
    """
    outer, inner = epi.max(), endo.min()
    points = np.concatenate([endo * _RAYS, epi * _RAYS])
    powers = np.arange(1, _ORDER + 1)
    grown, shrunk = (points[:, None] / outer) ** powers, (inner / points[:, None]) ** powers
    basis = np.column_stack(
        [np.ones(len(points)), np.log(abs(points)), grown.real, -grown.imag, shrunk.real, -shrunk.imag]
    )
    target = np.repeat([0.0, 1.0], ANGLES)
    found = np.linalg.lstsq(basis, target, rcond=1e-9)[0]
    parts = found[2:].reshape(4, _ORDER)
    up, down = parts[0] + 1j * parts[1], parts[2] + 1j * parts[3]
    growing = np.append((powers * up)[::-1], found[1])
    shrinking = np.append((powers * down)[::-1], 0)

    def step(z: np.ndarray) -> np.ndarray:
        return z / (np.polyval(growing, z / outer) - np.polyval(shrinking, inner / z)) / _STEPS

    z, length, middle = endo * _RAYS, np.zeros(ANGLES), None
    for n in range(_STEPS):
        middle = z if n == _STEPS // 2 else middle
        k1 = step(z)
        k2 = step(z + k1 / 2)
        k3 = step(z + k2 / 2)
        move = (k1 + 2 * k2 + 2 * k3 + step(z + k3)) / 6
        z, length = z + move, length + abs(move)
    return np.interp(_THETA, np.angle(middle), length, period=2 * np.pi)
