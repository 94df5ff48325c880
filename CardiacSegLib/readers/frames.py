"""A folder of image files, one a frame, in the order of the numbers in their names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..cine import Cine
from ..errors import CardiacSegError
from .image import ENDINGS, MAX_BYTES, Image, cine_of, read_cine_image, read_image


def frame_files(folder: Path) -> list[Path]:
    """The image files in a folder that is no DICOM folder, in natural order; hidden ones are passed over."""
    files = [file for file in folder.iterdir() if file.name.lower().endswith(ENDINGS) and file.name[0] != "."]
    return sorted(files, key=lambda file: _numbers(file.name))


def read_frames(folder: Path, files: list[Path]) -> Cine:
    """Read files that differ by one number in their names as the frames of a cine; a lone file as itself.

    Raises CardiacSegError if the names differ otherwise, or if the images are not 3D on one grid.
    """
    if len(files) == 1:
        return read_cine_image(files[0])
    numbers = _frame_numbers(folder, files)
    images = []
    for file in files:
        images.append(read_image(file))
        _check(folder, file, images)
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers)) if numbers[-1] - numbers[0] < 1000 else []
    remarks = [f"{len(files)} files are the frames, in the order of the numbers in their names."]
    if missing:
        remarks.append(f"The numbers {', '.join(map(str, missing[:5]))} are missing among the names of the frames.")
    voxels = np.concatenate([image.voxels for image in images])
    reason = "files of single frames do not hold them"
    return cine_of(folder, Image(voxels, images[0].affine, None, reason, (*remarks, *images[0].remarks)))


def _numbers(name: str) -> list[tuple[int, str]]:
    """A key that sorts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _frame_numbers(folder: Path, files: list[Path]) -> list[int]:
    """The number that each name has where the names differ."""
    parts = [re.split(r"(\d+)", file.name) for file in files]
    alike = len({len(row) for row in parts}) == 1
    places = [place for place in range(len(parts[0])) if alike and len({row[place] for row in parts}) > 1]
    if len(places) != 1 or places[0] % 2 == 0:
        names = ", ".join(file.name for file in files[:4])
        raise CardiacSegError(
            f"{folder} holds {len(files)} image files that are not the frames of one cine ({names}); give one file, "
            "or a folder with only the frames, whose names differ in one number."
        )
    return [int(row[places[0]]) for row in parts]


def _check(folder: Path, file: Path, images: list[Image]) -> None:
    first, last = images[0], images[-1]
    if len(last.voxels) != 1:
        raise CardiacSegError(f"{file} has {len(last.voxels)} frames; give it alone, for it is a cine by itself.")
    same = last.voxels.shape == first.voxels.shape and np.allclose(last.affine, first.affine, atol=1e-3)
    if not same:
        raise CardiacSegError(
            f"{file.name} in {folder} is on another grid than the files before it; give the frames of one stack."
        )
    if sum(image.voxels.nbytes for image in images) > MAX_BYTES:
        raise CardiacSegError(f"{folder} holds more than {MAX_BYTES / 1024**3:.0f} GiB of images; give fewer.")
