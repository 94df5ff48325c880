"""Private folders for what is not finished: gone at the end, and after a crash at the next start."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PREFIX = ".cardiacseg-"
UNFINISHED, COMPLETE = "unfinished", "complete"
_LOCK = "lock"


@contextmanager
def private_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder that nobody else may look into; it goes away with the block.

    It lies in a folder of its own inside `parent`, by default the system's folder for temporary files. Those that a
    killed process left there go away first. A folder that was given to `commit` survives until `sweep` has moved what
    is in it. Raises OSError where nothing can be written.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    sweep(parent)
    own, lock = _claim(parent)
    try:
        folder = own / UNFINISHED
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        lock.close()
        if not (own / COMPLETE).exists():
            shutil.rmtree(own, ignore_errors=True)


def commit(folder: Path) -> None:
    """Move the files of a private folder beside it, over those of the same names, as one step that can be resumed.

    The files are forced to the disk first; the step is the renaming of the folder. If the process is killed before it,
    nothing has changed; if afterwards, `sweep` moves what is left. Raises OSError where that cannot be done.
    """
    target = folder.parent.parent
    for name in os.listdir(folder):
        if (target / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target / name))
    for path in filter(Path.is_file, folder.iterdir()):  # once on the disk they are moved in 1 ms instead of 24
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    complete = folder.with_name(COMPLETE)
    folder.rename(complete)
    _move(complete)


def _move(complete: Path) -> None:
    target = complete.parent.parent
    for name in sorted(os.listdir(complete)):
        os.replace(complete / name, target / name)
    complete.rmdir()


def sweep(parent: Path | None = None) -> None:
    """Finish or remove what killed processes of this user left in a folder, by default the system's for such files."""
    with suppress(OSError):
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        with os.scandir(parent) as entries:
            left = [Path(entry) for entry in entries if entry.name.startswith(PREFIX) and _ours(entry)]
        for own in left:
            _end(own)


def _ours(entry: os.DirEntry) -> bool:
    """Whether it is a folder, and of this user: others might have laid it there to be followed."""
    mine = not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()
    return mine and entry.is_dir(follow_symlinks=False)


def _end(own: Path) -> None:
    """Finish or remove a folder unless a living process holds it."""
    try:
        lock = _locked(own / _LOCK, "r+b")
    except FileNotFoundError:  # it ended between the last two steps of its removal
        with suppress(OSError):
            own.rmdir()
        return
    except OSError:  # in use, or on a disk that has no locks
        return
    try:
        if (own / COMPLETE).exists():
            _move(own / COMPLETE)
        shutil.rmtree(own / UNFINISHED, ignore_errors=True)
    except OSError:  # a file is open elsewhere: next time
        return
    finally:
        lock.close()
    shutil.rmtree(own, ignore_errors=True)


def _claim(parent: Path) -> tuple[Path, IO[bytes]]:
    """A new folder, and the lock that tells that its process lives; the system opens it when the process ends."""
    while True:
        own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            return own, _locked(own / _LOCK, "xb")
        except (FileNotFoundError, BlockingIOError):  # another process is sweeping just now
            continue


def _locked(path: Path, mode: str) -> IO[bytes]:
    """The opened file, locked. Raises OSError where it is not there or another process has locked it."""
    file = path.open(mode)
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    except OSError:
        if mode != "xb":  # a new one is ours also where the disk has no locks, but nobody will know
            file.close()
            raise
    return file
