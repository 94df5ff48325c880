"""Public data sets as they lie on disk, read into labelled subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..anatomy import to_native
from ..errors import CardiacSegError
from .subjects import LabelledVolume, Subject


class Licence(Enum):
    """What weights trained on a data set may be used for, from the freest to the strictest."""

    CC0 = "CC0 1.0: any use"
    MNMS = "M&Ms / M&Ms-2 terms: research use"
    ACDC = "CC BY-NC-SA 4.0 (ACDC): research only, not commercial; cite Bernard et al., IEEE TMI 2018"


def strictest(licences: Iterable[Licence]) -> Licence:
    """The licence that weights from several data sets inherit."""
    order = list(Licence)
    return max(licences, key=order.index)


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image file as array (..., Z, Y, X) and its spacing (x, y, z) in mm."""
    import SimpleITK as sitk

    # ITK writes a page of warnings about ACDC's headers to the terminal.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise CardiacSegError(f"{path} cannot be read as an image; download it again.") from error
    return sitk.GetArrayFromImage(image), np.array(image.GetSpacing()[:3])


def labelled_volume(image: Path, mask: Path, phase: str, label_map: str) -> LabelledVolume:
    """One labelled frame from an image file and its mask file."""
    pixels, spacing = read_volume(image)
    labels, _ = read_volume(mask)
    if labels.shape != pixels.shape:
        raise CardiacSegError(f"{mask} has the shape {labels.shape}, its image {pixels.shape}; download both again.")
    return LabelledVolume(pixels, to_native(labels, label_map, str(mask)), (spacing[0], spacing[1]), phase)


def read_acdc(root: Path) -> Iterator[Subject]:
    """ACDC: patientNNN/patientNNN_frameFF.nii.gz and _gt.nii.gz, Info.cfg with ED and ES counted from 1."""
    for folder in sorted(p for p in root.iterdir() if (p / "Info.cfg").is_file()):
        lines = (folder / "Info.cfg").read_text().splitlines()
        info = dict(line.split(": ", 1) for line in lines if ": " in line)
        volumes = []
        for phase in ("ED", "ES"):
            stem = folder / f"{folder.name}_frame{int(info[phase]):02d}"
            volumes.append(labelled_volume(Path(f"{stem}.nii.gz"), Path(f"{stem}_gt.nii.gz"), phase, "acdc"))
        yield Subject(folder.name, tuple(volumes))


def read_phantoms(count: int, seed: int) -> Iterator[Subject]:
    """Hearts of the phantom at end-diastole, early systole and end-systole; the same seed gives the same hearts."""
    from ..phantom import beating_heart

    for number in range(count):
        # Seeds of training start at a million: those of tests and benchmarks are small and never seen here.
        heart = beating_heart(1_000_000 + 100_000 * seed + number, frames=20, size=192, frame_indices=(0, 4, 8))
        spacing = heart.cine.spacing
        volumes = tuple(
            LabelledVolume(image, labels, (spacing[0], spacing[1]), phase)
            for image, labels, phase in zip(
                heart.cine.frames, heart.truth.labels, ("ED", "systole", "ES"), strict=True
            )
        )
        yield Subject(f"phantom{number:04d}", volumes)


class DataSet(NamedTuple):
    """How a public data set is read, and what its licence makes of weights trained on it."""

    read: Callable[[Path], Iterator[Subject]]
    licence: Licence


DATA_SETS = {
    "acdc": DataSet(read_acdc, Licence.ACDC),
}
