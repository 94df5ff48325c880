"""Makes the bundled sample from the Sunnybrook subject SCD0000101: crops it to the heart and gives it native labels.

python Resources/SampleData/make_sample.py FOLDER   # holding SCD0000101_{cine,seg}.nii.gz and SCD0000101_dicom_sax.zip
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom

SUBJECT = "SCD0000101"
ED_FRAME = 18
X, Y, Z = (
    slice(16, 120),
    slice(34, 138),
    slice(0, 11),
)  # the heart in all frames with a margin, and an empty slice at each end
NATIVE = np.array([0, 0, 2, 1], np.uint8)  # the file's 2 LV myocardium, 3 LV cavity


def frame_step_ms(dicom_zip: Path) -> float:
    """The distance of the trigger times in the raw images, which the NIfTI file has lost; the median of the slices."""
    times: dict[float, list[float]] = {}
    with zipfile.ZipFile(dicom_zip) as archive:
        for name in (name for name in archive.namelist() if name.endswith(".dcm")):
            image = pydicom.dcmread(io.BytesIO(archive.read(name)), stop_before_pixels=True)
            times.setdefault(float(image.SliceLocation), []).append(float(image.TriggerTime))
    return float(np.median([np.median(np.diff(sorted(slice_times))) for slice_times in times.values()]))


def save(array: np.ndarray, affine: np.ndarray, path: Path, step_ms: float | None = None) -> None:
    """Write (x, y, z[, t]) with millimetres and, for a cine, milliseconds in the header."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "msec" if step_ms else None)
    if step_ms:
        image.header.set_zooms((*image.header.get_zooms()[:3], step_ms))
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)


def main() -> None:
    """Write the cine, the annotation of frame 18 and all that the expert drew, beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder, here = parser.parse_args().folder, Path(__file__).parent
    cine = nib.load(folder / f"{SUBJECT}_cine.nii.gz").slicer[X, Y, Z]
    expert = NATIVE[np.asarray(nib.load(folder / f"{SUBJECT}_seg.nii.gz").slicer[X, Y, Z].dataobj)]
    step = round(frame_step_ms(folder / f"{SUBJECT}_dicom_sax.zip"), 1)
    save(np.asarray(cine.dataobj).astype(np.int16), cine.affine, here / "cine.nii.gz", step)
    save(expert[..., ED_FRAME], cine.affine, here / "annotation.nii.gz")
    save(expert, cine.affine, here / "expert.nii.gz", step)


if __name__ == "__main__":
    main()
