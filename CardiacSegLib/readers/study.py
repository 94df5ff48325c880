"""A folder or zip of DICOM files as a study: what its series show, its short-axis stack and its long-axis cines."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..cine import Cine, Patient
from ..errors import CardiacSegError
from .archive import members
from .image import opening
from .pixels import planes_of, read_pixels, sources
from .planes import Plane, number, read_planes
from .series import LONG_AXIS_KINDS, Kind, Series, classified, series_of, stacks_of, towards_apex
from .stack import lay_out

STACK = "sax"
_VIEWS = {Kind.TWO_CHAMBER: "2ch", Kind.THREE_CHAMBER: "3ch", Kind.FOUR_CHAMBER: "4ch"}
_CLEARLY_MORE = 1.5


@dataclass(frozen=True)
class Study:
    """What lies in a folder or zip of DICOM files; pixels are read when a cine is asked for.

    series: in the order of their numbers, each with its kind. stack_series: those that make the one stack over time,
    empty if there is none or several. problem: why there is none. remarks: what the reader passed over.
    """

    path: Path
    series: tuple[Series, ...]
    stack_series: tuple[Series, ...] = field(repr=False)
    problem: str = ""
    remarks: tuple[str, ...] = ()

    def stack(self) -> Cine:
        """The short-axis stack, base to apex, or what other one stack over time there is; remarks tell how it was made.

        Raises CardiacSegError if there is none or several, or if it is not complete.
        """
        if not self.stack_series:
            raise CardiacSegError(self.problem)
        return self.cine(*self.stack_series)

    def long_axis(self) -> tuple[tuple[Series, Cine], ...]:
        """The cines of one long-axis slice each, with the series that tells which view it is."""
        return tuple((series, self.cine(series)) for series in self.series if series.kind in LONG_AXIS_KINDS)

    def choices(self) -> dict[str, tuple[Series, ...]]:
        """What can be asked for by name: "sax", the stack; then every series by its number, or "#n" as the n-th where
        numbers are missing or not unique.
        """
        numbers = [series.number for series in self.series]
        named = {STACK: self.stack_series} if self.stack_series else {}
        for place, series in enumerate(self.series, start=1):
            own = series.number is not None and numbers.count(series.number) == 1
            named[str(series.number) if own else f"#{place}"] = (series,)
        return named

    def chosen(self, name: str = "") -> Cine:
        """The cine of that name: one of `choices`, or "2ch", "3ch", "4ch" for the one such view; the stack if empty.

        Raises CardiacSegError that lists what there is, if nothing or several are called so.
        """
        choices, wanted = self.choices(), name.strip().lower()
        if wanted in ("", STACK):
            return self.stack()
        views = [series for series in self.series if _VIEWS.get(series.kind) == wanted]
        found = choices.get(wanted) or (tuple(views) if len(views) == 1 else ())
        if found:
            return self.cine(*found)
        listing = ", ".join(f"{each} ({describe(series)})" for each, series in choices.items())
        said = f"{len(views)} series '{name}'" if views else f"no series '{name}'"
        raise CardiacSegError(f"{self.path} holds {said}; choose one of: {listing}.")

    def cine(self, *series: Series) -> Cine:
        """The cine that parallel series make together.

        Raises CardiacSegError if they do not, or if a file cannot be read.
        """
        with opening(self.path), members(self.path) as files, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd but harmless values of old scanners
            layout = lay_out(self._what(series), list(series))
            planes = planes_of(layout)
            return Cine(
                read_pixels(self.path, files, layout),
                layout.affine,
                layout.times,
                modality=str(planes[0].header.Modality),
                times_known=layout.times_known,
                patient=_patient(planes),
                sources=sources(layout),
                remarks=(*self.remarks, *self._choice(series, layout.shape[1]), *layout.remarks),
                name=self.path.name,
            )

    def _what(self, series: tuple[Series, ...]) -> str:
        named = f"The series '{series[0].description}'" if len(series) == 1 else f"The stack of {len(series)} series"
        return f"{named} in {self.path}"

    def _choice(self, series: tuple[Series, ...], slices: int) -> list[str]:
        """What to say about which of several series these are."""
        phases = len({str(plane.header.get("SeriesInstanceUID", "")) for plane in series[0].planes})
        joined = [f"{phases} series are the phases of one cine and were put together."] if phases > 1 else []
        if len(self.series) == 1:
            return joined
        if len(series) == 1:
            taken = f"{_listed(series[0])} was taken"
        else:
            taken = f"{len(series)} of them were put together as one stack of {slices} slices"
        remarks = [*joined, f"{self.path.name} holds {len(self.series)} series; {taken}."]
        in_stack = all(member.in_stack for member in series)
        left = [s for s in self.series if s.kind is Kind.SHORT_AXIS and in_stack and not s.in_stack]
        if left:
            remarks.append(f"Short-axis series of another kind were left out: {', '.join(map(_listed, left))}.")
        return remarks


def read_study(path: str | Path) -> Study:
    """Read what series a folder or zip of DICOM files holds, and find the stack over time among them.

    Kinds are told by geometry, never by name. Raises CardiacSegError if there are no images, if a file is damaged, or
    if the images are of several patients.
    """
    path = Path(path)
    with opening(path), members(path) as files, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        planes, remarks = read_planes(path, files)
        _check_one_patient(path, planes)
        found = series_of(planes)
    stack, problem = _the_stack(path, found)
    kinds = classified(found, stack)
    return Study(path, tuple(kinds), tuple(series for series in kinds if series.in_stack), problem, remarks)


def _check_one_patient(path: Path, planes: list[Plane]) -> None:
    """Two patients are never merged: neither by identity nor, where that was removed, by study."""
    headers = {id(plane.header): plane.header for plane in planes}.values()
    known = [
        {_plain(header.get(keyword)) for header in headers} - {""} for keyword in ("PatientName", "PatientBirthDate")
    ]
    identities = {_plain(header.get("PatientID")) for header in headers}
    count = max(len(identities), *map(len, known))
    if count > 1:
        raise CardiacSegError(f"{path} mixes images of {count} patients; give a folder with those of one.")
    studies = {str(header.get("StudyInstanceUID", "")) for header in headers}
    if len(studies) > 1 and identities == {""}:
        raise CardiacSegError(
            f"{path} mixes {len(studies)} studies without patient IDs, maybe of several patients; "
            "give a folder with one of them."
        )


def _plain(value: object) -> str:
    """A name or number without what differs between exports: case, carets and spaces."""
    return " ".join(re.split(r"[\s^]+", str(value or "").upper())).strip()


def _the_stack(path: Path, found: list[Series]) -> tuple[list[Series], str]:
    """The series of the one stack, or none and the sentence that says why."""
    stacks = stacks_of(found)
    several = [stack for stack in stacks if _slices(stack) > 1]
    upright = [stack for stack in several if towards_apex(stack[0].normal) is not None]
    candidates = sorted(upright or several, key=_slices, reverse=True)
    if not candidates:
        only = stacks or ([[found[0]]] if len(found) == 1 else [])
        candidates = only if len(only) == 1 else []
    if candidates and all(_slices(candidates[0]) >= _CLEARLY_MORE * _slices(stack) for stack in candidates[1:]):
        return candidates[0], ""
    listing = ", ".join(sorted(_listed(series) for series in found))
    said = f"{len(candidates)} of them stacks" if candidates else "none of them a stack of several slices over time"
    return [], (
        f"{path} holds {len(found)} series, {said}: {listing}; choose one of them, or give a folder with the one "
        "short-axis stack."
    )


def describe(series: tuple[Series, ...]) -> str:
    """What a choice shows: its kind, slices and frames, e.g. 4-chamber, 1 slice, 25 frames."""
    first = series[0]
    slices, frames = sum(member.slices for member in series), first.frames
    counts = f"{slices} slice{'s' * (slices != 1)}, {frames} frame{'s' * (frames != 1)}"
    return f"{first.kind.value}{' stack' * (slices > 1 and first.kind is Kind.SHORT_AXIS)}, {counts}"


def _slices(stack: list[Series]) -> int:
    return sum(series.slices for series in stack)


def _listed(series: Series) -> str:
    slices, frames = (f"{count} {what}{'s' * (count != 1)}" for count, what in _counts(series))
    return f"'{series.description}' ({slices}, {frames})"


def _counts(series: Series) -> tuple[tuple[int, str], tuple[int, str]]:
    return (series.slices, "slice"), (series.frames, "frame")


def _patient(planes: list[Plane]) -> Patient:
    """PatientSize is in m and PatientWeight in kg; the heart rate is the mean over the slices."""
    header = planes[0].header
    size, weight = number(header.get("PatientSize")), number(header.get("PatientWeight"))
    rates = [rate for plane in planes if (rate := number(plane.header.get("HeartRate")))]
    rates = rates or [60000 / plane.interval for plane in planes if plane.interval]
    return Patient(
        height_cm=size * (100 if size < 3 else 1) if size else None,  # some scanners note cm all the same
        weight_kg=weight or None,
        heart_rate_bpm=float(np.mean(rates)) if rates else None,
        sex=str(header.get("PatientSex") or "") or None,
    )


__all__ = ["STACK", "Kind", "Series", "Study", "describe", "read_study"]
