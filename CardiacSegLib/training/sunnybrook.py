"""Sunnybrook Cardiac Data (CC0): subjects from NIfTI, or from JPEG or DICOM slices with contours as text.

Radau et al., MIDAS Journal 2009. Experts drew the endocardium at ED and ES and the epicardium at ED, papillary muscles
inside the cavity; nobody drew the right ventricle. So ED labels LV and MYO, ES only LV, and slices that were not drawn
in both phases are left out: what nobody looked at is not background.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..anatomy import LV, MYO, to_native
from ..errors import CardiacSegError
from .images import read_volume
from .subjects import LabelledVolume, Subject

FRAMES = 20
"""Frames of every cine; the files of all slices are numbered through, from 1: file 59 is frame 18 of slice 2."""

DISPLACED = {"SCD0000501", "SC-HF-I-6"}
"""Subjects whose outer contours lie beside the heart; only their inner ones are used."""

JPEG_PIXEL_MM = 1.3672
"""Pixel size of the JPEG edition, which has none: that of the DICOM edition (350 mm on 256 pixels in the headers of the
subjects at hand). With it the outer contours are 59-70 mm wide in normal hearts, as normal hearts are."""


@dataclass(frozen=True)
class Drawing:
    """One slice as an expert drew it: image (H, W), bool cavity (H, W), bool outline of the whole LV (H, W) or None."""

    image: np.ndarray
    cavity: np.ndarray
    outline: np.ndarray | None


def read_sunnybrook(root: Path) -> Iterator[Subject]:
    """The subjects of a folder of any of the three editions.

    NIfTI: NAME_cine.nii.gz and NAME_seg.nii.gz with meta.json; JPEG: images/NAME and manual_contour/SC-NAME; DICOM, as
    published: SCD*/CINESAX_*, SC-*/contours-manual/IRCCI-expert and scd_patientdata.csv, each at any depth.
    """
    if (root / "meta.json").is_file():
        yield from read_nifti_edition(root)
    elif (root / "manual_contour").is_dir():
        for folder in sorted((root / "images").iterdir()):
            name = f"SC-{folder.name}"
            yield read_contoured(name, numbered(folder, "*.jpg"), root / "manual_contour" / name)
    else:
        yield from read_dicom_edition(root)


def read_nifti_edition(root: Path) -> Iterator[Subject]:
    """4D images and masks in ACDC's values; meta.json names the ED and ES frames and the slices that were drawn."""
    for name, case in sorted(json.loads((root / "meta.json").read_text())["cases"].items()):
        frames, spacing = read_volume(root / f"{name}_cine.nii.gz")
        mask_path = root / f"{name}_seg.nii.gz"
        masks = to_native(read_volume(mask_path)[0], "acdc", str(mask_path))
        phases = []
        for frame in (case["ed_frame"], case["es_frame"]):
            drawings = {}
            for z in case["slices_with_endo"][str(frame)]:
                mask = masks[frame, z]
                outline = mask > 0 if (mask == MYO.value).any() else None
                drawings[z] = Drawing(frames[frame, z], mask == LV.value, outline)
            phases.append(drawings)
        yield as_subject(name, *phases, (spacing[0], spacing[1]))


def read_dicom_edition(root: Path) -> Iterator[Subject]:
    """The published folders; subjects without contours are passed over."""
    tables = sorted(root.rglob("scd_patientdata.csv"))
    if not tables:
        raise CardiacSegError(
            f"{root} holds no Sunnybrook data; give the folder with scd_patientdata.csv, the SCD image folders and the "
            "manual contours."
        )
    contours = {without_zeros(p.parents[1].name): p for p in root.rglob("contours-manual/IRCCI-expert")}
    with tables[0].open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in sorted(rows, key=lambda r: r["PatientID"]):
        drawn = contours.get(without_zeros(row["OriginalID"]))
        series = [numbered(p, "*.dcm") for p in sorted(root.rglob(f"{row['PatientID']}/CINESAX*"))]
        if drawn is not None and series:
            wanted = numbered(drawn, "*-icontour-manual.txt").keys()
            fullest = max(series, key=lambda images: len(images.keys() & wanted))
            yield read_contoured(row["PatientID"], fullest, drawn)


def without_zeros(name: str) -> str:
    """The table writes SC-HF-I-1 where the folder is called SC-HF-I-01."""
    return re.sub(r"-0+(?=\d)", "-", name.strip())


def numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """Files by number, e.g. 240: N-03-d-240.jpg; 59: IM-0003-0059.dcm, IM-0001-0059-icontour-manual.txt."""
    files = {}
    for path in sorted(folder.rglob(pattern)):
        number = re.search(r"-(\d+)(?:-[a-z]contour-manual)?$", path.stem)
        if number:
            files[int(number[1])] = path
    return files


def read_contoured(name: str, images: Mapping[int, Path], folder: Path) -> Subject:
    """A subject from image files by number and a folder of contours.

    Of the two frames drawn in a slice, ED is the one with the larger cavity.
    """
    inner, outer = numbered(folder, "*-icontour-manual.txt"), numbered(folder, "*-ocontour-manual.txt")
    if name in DISPLACED:
        outer = {}
    slices: dict[int, list[Drawing]] = {}
    pixel_mm = (JPEG_PIXEL_MM, JPEG_PIXEL_MM)
    for number in sorted(inner.keys() & images.keys()):
        pixels, spacing = read_volume(images[number])
        image = pixels.reshape(pixels.shape[-2:])
        if images[number].suffix != ".jpg":
            pixel_mm = (spacing[0], spacing[1])
        outline = filled(read_contour(outer[number]), image.shape) if number in outer else None
        drawing = Drawing(image, filled(read_contour(inner[number]), image.shape), outline)
        slices.setdefault((number - 1) // FRAMES, []).append(drawing)
    pairs = {z: sorted(d, key=lambda d: d.cavity.sum()) for z, d in slices.items() if len(d) > 1}
    ed, es = {z: pair[-1] for z, pair in pairs.items()}, {z: pair[0] for z, pair in pairs.items()}
    return as_subject(name, ed, es, pixel_mm)


def read_contour(path: Path) -> np.ndarray:
    """Points (N, 2) of a contour, x and y in pixels."""
    try:
        points = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise CardiacSegError(f"{path} is not a contour of x and y in every line; download it again.") from error
    if points.shape[1:] != (2,) or len(points) < 3:
        raise CardiacSegError(f"{path} is not a contour of x and y in every line; download it again.")
    return points


def filled(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) bool whose centre lies inside a closed contour, by the even-odd rule.

    The coordinates count from the corner of the first pixel: along contours moved by the half pixel that this makes,
    the images' edges are sharpest.
    """
    left, top = np.floor(points.min(axis=0)).astype(int).clip(0)
    right, bottom = np.ceil(points.max(axis=0)).astype(int).clip(0)
    mask = np.zeros(shape, bool)
    inside = mask[top:bottom, left:right]
    y, x = np.mgrid[: inside.shape[0], : inside.shape[1]] + 0.5
    y, x = y + top, x + left
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return mask


def as_subject(
    name: str, ed: Mapping[int, Drawing], es: Mapping[int, Drawing], pixel_mm: tuple[float, float]
) -> Subject:
    """Both phases on the slices, in order, that are drawn in both, at ED with the outline if any slice has one.

    Raises CardiacSegError if nothing is left.
    """
    common = sorted(ed.keys() & es.keys())
    outlined = [] if name in DISPLACED else [z for z in common if ed[z].outline is not None]
    shown = outlined or common
    if not shown:
        raise CardiacSegError(f"{name} has no slice with contours at ED and ES; leave it out of the training data.")
    volumes = []
    for phase, drawings in (("ED", ed), ("ES", es)):
        with_wall = phase == "ED" and bool(outlined)
        images, labels = [], []
        for z in shown:
            label = np.where(drawings[z].cavity, LV.value, 0).astype(np.uint8)
            if with_wall:
                label[drawings[z].outline & ~drawings[z].cavity] = MYO.value
            images.append(drawings[z].image)
            labels.append(label)
        labelled = (LV.value, MYO.value) if with_wall else (LV.value,)
        volumes.append(LabelledVolume(np.stack(images), np.stack(labels), pixel_mm, phase, labelled))
    return Subject(name, tuple(volumes))
