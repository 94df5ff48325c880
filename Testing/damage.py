"""Files that a reader may meet, whole and damaged, and the rule for what it may do with them."""

from __future__ import annotations

import gzip
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from dicom_files import Scan, enhanced, long_axis, multiframe, save, single, values

from CardiacSegLib.cine import Cine
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.readers import read_cine
from CardiacSegLib.writers.images import write_cine

Files = Mapping[str, bytes]
SCAN = Scan(values(3, 2), times=(0.0, 300.0, 600.0))
STUDY = replace(SCAN, frames=values(12, 5), times=tuple(75.0 * t for t in range(12)))
OTHER = replace(SCAN, frames=SCAN.frames % 500 + 3500, patient="somebody", series="1.2.9", number=9)
KINDS = ("cut", "flip", "blank", "overwrite", "repeat", "empty", "copy", "remove", "swap", "append")


@dataclass(frozen=True)
class Input:
    """Files by name, and which one to read; "" is the folder."""

    files: Files
    read: str = ""


@dataclass(frozen=True)
class Damage:
    """One thing that happens to a file: which one and where (0 to 1), and a number that says how."""

    kind: str
    file: float
    where: float
    number: int


def damaged(given: Input, damages: list[Damage]) -> Input:
    """The input after everything that happens to it."""
    files = dict(given.files)
    for damage in damages:
        names = sorted(files)
        name = names[int(damage.file * len(names))]
        data, at = files[name], int(damage.where * max(1, len(files[name])))
        if damage.kind == "copy":
            files[f"copy{damage.number % 5}_{name}"] = data
        elif damage.kind == "remove" and len(files) > 1:
            del files[name]
        elif damage.kind == "swap":
            other = names[damage.number % len(names)]
            files[name], files[other] = files[other], files[name]
        else:
            files[name] = _changed(damage, data, at)
    return Input(files, given.read)


def _changed(damage: Damage, data: bytes, at: int) -> bytes:
    length = damage.number % 64 + 1
    if damage.kind == "cut":
        return data[:at]
    if damage.kind == "empty":
        return b""
    if damage.kind == "flip" and data:
        return data[:at] + bytes([data[at] ^ (1 << damage.number % 8)]) + data[at + 1 :]
    if damage.kind == "blank":
        return data[:at] + bytes(length)[: len(data) - at] + data[at + length :]
    if damage.kind == "overwrite":
        piece = damage.number.to_bytes(8, "little", signed=False)[: max(1, length % 9)]
        return data[:at] + piece + data[at + len(piece) :]
    if damage.kind == "repeat":
        return data[:at] + data[max(0, at - length) :]
    return data + bytes(length)


@cache
def inputs() -> dict[str, Input]:
    """Whole inputs of every kind, and such as nobody should accept."""
    kinds = ("classic", "enhanced", "multi-frame", "study", "two patients", "two orientations")
    found = {name: _dicom(name) for name in kinds}
    found["study in a zip"] = _zipped(found["classic"])
    found |= {
        name: _image(name) for name in ("c.nii", "c.nii.gz", "c.seq.nrrd", "raw.nrrd", "c.mha", "packed.mha", "c.mhd")
    }
    return found | _giants(found)


def _dicom(name: str) -> Input:
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        if name == "enhanced":
            save(enhanced(SCAN), where / "e.dcm")
        elif name == "study":
            for z in range(5):
                save(multiframe(STUDY.slice(z, series=f"1.3.{z}", number=z), 0), where / f"s{z}.dcm")
            save(multiframe(long_axis(STUDY, 60, series="1.3.9", number=9), 0), where / "s9.dcm")
        elif name == "multi-frame":
            for z in range(2):
                save(multiframe(SCAN, z), where / f"m{z}.dcm")
        else:
            turned = replace(SCAN, affine=SCAN.affine[:, [1, 2, 0, 3]], series="1.2.8", number=8)
            scans = {"two patients": (SCAN, OTHER), "two orientations": (SCAN, turned)}.get(name, (SCAN,))
            for number, scan in enumerate(scans):
                for t in range(3):
                    for z in range(2):
                        save(single(scan, t, z), where / f"s{number}_{t}{z}.dcm")
        return Input({path.name: path.read_bytes() for path in sorted(where.iterdir())})


def _zipped(study: Input) -> Input:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in study.files.items():
            archive.writestr(f"a/{name}", data)
    return Input({"study.zip": packed.getvalue()}, "study.zip")


def _image(name: str) -> Input:
    frames = np.ascontiguousarray(SCAN.frames, np.int16)
    cine = Cine(frames, SCAN.affine, np.array(SCAN.times))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        if name.endswith((".mha", ".mhd")):
            joined = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(frame) for frame in frames])
            SimpleITK.WriteImage(joined, str(path), name.startswith("packed"))
        elif name == "raw.nrrd":
            write_cine(cine, Path(folder, "c.seq.nrrd"))
            head = Path(folder, "c.seq.nrrd").read_bytes().split(b"\n\n", 1)[0]
            Path(folder, "c.seq.nrrd").unlink()
            path.write_bytes(head.replace(b"gzip", b"raw") + b"\n\n" + frames.astype("<i2").tobytes())
        elif name.endswith(".nrrd"):
            write_cine(cine, path)
        else:
            nibabel.save(nibabel.Nifti1Image(frames.transpose(), np.diag([-1, -1, 1, 1]) @ SCAN.affine), path)
        return Input({file.name: file.read_bytes() for file in path.parent.iterdir()}, name)


def _giants(whole: Mapping[str, Input]) -> dict[str, Input]:
    """Headers that claim more than any machine has."""
    nii = bytearray(whole["c.nii"].files["c.nii"])
    nii[40:56] = np.array([4, 30000, 30000, 300, 100, 1, 1, 1], "<i2").tobytes()
    nrrd = whole["c.seq.nrrd"].files["c.seq.nrrd"].replace(b"sizes: 5 6 2 3", b"sizes: 50000 60000 200 300")
    mha = whole["c.mha"].files["c.mha"].replace(b"DimSize = 5 6 2 3", b"DimSize = 50000 60000 200 300")
    classic = dict(whole["classic"].files)
    name = sorted(classic)[0]
    classic[name] = classic[name].replace(b"(\0\x10\0US\x02\0\x06\0", b"(\0\x10\0US\x02\0\xff\xff")
    folder = dict(whole["enhanced"].files)
    folder["e.dcm"] = folder["e.dcm"].replace(b"(\0\x08\0IS\x02\x006 ", b"(\0\x08\0IS\x0a\x002147483647")
    giants = {
        "giant.nii": bytes(nii),
        "giant.nii.gz": gzip.compress(bytes(nii)),
        "giant.seq.nrrd": nrrd,
        "giant.mha": mha,
    }
    found = {name: Input({name: data}, name) for name, data in giants.items()}
    return found | {"giant rows": Input(classic), "giant count of frames": Input(folder)}


@cache
def outcome_of_whole(name: str) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """The shape and the remarks of an input that nothing happened to; None where it is refused."""
    try:
        cine = _read(inputs()[name])
    except CardiacSegError:
        return None, ()
    return cine.shape, cine.remarks


def verdict(name: str, damages: list[Damage]) -> str:
    """Read an input after damage: "read", "remarked" or "refused"; raises AssertionError or what the reader let out.

    A refusal is one sentence. A cine of another shape says why in a remark. No cine holds images of two patients.
    """
    shape, remarks = outcome_of_whole(name)
    try:
        cine = _read(damaged(inputs()[name], damages))
    except CardiacSegError as error:
        text = str(error)
        assert text.endswith(".") and "\n" not in text and len(text) < 2000, text
        return "refused"
    means = cine.frames.mean(axis=(2, 3))
    assert not (name == "two patients" and (means > 3300).any() and (means < 2700).any()), "two patients are merged"
    said = set(cine.remarks) - set(remarks)
    assert cine.shape == shape or said, f"{cine.shape} instead of {shape}, and nothing is said"
    return "remarked" if said else "read"


def _read(given: Input) -> Cine:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in given.files.items():
            Path(folder, name).write_bytes(data)
        return read_cine(Path(folder, given.read))
