"""Frames in time: which planes of a slice make which frame, when they were acquired, and what had to be mended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..errors import CardiacSegError
from .image import cycle_times
from .planes import MOMENTS, Plane, number

_IN_TIME = ("trigger", "percent")
_WIDEST_GAP = 0.12  # of the cycle; images that are further apart show different hearts
_HALF_STEP = 0.5
Blend = list[tuple[Plane, float]]
"""What a frame of a slice is made of: planes with their weights, which add up to 1."""


@dataclass(frozen=True)
class Phases:
    """slices: for each slice its frames; times (T,) in ms from the first frame, and whether they are known."""

    slices: list[list[Blend]]
    times: np.ndarray
    known: bool
    remarks: tuple[str, ...]


def arrange(what: str, levels: list[list[Plane]]) -> Phases:
    """Put the planes of each slice in order and on one common grid of phases.

    levels: the planes of each slice, in any order. Planes are interpolated in time only where the moments differ by
    more than half a step between slices. Raises CardiacSegError if frames are missing or cannot be told apart.
    """
    key = _key(what, levels)
    ordered = [sorted(level, key=lambda plane: plane.moments[key]) for level in levels]
    count = Counter(map(len, ordered)).most_common(1)[0][0]
    counted = key not in _IN_TIME or count == 1
    for slice_number, level in enumerate(ordered):
        if len(level) != count and (counted or len(level) < 2):
            raise _missing(what, slice_number, len(level), count)
    if counted:
        times, known, remarks = _counted_times(ordered, count)
        if _doubtful(ordered):
            again = "Several images of a slice have the same trigger time; there may be more than one cine among them."
            remarks = (again, *remarks)
        return Phases([[[(plane, 1.0)] for plane in level] for level in ordered], times, known, remarks)
    moments = [np.array([plane.moments[key] for plane in level]) for level in ordered]
    cycles = _cycles(key, ordered, moments)
    slices, mended = _on_common_phases(what, ordered, moments, cycles, count)
    times, known, remarks = _times(key, ordered, moments, cycles, count)
    if mended:
        share = f"{mended} of {len(levels)} slices"
        remarks = (*remarks, f"The frames of {share} were acquired at other phases and are interpolated in time.")
    return Phases(slices, times, known, remarks)


def _missing(what: str, slice_number: int, found: int, count: int) -> CardiacSegError:
    return CardiacSegError(
        f"{what} has {found} frames in slice {slice_number} where others have {count}; "
        "add the missing files or take the odd ones out."
    )


def _key(what: str, levels: list[list[Plane]]) -> str:
    """The first of MOMENTS that tells all frames of every slice apart."""
    if all(len(level) == 1 for level in levels):
        return MOMENTS[0]
    for key in MOMENTS:
        values = [[plane.moments[key] for plane in level] for level in levels]
        if all(None not in row and len(set(row)) == len(row) for row in values):
            return key
    raise CardiacSegError(
        f"{what} does not say in which order its frames follow (no trigger time or number that tells them apart); "
        "export it again with its header complete."
    )


def _doubtful(levels: list[list[Plane]]) -> bool:
    """Whether trigger times are given, and not only one, but do not tell all frames apart."""
    given = [{plane.moments["trigger"] for plane in level} - {None} for level in levels]
    return any(1 < len(moments) < len(level) for moments, level in zip(given, levels, strict=True))


def _cycles(key: str, ordered: list[list[Plane]], moments: list[np.ndarray]) -> np.ndarray:
    """The length of each slice's heart cycle in the unit of its moments."""
    if key == "percent":
        return np.full(len(ordered), 100.0)
    steps = [float(np.median(np.diff(row))) for row in moments]
    cycles = np.array([row[-1] - row[0] + step for row, step in zip(moments, steps, strict=True)])
    intervals = [float(np.mean([plane.interval or 0 for plane in level])) for level in ordered]
    for slice_number, interval in enumerate(intervals):
        if 0.9 * cycles[slice_number] <= interval <= 1.5 * cycles[slice_number]:
            cycles[slice_number] = interval
    if np.ptp(steps) < 0.02 * np.mean(steps):
        cycles[:] = cycles.max()  # one clock: where frames are missing at an end, the cycle is no shorter
    return cycles


def _on_common_phases(
    what: str, ordered: list[list[Plane]], moments: list[np.ndarray], cycles: np.ndarray, count: int
) -> tuple[list[list[Blend]], int]:
    """Each slice's frames at the phases of the slices with `count` frames, and how many had to be interpolated."""
    phases = [row / cycle for row, cycle in zip(moments, cycles, strict=True)]
    whole = [slice_number for slice_number, row in enumerate(phases) if len(row) == count]
    usual = np.median([phases[slice_number] for slice_number in whole], axis=0)
    usual_moments = np.median([moments[slice_number] for slice_number in whole], axis=0)
    slices, mended = [], 0
    for slice_number, level in enumerate(ordered):
        row, off = phases[slice_number], None
        if len(level) == count:
            off = min(_steps_off(row, usual), _steps_off(moments[slice_number], usual_moments))
        if off is not None and off <= _HALF_STEP:
            slices.append([[(plane, 1.0)] for plane in level])
            continue
        if np.diff(row).max(initial=0.0) > _WIDEST_GAP or row[-1] - row[0] < usual[-1] - usual[0] - _WIDEST_GAP:
            raise _missing(what, slice_number, len(level), count)
        slices.append([_between(level, row, phase) for phase in usual])
        mended += 1
    return slices, mended


def _steps_off(row: np.ndarray, usual: np.ndarray) -> float:
    """By how many steps the moments are off at most."""
    return float(np.abs(row - usual).max() / np.median(np.diff(usual)))


def _between(level: list[Plane], row: np.ndarray, phase: float) -> Blend:
    """The two planes around a phase of the closed cycle, weighted by how near they are."""
    around = np.concatenate([[row[-1] - 1], row, [row[0] + 1]])
    planes = [level[-1], *level, level[0]]
    after = int(np.clip(np.searchsorted(around, phase), 1, len(around) - 1))
    weight = (phase - around[after - 1]) / (around[after] - around[after - 1])
    pairs = [(planes[after - 1], 1 - weight), (planes[after], weight)]
    return [(plane, share) for plane, share in pairs if share > 1e-6]


def _times(
    key: str, ordered: list[list[Plane]], moments: list[np.ndarray], cycles: np.ndarray, count: int
) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Means over the slices with all frames; percentages need the heart rate to become times."""
    whole = np.array([row - row[0] for row in moments if len(row) == count])
    if key == "percent":
        interval = _mean_interval(ordered)
        if interval is None:
            reason = "the files give them in percent of the heart cycle and no heart rate"
            return cycle_times(None, count, reason)
        return cycle_times(whole.mean(axis=0) / 100 * interval, count, "")
    times, known, remarks = cycle_times(whole.mean(axis=0), count, "")
    lengths = whole[:, -1] * count / (count - 1)
    if known and np.ptp(lengths) > 0.1 * lengths.mean():
        uneven = (
            f"The slices were acquired at cycles of {lengths.min():.0f} to {lengths.max():.0f} ms; times are means."
        )
        remarks = (*remarks, uneven)
    steps = np.diff(times)
    said = max((number(level[0].header.get("CardiacNumberOfImages")) or 0 for level in ordered), default=0)
    if count < said < 2 * count:
        remarks = (*remarks, f"Frames seem to be missing: the header tells of {said:.0f} in a beat, {count} are here.")
    elif known and steps.max() > 1.8 * np.median(steps):
        gap = int(steps.argmax())
        remarks = (
            *remarks,
            f"Frames seem to be missing: {steps[gap]:.0f} ms lie between the frames {gap} and {gap + 1}.",
        )
    return times, known, remarks


def _counted_times(ordered: list[list[Plane]], count: int) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Even steps over the nominal interval, for frames that are only counted."""
    intervals = [plane.interval for level in ordered for plane in level]
    if count == 1 or None in intervals:
        return cycle_times(None, count, "the files have no trigger times and no nominal interval")
    interval = float(np.mean(intervals))
    times, known, remarks = cycle_times(np.arange(count) * interval / count, count, "")
    if known:
        remarks = (f"The files have no trigger times; the frames are spread over the interval of {interval:g} ms.",)
    return times, known, remarks


def _mean_interval(ordered: list[list[Plane]]) -> float | None:
    """RR in ms: the nominal interval, else from the heart rate."""
    intervals = [plane.interval for level in ordered for plane in level if plane.interval]
    rates = [number(plane.header.get("HeartRate")) for level in ordered for plane in level]
    intervals = intervals or [60000 / rate for rate in rates if rate and rate > 0]
    return float(np.mean(intervals)) if intervals else None
