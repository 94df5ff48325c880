"""The two measures of how smoothly masks move, against brute force and known motions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import oblique_affine

from CardiacSegLib.cine import Segmentation
from CardiacSegLib.measures.smoothness import label_change, surface_motion


def segmentation(labels: np.ndarray, affine: np.ndarray | None = None) -> Segmentation:
    status = np.ones(labels.shape[:2], np.uint8)
    return Segmentation(labels.astype(np.uint8), status, np.eye(4) if affine is None else affine)


def blobs(seed: int = 0) -> np.ndarray:
    """Four frames of ragged masks of all three structures."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((4, 3, 9, 8), np.uint8)
    for frame in labels:
        for value in (1, 2, 3):
            y, x = rng.integers(0, 5, 2)
            frame[:, y : y + 4, x : x + 3][rng.random((3, 4, 3)) < 0.7] = value
    return labels


def test_the_change_is_the_norm_of_the_difference_of_one_hot_labels_in_roots_of_ml() -> None:
    labels = blobs()
    affine = oblique_affine()
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    one_hot = np.stack([labels == value for value in (1, 2, 3)]).astype(float)
    norms = [np.linalg.norm((one_hot[:, b] - one_hot[:, a]).ravel()) for a, b in pairwise(range(4))]
    assert label_change(segmentation(labels, affine)) == pytest.approx(np.mean(norms) * np.sqrt(voxel_ml))


def surface_points(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Places (N, 3) in mm of the voxels with a neighbour outside across a face."""
    found = []
    for place in np.argwhere(mask):
        for step in (*np.eye(3, dtype=int), *-np.eye(3, dtype=int)):
            beside = place + step
            if (beside < 0).any() or (beside >= mask.shape).any() or not mask[tuple(beside)]:
                found.append(place * spacing)
                break
    return np.array(found)


def distance_by_definition(first: np.ndarray, second: np.ndarray, spacing: np.ndarray) -> float:
    a, b = surface_points(first, spacing), surface_points(second, spacing)
    between = np.linalg.norm(a[:, None] - b[None], axis=2)
    return float(np.concatenate([between.min(axis=1), between.min(axis=0)]).mean())


def test_the_motion_is_the_mean_distance_of_each_surface_voxel_to_the_other_surface() -> None:
    labels, affine = blobs(1), oblique_affine()
    spacing = np.array([8.5, 1.75, 1.25])
    expected = [
        distance_by_definition(before == value, after == value, spacing)
        for value in (1, 2, 3)
        for before, after in pairwise(labels)
    ]
    assert surface_motion(segmentation(labels, affine)) == pytest.approx(np.mean(expected))


def test_the_motion_is_that_of_monai() -> None:
    from monai.metrics import compute_average_surface_distance

    labels = (blobs(2) == 1).astype(np.uint8)
    pairs = [
        [torch.from_numpy(np.pad(frame, 1).astype(np.float32))[None, None] for frame in pair]
        for pair in pairwise(labels)
    ]
    expected = [
        float(compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=(1, 1, 1)))
        for pair in pairs
    ]
    assert surface_motion(segmentation(labels)) == pytest.approx(np.mean(expected), abs=1e-5)


def disc(radius: float) -> np.ndarray:
    y, x = np.mgrid[:61, :61] - 30
    return (np.hypot(y, x) <= radius)[None]


def test_a_circle_that_grows_by_3_mm_a_frame_moves_by_3_mm() -> None:
    rims = np.stack([disc(r)[0] & ~disc(r - 1)[0] for r in (10, 13, 16)])[:, None]
    assert surface_motion(segmentation(rims)) == pytest.approx(3, abs=0.25)


def test_what_stands_still_has_neither_change_nor_motion() -> None:
    labels = np.repeat(blobs()[:1], 5, axis=0)
    assert label_change(segmentation(labels)) == 0 and surface_motion(segmentation(labels)) == 0


def test_a_mask_that_flickers_is_rougher_than_one_that_glides() -> None:
    glide = np.stack([disc(radius) for radius in (10, 11, 12, 13)])
    flicker = glide[[0, 2, 1, 3]]
    assert label_change(segmentation(flicker)) > label_change(segmentation(glide))
    assert surface_motion(segmentation(flicker)) > surface_motion(segmentation(glide))


def test_frames_in_which_a_structure_is_absent_do_not_count_as_motion() -> None:
    labels = np.repeat(blobs()[:1], 4, axis=0)
    labels[2] = 0
    assert surface_motion(segmentation(labels)) == 0
    assert surface_motion(segmentation(labels[1:3])) is None
    assert label_change(segmentation(labels[:1])) == 0 and surface_motion(segmentation(labels[:1])) is None
