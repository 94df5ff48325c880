"""The language of the worker: typed, versioned, refused in one sentence where it is not understood."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from CardiacSegLib.anatomy import STRUCTURES
from CardiacSegLib.cine import Cine, Segmentation, SlicePrediction
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.worker import RunState, WorkerEngine
from CardiacSegLib.worker.messages import (
    FROM_WORKER,
    MAX_LINE,
    TO_WORKER,
    VERSION,
    ArrayRef,
    Cancel,
    CineRef,
    Done,
    Failed,
    Found,
    Hello,
    Load,
    Loaded,
    MasksRef,
    Message,
    Ping,
    Pong,
    Release,
    Run,
    Share,
    Started,
    decode,
    encode,
)
from CardiacSegLib.worker.messages import KEY as KEY_FORM
from CardiacSegLib.worker.shared import PREFIX, Block, sweep, unlink

ROOT = Path(__file__).resolve().parents[1]
KEY = "0123456789abcdef" * 2
REF = ArrayRef("cseg-1", 64, (2, 3), "<i2")
CINE = CineRef(REF, REF, REF, "MR", True, "Jürgen's \n cine")
MASKS = MasksRef(REF, REF, REF, STRUCTURES)
MESSAGES: list[Message] = [
    Load("cstm", None, "auto"), Load("cstm", "some.safetensors", "cpu"), Share("cseg-1", 1 << 40), Release("cseg-1"),
    Run(3, CINE, MASKS, None, None), Run(4, CINE, None, MASKS, (2, 1)), Cancel(3), Hello(77), Loaded("CPU, 2 threads"),
    Ping(), Pong(), Started(3, None), Started(3, 249), Done(3), Failed(0, "It is so.", True),
    Found.of(3, SlicePrediction(1, 2, np.eye(5, 7, dtype=np.uint8), 0.1 + 0.2)),
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was_from_one_line(message: Message) -> None:
    line = encode(message, KEY)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert decode(line, TO_WORKER | FROM_WORKER, KEY) == message


def test_every_message_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set((TO_WORKER | FROM_WORKER).values())


def test_a_slice_travels_without_loss() -> None:
    labels = np.random.default_rng(0).integers(0, 256, (33, 17)).astype(np.uint8)
    line = encode(Found.of(1, SlicePrediction(4, 5, labels.T, 1 / 3)), KEY)
    found = decode(line, FROM_WORKER, KEY).prediction((5, 6, 17, 33))
    assert (found.frame, found.slice, found.confidence) == (4, 5, 1 / 3)
    assert found.labels.dtype == np.uint8
    assert np.array_equal(found.labels, labels.T)


def test_numbers_of_numpy_are_numbers() -> None:
    message = Run(1, CINE, None, None, (np.int64(2), np.uint8(1)))
    assert decode(encode(message, KEY), TO_WORKER, KEY).start == (2, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": VERSION + 1}, rf"version {VERSION + 1} came where {VERSION} is spoken"),
        ({"version": None}, "version None came"),
        ({"type": "Format"}, "type 'Format' came, which is not known here"),
        ({"type": "Cancel"}, "type 'Cancel' came, which is not known here"),
        ({"type": ["Found"]}, "not known here"),
        ({"frame": "1"}, "Found came with wrong content"),
        ({"frame": True}, "Found came with wrong content"),
        ({"labels": None}, "Found came with wrong content"),
        ({"shape": 5}, "Found came with wrong content"),
        ({"shape": [5, 1.5]}, "Found came with wrong content"),
        ({"more": 1}, "Found came with wrong content"),
    ],
)
def test_another_version_type_or_field_is_refused_in_one_sentence_with_a_remedy(change: dict, said: str) -> None:
    line = json.dumps(json.loads(encode(MESSAGES[-1], KEY)) | change).encode()
    with pytest.raises(CardiacSegError, match=said) as refused:
        decode(line, FROM_WORKER, KEY)
    assert "restart the application" in str(refused.value)
    assert str(refused.value).endswith(".") and ". " not in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [b"", b"hello", b"[]", b"7", b"\x80\x04\x95", b'{"type": "Done", "run": 1}', b"{}", b"[" * 100_000, b'"' + b"\xff"],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(CardiacSegError, match="do not understand each other"):
        decode(line, FROM_WORKER, KEY)


@pytest.mark.parametrize("key", ["f" * 32, "", KEY[:-1], KEY.upper(), "ü"])
def test_a_message_with_another_key_is_refused(key: str) -> None:
    with pytest.raises(CardiacSegError, match="the other side did not write"):
        decode(encode(Done(1), key), FROM_WORKER, KEY)
    with pytest.raises(CardiacSegError, match="the other side did not write"):
        decode(encode(Done(1), KEY).replace(b'"key": "%s", ' % KEY.encode(), b""), FROM_WORKER, KEY)


def test_a_line_that_is_longer_than_any_message_is_refused_unread() -> None:
    with pytest.raises(CardiacSegError, match="A message of more than 34 MB came"):
        decode(b" " * (MAX_LINE + 1), FROM_WORKER, KEY)


SLICE = Found.of(3, SlicePrediction(1, 2, np.ones((5, 7), np.uint8)))


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"frame": 2}, {"frame": -1}, {"slice": 3}, {"slice": -1}, {"shape": (7, 5)}, {"shape": (35,)}, {"shape": ()},
        {"shape": (-5, -7)}, {"confidence": float("nan")}, {"confidence": float("inf")}, {"labels": "not base64!"},
        {"labels": base64.b64encode(b"not deflated").decode()}, {"labels": packed(b"")}, {"labels": packed(bytes(34))},
        {"labels": packed(bytes(36))}, {"labels": packed(bytes(35))[:-8]},
        {"labels": base64.b64encode(zlib.compress(bytes(35)) + b"more").decode()},
    ],
    ids=lambda change: "-".join(map(str, change.items()))[:60],
)  # fmt: skip
def test_a_slice_that_cannot_be_of_the_cine_is_refused(change: dict) -> None:
    assert SLICE.prediction((2, 3, 5, 7)).labels.all()
    with pytest.raises(CardiacSegError, match=r"Found came with wrong content .* restart the application"):
        dataclasses.replace(SLICE, **change).prediction((2, 3, 5, 7))


def test_a_slice_that_inflates_to_256_mb_costs_no_memory() -> None:
    bomb = zlib.compressobj(1)
    content = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(256)) + bomb.flush()
    message = dataclasses.replace(SLICE, labels=base64.b64encode(content).decode())
    tracemalloc.start()
    with pytest.raises(CardiacSegError, match="not the 35 pixels of a slice"):
        message.prediction((2, 3, 5, 7))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


# The worker's side


def spoken_to(*lines: bytes) -> tuple[list[Message], int]:
    """What a worker answers to these lines, and its exit code."""
    command = [sys.executable, "-m", "CardiacSegLib.worker"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        try:
            worker.stdin.write(b"".join(lines))
            worker.stdin.flush()
            answers = worker.stdout.readlines()  # until it has closed its end, before we close ours
            worker.stdin.close()
        except BrokenPipeError:
            answers = worker.stdout.readlines()
        code = worker.wait(timeout=30)
    return [decode(line, FROM_WORKER, json.loads(line)["key"]) for line in answers], code


def test_a_worker_answers_when_it_is_asked_whether_it_lives() -> None:
    command = [sys.executable, "-m", "CardiacSegLib.worker"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        for _ in range(2):
            worker.stdin.write(encode(Ping(), KEY))
            worker.stdin.flush()
        answers = [decode(worker.stdout.readline(), FROM_WORKER, KEY) for _ in range(3)]
        assert sorted(answers, key=str) == [Hello(worker.pid), Pong(), Pong()]
        worker.stdin.close()
        assert worker.wait(timeout=30) == 0


def other_version(line: bytes) -> bytes:
    return line.replace(b'"version": %d' % VERSION, b'"version": 99')


PING, LONG = encode(Ping(), KEY), b"x" * (MAX_LINE + 2)


def of_block(**change: object) -> bytes:
    """A run whose arrays lie where they cannot."""
    place = dataclasses.replace(REF, **change)
    return encode(Run(1, dataclasses.replace(CINE, frames=place, affine=place, times=place), None, None, None), KEY)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((b"hello\n",), "do not understand each other"),
        ((other_version(PING),), f"version 99 came where {VERSION} is spoken"),
        ((PING.replace(KEY.encode(), b""),), "without a key"),
        ((PING.replace(KEY.encode(), b"guess"),), "without a key"),
        ((LONG,), "more than 34 MB"),
        ((PING, LONG), "more than 34 MB"),
        ((PING, os.urandom(100).replace(b"\n", b"") + b"\n"), "do not understand each other"),
        ((PING, other_version(PING)), "version 99 came"),
        ((PING, encode(Ping(), "f" * 32)), "the other side did not write"),
        ((PING, encode(Hello(1), KEY)), "type 'Hello' came, which is not known here"),
        ((PING, PING.replace(b"}", b', "more": 1}')), "Ping came with wrong content"),
        ((PING, b"[" * 100_000 + b"\n"), "do not understand each other"),
        ((PING, encode(Share("/etc/passwd", 10), KEY)), "was announced, but is not there"),
        ((PING, encode(Share("cseg-1-0123456789ab", 10), KEY)), "was announced, but is not there"),
        ((PING, encode(Share("cseg-1-0123456789ab", -1), KEY)), "was announced, but is not there"),
        ((PING, of_block()), "'cseg-1', which was not shared"),
    ],
)  # fmt: skip
def test_a_worker_refuses_what_it_cannot_trust_in_one_sentence_and_ends(lines: tuple, said: str) -> None:
    answers, code = spoken_to(*lines)
    refusal = answers[-1]
    assert code == 1
    assert isinstance(refusal, Failed)
    assert refusal.ends
    assert said in refusal.error
    assert refusal.error.endswith(".") and ". " not in refusal.error


@pytest.mark.skipif(os.name == "nt", reason="needs shared memory with names")
@pytest.mark.parametrize(
    "change",
    [
        {"shape": (1 << 40,)}, {"shape": (1 << 62, 1 << 62)}, {"shape": (-1, 3)}, {"shape": (1,) * 5}, {"offset": -8},
        {"offset": 1 << 70}, {"offset": 4090}, {"dtype": "|O"}, {"dtype": "<i8"}, {"dtype": "no type"},
        {"dtype": "V" + "9" * 20},
    ],
    ids=str,
)  # fmt: skip
def test_an_array_that_does_not_lie_in_its_memory_is_refused(change: dict) -> None:
    block = Block.create(4096)
    try:
        fine = ArrayRef(block.name, 0, (2, 3), "<i2")
        assert Block.attach(block.name, 4096).array(fine).shape == (2, 3)
        with pytest.raises(CardiacSegError, match=r"does not lie in its shared memory of 4096 bytes"):
            block.array(dataclasses.replace(fine, **change))
        with pytest.raises(CardiacSegError, match="was announced, but is not there"):
            Block.attach(block.name, 1 << 40)
    finally:
        unlink(block.name)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs Linux's /dev/shm")
def test_memory_of_an_application_that_was_killed_with_its_worker_goes_away_at_the_next_start() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    ours, left = Block.create(4096), Path("/dev/shm", f"{PREFIX}{ended.pid}-0123456789ab")
    left.write_bytes(b"of somebody")
    sweep()
    assert not left.exists()
    assert Path("/dev/shm", ours.name).exists()
    assert Path("/dev/shm", ours.name).stat().st_mode & 0o777 == 0o600
    unlink(ours.name)


# The application's side

SCRIPT = """#!{python}
import json, sys, time
key = json.loads(sys.stdin.readline())["key"].encode()
def say(name):
    with open({folder!r} + "/" + name, "rb") as file:
        sys.stdout.buffer.write(file.read().replace({key!r}, key))
        sys.stdout.buffer.flush()
say("first")
for line in sys.stdin:
    if '"Run"' in line:
        say("second")
time.sleep(60)
"""


def scripted(folder: Path, first: bytes, second: bytes = b"") -> WorkerEngine:
    """A worker that says something at once, and something when it is asked to run."""
    script = folder / "python"
    script.write_text(SCRIPT.format(python=sys.executable, folder=str(folder), key=KEY.encode()))
    (folder / "first").write_bytes(first)
    (folder / "second").write_bytes(second)
    script.chmod(0o755)
    return WorkerEngine(python=str(script))


def tiny() -> tuple[Cine, Segmentation]:
    cine = Cine(np.zeros((2, 1, 4, 4), np.int16), np.eye(4), np.array([0.0, 1.0]))
    return cine, Segmentation(np.ones((2, 1, 4, 4), np.uint8), np.array([[2], [0]], np.uint8), cine.affine)


scripts = pytest.mark.skipif(os.name == "nt", reason="needs an executable script")
READY = encode(Hello(77), KEY) + encode(Loaded("a device"), KEY)
GOOD = encode(Found.of(1, SlicePrediction(1, 0, np.ones((4, 4), np.uint8))), KEY)


@scripts
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (other_version(READY), b"", f"version 99 came where {VERSION} is spoken"),
        (b"Intel MKL WARNING: a library prints\n", b"", "do not understand each other"),
        (READY, b"\x00\xff\n" * 3, "do not understand each other"),
        (READY, LONG, "more than 34 MB"),
        (READY, encode(Done(1), "f" * 32), "the other side did not write"),
        (READY, encode(Run(1, CINE, None, None, None), KEY), "type 'Run' came, which is not known here"),
        (READY, encode(Found.of(1, SlicePrediction(9, 0, np.ones((4, 4), np.uint8))), KEY), "frame 9, slice 0"),
        (READY, encode(Found.of(1, SlicePrediction(0, 0, np.ones((9, 9), np.uint8))), KEY), r"shape \(9, 9\)"),
    ],
)  # fmt: skip
def test_an_application_refuses_what_it_cannot_trust_keeps_what_it_had_and_goes_on(
    tmp_path: Path, first: bytes, second: bytes, said: str
) -> None:
    worker = scripted(tmp_path, first, GOOD + second if second else b"")
    run = worker.begin(*tiny())
    pid = worker._process._popen.pid
    found = []
    while not run.finished:
        found += run.poll()
    assert run.state is RunState.FAILED
    assert re.search(said, run.error)
    assert run.error.endswith(".") and ". " not in run.error
    assert [prediction.frame for prediction in found + run.poll()] == ([1] if second else [])
    assert not worker.alive
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert worker.begin(*tiny()).state is RunState.STARTING, "a new process is tried"
    worker.close()


@scripts
def test_results_of_a_run_that_is_not_wanted_any_more_are_nobodys(tmp_path: Path) -> None:
    late = [encode(Found.of(run, SlicePrediction(run - 1, 0, np.ones((4, 4), np.uint8))), KEY) for run in (1, 2)]
    end = encode(Failed(1, "Too late.", False), KEY) + encode(Done(2), KEY)
    worker = scripted(tmp_path, READY, late[0] + encode(Started(2, 1), KEY) + late[0] + late[1] + end)
    first = worker.begin(*tiny())
    second = worker.begin(*tiny())
    found = []
    while not second.finished:
        found += second.poll()
    assert [prediction.frame for prediction in found] == [1]
    assert (second.state, second.found) == (RunState.DONE, 1)
    assert (first.state, first.found, first.poll()) == (RunState.CANCELLED, 0, [])
    worker.close()


@scripts
def test_the_key_is_another_one_each_time_and_not_on_the_command_line(tmp_path: Path) -> None:
    keys = set()
    for _ in range(2):
        worker = scripted(tmp_path, READY)
        worker.begin(*tiny())
        keys.add(worker._process._key)
        if Path("/proc/self").is_dir():
            place = Path("/proc", str(worker._process._popen.pid))
            shown = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
            assert worker._process._key.encode() not in shown
        worker.close()
    assert len(keys) == 2
    assert all(KEY_FORM.fullmatch(key) for key in keys)
