"""Files appear whole or not at all: write beside the target under a temporary name, then move it into place."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import CardiacSegError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EACCES: "you may not write there; choose another folder or ask for the permission",
    errno.EPERM: "you may not write there; choose another folder or ask for the permission",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.ENOENT: "the folder does not exist; create it first",
    errno.ENOTDIR: "the folder's path leads through a file; choose another folder",
    errno.EISDIR: "a folder of that name is in the way; choose another name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix in the same folder; it replaces `path` when the block succeeds.

    When the block fails, the temporary file is removed and what was at `path` before is left as it was.
    Raises CardiacSegError, naming the file and the remedy, where the block or the move ends in an OSError.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}{_suffixes(path)}")
    try:
        if not path.parent.is_dir():  # some image libraries report a missing folder without an errno
            raise OSError(errno.ENOTDIR if path.parent.exists() else errno.ENOENT, "no folder")
        if not os.access(path.parent, os.W_OK):
            raise OSError(errno.EACCES, "not writable")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise CardiacSegError(f"{path} could not be written: {remedy(error)}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _suffixes(path: Path) -> str:
    """What the formats are recognised by, e.g. .nii.gz or .seq.nrrd; dots inside the name are kept out of it."""
    return "".join(path.suffixes[-2:]) if path.suffix in (".gz", ".nrrd") else path.suffix


def remedy(error: OSError) -> str:
    """What is wrong and what to do about it, to end a sentence with."""
    return _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
