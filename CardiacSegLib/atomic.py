"""Files appear whole or not at all, and those of one run together: write elsewhere on the disk, then move."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import CardiacSegError
from .temporary import commit, private_folder

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "a file may not be as large as that here; choose another folder",
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
    """Yield a temporary path with the same suffix on the same disk; it replaces `path` when the block succeeds.

    When the block fails, the temporary file is removed and what was at `path` before is left as it was; after a crash
    the temporary file goes away when something is written to the folder again. Raises CardiacSegError, naming the file
    and the remedy, where the block or the move ends in an OSError.
    """
    path = Path(path)
    try:
        if not path.parent.is_dir():  # some image libraries report a missing folder without an errno
            raise OSError(errno.ENOTDIR if path.parent.exists() else errno.ENOENT, "no folder")
        if not os.access(path.parent, os.W_OK):
            raise OSError(errno.EACCES, "not writable")
        with private_folder(path.parent) as folder:
            temporary = folder / f"file{_suffixes(path)}"
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        raise CardiacSegError(f"{path} could not be written: {remedy(error)}.") from error


@contextmanager
def complete_folder(output: str | Path) -> Iterator[Path]:
    """Yield a temporary folder inside `output` whose files move to `output` together when the block succeeds.

    Enter it before long work: a place where nothing can be written is refused at once. When the block fails, no file
    and no new folder is left; a killed process leaves the old files or the new ones (`temporary.commit`). Raises
    CardiacSegError, naming the folder and the remedy, if an OSError ends the block.
    """
    output, created, temporary = Path(output), [], None
    try:
        created = [folder for folder in (output, *output.parents) if not folder.exists()]
        output.mkdir(parents=True, exist_ok=True)
        with private_folder(output) as temporary:
            yield temporary
            commit(temporary)
        created = []
    except FileExistsError as error:
        raise CardiacSegError(f"{output} is a file; give a folder to write the results to.") from error
    except OSError as error:
        raise CardiacSegError(f"{output} could not be written: {remedy(error)}.") from error
    except CardiacSegError as error:
        raise CardiacSegError(str(error).replace(str(temporary), str(output))) from error
    finally:
        for folder in created:
            with suppress(OSError):
                folder.rmdir()


def _suffixes(path: Path) -> str:
    """What the formats are recognised by, e.g. .nii.gz or .seq.nrrd; dots inside the name are kept out of it."""
    return "".join(path.suffixes[-2:]) if path.suffix in (".gz", ".nrrd") else path.suffix


def remedy(error: OSError) -> str:
    """What is wrong and what to do about it, to end a sentence with."""
    return _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
