"""What the two processes say to each other: typed messages, one JSON line each, with version and key.

Nothing that a message says is believed before it was checked: its length, its type, the types of its fields, and where
it names sizes, that they are possible, before any memory is taken.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
import re
import types
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from ..anatomy import Structure
from ..cine import SlicePrediction
from ..errors import CardiacSegError

VERSION = 2
"""Of the messages below; it grows with every change to them."""
MAX_LINE = 32 * 1024**2
"""Bytes of a line; a mask of 4096 x 4096 pixels that cannot be deflated takes 22 million."""
KEY = re.compile("[0-9a-f]{32}")
"""What both sides put into every message; the application makes it up, and its first message tells it."""


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
class Ping:
    """The worker answers at once, also while it computes."""


@dataclass(frozen=True)
class Pong:
    """The answer: the worker lives, whatever it is computing."""


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

    def prediction(self, shape: Sequence[int]) -> SlicePrediction:
        """What the engine found in a cine of the shape (T, Z, Y, X).

        Raises CardiacSegError for a place, shape, size or confidence that cannot be, before memory is taken for it.
        """
        frames, slices, rows, columns = shape
        size, sound = rows * columns, self.shape == (rows, columns) and math.isfinite(self.confidence)
        if not sound or not (0 <= self.frame < frames and 0 <= self.slice < slices):
            raise self._wrong(f"frame {self.frame}, slice {self.slice}, shape {self.shape}")
        try:
            inflate = zlib.decompressobj()
            labels = inflate.decompress(base64.b64decode(self.labels, validate=True), size + 1)
        except (ValueError, zlib.error) as error:
            raise self._wrong(str(error)) from error
        if len(labels) != size or not inflate.eof or inflate.unused_data:
            raise self._wrong(f"not the {size} pixels of a slice")
        return SlicePrediction(
            self.frame, self.slice, np.frombuffer(bytearray(labels), np.uint8).reshape(rows, columns), self.confidence
        )

    @staticmethod
    def _wrong(what: str) -> CardiacSegError:
        return CardiacSegError(f"A message Found came with wrong content ({what}); {MISMATCH}.")


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


Message = Load | Share | Release | Run | Cancel | Ping | Pong | Hello | Loaded | Started | Found | Done | Failed
TO_WORKER = {kind.__name__: kind for kind in (Load, Share, Release, Run, Cancel, Ping)}
FROM_WORKER = {kind.__name__: kind for kind in (Hello, Loaded, Started, Found, Done, Failed, Pong)}
NEXT = "what was found is kept, and the next run starts a new one"
MISMATCH = "restart the application, so that both sides come from the same installation of CardiacSeg"


def encode(message: Message, key: str) -> bytes:
    """The message as a line of JSON; numbers of numpy become plain ones."""
    line = {"version": VERSION, "key": key, "type": type(message).__name__} | asdict(message)
    return json.dumps(line, default=lambda number: number.item()).encode("ascii") + b"\n"


def decode(line: bytes, known: dict[str, type], key: str) -> Message:
    """The message in a line, one of the known types.

    Raises CardiacSegError for a line that is too long, any other version, key, type or field.
    """
    content = _parse(line)
    if not hmac.compare_digest(_key(content).encode(), key.encode()):
        raise CardiacSegError(f"A message came that the other side did not write (its key is wrong); {MISMATCH}.")
    name = content.pop("type", None)
    if not isinstance(name, str) or name not in known:
        raise CardiacSegError(f"A message of the type {name!r:.40} came, which is not known here; {MISMATCH}.")
    try:
        return _build(known[name], content)
    except (TypeError, ValueError) as error:
        raise CardiacSegError(f"A message {name} came with wrong content ({error!s:.200}); {MISMATCH}.") from error


def key_of(line: bytes) -> str:
    """The key that the application tells in its first line. Raises CardiacSegError where there is none."""
    key = _key(_parse(line))
    if not KEY.fullmatch(key):
        raise CardiacSegError(f"The first message came without a key; {MISMATCH}.")
    return key


def _key(content: dict[str, Any]) -> str:
    key = content.pop("key", "")
    return key if isinstance(key, str) else ""


def _parse(line: bytes) -> dict[str, Any]:
    """The fields of a line of this version."""
    if len(line) > MAX_LINE:
        raise CardiacSegError(f"A message of more than {MAX_LINE / 1e6:.0f} MB came; {MISMATCH}.")
    try:
        content = json.loads(line)
        version = content.pop("version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CardiacSegError(
            f"The application and its worker do not understand each other ({line[:40]!r} is no message); {MISMATCH}."
        ) from error
    if version != VERSION:
        raise CardiacSegError(f"A message of version {version!r:.40} came where {VERSION} is spoken; {MISMATCH}.")
    return content


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
        raise TypeError(f"{value!r:.40} is no {getattr(kind, '__name__', kind)}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Field name -> type."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
