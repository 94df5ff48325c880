"""Masks as they come out of a saved scene: of which version they are, and what of them is missing or unreadable."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable

import numpy as np
import slicer

from ..anatomy import STRUCTURES, Structure
from ..cine import Status
from ..errors import CardiacSegError
from . import memo
from .labels import BINARY, add_segments, set_reference_grid, structures_of

VERSION = 2
"""Of what is kept in node attributes. Raised when that changes its meaning; then a step of _STEPS brings older scenes
along. Scenes that name none are of version 1."""
_ATTRIBUTE = "CardiacSeg.Version"


def make_masks(
    image: slicer.vtkMRMLSequenceNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    masks: slicer.vtkMRMLSequenceNode,
    structures: tuple[Structure, ...],
) -> tuple[int, ...]:
    """Give every frame of the image that has no item one with empty segments; returns these frames.

    volume: an image on the grid. masks: the sequence that gets the items, of the present version if it had none.
    """
    empty = slicer.vtkMRMLSegmentationNode()
    empty.GetSegmentation().SetSourceRepresentationName(BINARY)
    set_reference_grid(empty.GetSegmentation(), volume)
    add_segments(empty.GetSegmentation(), structures)
    values = [image.GetNthIndexValue(frame) for frame in range(image.GetNumberOfDataNodes())]
    if not masks.GetNumberOfDataNodes():
        masks.SetAttribute(_ATTRIBUTE, str(VERSION))
    missing = [frame for frame, value in enumerate(values) if masks.GetItemNumberFromIndexValue(value, True) < 0]
    for frame in missing:
        masks.SetDataNodeAtValue(empty, values[frame])
    return tuple(missing)


def take_over(
    image: slicer.vtkMRMLSequenceNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    masks: slicer.vtkMRMLSequenceNode,
) -> tuple[str, ...]:
    """Make saved masks fit to be worked on; returns a sentence for everything that was mended.

    Raises CardiacSegError, and changes nothing, if a newer version wrote them or they have frames that the image lacks.
    """
    version = _version_of(masks)
    _check_frames(image, masks)
    items = [masks.GetNthDataNode(index) for index in range(masks.GetNumberOfDataNodes())]
    remarks = []
    structures = structures_of(items[0].GetSegmentation()) if items else STRUCTURES
    frames = make_masks(image, volume, masks, structures)
    if frames:
        remarks.append(f"The scene held no masks for {_frames(frames)}, which can be found or drawn again.")
    remarks += _forget_unreadable(masks, volume.GetImageData().GetDimensions()[::-1])
    for step in range(version, VERSION):
        _STEPS[step](masks)
    masks.SetAttribute(_ATTRIBUTE, str(VERSION))
    return tuple(remarks)


def unfinished(status: np.ndarray, run: str | None = None) -> tuple[str, ...]:
    """What to say of a study with this status (T, Z) if it was left before all was found, as in the middle of a run.

    run: the method of a run that did not end, as of one that finds again what another has found.
    """
    found, empty = int((status == Status.PREDICTED).sum()), int((status == Status.EMPTY).sum())
    if found and empty:
        return (f"Not all is found yet: {empty} of {status.size} slices are not segmented.",)
    if found and run:
        return ("The last run did not end, and some slices are as they were before it; run it again.",)
    return ()


def _version_of(masks: slicer.vtkMRMLSequenceNode) -> int:
    text = masks.GetAttribute(_ATTRIBUTE) or "1"
    version = int(text) if text.isdigit() else 0
    if version > VERSION:
        raise CardiacSegError(
            f"{masks.GetName()} was saved by a newer CardiacSeg (version {version} of its scenes, {VERSION} is known "
            "here); update the extension, nothing was changed."
        )
    return max(version, 1)


def _check_frames(image: slicer.vtkMRMLSequenceNode, masks: slicer.vtkMRMLSequenceNode) -> None:
    values = [masks.GetNthIndexValue(index) for index in range(masks.GetNumberOfDataNodes())]
    extra = [value for value in values if image.GetItemNumberFromIndexValue(value, True) < 0]
    if extra:
        unit = masks.GetIndexUnit() or ""
        listing = ", ".join(f"{masks.GetIndexName()} {value} {unit}".strip() for value in extra[:3])
        frames = "a frame" if len(extra) == 1 else f"{len(extra)} frames"
        raise CardiacSegError(
            f"{masks.GetName()} has masks for {frames} that {image.GetName()} has lost ({listing}); load the cine "
            "again, or remove these masks too, in the module Sequences."
        )


def _forget_unreadable(masks: slicer.vtkMRMLSequenceNode, size: tuple[int, int, int]) -> list[str]:
    """Take away what cannot be read of what is known of slices and of the last run. size: (Z, Y, X)."""
    count, broken = masks.GetNumberOfDataNodes(), []
    for frame in range(count):
        item = masks.GetNthDataNode(frame)
        if not memo.readable({name: item.GetAttribute(name) for name in memo.NAMES}, size[0]):
            broken.append(frame)
            for name in memo.NAMES:
                item.SetAttribute(name, None)
    remarks = []
    if broken:
        remarks.append(f"How the masks of {_frames(broken)} came about cannot be read; they count as a person's work.")
    text = masks.GetAttribute(memo.LAST_RUN)
    if text and not _run_fits(text, (count, *size)):
        masks.SetAttribute(memo.LAST_RUN, None)
        remarks.append("The last run was of other frames or cannot be read; press Segment before correcting.")
    return remarks


def _run_fits(text: str, shape: tuple[int, int, int, int]) -> bool:
    """Whether what is remembered of the last run is whole and of a cine of this shape."""
    try:
        entry = json.loads(text)
        status = np.array(entry["status"], np.uint8)
        masks = zlib.decompress(base64.b64decode(entry["masks"]))
    except (ValueError, KeyError, TypeError, zlib.error, binascii.Error):
        return False
    return status.shape == shape[:2] and len(masks) == (status >= Status.ANNOTATED).sum() * shape[2] * shape[3]


def _frames(frames: list[int] | tuple[int, ...]) -> str:
    listing = ", ".join(map(str, frames[:5])) + (" and others" if len(frames) > 5 else "")
    return f"frame{'s' * (len(frames) > 1)} {listing}"


def _from_1(masks: slicer.vtkMRMLSequenceNode) -> None:
    """Runs were of the memory network alone, and it was not noted how their masks ended."""
    text = masks.GetAttribute(memo.LAST_RUN)
    if text:
        entry = {"method": "cstm", "checksums": None} | json.loads(text)
        masks.SetAttribute(memo.LAST_RUN, json.dumps(entry))


_STEPS: dict[int, Callable[[slicer.vtkMRMLSequenceNode], None]] = {1: _from_1}
