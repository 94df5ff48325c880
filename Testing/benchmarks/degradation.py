"""Pictures made worse on purpose: noise, shot noise, blur and shift at the levels of the study of image position.

Murase, Suganuma, Okatani: How can CNNs use image position for segmentation?, arXiv 2005.03463, section 2.3, after
Hendrycks and Dietterich, ICLR 2019. The study prints the levels of the Gaussian noise for the blur as well; a blur of
0.18 pixels changes nothing, so those are taken for a copying error and 0.5 to 3 pixels are used here.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

LEVELS: dict[str, tuple[float, ...]] = {
    "Gaussian noise": (0.04, 0.08, 0.12, 0.15, 0.18),
    "shot noise": (250, 100, 50, 30, 15),
    "Gaussian blur": (0.5, 1, 1.5, 2, 3),
    "shift": (0.05, 0.1, 0.15, 0.2, 0.25),
}
"""From mild to strong: standard deviation of intensities in 0..1, counts at full intensity, standard deviation in
pixels, share of the picture's width."""


def scaled(frames: np.ndarray) -> np.ndarray:
    """Frames of any kind as float32 in 0..1: the percentiles 1 and 99.5 become 0 and 1, what is beyond is cut off."""
    low, high = np.percentile(frames, (1, 99.5))
    return np.clip((frames - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def degraded(frames: np.ndarray, kind: str, level: float, rng: np.random.Generator) -> np.ndarray:
    """Frames (..., Y, X) in 0..1 at one of the LEVELS of a kind, cut off at 0 and 1 again."""
    if kind == "Gaussian noise":
        worse = frames + rng.normal(0, level, frames.shape)
    elif kind == "shot noise":
        worse = rng.poisson(frames.astype(np.float64) * level) / level
    elif kind == "Gaussian blur":
        worse = gaussian_filter(frames, (*[0] * (frames.ndim - 2), level, level), mode="nearest")
    else:
        worse = shifted(frames, round(level * frames.shape[-1]), "edge")
    return np.clip(worse, 0, 1).astype(np.float32)


def shifted(maps: np.ndarray, columns: int, mode: str) -> np.ndarray:
    """Maps (..., Y, X) moved to the right; what enters continues the border ("edge") or is zero ("constant")."""
    wider = np.pad(maps, [(0, 0)] * (maps.ndim - 1) + [(columns, 0)], mode=mode)
    return wider[..., : maps.shape[-1]]
