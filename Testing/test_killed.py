"""A process that is killed leaves the old files or the new ones, and nothing else once the next one has started."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killing import Files, arguments, files, hidden, make_study, verdict

from CardiacSegLib.atomic import atomic_path, complete_folder
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.temporary import PREFIX, commit, private_folder, sweep

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")

ROOT = Path(__file__).resolve().parents[1]
OLD = {name: b"old" for name in ("a.json", "b.nii.gz", "c.png", "untouched.txt")}
NEW = OLD | {name: b"new" for name in ("a.json", "b.nii.gz", "c.png")}
CHANGES = ("mkdir", "rename", "replace", "rmdir", "unlink")
"""Functions of os that change a folder."""


def in_a_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own; returns minus the signal that ended it, or its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1 if sys.exc_info()[0] else 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_before_change(number: int, work: Callable[[], None]) -> bool:
    """Do something in a process that is killed just before the folder changes for the n-th time; whether it was."""
    left = iter(range(number))

    def watched(function: Callable) -> Callable:
        def call(*args, **kwargs) -> object:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    def child() -> None:
        for name in CHANGES:
            setattr(os, name, watched(getattr(os, name)))
        work()

    return in_a_child(child) == -signal.SIGKILL


def write_new(folder: Path) -> None:
    """A run that replaces three files."""
    with complete_folder(folder) as partial:
        for name in ("a.json", "b.nii.gz", "c.png"):
            with atomic_path(partial / name) as temporary:
                temporary.write_bytes(b"new")


def test_killed_at_any_step_a_run_leaves_the_old_files_or_after_the_next_start_all_of_the_new(tmp_path: Path) -> None:
    seen, number = [], 0
    while True:
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in OLD.items():
            (folder / name).write_bytes(content)
        killed = killed_before_change(number, lambda folder=folder: write_new(folder))
        sweep(folder)
        seen.append(verdict(files(folder), OLD, NEW))
        assert hidden(folder) == []
        if not killed:
            break
        number += 1
    assert number > 10, "the steps of making, writing and moving"
    assert seen[0] == "old"
    assert seen[-1] == "new"
    assert seen == sorted(seen, reverse=True), "from one step on it is the new ones"


def test_what_is_left_is_finished_by_the_next_run_and_when_the_study_is_read(tmp_path: Path) -> None:
    for name, content in OLD.items():
        (tmp_path / name).write_bytes(content)

    def half() -> None:
        replace = os.replace
        os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL) if Path(b).name == "b.nii.gz" else replace(a, b)
        with complete_folder(tmp_path) as partial:
            for name in ("a.json", "b.nii.gz", "c.png"):
                (partial / name).write_bytes(b"new")

    assert in_a_child(half) == -signal.SIGKILL
    assert verdict(files(tmp_path), OLD, NEW) == "mixed", "else this test would show nothing"
    from CardiacSegLib.study_folder import read_study_folder

    with pytest.raises(CardiacSegError, match="is not a study"):
        read_study_folder(tmp_path)
    assert verdict(files(tmp_path), OLD, NEW) == "new"


def test_what_a_living_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    with complete_folder(tmp_path) as first:
        (first / "a.json").write_bytes(b"first")
        assert in_a_child(lambda: write_new(tmp_path)) == 0
        assert (first / "a.json").read_bytes() == b"first"
        assert files(tmp_path)["a.json"] == b"new"
    assert files(tmp_path)["a.json"] == b"first"
    assert hidden(tmp_path) == []


def test_a_single_file_of_a_killed_process_goes_away_when_the_folder_is_written_to_again(tmp_path: Path) -> None:
    def half() -> None:
        with atomic_path(tmp_path / "table.csv") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(half) == -signal.SIGKILL
    assert files(tmp_path) == {}
    assert len(hidden(tmp_path)) == 1
    with atomic_path(tmp_path / "other.csv") as temporary:
        temporary.write_text("whole")
    assert files(tmp_path) == {"other.csv": b"whole"}
    assert hidden(tmp_path) == []


class TestTemporaryFolders:
    @pytest.fixture(autouse=True)
    def own_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def test_nobody_else_may_look_into_one(self, tmp_path: Path) -> None:
        usual = os.umask(0)
        try:
            with private_folder() as folder:
                (own,) = tmp_path.iterdir()
                assert own in folder.parents
                assert own.stat().st_mode & 0o777 == 0o700
        finally:
            os.umask(usual)
        assert list(tmp_path.iterdir()) == []

    def test_one_of_a_killed_process_goes_away_at_the_next_start(self, tmp_path: Path) -> None:
        def half() -> None:
            with private_folder() as folder:
                (folder / "pixels").write_text("of somebody")
                os.kill(os.getpid(), signal.SIGKILL)

        assert in_a_child(half) == -signal.SIGKILL
        assert [path.read_text() for path in tmp_path.rglob("pixels")] == ["of somebody"]
        told = subprocess.run(
            [sys.executable, "-m", "CardiacSegLib.cli", "weights"],
            cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        assert list(tmp_path.iterdir()) == []

    def test_what_others_laid_there_is_neither_followed_nor_removed(self, tmp_path: Path) -> None:
        (tmp_path / "precious").mkdir()
        (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "precious")
        (tmp_path / f"{PREFIX}file").write_text("a file")
        if os.geteuid() == 0:
            (tmp_path / f"{PREFIX}others").mkdir()
            (tmp_path / f"{PREFIX}others" / "lock").touch()
            os.chown(tmp_path / f"{PREFIX}others", 12345, 12345)
        before = sorted(tmp_path.rglob("*"))
        sweep()
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_file_that_cannot_be_replaced_stops_a_run_before_anything_was_moved(self, tmp_path: Path) -> None:
        (tmp_path / "b.nii.gz").mkdir()
        (tmp_path / "a.json").write_bytes(b"old")
        with pytest.raises(CardiacSegError, match="a folder of that name is in the way"):
            write_new(tmp_path)
        assert (tmp_path / "a.json").read_bytes() == b"old"
        assert hidden(tmp_path) == []

    def test_what_was_committed_and_could_not_be_moved_is_kept_until_it_can_be(
        self, tmp_path: Path, monkeypatch
    ) -> None:
        def open_elsewhere(source: Path, target: Path) -> None:
            raise PermissionError(13, "the file is open in another program")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", open_elsewhere)
            with pytest.raises(PermissionError), private_folder(tmp_path) as folder:
                (folder / "a.json").write_bytes(b"new")
                commit(folder)
            sweep(tmp_path)
        assert files(tmp_path) == {}
        sweep(tmp_path)
        assert files(tmp_path) == {"a.json": b"new"}
        assert hidden(tmp_path) == []


# The command, killed at random moments

SERVER = """
import json, os, sys
from CardiacSegLib import cli
for line in sys.stdin:
    arguments, fork = json.loads(line)
    pid = os.fork() if fork else 0
    if pid:
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    sys.stdout = open(os.devnull, "w")
    code = cli.app(arguments, standalone_mode=False) or 0
    if fork:
        os._exit(code)
    sys.stdout = sys.__stdout__
    print(code, flush=True)
"""


@pytest.fixture
def propagate() -> Iterator[subprocess.Popen]:
    """A process that has everything imported and runs the command in children, so that a run takes a second."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=ROOT, env=environment, text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        yield server
        server.stdin.close()


def test_propagate_killed_at_random_moments_leaves_the_old_files_or_the_new_ones(
    propagate: subprocess.Popen, tmp_path: Path
) -> None:
    def ask(frame: int, output: Path, fork: bool) -> str:
        propagate.stdin.write(json.dumps([arguments(tmp_path / "study", frame, output), fork]) + "\n")
        return propagate.stdout.readline().strip()

    (tmp_path / "study").mkdir()
    make_study(tmp_path / "study")
    references: list[Files] = []
    for frame in (0, 1):
        assert ask(frame, tmp_path / "out", fork=False) == "0"
        references.append(files(tmp_path / "out"))
    assert len(references[0]) == 6
    began = time.monotonic()
    ask(1, tmp_path / "out", fork=True)
    assert propagate.stdout.readline() == "0\n"
    whole, chance = time.monotonic() - began, random.Random(6)
    for _ in range(5):
        old = files(tmp_path / "out")
        frame = 1 - references.index(old)
        pid = int(ask(frame, tmp_path / "out", fork=True))
        time.sleep(chance.uniform(0, whole))
        os.kill(pid, signal.SIGKILL)
        propagate.stdout.readline()
        sweep(tmp_path / "out")
        assert verdict(files(tmp_path / "out"), old, references[frame]) in ("old", "new")
        assert hidden(tmp_path / "out") == []
