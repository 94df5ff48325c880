"""How the ventricles fill and empty: rates in ml/s and times in ms from the volumes of all frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..cine import Segmentation
from .volumes import counted_frames, volume_curves

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

_LEAST_FRAMES = 12
_SAME_CYCLE = 0.1  # by how much the heart rate's cycle may differ from the cine's
_CAUTION = 1.4
_FINE = 50  # points between two frames


@dataclass(frozen=True)
class VentricleCurve:
    """Filling and emptying of one ventricle; None is what is not known, and missing says why.

    smallest_frame: of the ventricle's own smallest volume. time_to_smallest_ms: from ED to it. Times to the peak rates
    count from ED for the ejection and from ES for the filling, those of the LV.
    """

    smallest_frame: int | None = None
    time_to_smallest_ms: float | None = None
    peak_ejection_rate_ml_per_s: float | None = None
    time_to_peak_ejection_ms: float | None = None
    peak_filling_rate_ml_per_s: float | None = None
    time_to_peak_filling_ms: float | None = None
    missing: str | None = None


def known_curves(segmentation: Segmentation, second: Segmentation | None = None) -> dict[str, np.ndarray]:
    """The volumes (T,) in ml of every structure, NaN in frames that do not count as segmented.

    A structure without a voxel in any frame was not segmented at all: it is NaN throughout. second: as in measure; it
    is left out where it has another number of frames, since nothing says which of them belong together.
    """
    second = second if second is not None and len(second.labels) == len(segmentation.labels) else None
    unknown = ~counted_frames(segmentation)
    if second is not None:
        unknown |= ~counted_frames(second)
    return {
        name: np.where(unknown | (not curve.any()), np.nan, curve)
        for name, curve in volume_curves(segmentation, second).items()
    }


def ventricle_curve(
    volumes: np.ndarray, times: np.ndarray | None, ed: int | None, es: int | None, heart_rate_bpm: float | None = None
) -> VentricleCurve:
    """Peak ejection and filling rates of one ventricle.

    volumes: (T,) ml, NaN or 0 where not known. times: (T,) ms, None where not known. ed, es: the study's phases. The
    rate is the slope of a smoothing cubic spline whose stiffness is weighed by generalised cross-validation (Craven and
    Wahba, Numer Math 1979;31:377) with degrees of freedom counted 1.4 times (Kim and Gu, J R Stat Soc B 2004;66:337):
    clean curves are followed, and the unrest of masks is not taken for flow. The cycle is closed and as long as the
    heart rate says, or as if the last interval were like the others where no rate is known; a cine that is more than a
    tenth shorter or longer than its cycle is not closed. Peak filling is the steepest rise in all of diastole, be it
    early or of the atrium.
    """
    known = volumes > 0
    smallest = int(np.flatnonzero(known)[volumes[known].argmin()]) if known.sum() > 1 else None
    missing = _missing(known, times, ed, es)
    if missing:
        return VentricleCurve(smallest, missing=missing)
    usual = float(np.median(np.diff(times)))
    cycle = float(times[-1] - times[0]) + usual
    beat = 60000 / heart_rate_bpm if heart_rate_bpm else cycle
    closed = abs(beat - cycle) <= _SAME_CYCLE * beat and beat > times[-1] - times[0]
    cycle = beat if closed else cycle
    if not closed and es < ed:
        return VentricleCurve(smallest, missing="The cine does not cover the cycle and starts between ED and ES.")
    spline = _smooth(volumes, times, cycle if closed else None)
    start, turn = float(times[ed]), float(times[ed] + (times[es] - times[ed]) % cycle)
    end = start + cycle if closed else float(times[-1])
    ejection, when_ejection = _steepest(spline, start, turn, usual, -1)
    filling, when_filling = _steepest(spline, turn, end, usual, 1)
    wait = float(times[smallest] - times[ed])
    return VentricleCurve(
        smallest, wait % cycle if closed or wait >= 0 else None, ejection, when_ejection, filling, when_filling
    )


def _missing(known: np.ndarray, times: np.ndarray | None, ed: int | None, es: int | None) -> str | None:
    """Why no rates can be given, or None."""
    if not known.any():
        return "It is not segmented."
    if times is None:
        return "The times of the frames are not known."
    if not known.all():
        return f"It is segmented in {int(known.sum())} of {len(known)} frames; rates need all."
    if len(known) < _LEAST_FRAMES:
        return f"Rates need at least {_LEAST_FRAMES} frames."
    if ed is None or es is None or ed == es:
        return "End-diastole and end-systole are not both known."
    return None


def _smooth(volumes: np.ndarray, times: np.ndarray, cycle: float | None) -> CubicSpline:
    """The smoothing spline in ml over ms, periodic where the cycle (ms) is closed, natural where it is None."""
    from scipy.interpolate import CubicSpline

    roughness = _roughness(times, cycle)
    weights, modes = np.linalg.eigh(roughness)
    parts, count = modes.T @ volumes, len(volumes)
    kept = 1 / (1 + np.outer(np.logspace(-4, 12, 161) / np.trace(roughness), weights.clip(0)))
    left = count - _CAUTION * kept.sum(axis=1)
    kept, left = kept[left > 0], left[left > 0]
    scores = (((1 - kept) * parts) ** 2).sum(axis=1) / left**2 + 1e-12  # ml squared, so that none is 0
    # All stiffnesses count by their likelihood: the best one alone can jump when a voxel changes.
    share = (scores.min() / scores) ** (count / 2)
    smooth = modes @ (share @ kept / share.sum() * parts)
    if cycle is None:
        return CubicSpline(times, smooth)
    return CubicSpline(np.append(times, times[0] + cycle), np.append(smooth, smooth[0]), bc_type="periodic")


def _roughness(times: np.ndarray, cycle: float | None) -> np.ndarray:
    """(T, T) the matrix K of the integral v'K v of the squared second derivative of the cubic spline through v."""
    count = len(times)
    knots = np.arange(count) if cycle else np.arange(1, count - 1)
    steps = np.diff(times, append=times[0] + (cycle or 0))
    before, after = steps[knots - 1], steps[knots]
    bends, products = np.zeros((count, len(knots))), np.zeros((len(knots), len(knots)))
    place = np.arange(len(knots))
    bends[knots - 1, place] += 1 / before
    bends[knots, place] -= 1 / before + 1 / after
    bends[(knots + 1) % count, place] += 1 / after
    products[place, place] = (before + after) / 3
    beside = place if cycle else place[1:]
    products[beside, beside - 1] = products[beside - 1, beside] = before[beside] / 6
    return bends @ np.linalg.solve(products, bends.T)


def _steepest(
    spline: CubicSpline, start: float, end: float, usual: float, sign: int
) -> tuple[float | None, float | None]:
    """The steepest fall (sign -1) or rise (1) in ml/s between two times in ms, and when after the start.

    The slope is looked for between the frames too. None where there is no such slope, or where it is still growing at
    the end: then the cine stops before the peak.
    """
    if end - start < usual / 2:
        return None, None
    moments = np.linspace(start, end, max(2, round((end - start) / usual * _FINE)))
    slopes = sign * spline.derivative()(moments) * 1000
    best = int(slopes.argmax())
    if slopes[best] <= 0 or best == len(slopes) - 1:
        return None, None
    return float(slopes[best]), float(moments[best] - start)
