"""Writes a cine as DICOM files that keep to the standard: one MR image for every frame and slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from CardiacSegLib.cine import Cine

NAME = "Mustermann^Erika"


def write_dicom(cine: Cine, folder: Path, series_per_slice: bool = False, **changes: object) -> Path:
    """Write the cine into a new folder under names that tell nothing; changes: attributes of every image."""
    folder.mkdir(parents=True)
    study, place, series = generate_uid(), generate_uid(), generate_uid()
    slices = [generate_uid() if series_per_slice else series for _ in range(cine.shape[1])]
    shuffled = np.random.default_rng(7).permutation(cine.shape[0] * cine.shape[1])
    for number, (t, z) in enumerate(np.ndindex(*cine.shape[:2])):
        data = _image(cine, t, z)
        data.InstanceNumber, data.SeriesInstanceUID, data.SeriesNumber = number + 1, slices[z], 7
        data.StudyInstanceUID, data.FrameOfReferenceUID = study, place
        for keyword, value in changes.items():
            setattr(data, keyword, value)
        data.save_as(folder / f"{shuffled[number]:04d}.dcm", enforce_file_format=True)
    return folder


def _image(cine: Cine, t: int, z: int) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, generate_uid()
    data.Modality, data.Manufacturer, data.ImageType = cine.modality, "Phantom", ["DERIVED", "PRIMARY", "OTHER"]
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = NAME, "P-4711", "19610430", "F"
    data.PatientSize, data.PatientWeight, data.HeartRate = 1.7, 68.0, 64
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20260312", "101500", "S1", "A-99"
    data.ReferringPhysicianName, data.SeriesDescription = "", "cine short axis"
    axes, spacing = cine.affine[:3, :3], cine.spacing
    data.ImageOrientationPatient = [
        round(float(v), 10) for v in (*(axes[:, 0] / spacing[0]), *(axes[:, 1] / spacing[1]))
    ]
    data.ImagePositionPatient = [round(float(v), 8) for v in (cine.affine @ [0, 0, z, 1])[:3]]
    data.PixelSpacing = [round(float(spacing[1]), 8), round(float(spacing[0]), 8)]
    data.SliceThickness, data.SpacingBetweenSlices = 8.0, round(float(spacing[2]), 8)
    data.TriggerTime, data.PositionReferenceIndicator = round(float(cine.times[t]), 4), ""
    data.Rows, data.Columns = cine.shape[2:]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 1
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelData = cine.frames[t, z].astype("<i2").tobytes()
    return data
