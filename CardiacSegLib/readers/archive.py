"""The DICOM files of a folder, of a zip, which is never unpacked to the disk, or one file by itself."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import CardiacSegError
from .image import MAX_BYTES

_MAX_FILES = 100_000
_MAX_RATIO = 200  # of sizes; what deflate makes of images is below 20, of nothing but zeros 1030
_MAGIC, _INDEX = b"DICM", "DICOMDIR"
_SMALL = 64 * 1024**2


@dataclass(frozen=True)
class Member:
    """One file: its name in the folder or zip, its size in bytes, and where to read it from."""

    name: str
    size: int
    source: Path | tuple[zipfile.ZipFile, zipfile.ZipInfo]

    def head(self, count: int) -> bytes:
        """The first bytes."""
        with self._open() as file:
            return file.read(count)

    def stream(self) -> io.BufferedIOBase:
        """The file from its start; from a zip all of it is in memory, for its own streams seek by reading again."""
        if isinstance(self.source, Path):
            return self.source.open("rb")
        with self._open() as file:
            return io.BytesIO(file.read())

    def _open(self) -> io.BufferedIOBase:
        if isinstance(self.source, Path):
            return self.source.open("rb")
        archive, entry = self.source
        return archive.open(entry)


def holds_dicom(path: Path) -> bool:
    """Whether a path is a folder, a zip or a DICOM file, which `members` reads."""
    if path.is_dir() or path.suffix.lower() == ".zip":
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == _MAGIC


@contextmanager
def members(path: Path) -> Iterator[list[Member]]:
    """The files in the folder or zip, by name; hidden ones and what an operating system leaves behind are passed over.

    Of a DICOMDIR these are the files beside it.

    Raises CardiacSegError for a zip that is none, encrypted, unpacks to too much, or names files outside itself.
    """
    if path.name.upper() == _INDEX:
        path = path.parent
    if path.is_dir():
        os.listdir(path)  # rglob keeps silent about a folder that may not be read
        files = sorted(file for file in path.rglob("*") if file.is_file())
        found = [Member(str(file.relative_to(path)), file.stat().st_size, file) for file in files]
        yield [member for member in found if _wanted(member.name)]
        return
    if path.suffix.lower() != ".zip":
        yield [Member(path.name, path.stat().st_size, path)]
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CardiacSegError(f"{path} is not a zip file, or a damaged one; make or copy it again.") from error
    with archive:
        entries = [entry for entry in archive.infolist() if entry.filename and not entry.is_dir()]
        _check(path, entries)
        found = [Member(entry.filename, entry.file_size, (archive, entry)) for entry in entries]
        try:
            yield sorted((member for member in found if _wanted(member.name)), key=lambda member: member.name)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise CardiacSegError(f"{path} is a damaged zip file ({error}); make or copy it again.") from error


def _wanted(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return bool(parts) and not any(part.startswith(".") or part == "__MACOSX" for part in parts) and parts[-1] != _INDEX


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    size = sum(entry.file_size for entry in entries)
    bomb = any(entry.file_size > _SMALL + _MAX_RATIO * entry.compress_size for entry in entries)
    if size > MAX_BYTES or len(entries) > _MAX_FILES or bomb:
        raise CardiacSegError(
            f"{path} would unpack to {size / 1024**3:.2g} GiB in {len(entries)} files; zip only the cine's series."
        )
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            raise CardiacSegError(
                f"{path} holds a file that would land outside of it ('{entry.filename}'), as no honest zip does; "
                "ask where it comes from."
            )
        if entry.flag_bits & 1:
            raise CardiacSegError(f"{path} is encrypted; unpack it and give the folder.")
