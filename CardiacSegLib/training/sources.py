"""Public data sets as they lie on disk, read into labelled subjects."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..anatomy import to_native
from ..errors import CardiacSegError
from .images import read_volume
from .subjects import LabelledVolume, Subject
from .sunnybrook import read_sunnybrook

if TYPE_CHECKING:
    from ..phantom import Phantom


class Licence(Enum):
    """What weights trained on a data set may be used for, from the freest to the strictest."""

    CC0 = "CC0 1.0: any use"
    MNMS = "M&Ms / M&Ms-2 terms: research use"
    ACDC = "CC BY-NC-SA 4.0 (ACDC): research only, not commercial; cite Bernard et al., IEEE TMI 2018"


def strictest(licences: Iterable[Licence]) -> Licence:
    """The licence that weights from several data sets inherit."""
    order = list(Licence)
    return max(licences, key=order.index)


def labelled_volume(image: Path, mask: Path, phase: str, label_map: str) -> LabelledVolume:
    """One labelled frame from an image file and its mask file."""
    pixels, spacing = read_volume(image)
    labels, _ = read_volume(mask)
    if labels.shape != pixels.shape:
        raise CardiacSegError(f"{mask} has the shape {labels.shape}, its image {pixels.shape}; download both again.")
    return LabelledVolume(pixels, to_native(labels, label_map, str(mask)), (spacing[0], spacing[1]), phase)


def read_acdc(root: Path) -> Iterator[Subject]:
    """ACDC: patientNNN/patientNNN_frameFF.nii.gz and _gt.nii.gz, Info.cfg with ED and ES counted from 1."""
    for folder, phases in acdc_folders(root):
        volumes = []
        for phase, frame in phases.items():
            stem = folder / f"{folder.name}_frame{frame + 1:02d}"
            volumes.append(labelled_volume(Path(f"{stem}.nii.gz"), Path(f"{stem}_gt.nii.gz"), phase, "acdc"))
        yield Subject(folder.name, tuple(volumes))


def acdc_folders(root: Path) -> Iterator[tuple[Path, dict[str, int]]]:
    """The folders of the subjects, each with its frames ED and ES counted from 0."""
    for folder in sorted(p for p in root.iterdir() if (p / "Info.cfg").is_file()):
        lines = (folder / "Info.cfg").read_text().splitlines()
        info = dict(line.split(": ", 1) for line in lines if ": " in line)
        if not {"ED", "ES"} <= info.keys():
            raise CardiacSegError(f"{folder / 'Info.cfg'} lacks the line ED or ES; download it again.")
        yield folder, {phase: int(info[phase]) - 1 for phase in ("ED", "ES")}


def read_acdc_cines(root: Path) -> Iterator[Subject]:
    """ACDC's cines, all frames in order: patientNNN/patientNNN_4d.nii.gz, masks and Info.cfg as in read_acdc."""
    for folder, phases in acdc_folders(root):
        path = folder / f"{folder.name}_4d.nii.gz"
        if not path.is_file():
            continue
        frames, spacing = read_volume(path)
        if frames.ndim != 4 or max(phases.values()) >= len(frames):
            raise CardiacSegError(f"{path} is not a 4D image with the frames that Info.cfg names; download both again.")
        masks = {}
        for phase, frame in phases.items():
            mask = folder / f"{folder.name}_frame{frame + 1:02d}_gt.nii.gz"
            labels, _ = read_volume(mask)
            if labels.shape != frames.shape[1:]:
                raise CardiacSegError(f"{mask} has another shape than a frame of {path}; download both again.")
            masks[frame] = (phase, to_native(labels, "acdc", str(mask)))
        yield as_cine(folder.name, frames, masks, spacing)


def as_cine(name: str, frames: np.ndarray, masks: dict[int, tuple[str, np.ndarray]], spacing: np.ndarray) -> Subject:
    """All frames (T, Z, Y, X) in order as a subject; masks: phase and labels of the labelled ones by number.

    spacing: (x, y, z) in mm.
    """
    x_mm, y_mm, slice_mm = (float(mm) for mm in spacing)
    blank = np.zeros(frames.shape[1:], np.uint8)
    volumes = []
    for number, image in enumerate(frames):
        phase, labels = masks.get(number, (f"frame {number}", blank))
        known = (1, 2, 3) if number in masks else ()
        volumes.append(LabelledVolume(image, labels, (x_mm, y_mm), phase, known, slice_mm))
    return Subject(name, tuple(volumes))


def read_mnms(root: Path) -> Iterator[Subject]:
    """M&Ms: CODE/CODE_sa.nii.gz and CODE_sa_gt.nii.gz (4D) at any depth; the table counts ED and ES from 0.

    root: the whole download or one of its splits, e.g. Training/Labeled; subjects without masks are passed over.
    """
    masks = sorted(root.rglob("*_sa_gt.nii.gz"), key=lambda path: path.name)
    frames = read_mnms_table(root) if masks else {}
    for path in masks:
        code = path.name.removesuffix("_sa_gt.nii.gz")
        if code not in frames:
            raise CardiacSegError(f"The M&Ms table has no ED and ES frame for {code}; take {path.parent} out.")
        image_path = path.with_name(f"{code}_sa.nii.gz")
        images, spacing = read_volume(image_path)
        labels, _ = read_volume(path)
        if labels.shape != images.shape or images.ndim != 4 or max(frames[code]) >= len(images):
            raise CardiacSegError(
                f"{path} and {image_path.name} are not 4D images of one shape that has the frames {frames[code]}; "
                "download both again."
            )
        yield Subject(
            code,
            tuple(
                LabelledVolume(
                    images[frame], to_native(labels[frame], "mnms", str(path)), (spacing[0], spacing[1]), phase
                )
                for phase, frame in zip(("ED", "ES"), frames[code], strict=True)
            ),
        )


def read_mnms_table(root: Path) -> dict[str, tuple[int, int]]:
    """ED and ES frame of each code, from the table in root or in one of the two folders above a split."""
    tables = [
        path for folder in (root, root.parent, root.parent.parent) for path in folder.glob("*[Ii]nformation*.csv")
    ]
    if not tables:
        raise CardiacSegError(f"{root} lacks the table 'M&Ms_Dataset_Information...csv'; put it beside the subjects.")
    try:
        with tables[0].open(newline="", encoding="utf-8-sig") as file:
            return {row["External code"]: (int(row["ED"]), int(row["ES"])) for row in csv.DictReader(file)}
    except (KeyError, TypeError, ValueError) as error:
        raise CardiacSegError(
            f"{tables[0]} is not M&Ms' table with the columns External code, ED and ES; download it again."
        ) from error


def read_mnms2(root: Path) -> Iterator[Subject]:
    """M&Ms-2: NNN/NNN_SA_ED.nii.gz, NNN_SA_ED_gt.nii.gz, and the same for ES, at any depth."""
    for path in sorted(root.rglob("*_SA_ED_gt.nii.gz"), key=lambda path: path.name):
        code = path.name.removesuffix("_SA_ED_gt.nii.gz")
        stem = path.with_name(f"{code}_SA")
        yield Subject(
            code,
            tuple(
                labelled_volume(Path(f"{stem}_{phase}.nii.gz"), Path(f"{stem}_{phase}_gt.nii.gz"), phase, "mnms")
                for phase in ("ED", "ES")
            ),
        )


def read_phantoms(count: int, seed: int) -> Iterator[Subject]:
    """Hearts of the phantom at end-diastole, early systole and end-systole; the same seed gives the same hearts."""
    from ..phantom import beating_heart

    for number in range(count):
        # Seeds of training start at a million: those of tests and benchmarks are small and never seen here.
        heart = beating_heart(1_000_000 + 100_000 * seed + number, frames=20, size=192, frame_indices=(0, 4, 8))
        spacing = heart.cine.spacing
        volumes = tuple(
            LabelledVolume(image, labels, (spacing[0], spacing[1]), phase)
            for image, labels, phase in zip(heart.cine.frames, heart.truth.labels, ("ED", "systole", "ES"), strict=True)
        )
        yield Subject(f"phantom{number:04d}", volumes)


def read_phantom_cines(count: int, seed: int) -> Iterator[Subject]:
    """Whole cycles of the phantom as MR short-axis stacks, labelled in four frames only, as real cines are."""
    from ..phantom import beating_heart

    rng = np.random.default_rng([seed, 1])
    for number in range(count):
        frames, thick = int(rng.integers(16, 31)), float(rng.choice([5.0, 8.0, 10.0], p=[0.2, 0.4, 0.4]))
        heart = beating_heart(
            2_000_000 + 100_000 * seed + number,
            frames=frames,
            slices=int(rng.integers(7, 11)),
            size=128,
            spacing=(1.7, 1.7, thick),
        )
        yield sparsely_labelled(f"phantom-cine{number:04d}", heart, rng)


def read_phantom_ct(count: int, seed: int) -> Iterator[Subject]:
    """The ten phases of the phantom in CT contrast, with slices of 2 mm, labelled in four of them."""
    from ..phantom import beating_heart

    rng = np.random.default_rng([seed, 2])
    for number in range(count):
        heart = beating_heart(
            3_000_000 + 100_000 * seed + number, frames=10, slices=48, size=96, spacing=(1.8, 1.8, 2.0), modality="CT"
        )
        yield sparsely_labelled(f"phantom-ct{number:04d}", heart, rng)


def sparsely_labelled(name: str, heart: Phantom, rng: np.random.Generator) -> Subject:
    """A phantom with masks at ED, at ES and at two frames between."""
    es = int(heart.volumes_ml["LV"].argmin())
    others = rng.choice([t for t in range(1, len(heart.cine.frames)) if t != es], 2, replace=False)
    phases = {0: "ED", es: "ES"} | {int(t): f"frame {t}" for t in others}
    masks = {t: (phase, heart.truth.labels[t]) for t, phase in phases.items()}
    return as_cine(name, heart.cine.frames, masks, heart.cine.spacing)


class DataSet(NamedTuple):
    """How a public data set is read, and what its licence makes of weights trained on it."""

    read: Callable[[Path], Iterator[Subject]]
    licence: Licence


DATA_SETS = {
    "acdc": DataSet(read_acdc, Licence.ACDC),
    "acdc-cine": DataSet(read_acdc_cines, Licence.ACDC),
    "mnms": DataSet(read_mnms, Licence.MNMS),
    "mnms2": DataSet(read_mnms2, Licence.MNMS),
    "sunnybrook": DataSet(read_sunnybrook, Licence.CC0),
}

PHANTOMS: dict[str, Callable[[int, int], Iterator[Subject]]] = {
    "phantom": read_phantoms,
    "phantom-cine": read_phantom_cines,
    "phantom-ct": read_phantom_ct,
}
"""Simulated subjects by kind, made of how many and a seed; CC0."""
