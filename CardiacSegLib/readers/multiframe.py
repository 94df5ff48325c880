"""DICOM files with many frames: enhanced MR and CT by their functional groups, classic ones by their frame times."""

from __future__ import annotations

import numpy as np
import pydicom

from .planes import PHILIPS_FRAME, Plane, has_place, number, place

# fmt: off
_GROUPS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "CardiacSynchronizationSequence", "FrameContentSequence", "TemporalPositionSequence", "MRImageFrameTypeSequence",
)
# fmt: on


def frames_of(name: str, header: pydicom.Dataset) -> list[Plane]:
    """The planes of a multi-frame file; none if it has no place in space.

    Enhanced: PS3.3 C.7.6.16, each attribute from the frame's own group, else from the shared one. Classic: all frames
    lie where the file says. Raises ValueError or AttributeError if what is said cannot be.
    """
    count = int(header.get("NumberOfFrames") or 1)
    own = header.get("PerFrameFunctionalGroupsSequence")
    if own is None:
        return _classic(name, header, count)
    if len(own) != count:
        raise ValueError(f"{len(own)} functional groups for {count} frames")
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    facts = [_facts(groups, shared) for groups in own]
    if not all(map(has_place, facts)):
        return []
    return [_enhanced(name, index, header, fact) for index, fact in enumerate(facts)]


def _facts(own: pydicom.Dataset, shared: pydicom.Dataset) -> pydicom.Dataset:
    """All attributes that hold for a frame, in one flat dataset."""
    facts = pydicom.Dataset()
    private = own.get(PHILIPS_FRAME)
    groups = [own.get(keyword) or shared.get(keyword) for keyword in _GROUPS]
    for group in (private.value if private is not None else None, *groups):
        if group:
            facts.update(group[0])
    return facts


def _enhanced(name: str, index: int, header: pydicom.Dataset, facts: pydicom.Dataset) -> Plane:
    trigger = number(facts.get("NominalCardiacTriggerDelayTime"))
    offset = number(facts.get("TemporalPositionTimeOffset"))
    moments = {
        "trigger": trigger if trigger is not None else None if offset is None else offset * 1000,  # it is in s
        "percent": number(facts.get("NominalPercentageOfCardiacPhase")),
        "temporal": number(facts.get("TemporalPositionIndex")),
        "instance": None,  # the order of the frames in the file means nothing: Philips counts slices or phases first
        "acquired": number(facts.get("FrameAcquisitionDateTime") or facts.get("FrameReferenceDateTime")),
    }
    interval = number(facts.get("RRIntervalTimeNominal")) or number(header.get("NominalInterval"))
    return place(name, index, header, facts, moments, interval)


def _classic(name: str, header: pydicom.Dataset, count: int) -> list[Plane]:
    if not has_place(header):
        return []
    steps = header.get("FrameTimeVector")
    step = number(header.get("FrameTime"))
    times: list[float | None] = [None] * count
    if steps is not None and not isinstance(steps, (str, float)) and len(steps) == count:
        times = list(np.cumsum([float(value) for value in steps]))  # the first is 0
    elif step:
        times = [step * index for index in range(count)]
    planes = []
    for index, time in enumerate(times):
        moments = {"trigger": time, "percent": None, "temporal": None, "instance": float(index), "acquired": None}
        planes.append(place(name, index, header, header, moments, number(header.get("NominalInterval"))))
    return planes
