"""DICOM files as scanners write them, made with pydicom from the modules of PS3.3 and not from the readers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    generate_uid,
)

SPACING = (1.25, 1.75, 9.5)


def values(frames: int = 4, slices: int = 3, rows: int = 6, columns: int = 5, seed: int = 5) -> np.ndarray:
    """Stored values (T, Z, Y, X) of 12 bits, no two images alike."""
    return np.random.default_rng(seed).integers(0, 4000, (frames, slices, rows, columns)).astype(np.uint16)


def base_to_apex(spacing: Sequence[float] = SPACING) -> np.ndarray:
    """Voxel to LPS of a short-axis stack: the normal points left, to the front and down, and the slices follow it."""
    third = np.array([0.5, -0.6, -0.62])
    third /= np.linalg.norm(third)
    first = np.cross([0.3, 0.2, 1.0], third)
    first /= np.linalg.norm(first)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([first, np.cross(third, first), third]) * spacing
    affine[:3, 3] = [-60.0, 20.0, 35.0]
    return affine


@dataclass(frozen=True)
class Scan:
    """What is to be written: stored values (T, Z, Y, X), where they lie, when (ms), and whose they are."""

    frames: np.ndarray = field(default_factory=values)
    affine: np.ndarray = field(default_factory=base_to_apex)
    times: Sequence[float] = (20.0, 220.0, 420.0, 620.0)
    modality: str = "MR"
    patient: str = "p"
    study: str = "1.2.3.4"
    reference: str = "1.2.3.5"
    series: str = "1.2.3"
    number: int = 3
    description: str = "SAX"
    extra: dict = field(default_factory=dict)

    def position(self, z: int) -> list[float]:
        return [float(value) for value in (self.affine @ [0, 0, z, 1])[:3].round(6)]

    def orientation(self) -> list[float]:
        axes = self.affine[:3, :2] / np.linalg.norm(self.affine[:3, :2], axis=0)
        return [float(value) for value in axes.T.round(9).ravel()]

    def pixel_spacing(self) -> list[float]:
        """Between rows, then between columns (PS3.3 C.7.6.3.1)."""
        return [round(float(value), 6) for value in np.linalg.norm(self.affine[:3, [1, 0]], axis=0)]

    def slice(self, z: int, **changes) -> Scan:
        """One of its slices as a scan by itself."""
        affine = self.affine.copy()
        affine[:3, 3] = self.position(z)
        return replace(self, frames=self.frames[:, z : z + 1], affine=affine, **changes)


def common(scan: Scan, sop_class: str) -> Dataset:
    """The patient, study, series, frame of reference and image pixel modules."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = sop_class, generate_uid()
    data.PatientID, data.PatientName, data.PatientBirthDate = scan.patient, scan.patient, ""
    data.PatientSize, data.PatientWeight, data.PatientSex = 1.75, 70, "F"
    data.StudyInstanceUID, data.SeriesInstanceUID = scan.study, scan.series
    data.FrameOfReferenceUID, data.SeriesNumber, data.SeriesDescription = scan.reference, scan.number, scan.description
    data.Modality, data.ImageType = scan.modality, ["ORIGINAL", "PRIMARY", "M"]
    data.ScanningSequence, data.SequenceVariant, data.Manufacturer = "GR", "SS", "Maker"
    data.Rows, data.Columns = scan.frames.shape[2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    return data


def finished(data: Dataset, changes: dict) -> Dataset:
    """With attributes set, or taken out where the value is None."""
    for keyword, value in changes.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    return data


def save(data: Dataset, path: Path) -> Path:
    """Write a file of the DICOM File Format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def single(scan: Scan, t: int, z: int, **changes) -> Dataset:
    """One MR or CT image; instance numbers run against time, so that nothing but the trigger time orders the frames."""
    data = common(scan, CTImageStorage if scan.modality == "CT" else MRImageStorage)
    data.ImagePositionPatient, data.ImageOrientationPatient = scan.position(z), scan.orientation()
    data.PixelSpacing, data.SliceThickness = scan.pixel_spacing(), 6.0
    count, slices = scan.frames.shape[:2]
    data.InstanceNumber = (count - t) * slices - z
    if scan.modality == "MR":
        data.TriggerTime, data.HeartRate, data.CardiacNumberOfImages = float(scan.times[t]), 75, count
    data.PixelData = scan.frames[t, z].astype("<u2").tobytes()
    return finished(data, {**scan.extra, **changes})


def write(scan: Scan, folder: Path, skip: Sequence[tuple[int, int]] = (), **changes) -> Path:
    """Every image of a scan as a file, named in an order that means nothing."""
    count, slices = scan.frames.shape[:2]
    names = np.random.default_rng(1).permutation(count * slices)
    for t in range(count):
        for z in range(slices):
            if (t, z) not in skip:
                save(single(scan, t, z, **changes), folder / f"{scan.series}_IM{names[slices * t + z]:04d}")
    return folder


def enhanced(scan: Scan, order: Sequence[tuple[int, int]] | None = None, philips: bool = False) -> Dataset:
    """Enhanced MR or CT (PS3.3 A.36.2, A.38): one file, its frames in the given order of (time, slice).

    philips: each frame has a rescale slope of its own, and the private scale slope with which values compare.
    """
    count, slices = scan.frames.shape[:2]
    order = order or [(t, z) for z in range(slices) for t in range(count)]
    data = common(scan, EnhancedCTImageStorage if scan.modality == "CT" else EnhancedMRImageStorage)
    data.NumberOfFrames, data.InstanceNumber = len(order), 1
    data.Manufacturer = "Philips Medical Systems" if philips else "Maker"
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Items([Dataset()]), Items([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = scan.orientation()
    shared.PixelMeasuresSequence[0].PixelSpacing = scan.pixel_spacing()
    shared.PixelMeasuresSequence[0].SliceThickness = 6.0
    data.SharedFunctionalGroupsSequence = Items([shared])
    data.PerFrameFunctionalGroupsSequence = Items([_groups(scan, t, z, philips) for t, z in order])
    data.PixelData = np.stack([scan.frames[t, z] for t, z in order]).astype("<u2").tobytes()
    return finished(data, scan.extra)


def _groups(scan: Scan, t: int, z: int, philips: bool) -> Dataset:
    """What an enhanced image says of one frame."""
    groups, content, plane, heart, scale = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "1", z + 1, t + 1
    content.DimensionIndexValues = [1, z + 1, t + 1]
    plane.ImagePositionPatient = scan.position(z)
    if scan.modality == "CT":
        heart.NominalPercentageOfCardiacPhase = float(scan.times[t])
        heart.RRIntervalTimeNominal = 800.0
    else:
        heart.NominalCardiacTriggerDelayTime = float(scan.times[t])
    scale.RescaleSlope, scale.RescaleIntercept = (philips_slope(t, z) if philips else 1.0), 0.0
    scale.RescaleType = "HU" if scan.modality == "CT" else "US"
    if scan.modality == "CT":
        scale.RescaleIntercept = -1024.0
    groups.FrameContentSequence, groups.PlanePositionSequence = Items([content]), Items([plane])
    groups.CardiacSynchronizationSequence, groups.PixelValueTransformationSequence = Items([heart]), Items([scale])
    if philips:
        private = Dataset()
        private.add_new((0x2005, 0x0010), "LO", "Philips MR Imaging DD 001")
        private.add_new((0x2005, 0x100E), "FL", philips_scale(t, z))
        groups.add_new((0x2005, 0x0014), "LO", "Philips MR Imaging DD 005")
        groups.add_new((0x2005, 0x140F), "SQ", [private])
    return groups


def philips_slope(t: int, z: int) -> float:
    """The rescale slope that `enhanced` gives a frame."""
    return 0.5 + 0.25 * z + 0.125 * t


def philips_scale(t: int, z: int) -> float:
    """The private scale slope that `enhanced` gives a frame."""
    return 0.01 * (1 + z) * (2 + t)


def multiframe(scan: Scan, z: int, **changes) -> Dataset:
    """Classic multi-frame: the frames of one slice in a file, with frame times (PS3.3 C.7.6.5)."""
    data = common(scan, MultiFrameGrayscaleWordSecondaryCaptureImageStorage)
    data.ImagePositionPatient, data.ImageOrientationPatient = scan.position(z), scan.orientation()
    data.PixelSpacing, data.SliceThickness, data.InstanceNumber = scan.pixel_spacing(), 6.0, z + 1
    data.NumberOfFrames, data.FrameIncrementPointer = len(scan.frames), 0x00181065
    data.FrameTimeVector = [0.0, *(float(step) for step in np.diff(scan.times))]
    data.PixelData = scan.frames[:, z].astype("<u2").tobytes()
    return finished(data, {**scan.extra, **changes})


def compressed(data: Dataset, compressor: str) -> Dataset:
    """The image with its pixels compressed by GDCM without loss: JPEG (process 14) or JPEG2000; or RLE by pydicom."""
    if compressor == "RLE":
        data.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        return data
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "image.dcm"))
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.SetFileName(path)
        writer.Execute(SimpleITK.GetImageFromArray(data.pixel_array[None]))
        packed = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
    data.BitsAllocated, data.BitsStored, data.HighBit = packed.BitsAllocated, packed.BitsStored, packed.HighBit
    data.PixelData = encapsulate([pydicom.encaps.get_frame(packed.PixelData, 0, number_of_frames=1)])
    data["PixelData"].is_undefined_length = True
    return data


def long_axis(scan: Scan, degrees: float, shift_mm: float = 0.0, **changes) -> Scan:
    """A long-axis cine of the heart whose short-axis stack `scan` is.

    degrees: how far its plane is turned about the axis, from the plane that holds the direction of standing towards the
    left of the body. shift_mm: how far it passes the axis.
    """
    axis = scan.affine[:3, 2] / np.linalg.norm(scan.affine[:3, 2])
    count, slices, rows, columns = scan.frames.shape
    heart = (scan.affine @ [(columns - 1) / 2, (rows - 1) / 2, (slices - 1) / 2, 1])[:3]
    front = np.array([0, 0, 1.0]) - axis[2] * axis
    front /= np.linalg.norm(front)
    left = np.array([1.0, 0, 0]) - axis[0] * axis
    left -= left @ front * front
    left /= np.linalg.norm(left)
    angle = np.radians(degrees)
    across = np.cos(angle) * front + np.sin(angle) * left
    normal = np.cross(axis, across)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([axis, across, normal]) * [1.5, 1.5, 6.0]
    affine[:3, 3] = heart + shift_mm * normal - affine[:3, :2] @ [2.5, 3.5]
    frames = values(count, 1, 8, 6, seed=int(degrees) + 7)
    return replace(scan, frames=frames, affine=affine, **changes)
