"""How smoothly masks move through time: the two measures by which the 4D CNN is compared with its 3D twin.

Myronenko et al.: 4D CNN for semantic segmentation of cardiac volumetric sequences, STACOM 2019, table 2. The paper
gives no formulas; those used here are in the docstrings. Small is smooth, but what stands still is smoothest of all.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage

from ..cine import Segmentation


def label_change(segmentation: Segmentation) -> float:
    """The L2 norm over space of the labels' change from frame to frame, the mean over the pairs, in roots of ml.

    The change of a voxel is the difference of its one-hot labels, background left out: squared it is 0, 1, or 2 where
    one structure takes another's place. So the norm is the root of the volume that changes. 0 for a single frame.
    """
    labels = segmentation.labels
    if len(labels) < 2:
        return 0.0
    changes = []
    for before, after in pairwise(labels):
        moved = before != after
        squared = np.count_nonzero(moved & (before > 0)) + np.count_nonzero(moved & (after > 0))
        changes.append(np.sqrt(squared * segmentation.voxel_ml))
    return float(np.mean(changes))


def surface_motion(segmentation: Segmentation) -> float | None:
    """The mean distance in mm between the surfaces of consecutive frames; the mean over structures and pairs.

    The surface of a mask are its voxels that touch the outside with a face. Between two surfaces it is the average over
    the surface voxels of both of the distance to the other (average symmetric surface distance). Pairs in which a
    structure is absent from a frame do not count; None if none is left.
    """
    spacing = tuple(np.linalg.norm(segmentation.affine[:3, :3], axis=0)[::-1])
    found = []
    for structure in segmentation.structures:
        masks = [frame == structure.value for frame in segmentation.labels]
        for before, after in pairwise(masks):
            if before.any() and after.any():
                found.append(surface_distance(before, after, spacing))
    return float(np.mean(found)) if found else None


def surface_distance(first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Average symmetric surface distance in mm of two masks (Z, Y, X) that are not empty; spacing (z, y, x) in mm."""
    # The rest of the image plays no part and would take most of the time; the margin keeps the border a border.
    box = tuple(slice(max(line.min() - 1, 0), line.max() + 2) for line in np.nonzero(first | second))
    surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (first, second)]
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    return float(np.concatenate([away[1][surfaces[0]], away[0][surfaces[1]]]).mean())
