"""A small propagation that can be killed at any moment, and what is in its output folder then."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.selftest import random_weights
from CardiacSegLib.writers.images import write_cine, write_segmentation

Files = dict[str, bytes]


def make_study(folder: Path) -> None:
    """A cine of three frames and slices, the masks of frame 0 and of frame 1, and random weights."""
    heart = beating_heart(3, frames=3, slices=3, size=48, spacing=(3.5, 3.5, 14.0))
    write_cine(heart.cine, folder / "cine.nii.gz")
    for frame in (0, 1):
        labels = np.zeros_like(heart.truth.labels)
        labels[frame] = heart.truth.labels[frame]
        write_segmentation(dataclasses.replace(heart.truth, labels=labels), folder / f"mask{frame}.nii.gz", heart.cine)
    random_weights(folder)


def arguments(folder: Path, frame: int, output: Path) -> list[str]:
    """Propagate the masks of a frame: the two frames give two sets of results, of which all files but one differ."""
    return [
        "propagate", str(folder / "cine.nii.gz"), "--annotation", str(folder / f"mask{frame}.nii.gz"),
        "--weights", str(folder / "random-cstm.safetensors"), "--device", "cpu", "--output", str(output),
    ]  # fmt: skip


def files(folder: Path) -> Files:
    """Name -> content of what a person sees in a folder."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: path.read_bytes() for path in found if not path.name.startswith(".")}


def hidden(folder: Path) -> list[str]:
    """What a person does not see."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")] if folder.is_dir() else []


def verdict(found: Files, old: Files, new: Files) -> str:
    """Whose files these are: "old", "new" or "mixed"."""
    return "old" if found == old else "new" if found == new else "mixed"
