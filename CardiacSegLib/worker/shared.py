"""Shared memory that leaves nothing behind: blocks with a name that both processes map, and arrays in them.

multiprocessing.shared_memory is not used as it stands. In Python 3.10 to 3.12 it starts a process that tracks the
blocks, by sys.executable, which in Slicer is a launcher that cannot pass on the tracker's pipe; that process also
unlinks blocks which are still in use elsewhere; and where /dev/shm is full the first write ends the application.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import CardiacSegError
from .messages import MISMATCH, ArrayRef

if os.name != "nt":
    import _posixshmem

PREFIX = "cseg-"
ALIGNMENT = 64
_NAME = re.compile(rf"{PREFIX}([0-9]+)-[0-9a-f]{{12}}")
_TYPES = ("|u1", "<i2", "<f4", "<f8")
_PLACE = Path("/dev/shm")


class Block:
    """A piece of shared memory. It is freed when nobody maps it any more and, where names are files, it is unlinked."""

    def __init__(self, name: str, memory: mmap.mmap) -> None:
        self.name, self.memory = name, memory

    @classmethod
    def create(cls, size: int) -> Block:
        """A new block of so many bytes. Raises CardiacSegError where there is no room."""
        name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(6)}"  # macOS takes 30 characters at most
        try:
            return cls(name, _open(name, size, new=True))
        except OSError as error:
            unlink(name)
            raise CardiacSegError(
                f"There is no room for {size / 1e6:.0f} MB of shared memory ({error.strerror or error}); "
                "close other programs, or give the container more of it, and segment again."
            ) from error

    @classmethod
    def attach(cls, name: str, size: int) -> Block:
        """Map a block that the other process created. Raises CardiacSegError if there is none of this name and size."""
        try:
            if not _NAME.fullmatch(name) or size <= 0:
                raise ValueError("no block")
            return cls(name, _open(name, size, new=False))
        except (OSError, ValueError, OverflowError) as error:
            raise CardiacSegError(
                f"Shared memory {name!r:.40} of {size} bytes was announced, but is not there; {MISMATCH}."
            ) from error

    def array(self, ref: ArrayRef) -> np.ndarray:
        """The array at a place in the block, without a copy; it keeps the block's memory alive.

        Raises CardiacSegError for another type than the arrays of this project have, and where it leaves the block.
        """
        sound = ref.dtype in _TYPES and ref.offset >= 0 and len(ref.shape) <= 4 and min(ref.shape, default=1) >= 0
        if not sound or ref.offset + math.prod(ref.shape) * np.dtype(ref.dtype).itemsize > len(self.memory):
            raise CardiacSegError(
                f"An array {ref.dtype!r:.20} of the shape {ref.shape!s:.60} at {ref.offset} does not lie in its "
                f"shared memory of {len(self.memory)} bytes; {MISMATCH}."
            )
        return np.ndarray(ref.shape, np.dtype(ref.dtype), self.memory, ref.offset)


def _open(name: str, size: int, new: bool) -> mmap.mmap:
    """Map the memory of that name; Windows frees it by itself with its last user, elsewhere the name lives on."""
    if os.name == "nt":
        return mmap.mmap(-1, size, tagname=name)
    flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if new else 0)
    descriptor = _posixshmem.shm_open(f"/{name}", flags, mode=0o600)
    try:
        if new and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)  # fails here where it is full; a write later would be a bus error
        elif new:
            os.ftruncate(descriptor, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def unlink(name: str) -> None:
    """Forget the name, if that has not been done; the memory stays with those who have mapped it."""
    if os.name != "nt":
        with suppress(OSError):
            _posixshmem.shm_unlink(f"/{name}")


def sweep() -> None:
    """Forget the blocks of applications that were killed together with their workers, before these had mapped them."""
    for path in _PLACE.glob(f"{PREFIX}*") if _PLACE.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        if name and not _lives(int(name[1])):
            unlink(path.name)


def _lives(pid: int) -> bool:
    """Whether there is a process of this number, of whichever user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def layout(block: str, arrays: Sequence[np.ndarray]) -> tuple[list[ArrayRef], int]:
    """Where the arrays lie in a block one after the other, and the size of the block in bytes."""
    refs, end = [], 0
    for array in arrays:
        refs.append(ArrayRef(block, end, tuple(array.shape), array.dtype.str))
        end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return refs, end
