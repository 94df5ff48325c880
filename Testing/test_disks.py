"""Full and read-only disks, and names that some programs cannot take: one sentence or all of the results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from killing import files, hidden
from typer.testing import CliRunner

from CardiacSegLib import cli, engines
from CardiacSegLib.cine import Cine, Segmentation, SlicePrediction
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.writers.images import write_cine, write_segmentation

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and limits on processes")


class CopyingEngine:
    """Stands in for a network: the first annotated frame's masks, everywhere."""

    def segment(self, cine: Cine, annotation: Segmentation) -> Iterator[SlicePrediction]:
        frame = int(np.flatnonzero(annotation.fixed.any(axis=1))[0])
        for t, z in np.argwhere(~annotation.fixed):
            yield SlicePrediction(int(t), int(z), annotation.labels[frame, z])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cine.nii.gz and mask.nii.gz."""
    folder = tmp_path_factory.mktemp("study")
    heart = beating_heart(3, frames=4, slices=3, size=64, spacing=(2.8, 2.8, 14.0))
    write_cine(heart.cine, folder / "cine.nii.gz")
    heart.truth.labels[1:] = 0
    write_segmentation(heart.truth, folder / "mask.nii.gz", heart.cine)
    return folder


@pytest.fixture(autouse=True)
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "load_engine", lambda *_, **__: CopyingEngine())


def propagate(study: Path, output: Path) -> tuple[int, str]:
    """Exit code and what was said on stderr."""
    paths = [str(path) for path in (study / "cine.nii.gz", study / "mask.nii.gz", output)]
    done = CliRunner().invoke(cli.app, ["propagate", paths[0], "--annotation", paths[1], "-o", paths[2]])
    return done.exit_code, done.stderr


def propagate_limited(study: Path, output: Path, limit: int) -> tuple[int, str]:
    """The same in a process that may write no file of more bytes than this."""
    import resource

    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        os.write(writer, json.dumps(propagate(study, output)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = json.loads(pipe.read())
    os.waitpid(pid, 0)
    return tuple(told)


def assert_one_sentence(stderr: str) -> None:
    sentences = [line for line in stderr.splitlines() if line.startswith("cardiacseg: ")]
    assert len(sentences) == 1, stderr
    assert sentences[0].endswith(".")
    assert "This should not have happened" not in sentences[0]
    assert "Traceback" not in stderr


@posix
def test_wherever_the_room_ends_it_is_one_sentence_and_the_old_results_stay(study: Path, tmp_path: Path) -> None:
    assert propagate(study, tmp_path)[0] == 0
    old = files(tmp_path)
    for name in ("measures.json", "curve.png", "overlay.gif"):  # the others are smaller than what is written before
        limit = len(old[name]) - 1
        code, stderr = propagate_limited(study, tmp_path, limit)
        assert code == 1, (limit, stderr)
        assert_one_sentence(stderr)
        assert f"{name} could not be written: a file may not be as large as that here" in stderr
        assert files(tmp_path) == old
        assert hidden(tmp_path) == []
    assert propagate_limited(study, tmp_path, max(map(len, old.values())))[0] == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_and_what_was_there_stays(study: Path, disk: Path) -> None:
    (disk / "mine").write_bytes(bytes(100_000))
    code, stderr = propagate(study, disk / "out")
    assert code == 1
    assert_one_sentence(stderr)
    assert "the disk is full" in stderr
    assert [path.name for path in disk.iterdir()] == ["mine"]
    assert (disk / "mine").read_bytes() == bytes(100_000)


def test_a_disk_without_room_for_a_folder_is_told(study: Path, disk: Path) -> None:
    mine = os.open(disk / "mine", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space"):
        while True:
            os.write(mine, bytes(4096))
    os.close(mine)
    code, stderr = propagate(study, disk)
    assert code == 1
    assert_one_sentence(stderr)
    assert "the disk is full" in stderr


def test_a_read_only_disk_is_told_before_any_work(study: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(study / "cine.nii.gz", disk)
    shutil.copy(study / "mask.nii.gz", disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert propagate(disk, disk.parent / "elsewhere")[0] == 0, "it can be read from"
    monkeypatch.setattr(engines, "load_engine", lambda *_, **__: pytest.fail("it worked in vain"))
    for output in (disk, disk / "new"):
        code, stderr = propagate(disk, output)
        assert code == 1
        assert_one_sentence(stderr)
        assert "the disk is read-only" in stderr


@pytest.mark.parametrize(
    "name",
    ["Müller Lüdenscheidt 心脏电影 قلب 🫀", "-o", "a'b\"c;$(d)&e %s {0} [red]x[.red]", "n" * 240],
    ids=lambda name: name[:20],
)
def test_any_name_can_be_read_from_and_written_to(study: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / f"{name} in"
    shutil.copytree(study, source)
    code, stderr = propagate(source, tmp_path / name / name)
    assert code == 0, stderr
    assert len(files(tmp_path / name / name)) == 6
    record = json.loads((tmp_path / name / name / "study.json").read_text())
    assert (tmp_path / name / name / record["cine"]).resolve() == (source / "cine.nii.gz").resolve()


def test_a_name_that_is_too_long_is_told(study: Path, tmp_path: Path) -> None:
    for arguments in ((study, tmp_path / ("n" * 300)), (study / ("n" * 300), tmp_path / "out")):
        code, stderr = propagate(*arguments)
        assert code == 1
        assert_one_sentence(stderr)
        assert list(tmp_path.iterdir()) == []
