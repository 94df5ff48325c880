"""The segments of all frames as one list: what is renamed, recolored, added or removed in one frame is so in all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import slicer

from ..errors import CardiacSegError
from ..terminology import VALUE_TAG
from .labels import tag_of, values_of


class _Look(NamedTuple):
    """What a segment is in every frame."""

    name: str
    color: tuple[float, float, float]
    entry: str | None


class Segments:
    """Keeps the segment lists of all frames' vtkSegmentations alike."""

    def __init__(self, segmentations: list[slicer.vtkSegmentation]) -> None:
        self._frames = segmentations
        self._known = _looks(segmentations[0])
        self._values = values_of(segmentations[0])
        self.carry(range(len(segmentations)), {})

    @property
    def values(self) -> tuple[int, ...]:
        """The structure values of the segments."""
        return tuple(self._values.values())

    def carry(self, edited: Iterable[int], drawn: Mapping[int, set[int]]) -> None:
        """Carry what changed in the edited frames to all others.

        drawn: structure value -> frames in which it has voxels. A segment that is removed in one frame while others
        hold masks of it comes back empty: removing it must not take a whole cine's masks along.
        """
        for frame in edited:
            looks = _looks(self._frames[frame])
            for identifier in [i for i in self._known if i not in looks]:
                self._removed(identifier, frame, drawn)
            for identifier, look in looks.items():
                value = values_of(self._frames[frame]).get(identifier)
                if value is None or self._known.get(identifier) != look:
                    self._changed(identifier, look, value)

    def _removed(self, identifier: str, frame: int, drawn: Mapping[int, set[int]]) -> None:
        if drawn.get(self._values[identifier], {frame}) - {frame} or not drawn:
            self._dress(self._frames[frame], identifier, self._known[identifier])
            return
        del self._known[identifier], self._values[identifier]
        for segmentation in self._frames:
            if segmentation.GetSegment(identifier) is not None:
                segmentation.RemoveSegment(identifier)

    def _changed(self, identifier: str, look: _Look, value: int | None) -> None:
        self._known[identifier] = look
        if identifier not in self._values:
            free = value is not None and value not in self._values.values()
            self._values[identifier] = value if free else self._free_value()
        for segmentation in self._frames:
            self._dress(segmentation, identifier, look)

    def _dress(self, segmentation: slicer.vtkSegmentation, identifier: str, look: _Look) -> None:
        """Give the segmentation this segment if it lacks it, and make it look as it should."""
        if segmentation.GetSegment(identifier) is None:
            segmentation.AddEmptySegment(identifier, look.name, look.color)
        segment = segmentation.GetSegment(identifier)
        segment.SetName(look.name)
        segment.SetColor(look.color)
        segment.SetTag(VALUE_TAG, str(self._values[identifier]))
        if look.entry is not None:
            segment.SetTag(segment.GetTerminologyEntryTagName(), look.entry)

    def _free_value(self) -> int:
        used = set(self._values.values())
        free = next((value for value in range(1, 256) if value not in used), None)
        if free is None:
            raise CardiacSegError("A study can hold 255 segments; remove one before you add another.")
        return free


def _looks(segmentation: slicer.vtkSegmentation) -> dict[str, _Look]:
    looks = {}
    for identifier in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(identifier)
        entry = tag_of(segment, segment.GetTerminologyEntryTagName())
        looks[identifier] = _Look(segment.GetName(), tuple(segment.GetColor()), entry)
    return looks
