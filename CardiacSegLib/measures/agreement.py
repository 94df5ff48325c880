"""How well masks agree with an expert's: Dice, Hausdorff distance and its 95th percentile, whole and by region.

Conventions, each a choice that other tools may make otherwise:
- A row exists for a structure that the expert drew in that frame; what the expert did not draw is unlabelled, not
  wrong. Frames in which the expert drew nothing are left out. All slices of a compared frame count.
- Both masks empty in a region: no value (None), not counted in means. One empty: Dice 0, no distance.
- Distances are in mm between the border voxels' centres of the 3D masks of one frame, along axes taken as
  perpendicular; HD95 is the larger of the two directed 95th percentiles. In a region the masks are cut at its ends.
- Regions are thirds of the slices between the expert's first and last with LV (of any structure where no LV was drawn
  in that frame); slices beyond them count to the nearer end, and a single slice is "mid". The base is the end towards
  which the area of all the expert's structures, in all frames, is heavier: the heart tapers to its apex and the RV ends
  before it. Where that does not decide, slice 0 is the base.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from ..anatomy import LV
from ..cine import Segmentation
from ..errors import CardiacSegError

METRICS = ("dice", "hd_mm", "hd95_mm")
REGIONS = ("all", "base", "mid", "apex")


def agreement(
    prediction: Segmentation, truth: Segmentation, frames: Sequence[int] | None = None
) -> list[dict[str, object]]:
    """Compare masks frame by frame: rows with frame, region, structure, dice (0..1 or None), hd_mm, hd95_mm (or None).

    Both must be on the same grid. frames: from 0, those to compare; None takes all in which the truth has a mask.
    Computed by MONAI's metrics. Raises CardiacSegError for different grids or a frame that the truth does not label.
    """
    _check_grids(prediction, truth)
    labelled = np.flatnonzero(truth.labels.any(axis=(1, 2, 3)))
    for frame in () if frames is None else frames:
        if frame not in labelled:
            known = ", ".join(map(str, labelled)) or "none"
            raise CardiacSegError(
                f"Frame {frame} of the truth holds no mask to compare with; it has masks in: {known}."
            )
    backwards = apex_first(truth.labels)
    spacing = np.linalg.norm(truth.affine[:3, :3], axis=0)[::-1].tolist()
    rows = []
    for frame in labelled if frames is None else frames:
        regions = _regions(truth.labels[frame], backwards)
        for structure in truth.structures:
            expert = truth.labels[frame] == structure.value
            if not expert.any():
                continue
            found = prediction.labels[frame] == structure.value
            for region in REGIONS:
                values = _compare(found[regions[region]], expert[regions[region]], spacing)
                rows.append({"frame": int(frame), "region": region, "structure": structure.name, **values})
    return rows


def summary(rows: Sequence[dict]) -> list[dict[str, object]]:
    """The means of agreement's rows that have a value: region, structure, dice, hd_mm, hd95_mm, and how many Dice."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["region"], row["structure"]), []).append(row)
    means = []
    for (region, structure), group in groups.items():
        values = {name: [row[name] for row in group if row[name] is not None] for name in METRICS}
        mean = {name: float(np.mean(found)) if found else None for name, found in values.items()}
        means.append({"region": region, "structure": structure, **mean, "dice_count": len(values["dice"])})
    return means


def _check_grids(prediction: Segmentation, truth: Segmentation) -> None:
    """Refuse masks whose voxels are not the same points in space (within half a voxel at the grid's corners)."""
    sizes = [" x ".join(map(str, one.labels.shape[::-1])) for one in (prediction, truth)]
    if sizes[0] != sizes[1]:
        raise CardiacSegError(
            f"The prediction has {sizes[0]} voxels and frames, the truth {sizes[1]}; give masks on the same grid."
        )
    _, z, y, x = truth.labels.shape
    corners = np.array([[i, j, k, 1] for i in (0, x - 1) for j in (0, y - 1) for k in (0, z - 1)]).T
    shift = np.abs(np.linalg.solve(truth.affine, (prediction.affine - truth.affine) @ corners)).max()
    if shift > 0.5:
        raise CardiacSegError(
            f"The prediction lies up to {shift:.1f} voxels away from the truth in space; give masks on the same grid."
        )


def apex_first(labels: np.ndarray) -> bool:
    """Whether slice 0 is the apex, from where along the stack the masks (T, Z, Y, X) have their area."""
    areas = (labels > 0).sum(axis=(0, 2, 3))
    used = np.flatnonzero(areas)
    if not len(used):
        return False
    center = (areas * np.arange(len(areas))).sum() / areas.sum()
    return bool(center > (used[0] + used[-1]) / 2)


def _regions(labels: np.ndarray, backwards: bool) -> dict[str, np.ndarray]:
    """Region -> (Z,) bool, the slices of the masks (Z, Y, X) of one frame that belong to it."""
    has_lv = (labels == LV.value).any(axis=(1, 2))
    used = np.flatnonzero(has_lv if has_lv.any() else labels.any(axis=(1, 2)))
    place = (np.arange(len(labels)) - used[0] + 0.5) / (used[-1] - used[0] + 1)
    if backwards:
        place = 1 - place
    base, apex = place < 1 / 3, place > 2 / 3
    return {"all": np.full(len(labels), True), "base": base, "mid": ~base & ~apex, "apex": apex}


def _compare(found: np.ndarray, expert: np.ndarray, spacing: Sequence[float]) -> dict[str, float | None]:
    """Dice and distances of two binary masks (Z, Y, X); spacing (z, y, x) in mm."""
    if not found.any() or not expert.any():
        return {"dice": 0.0 if found.any() or expert.any() else None, "hd_mm": None, "hd95_mm": None}
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance

    # The distances see only what lies between the masks; without the rest of the image they take a tenth of the time.
    box = tuple(slice(line.min(), line.max() + 1) for line in np.nonzero(found | expert))
    masks = [torch.from_numpy(np.ascontiguousarray(mask[box]))[None, None].float() for mask in (found, expert)]
    options = {"include_background": True, "spacing": spacing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.5 calls a function of its own in a deprecated way.
        return {
            "dice": float(compute_dice(*masks)),
            "hd_mm": float(compute_hausdorff_distance(*masks, **options)),
            "hd95_mm": float(compute_hausdorff_distance(*masks, percentile=95, **options)),
        }
