"""A folder or zip of single-slice DICOM files: one short-axis stack, sorted by where and when, never by file name."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom

from ..cine import Cine, Patient
from ..errors import CardiacSegError
from .image import MAX_BYTES, compact, cycle_times, opening

# fmt: off
_TAGS = [
    "SOPInstanceUID", "Modality", "PatientID", "PatientSize", "PatientWeight", "PatientSex", "SeriesInstanceUID",
    "SeriesDescription", "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImageOrientationPatient",
    "ImagePositionPatient", "SpacingBetweenSlices", "SliceThickness", "HeartRate", "NominalInterval", "TriggerTime",
    "TemporalPositionIdentifier", "InstanceNumber", "AcquisitionTime",
]
# fmt: on
_FRAME_ORDER = ("TriggerTime", "TemporalPositionIdentifier", "InstanceNumber", "AcquisitionTime")
_SAME_PLACE_MM = 0.1
_MAX_FILES = 100_000


@dataclass(frozen=True)
class _File:
    """One image file: its name for messages, how to open it and its header without pixels."""

    name: str
    open: Callable[[], BinaryIO]
    header: pydicom.Dataset

    @property
    def orientation(self) -> np.ndarray:
        return np.array(self.header.ImageOrientationPatient, float)

    @property
    def position(self) -> np.ndarray:
        return np.array(self.header.ImagePositionPatient, float)

    @property
    def height(self) -> float:
        """Where the slice lies along its normal, in mm."""
        return float(self.position @ np.cross(self.orientation[:3], self.orientation[3:]))


def read_dicom(path: Path) -> Cine:
    """Read the one short-axis stack (or single slice) over the heart cycle in a folder or zip of DICOM files.

    Of several series the one with several slices and frames is taken. Raises CardiacSegError if there is none or more
    than one such, if patients or orientations are mixed, a frame or slice is missing, or a file cannot be read.
    """
    with opening(path), _members(path) as members, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd but harmless values of old scanners
        files = _headers(path, members)
        files, remarks = _choose_series(path, files)
        grid = _sorted(path, files)
        if len(grid) < 2:
            raise CardiacSegError(f"{path} has one frame: a cine needs at least two; give the images of all frames.")
        affine, odd_space = _affine(path, grid)
        times, known, odd_times = _times(grid)
        return Cine(
            compact(_pixels(path, grid)),
            affine,
            times,
            modality=grid[0][0].header.Modality,
            times_known=known,
            patient=_patient(grid),
            sources=tuple(tuple(str(file.header.SOPInstanceUID) for file in row) for row in grid),
            remarks=(*remarks, *odd_space, *odd_times),
            name=path.name,
        )


@contextmanager
def _members(path: Path) -> Iterator[list[tuple[str, Callable[[], BinaryIO]]]]:
    """The files in the folder or zip, by name, each with a function that opens it; a zip is never unpacked to disk."""
    if path.is_dir():
        os.listdir(path)  # rglob keeps silent about a folder that may not be read
        names = sorted(file for file in path.rglob("*") if file.is_file())
        yield [(str(file.relative_to(path)), lambda file=file: file.open("rb")) for file in names]
        return
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise CardiacSegError(f"{path} is not a zip file, or a damaged one; make or copy it again.") from error
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        size = sum(entry.file_size for entry in entries)
        if size > MAX_BYTES or len(entries) > _MAX_FILES:
            raise CardiacSegError(
                f"{path} would unpack to {size / 1024**3:.0f} GiB in {len(entries)} files; zip only the cine's series."
            )
        if any(entry.flag_bits & 1 for entry in entries):
            raise CardiacSegError(f"{path} is encrypted; unpack it and give the folder.")
        yield [(entry.filename, lambda entry=entry: archive.open(entry)) for entry in entries]


def _headers(path: Path, members: list[tuple[str, Callable[[], BinaryIO]]]) -> list[_File]:
    """The image files that have a place in space, each image once; files that are no DICOM are passed over."""
    files: dict[str, _File] = {}
    for name, open_file in members:
        if Path(name).name.startswith(".") or Path(name).name == "DICOMDIR":
            continue
        try:
            with open_file() as file:
                if file.read(132)[128:] != b"DICM" and not name.lower().endswith(".dcm"):
                    continue
            with open_file() as file:
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
            if int(header.get("NumberOfFrames") or 1) > 1:
                raise CardiacSegError(f"{name} in {path} is a multi-frame DICOM file; convert it to single frames.")
            if len(header.get("ImageOrientationPatient") or ()) == 6 and header.get("Modality") in ("MR", "CT"):
                file = _File(name, open_file, header)
                _ = file.height, np.array(header.PixelSpacing, float), header.Rows, header.Columns  # fail here
                files[header.SOPInstanceUID] = file
        except CardiacSegError:
            raise
        except Exception as error:  # a damaged file can fail anywhere in the parser
            raise CardiacSegError(f"{name} in {path} cannot be read as DICOM; copy it again or take it out.") from error
    if not files:
        raise CardiacSegError(f"{path} holds no single-slice MR or CT DICOM image with a position in space.")
    patients = {file.header.get("PatientID") for file in files.values()}
    if len(patients) > 1:
        raise CardiacSegError(f"{path} mixes images of {len(patients)} patients; give a folder with those of one.")
    return list(files.values())


def _choose_series(path: Path, files: list[_File]) -> tuple[list[_File], tuple[str, ...]]:
    """The files of the one series that can be a stack over time; of a lone series, all of them."""
    series: dict[str, list[_File]] = {}
    for file in files:
        series.setdefault(file.header.get("SeriesInstanceUID", ""), []).append(file)
    if len(series) == 1:
        return files, ()
    stacks, listing = [], []
    for members in series.values():
        slices = len(_levels(members))
        frames = len(members) / slices
        one_way = _one_orientation(members)
        listing.append(f"'{_description(members)}' ({slices} slices, {frames:g} frames)")
        if one_way and slices > 1 and frames > 1:
            stacks.append((members, listing[-1]))
    if len(stacks) == 1:
        members, taken = stacks[0]
        return members, (f"{path.name} holds {len(series)} series; {taken} was taken, the only stack over time.",)
    found = "none of them a stack of several slices over time" if not stacks else f"{len(stacks)} of them stacks"
    raise CardiacSegError(
        f"{path} holds {len(series)} series, {found}: {', '.join(sorted(listing))}; "
        "give a folder with the one short-axis series."
    )


def _description(files: list[_File]) -> str:
    return str(files[0].header.get("SeriesDescription") or "no description")


def _one_orientation(files: list[_File]) -> bool:
    return bool(np.ptp([file.orientation for file in files], axis=0).max() < 1e-3)


def _levels(files: list[_File]) -> list[list[_File]]:
    """The files of each slice, slices in the order of their height along the normal."""
    levels: list[list[_File]] = []
    for file in sorted(files, key=lambda file: file.height):
        if not levels or file.height - levels[-1][-1].height > _SAME_PLACE_MM:
            levels.append([])
        levels[-1].append(file)
    return levels


def _sorted(path: Path, files: list[_File]) -> list[list[_File]]:
    """The files as [frame][slice]: slices along the normal, frames by the first tag that tells them all apart."""
    what = f"The series '{_description(files)}' in {path}"
    if not _one_orientation(files):
        raise CardiacSegError(f"{what} mixes images of several orientations; give a folder with one stack of slices.")
    formats = {(f.header.Rows, f.header.Columns, *map(float, f.header.PixelSpacing)) for f in files}
    if len(formats) > 1:
        raise CardiacSegError(f"{what} mixes {len(formats)} image sizes or pixel spacings; give one stack of slices.")
    levels = _levels(files)
    count = Counter(map(len, levels)).most_common(1)[0][0]
    for number, level in enumerate(levels):
        if len(level) != count:
            raise CardiacSegError(
                f"{what} has {len(level)} frames in slice {number} where others have {count}; "
                "add the missing files or take the odd ones out."
            )
    for keyword in _FRAME_ORDER:
        keys = [[_number(file.header.get(keyword)) for file in level] for level in levels]
        if all(None not in row and len(set(row)) == count for row in keys):
            ordered = [[level[i] for i in np.argsort(row)] for level, row in zip(levels, keys, strict=True)]
            return [list(frame) for frame in zip(*ordered, strict=True)]
    raise CardiacSegError(f"{what} does not say in which order its frames follow (no trigger time or number).")


def _affine(path: Path, grid: list[list[_File]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxel to LPS mm; the slice distance is the one between the positions, for SliceThickness knows no gaps."""
    positions = np.array([file.position for file in grid[0]])
    header, orientation = grid[0][0].header, grid[0][0].orientation
    affine, remarks = np.eye(4), ()
    row_spacing, column_spacing = (float(number) for number in header.PixelSpacing)
    affine[:3, 0] = orientation[:3] * column_spacing
    affine[:3, 1] = orientation[3:] * row_spacing
    affine[:3, 3] = positions[0]
    if len(positions) == 1:
        distance = _number(header.get("SpacingBetweenSlices")) or _number(header.get("SliceThickness")) or 1.0
        affine[:3, 2] = np.cross(orientation[:3], orientation[3:]) * distance
        return affine, (f"There is one slice; its thickness is taken as {distance:g} mm.",)
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    off = np.abs(positions - positions[0] - np.arange(len(positions))[:, None] * affine[:3, 2]).max()
    if gaps.max() > 1.5 * np.median(gaps):
        between = int(gaps.argmax())
        raise CardiacSegError(
            f"{path} has {gaps.max():.1f} mm between the slices {between} and {between + 1} where others have "
            f"{np.median(gaps):.1f} mm; add the slice that is missing."
        )
    if off > max(0.5, 0.05 * gaps.mean()):
        raise CardiacSegError(
            f"The slices in {path} do not lie at even distances on one line (off by up to {off:.1f} mm); "
            "give one stack of parallel slices."
        )
    return affine, remarks


def _times(grid: list[list[_File]]) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Trigger times from the first frame, averaged over the slices; else even steps over the nominal interval."""
    count = len(grid)
    triggers = [[_number(file.header.get("TriggerTime")) for file in row] for row in grid]
    if all(None not in row for row in triggers) and (np.diff(triggers, axis=0) > 0).all():
        times = np.array(triggers) - triggers[0]
        known, cycles = cycle_times(times.mean(axis=1), count, ""), times[-1] * count / (count - 1)
        if known[1] and np.ptp(cycles) > 0.1 * cycles.mean():
            uneven = (
                f"The slices were acquired at cycles of {cycles.min():.0f} to {cycles.max():.0f} ms; times are means."
            )
            return known[0], True, (uneven,)
        return known
    intervals = [_number(file.header.get("NominalInterval")) or 0 for row in grid for file in row]
    if not all(intervals):
        return cycle_times(None, count, "the files have no trigger times and no nominal interval")
    interval = float(np.mean(intervals))
    times, known, remarks = cycle_times(np.arange(count) * interval / count, count, "")
    if known:
        remarks = (f"The files have no trigger times; the frames are spread over the interval of {interval:g} ms.",)
    return times, known, remarks


def _pixels(path: Path, grid: list[list[_File]]) -> np.ndarray:
    """(T, Z, Y, X) float32, rescaled by each file's slope and intercept; float32 holds 16-bit values exactly."""
    first = grid[0][0].header
    frames = np.empty((len(grid), len(grid[0]), first.Rows, first.Columns), np.float32)
    for t, row in enumerate(grid):
        for z, file in enumerate(row):
            try:
                with file.open() as stream:
                    data = pydicom.dcmread(io.BytesIO(stream.read()))
                slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
                frames[t, z] = data.pixel_array * slope + intercept
            except Exception as error:  # decoders raise whatever they like
                raise CardiacSegError(
                    f"{file.name} in {path} has pixels that cannot be read; copy it again, or export uncompressed "
                    "gray-scale images."
                ) from error
    return frames


def _patient(grid: list[list[_File]]) -> Patient:
    """PatientSize is in m and PatientWeight in kg; the heart rate is the mean over the slices."""
    header = grid[0][0].header
    size, weight = _number(header.get("PatientSize")), _number(header.get("PatientWeight"))
    rates = [_number(file.header.get("HeartRate")) for file in grid[0]]
    intervals = [_number(file.header.get("NominalInterval")) for file in grid[0]]
    rates = [rate for rate in rates if rate] or [60000 / interval for interval in intervals if interval]
    return Patient(
        height_cm=size * (100 if size < 3 else 1) if size else None,  # some scanners note cm all the same
        weight_kg=weight or None,
        heart_rate_bpm=float(np.mean(rates)) if rates else None,
        sex=header.get("PatientSex") or None,
    )


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
