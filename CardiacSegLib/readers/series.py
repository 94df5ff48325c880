"""What a study holds: its series, split by orientation, and what each shows, told by where its planes lie."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from ..anatomy import HEART_AXIS
from .planes import Plane, number

SAME_PLACE_MM = 0.1
_SAME_DIRECTION = np.cos(np.radians(1.0))
_SHORT_AXIS = np.cos(np.radians(40.0))
_LONG_AXIS = np.sin(np.radians(20.0))
_BESIDE_MM = 20.0
_ALIKE = 2  # times as many frames; perfusion has more
_FEWEST_PHASES = {"CT": 2, "MR": 8}


class Kind(str, Enum):
    """What a series shows."""

    SHORT_AXIS = "short axis"
    TWO_CHAMBER = "2-chamber"
    THREE_CHAMBER = "3-chamber"
    FOUR_CHAMBER = "4-chamber"
    VOLUME = "volume over time"
    LOCALIZER = "localizer"
    OTHER = "other"


LONG_AXIS_KINDS = (Kind.TWO_CHAMBER, Kind.THREE_CHAMBER, Kind.FOUR_CHAMBER)
_ANGLES = {Kind.TWO_CHAMBER: 0.0, Kind.FOUR_CHAMBER: 60.0, Kind.THREE_CHAMBER: 120.0}


@dataclass(frozen=True, eq=False)
class Series:
    """The images of one series that have one orientation.

    number and description as the scanner gave them; slices and frames are counted; in_stack: it is part of the stack
    that `Study.stack` assembles.
    """

    number: int | None
    description: str
    modality: str
    slices: int
    frames: int
    kind: Kind = Kind.OTHER
    in_stack: bool = False
    planes: tuple[Plane, ...] = field(default=(), repr=False)

    @property
    def normal(self) -> np.ndarray:
        return self.planes[0].normal

    @property
    def over_time(self) -> bool:
        return self.frames > 1


def series_of(planes: list[Plane]) -> list[Series]:
    """The series, each split by orientation; phases that are series of their own are put together."""
    groups: dict[str, list[list[Plane]]] = {}
    for plane in planes:
        parts = groups.setdefault(str(plane.header.get("SeriesInstanceUID", "")), [])
        part = next((part for part in parts if parallel(part[0].normal, plane.normal)), None)
        parts.append([plane]) if part is None else part.append(plane)
    found = [_series(part, localizer=_crossing(parts)) for parts in groups.values() for part in parts]
    return sorted(_joined_phases(found), key=lambda series: (series.number is None, series.number or 0))


def _series(planes: list[Plane], localizer: bool = False) -> Series:
    header, counts = planes[0].header, [len(level) for level in levels_of(planes, planes[0].normal)]
    frames = Counter(counts).most_common(1)[0][0]
    own_number = number(header.get("SeriesNumber"))
    return Series(
        None if own_number is None else int(own_number), str(header.get("SeriesDescription") or "no description"),
        str(header.Modality), len(counts), frames, Kind.LOCALIZER if localizer else Kind.OTHER, planes=tuple(planes),
    )  # fmt: skip


def _crossing(parts: list[list[Plane]]) -> bool:
    """Still pictures in several orientations: what every scan begins with."""
    places = {tuple(plane.position.round(1)) for part in parts for plane in part}
    return len(parts) > 1 and sum(map(len, parts)) <= len(places)


def parallel(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two unit normals belong to planes of one direction, whichever side they look to."""
    return bool(abs(first @ second) > _SAME_DIRECTION)


def levels_of(planes: list[Plane] | tuple[Plane, ...], normal: np.ndarray) -> list[list[Plane]]:
    """The planes of each slice, slices in the order of their height along the normal."""
    heights = np.array([plane.position @ normal for plane in planes])
    levels: list[list[Plane]] = []
    last = -np.inf
    for index in np.argsort(heights, kind="stable"):
        if heights[index] - last > SAME_PLACE_MM:
            levels.append([])
        levels[-1].append(planes[index])
        last = heights[index]
    return levels


def _joined_phases(found: list[Series]) -> list[Series]:
    """Phases that are series of their own, put together: still volumes on one grid, acquired at different times."""
    groups: dict[tuple, list[Series]] = {}
    for series in found:
        still = series.frames == 1 and series.kind is Kind.OTHER
        groups.setdefault(_grid(series) if still else (id(series),), []).append(series)
    joined = []
    for group in groups.values():
        planes = [plane for series in group for plane in _with_percent(series)]
        moments = {(plane.moments["percent"], plane.moments["trigger"]) for plane in planes}
        told_apart = len({moment for moment in moments if moment != (None, None)}) >= len(group)
        if len(group) >= _FEWEST_PHASES.get(group[0].modality, 2) and told_apart:
            joined.append(dataclasses.replace(_series(planes), description=f"{len(group)} phases"))
        else:
            joined += group
    return joined


def _grid(series: Series) -> tuple:
    """The same for still volumes that lie on the same points."""
    first = series.planes[0]
    heights = sorted(round(float(plane.position @ series.normal), 1) for plane in series.planes)
    return (*_body(first), series.modality, *first.size, *first.spacing.round(3), *series.normal.round(2), *heights)


def _body(plane: Plane) -> tuple[str, str]:
    """Positions can only be compared within one study and one frame of reference."""
    return str(plane.header.get("StudyInstanceUID", "")), str(plane.header.get("FrameOfReferenceUID", ""))


def _with_percent(series: Series) -> list[Plane]:
    """The planes of a CT phase; its percentage of the cycle often stands in the description alone."""
    said = re.search(r"(?<![\d.,])(\d{1,2}(?:[.,]\d+)?)\s*%", series.description)
    if series.modality != "CT" or said is None or any(plane.moments["percent"] is not None for plane in series.planes):
        return list(series.planes)
    percent = float(said[1].replace(",", "."))
    return [dataclasses.replace(plane, moments={**plane.moments, "percent": percent}) for plane in series.planes]


def stacks_of(found: list[Series]) -> list[list[Series]]:
    """Groups of series over time that can be one stack: parallel, of one body, one technique and alike in frames."""
    stacks: list[list[Series]] = []
    for series in sorted((series for series in found if series.over_time), key=lambda series: -series.slices):
        fitting = (stack for stack in stacks if _one_technique(stack[0], series))
        stack = next(fitting, None)
        stacks.append([series]) if stack is None else stack.append(series)
    return stacks


def _one_technique(first: Series, second: Series) -> bool:
    a, b = first.planes[0].header, second.planes[0].header
    same = ("Modality", "ScanningSequence", "SequenceVariant")
    return (
        _body(first.planes[0]) == _body(second.planes[0])
        and all(a.get(keyword) == b.get(keyword) for keyword in same)
        and parallel(first.normal, second.normal)
        and max(first.frames, second.frames) <= _ALIKE * min(first.frames, second.frames)
    )


def towards_apex(normal: np.ndarray) -> np.ndarray | None:
    """The normal of a short-axis plane, turned to the apex; None if no heart lies like that (more than 40° off)."""
    along = float(normal @ HEART_AXIS)
    return None if abs(along) < _SHORT_AXIS else normal * np.sign(along)


def classified(found: list[Series], stack: list[Series]) -> list[Series]:
    """The series with their kinds; the axis of the heart is the stack's normal, else the line that its views share."""
    own_axis = towards_apex(stack[0].normal) if stack else None
    axis = _shared_line(found) if own_axis is None else own_axis
    kinds = [_kind(series, axis, own_axis is not None) for series in found]
    beside = _beside_the_ventricle(found, kinds, axis)
    return [
        dataclasses.replace(
            series, kind=Kind.OTHER if index in beside else kind, in_stack=any(series is member for member in stack)
        )
        for index, (series, kind) in enumerate(zip(found, kinds, strict=True))
    ]


def _shared_line(found: list[Series]) -> np.ndarray:
    """The direction that single planes over time share, towards the apex; the usual axis if no heart lies like that."""
    normals = [series.normal for series in found if series.over_time and series.slices == 1]
    normals = [normal for normal in normals if towards_apex(normal) is None]
    if not any(not parallel(normals[0], normal) for normal in normals):
        return HEART_AXIS
    shared = towards_apex(np.linalg.svd(np.array(normals))[2][2])
    return HEART_AXIS if shared is None else shared


def _kind(series: Series, axis: np.ndarray, known: bool) -> Kind:
    if series.kind is Kind.LOCALIZER or not series.over_time:
        return series.kind
    if parallel(series.normal, axis) if known else towards_apex(series.normal) is not None:
        return Kind.SHORT_AXIS
    if series.slices > 3:
        return Kind.VOLUME
    return _chamber_view(series.normal, axis)


def _chamber_view(normal: np.ndarray, axis: np.ndarray) -> Kind:
    """Which long-axis view a plane is, by how it is turned about the axis: the views lie 60° apart.

    The 2-chamber plane holds the direction in which the body stands; from there to the left come the 4- and the
    3-chamber plane.
    """
    if abs(normal @ axis) > _LONG_AXIS:
        return Kind.OTHER
    front = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
    front /= np.linalg.norm(front)
    left = np.cross(axis, front)
    left *= np.sign(left[0]) or 1
    line = np.cross(axis, normal)
    angle = float(np.degrees(np.arctan2(line @ left, line @ front))) % 180
    return min(_ANGLES, key=lambda kind: min(abs(angle - _ANGLES[kind]), 180 - abs(angle - _ANGLES[kind])))


def _beside_the_ventricle(found: list[Series], kinds: list[Kind], axis: np.ndarray) -> set[int]:
    """Long-axis planes that miss the line where those of all three kinds meet, as views of the right ventricle do."""
    views = [index for index, kind in enumerate(kinds) if kind in LONG_AXIS_KINDS]
    middle = np.mean([found[index].planes[0].centre @ axis for index in views] or [0.0]) * axis
    planes = {index: found[index].planes[0] for index in views}
    best = (_BESIDE_MM, middle)
    for three in itertools.combinations(views, 3):
        if len({kinds[index] for index in three}) == 3:
            normals = np.array([planes[index].normal for index in three])
            across = normals - np.outer(normals @ axis, axis)
            heights = np.array([planes[index].normal @ (planes[index].position - middle) for index in three])
            point = np.linalg.lstsq(across, heights, rcond=1e-6)[0]  # nothing along the axis
            best = min(best, (float(np.abs(across @ point - heights).max()), middle + point), key=lambda pair: pair[0])
    if best[0] >= _BESIDE_MM:
        return set()
    return {index for index in views if abs(planes[index].normal @ (best[1] - planes[index].position)) > _BESIDE_MM}
