"""DICOM headers to planes: each image of one slice at one moment, whichever kind of file it came in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from ..errors import CardiacSegError
from .archive import Member

# fmt: off
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "PatientName", "PatientBirthDate",
    "PatientSize", "PatientWeight", "PatientSex", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "FrameOfReferenceUID", "Manufacturer", "ScanningSequence", "SequenceVariant", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SpacingBetweenSlices",
    "SliceThickness", "RescaleSlope", "RescaleIntercept", "HeartRate", "CardiacNumberOfImages", "NominalInterval",
    "TriggerTime", "NominalPercentageOfCardiacPhase", "TemporalPositionIdentifier", "InstanceNumber",
    "AcquisitionTime", "FrameTime", "FrameTimeVector", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
# fmt: on
_NUMBERS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
_NOT_MAGNITUDE = {"P", "PHASE", "PHASE MAP", "VELOCITY", "VELOCITY MAP", "R", "REAL", "I", "IMAGINARY"}
_PHILIPS_SLOPE = (0x2005, 0x100E)
PHILIPS_FRAME = (0x2005, 0x140F)
MOMENTS = ("trigger", "percent", "temporal", "instance", "acquired")
"""What can tell frames apart, the best first: ms after the R wave, percent of the cycle, and three ways to count."""
_DEFLATED = b"1.2.840.10008.1.2.1.99\0"
_MAX_SIDE = 8192
_MAX_COMPRESSION = 400


@dataclass(frozen=True, eq=False)
class Plane:
    """One image of one slice at one moment.

    file, index: the file, and the frame in it. header: the file's, without pixels. position: (3,) LPS mm of the first
    pixel's centre. orientation: (2, 3) unit vectors along a row and down a column. spacing: (2,) mm between pixels in
    these directions. moments: a number or None for each of MOMENTS. interval: RR in ms or None. slope, intercept:
    stored value to the value that is meant, which is `gain` times what other images of Philips mean by it.
    thickness: the distance of slices that the header tells, mm or None. beside: it shows phase, or the real or
    imaginary part, and not the magnitude that everybody looks at.
    """

    file: str
    index: int
    header: pydicom.Dataset
    position: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    moments: Mapping[str, float | None]
    interval: float | None
    slope: float
    intercept: float
    gain: float
    thickness: float | None
    beside: bool

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.orientation)

    @property
    def centre(self) -> np.ndarray:
        """Of the picture, LPS mm."""
        return self.position + (np.array([self.size[1] - 1, self.size[0] - 1]) / 2 * self.spacing) @ self.orientation

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.header.Rows, self.header.Columns

    @property
    def uid(self) -> str:
        return str(self.header.get("SOPInstanceUID", ""))


def read_planes(path: Path, files: list[Member]) -> tuple[list[Plane], tuple[str, ...]]:
    """The planes of all MR and CT images in the files, each image once, and what was passed over.

    Raises CardiacSegError for an image that is damaged, cut short, larger than it can be, or a mosaic; and if there
    is no image with a place in space.
    """
    planes: dict[str, list[Plane]] = {}
    copies, empty, placeless, nameless = 0, [], [], []
    for member in files:
        if not member.size:
            empty.append(member.name)
            continue
        header = _header(path, member)
        if header is None or header.get("Modality") not in ("MR", "CT"):
            nameless += [member.name] if header is not None and not header.get("Modality") else []
            continue
        uid = str(header.get("SOPInstanceUID", member.name))
        copies += uid in planes
        found = _planes(path, member, header)
        if not found:
            placeless.append(member.name)
        elif uid not in planes:
            planes[uid] = found
    if not planes:
        raise CardiacSegError(f"{path} holds no MR or CT DICOM image with a position in space; give the cine's folder.")
    remarks = []
    passed_over = {
        "empty files": empty,
        "images without a position in space": placeless,
        "DICOM files that do not say what they are": nameless,
    }
    for what, names in passed_over.items():
        if names:
            remarks.append(f"{len(names)} {what} were passed over, the first is {names[0]}.")
    if copies:
        remarks.append(f"{copies} files are copies of others and were passed over.")
    return [plane for group in planes.values() for plane in group], tuple(remarks)


def _header(path: Path, member: Member) -> pydicom.Dataset | None:
    """The header of a DICOM file, None for another file."""
    head = member.head(2048)
    if head[128:132] != b"DICM" and not member.name.lower().endswith(".dcm"):
        return None
    if _DEFLATED in head:
        raise CardiacSegError(f"{member.name} in {path} is deflated as a whole; export it again, uncompressed.")
    try:
        with member.stream() as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_TAGS, _PHILIPS_SLOPE])
        _ = [header.get(keyword) for keyword in _TAGS]  # values are parsed when asked for
        return header
    except Exception as error:  # a damaged file can fail anywhere in the parser
        raise _damaged(path, member) from error


def _damaged(path: Path, member: Member) -> CardiacSegError:
    return CardiacSegError(f"{member.name} in {path} cannot be read as DICOM; copy it again or take it out.")


def _planes(path: Path, member: Member, header: pydicom.Dataset) -> list[Plane]:
    """The planes of one file; none if it has no place in space."""
    if "MOSAIC" in _image_type(header):
        raise CardiacSegError(
            f"{member.name} in {path} is a Siemens mosaic, many slices in one picture without a place of their own; "
            "export the images of single slices."
        )
    from .multiframe import frames_of  # it makes planes of its own

    try:
        _check_size(path, member, header)
        placed = has_place(header)
        if int(header.get("NumberOfFrames") or 1) > 1 or ("PerFrameFunctionalGroupsSequence" in header and not placed):
            return frames_of(member.name, header)
        return [single(member.name, header)] if placed else []
    except CardiacSegError:
        raise
    except Exception as error:
        raise _damaged(path, member) from error


def _check_size(path: Path, member: Member, header: pydicom.Dataset) -> None:
    """Refuse a file that is too small for the pixels it claims, before any memory is taken for them.

    Raises ValueError where the header does not describe pixels.
    """
    if not all(isinstance(header.get(keyword), int) for keyword in _NUMBERS) or not 0 < header.BitsStored <= 32:
        raise ValueError("the header does not describe pixels")
    rows, columns, frames = int(header.Rows), int(header.Columns), int(header.get("NumberOfFrames") or 1)
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise CardiacSegError(f"{member.name} in {path} is a color image; give the gray-scale images of the scanner.")
    claimed = rows * columns * frames * int(header.BitsAllocated) // 8
    syntax = header.file_meta.get("TransferSyntaxUID")
    most = member.size * (_MAX_COMPRESSION if syntax is not None and syntax.is_compressed else 1)
    if not 0 < rows <= _MAX_SIDE or not 0 < columns <= _MAX_SIDE or frames < 1:
        raise CardiacSegError(
            f"{member.name} in {path} claims {frames} frames of {rows} x {columns} pixels and so is damaged; "
            "copy it again."
        )
    if claimed > most:
        raise CardiacSegError(
            f"{member.name} in {path} has pixels that cannot be read: the file is cut short ({member.size} bytes for "
            f"{frames} frames of {rows} x {columns} pixels); copy it again."
        )


def has_place(attributes: pydicom.Dataset) -> bool:
    """Whether they say where a picture lies."""
    orientation, position = attributes.get("ImageOrientationPatient"), attributes.get("ImagePositionPatient")
    return len(orientation or ()) == 6 and len(position or ()) == 3


def single(name: str, header: pydicom.Dataset) -> Plane:
    """The plane of a single-frame file."""
    moments = {
        "trigger": number(header.get("TriggerTime")),
        "percent": number(header.get("NominalPercentageOfCardiacPhase")),
        "temporal": number(header.get("TemporalPositionIdentifier")),
        "instance": number(header.get("InstanceNumber")),
        "acquired": number(header.get("AcquisitionTime")),
    }
    return place(name, 0, header, header, moments, number(header.get("NominalInterval")))


def place(
    name: str,
    index: int,
    header: pydicom.Dataset,
    geometry: pydicom.Dataset,
    moments: Mapping[str, float | None],
    interval: float | None,
) -> Plane:
    """A plane with its numbers checked; geometry holds the attributes of its place and of its values.

    Raises ValueError if they describe no plane in space.
    """
    slope, intercept = number(geometry.get("RescaleSlope")), number(geometry.get("RescaleIntercept"))
    slope = 1.0 if slope is None else slope
    if slope == 0:
        raise ValueError("the rescale slope is 0")
    distance = number(geometry.get("SpacingBetweenSlices")) or number(geometry.get("SliceThickness"))
    words = {*_image_type(header), str(geometry.get("ComplexImageComponent", "")).upper()}
    return Plane(
        name,
        index,
        header,
        *_geometry(geometry),
        moments=dict(moments),
        interval=interval if interval and interval > 0 else None,
        slope=slope,
        intercept=intercept or 0.0,
        gain=_gain(header, geometry, slope),
        thickness=abs(distance) if distance else None,
        beside=bool(words & _NOT_MAGNITUDE),
    )


def _geometry(geometry: pydicom.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position, orientation and spacing of a plane."""
    orientation = np.array(geometry.ImageOrientationPatient, float).reshape(2, 3)
    position = np.array(geometry.ImagePositionPatient, float)
    spacing = np.array(geometry.PixelSpacing, float)[::-1]  # the standard names that between rows first
    lengths = np.linalg.norm(orientation, axis=1)
    at_right_angles = abs(orientation[0] @ orientation[1]) < 0.01
    if not (np.abs(lengths - 1) < 0.01).all() or not at_right_angles or not np.isfinite(position).all():
        raise ValueError("the orientation or position describes no plane")
    if spacing.shape != (2,) or not (np.isfinite(spacing).all() and (spacing > 0.01).all() and (spacing < 100).all()):
        raise ValueError("the pixel spacing describes no pixels")
    return position, orientation / lengths[:, None], spacing


def _image_type(header: pydicom.Dataset) -> set[str]:
    words = header.get("ImageType") or ()
    return {str(word).upper() for word in ([words] if isinstance(words, str) else words)}


def _gain(header: pydicom.Dataset, geometry: pydicom.Dataset, slope: float) -> float:
    """Philips scales each image anew and notes by how much in a private attribute; 1 for other makers."""
    own = geometry.get(_PHILIPS_SLOPE) or header.get(_PHILIPS_SLOPE)
    scale = number(own.value) if own is not None else None
    philips = "philips" in str(header.get("Manufacturer", "")).lower()
    return slope * scale if philips and scale and scale > 0 else 1.0


def number(value: object) -> float | None:
    """A finite number, or None for what is none."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
