"""An image file as it lies on the disk: its voxels, where they are in space and when they were acquired."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cine import Cine, Patient
from ..errors import CardiacSegError

ENDINGS = (".nii", ".nii.gz", ".nrrd", ".seq.nrrd", ".mha", ".mhd")
MAX_BYTES = 8 * 1024**3
_LARGE = 1024**3
_USUAL_RATIO = 200  # images deflate to a third, masks to a hundredth
_MAX_RATIO = 1100  # of deflate
_CYCLE_MS = (200.0, 3000.0)  # heart rates of 20 to 300 a minute
_NOMINAL_CYCLE_MS = 1000.0
_DEFAULT_STEP_MS = 1000.0  # what many tools write when they do not know


@dataclass(frozen=True)
class Image:
    """voxels (T, Z, Y, X) as stored; affine voxel (x, y, z) to LPS mm; times in ms, or None and the reason why not."""

    voxels: np.ndarray
    affine: np.ndarray
    times: np.ndarray | None = None
    no_times: str = "the file does not hold them"
    remarks: tuple[str, ...] = ()


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turn what the system says while `path` is read into a CardiacSegError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise CardiacSegError(f"{path} does not exist; check the path.") from error
    except PermissionError as error:
        raise CardiacSegError(
            f"{path} may not be read; ask for the permission or copy it to your own folder."
        ) from error
    except IsADirectoryError as error:
        raise CardiacSegError(f"{path} is a folder; give the image file in it.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise CardiacSegError(f"{path} is damaged ({error}); copy or export it again.") from error


def read_image(path: str | Path) -> Image:
    """Read a NIfTI (.nii, .nii.gz), NRRD (.nrrd, .seq.nrrd, .seg.nrrd) or MetaImage (.mha, .mhd) of 2 to 4 dimensions.

    A 3D image has one frame, a 2D image one slice. Raises CardiacSegError if the file is no such image, damaged or may
    not be read.
    """
    from . import metaimage, nifti, nrrd

    path, name = Path(path), Path(path).name.lower()
    with opening(path):
        if name.endswith((".nii", ".nii.gz")):
            return nifti.read(path)
        if name.endswith(".nrrd"):
            return nrrd.read(path)
        if name.endswith((".mha", ".mhd")):
            return metaimage.read(path)
        path.stat()
    raise CardiacSegError(f"{path} is not an image that can be read here; give {', '.join(ENDINGS)}.")


def check_claim(path: Path, claimed: int, packed: bool = True) -> None:
    """Refuse, before memory is taken, a header that claims more bytes of voxels than the file can hold.

    packed: the voxels may be deflated. Raises CardiacSegError.
    """
    size = path.stat().st_size
    if claimed > MAX_BYTES or (packed and claimed > _LARGE and claimed > _USUAL_RATIO * size):
        raise CardiacSegError(
            f"{path} claims {claimed / 1024**3:.1f} GiB of voxels; it is damaged or too large to read."
        )
    if claimed > (_MAX_RATIO if packed else 1) * size:
        raise CardiacSegError(
            f"{path} is cut short ({size} bytes for {claimed} bytes of voxels); copy or export it again."
        )


def left_over(extra: bytes | bool) -> tuple[str, ...]:
    """What to say where voxels are left when all that the header tells of were read: it may tell of too few."""
    return ("The file holds more voxels than its header tells of; frames or slices may be missing.",) if extra else ()


def read_cine_image(path: Path) -> Cine:
    """The cine in an image file; an ACDC `Info.cfg` beside it tells the patient's height and weight."""
    return cine_of(path, read_image(path))


def cine_of(path: Path, image: Image) -> Cine:
    """The cine that an image read from `path` is, with frame times that a heart can have."""
    times, known, remarks = cycle_times(image.times, len(image.voxels), image.no_times)
    return Cine(
        compact(image.voxels),
        image.affine,
        times,
        times_known=known,
        patient=_acdc_patient(path.parent / "Info.cfg"),
        remarks=(*image.remarks, *remarks),
        name=path.name,
    )


def cycle_times(times: np.ndarray | None, count: int, reason: str) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """The frame times from 0 ms, whether they can be true, and what to say where they cannot.

    times: (count,) ms or None, then reason says why. Times that no heart cycle has give way to nominal ones, spread
    evenly over 1000 ms, which serve to order the frames and for nothing else. A single frame has the time 0.
    """
    if count == 1:
        return np.zeros(1), False, ("It is a single image, one frame: there is no heart cycle in it.",)
    if times is not None:
        steps = np.diff(times)
        cycle = float(times[-1] - times[0]) * count / (count - 1)
        if not np.isfinite(times).all() or (steps <= 0).any():
            reason = "those of the file do not increase"
        elif steps.max() >= _DEFAULT_STEP_MS or not _CYCLE_MS[0] <= cycle <= _CYCLE_MS[1]:
            reason = (
                f"the file says {steps.mean():g} ms a frame and so {cycle:g} ms for the {count} frames, no heart cycle"
            )
        else:
            return times - times[0], True, ()
    remark = f"The frame times are not known: {reason}. Those shown are nominal, even steps over a cycle of 1000 ms."
    return np.arange(count) * (_NOMINAL_CYCLE_MS / count), False, (remark,)


def compact(voxels: np.ndarray) -> np.ndarray:
    """The same (T, Z, Y, X) values as int16 where that loses nothing, else as float32."""
    limits = np.iinfo(np.int16)
    fits = all(
        frame.min() >= limits.min and frame.max() <= limits.max and (frame.dtype.kind in "iu" or (frame % 1 == 0).all())
        for frame in voxels
    )
    return np.ascontiguousarray(voxels, np.int16 if fits else np.float32)


def _acdc_patient(path: Path) -> Patient:
    """Height (cm) and weight (kg) from the `Info.cfg` of an ACDC subject, where there is one."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return Patient()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    return Patient(height_cm=_positive(facts.get("Height")), weight_kg=_positive(facts.get("Weight")))


def _positive(text: str | None) -> float | None:
    try:
        number = float(text or 0)
    except ValueError:
        return None
    return number if 0 < number < np.inf else None
