"""The DICOM images that a cine came from: their headers, found again by UID, for what must refer to them."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cine import Cine
from ..errors import CardiacSegError
from ..readers.archive import members
from ..readers.image import opening

if TYPE_CHECKING:  # pydicom is slow to import and not needed for the other formats
    from pydicom import Dataset

_DATES = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_TIMES = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_MUST_BE_KNOWN = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_MUST_BE_THERE = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


@dataclass(frozen=True)
class DicomSource:
    """The headers of the images of a cine, without pixels: headers[frame][slice].

    A multi-frame image stands at every frame and slice that came from it; None stands where a slice was put together
    from several images when it was read.
    """

    headers: tuple[tuple[Dataset | None, ...], ...]

    def images(self, frame: int) -> list[Dataset]:
        """The images of a frame; where all its slices were put together, those of the nearest frame that has some."""
        order = sorted(range(len(self.headers)), key=lambda other: abs(other - frame))
        rows = ([header for header in self.headers[other] if header is not None] for other in order)
        row = next(row for row in rows if row)
        return list({str(header.SOPInstanceUID): header for header in row}.values())

    @property
    def first(self) -> Dataset:
        """The header of the first image, for what holds for the whole study."""
        return self.images(0)[0]


def read_source(source: str | Path | Sequence[Path], cine: Cine) -> DicomSource:
    """Find the images that the cine came from in a folder, a zip or a list of DICOM files, by their SOP Instance UIDs.

    Attributes that DICOM wants to be there are added empty, and dates and times that are none are emptied, since
    anonymised files often break these rules. Raises CardiacSegError if the cine did not come from DICOM, an image is
    missing, or does not say where it lies.
    """
    paths = [Path(source)] if isinstance(source, str | Path) else list(source)
    wanted = {uid for row in cine.sources for uid in row if uid}
    if not wanted:
        raise CardiacSegError(
            f"{cine.name} was not read from DICOM, and a DICOM object must name the images that it describes; "
            "load the DICOM files of this cine and segment those."
        )
    path = paths[0] if len(paths) == 1 else paths[0].parent
    with opening(path), quiet():
        found = _find(paths, wanted)
        if len(found) < len(wanted):
            raise CardiacSegError(
                f"{path} lacks {len(wanted) - len(found)} of the {len(wanted)} images that {cine.name} came from; "
                "give the folder or zip that holds all of them."
            )
        for uid, header in found.items():
            _check(path, header)
            _mend(header, cine)
            _flatten(header, cine, next(row.index(uid) for row in cine.sources if uid in row))
    return DicomSource(tuple(tuple(found.get(uid) for uid in row) for row in cine.sources))


@contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor log entries about odd but harmless values, since these quote what may name the patient."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _find(paths: Sequence[Path], wanted: set[str]) -> dict[str, Dataset]:
    """SOP Instance UID -> header; what is no DICOM file is passed over."""
    import pydicom

    found = {}
    for path in paths:
        with members(path) as files:
            for file in files:
                try:
                    uid = pydicom.dcmread(file.stream(), stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
                    if uid.get("SOPInstanceUID") in wanted:
                        found[str(uid.SOPInstanceUID)] = pydicom.dcmread(file.stream(), stop_before_pixels=True)
                except Exception:  # a file that is no DICOM can fail anywhere in the parser, and is none that is wanted
                    continue
    return found


def _check(path: Path, header: Dataset) -> None:
    for keyword in _MUST_BE_KNOWN:
        if not header.get(keyword):
            raise CardiacSegError(
                f"The images in {path} have no {keyword}, without which nothing can refer to them; export NIfTI."
            )


def _mend(header: Dataset, cine: Cine) -> None:
    for keyword in _MUST_BE_THERE:
        if keyword not in header:
            setattr(header, keyword, None)
    if not header.get("SliceThickness"):  # multi-frame images keep it per frame
        header.SliceThickness = round(float(cine.spacing[2]), 6)
    for element in header:
        rule = {"DA": _DATES, "TM": _TIMES}.get(element.VR)
        if rule and element.value and not all(rule.fullmatch(str(value).strip()) for value in _values(element.value)):
            element.value = None


def _flatten(header: Dataset, cine: Cine, index: int) -> None:
    """Say of a multi-frame image only where its first slice of the cine lies; references to it mean all its frames."""
    if "NumberOfFrames" not in header:
        return
    for keyword in ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if keyword in header:
            del header[keyword]
    axes = cine.affine[:3, :2] / cine.spacing[:2]
    header.ImagePositionPatient = [round(float(v), 6) for v in (cine.affine @ [0, 0, index, 1])[:3]]
    header.ImageOrientationPatient = [round(float(v), 8) for v in axes.T.ravel()]
    header.PixelSpacing = [round(float(v), 6) for v in cine.spacing[1::-1]]


def _values(value: object) -> list:
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
