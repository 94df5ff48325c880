"""What the two processes say to each other: typed messages, one JSON line each, with the version of the language."""

from __future__ import annotations

import base64
import json
import types
import zlib
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from ..anatomy import Structure
from ..cine import SlicePrediction
from ..errors import CardiacSegError

VERSION = 1
"""Of the messages below; it grows with every change to them."""


@dataclass(frozen=True)
class Load:
    """The first message to the worker: the engine that it shall load, as load_engine takes it."""

    name: str
    weights: str | None
    device: str


@dataclass(frozen=True)
class Share:
    """A block of shared memory that the worker maps now; runs will tell what lies in it."""

    block: str
    size: int


@dataclass(frozen=True)
class Release:
    """A block that no later run will name."""

    block: str


@dataclass(frozen=True)
class ArrayRef:
    """Where an array lies in shared memory; offset in bytes, dtype as numpy's dtype.str."""

    block: str
    offset: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class CineRef:
    """A Cine without what no engine needs: facts about the patient and where the slices came from stay at home."""

    frames: ArrayRef
    affine: ArrayRef
    times: ArrayRef
    modality: str
    times_known: bool
    name: str


@dataclass(frozen=True)
class MasksRef:
    """A Segmentation in shared memory."""

    labels: ArrayRef
    status: ArrayRef
    affine: ArrayRef
    structures: tuple[Structure, ...]


@dataclass(frozen=True)
class Run:
    """Segment this; the numbers of runs increase."""

    run: int
    cine: CineRef
    annotation: MasksRef | None
    previous: MasksRef | None
    start: tuple[int, ...] | None


@dataclass(frozen=True)
class Cancel:
    """This run and all before it are not wanted any more."""

    run: int


@dataclass(frozen=True)
class Hello:
    """The first message from the worker: its process number, which is not the launcher's that started it."""

    pid: int


@dataclass(frozen=True)
class Loaded:
    """The engine is ready; device in words."""

    device: str


@dataclass(frozen=True)
class Started:
    """A run began; total is the number of slices that it will find, None where the engine cannot tell."""

    run: int
    total: int | None


@dataclass(frozen=True)
class Found:
    """One slice; labels are uint8 in rows, deflated, in base64 (a slice of 512 x 512 takes about 1 kB)."""

    run: int
    frame: int
    slice: int
    labels: str
    shape: tuple[int, ...]
    confidence: float

    @classmethod
    def of(cls, run: int, found: SlicePrediction) -> Found:
        """The message for what an engine found."""
        labels = np.ascontiguousarray(found.labels, np.uint8)
        packed = base64.b64encode(zlib.compress(labels.tobytes(), 1)).decode("ascii")
        return cls(run, int(found.frame), int(found.slice), packed, labels.shape, float(found.confidence))

    def prediction(self) -> SlicePrediction:
        """What the engine found."""
        labels = np.frombuffer(bytearray(zlib.decompress(base64.b64decode(self.labels))), np.uint8)
        return SlicePrediction(self.frame, self.slice, labels.reshape(self.shape), self.confidence)


@dataclass(frozen=True)
class Done:
    """All slices of a run were found."""

    run: int


@dataclass(frozen=True)
class Failed:
    """What went wrong in one sentence; run 0 is the worker itself. A worker that cannot go on ends after it."""

    run: int
    error: str
    ends: bool


Message = Load | Share | Release | Run | Cancel | Hello | Loaded | Started | Found | Done | Failed
TO_WORKER = {kind.__name__: kind for kind in (Load, Share, Release, Run, Cancel)}
FROM_WORKER = {kind.__name__: kind for kind in (Hello, Loaded, Started, Found, Done, Failed)}
NEXT = "what was found is kept, and the next run starts a new one"
MISMATCH = "restart the application, so that both sides come from the same installation of CardiacSeg"


def encode(message: Message) -> bytes:
    """The message as a line of JSON; numbers of numpy become plain ones."""
    line = {"version": VERSION, "type": type(message).__name__} | asdict(message)
    return json.dumps(line, default=lambda number: number.item()).encode("ascii") + b"\n"


def decode(line: bytes, known: dict[str, type]) -> Message:
    """The message in a line, one of the known types. Raises CardiacSegError for any other version, type or field."""
    try:
        content = json.loads(line)
        version, name = content.pop("version"), content.pop("type")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CardiacSegError(
            f"The application and its worker do not understand each other ({line[:40]!r} is no message); {MISMATCH}."
        ) from error
    if version != VERSION:
        raise CardiacSegError(f"A message of version {version!r} came where {VERSION} is spoken; {MISMATCH}.")
    if not isinstance(name, str) or name not in known:
        raise CardiacSegError(f"A message of the type {name!r} came, which is not known here; {MISMATCH}.")
    try:
        return _build(known[name], content)
    except (TypeError, ValueError) as error:
        raise CardiacSegError(f"A message {name} came with wrong content ({error}); {MISMATCH}.") from error


def _build(kind: Any, value: Any) -> Any:
    """The JSON value as what the type hint asks for. Raises TypeError where it is something else."""
    if is_dataclass(kind):
        hints = _hints(kind)
        if not isinstance(value, dict) or set(value) != set(hints):
            raise TypeError(f"{kind.__name__} needs the fields {', '.join(hints)}")
        return kind(**{name: _build(hint, value[name]) for name, hint in hints.items()})
    if get_origin(kind) is types.UnionType:
        inner = next(part for part in get_args(kind) if part is not type(None))
        return None if value is None else _build(inner, value)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_build(get_args(kind)[0], item) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:  # an exact type: True is no number here
        raise TypeError(f"{value!r} is no {getattr(kind, '__name__', kind)}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Field name -> type."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
