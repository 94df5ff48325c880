"""The language of the worker: typed, versioned, refused in one sentence where it is not understood."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from CardiacSegLib.anatomy import STRUCTURES
from CardiacSegLib.cine import Cine, Segmentation, SlicePrediction
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.worker import RunState, WorkerEngine
from CardiacSegLib.worker.messages import (
    FROM_WORKER,
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
    Release,
    Run,
    Share,
    Started,
    decode,
    encode,
)

ROOT = Path(__file__).resolve().parents[1]
REF = ArrayRef("cseg-1", 64, (2, 3), "<i2")
CINE = CineRef(REF, REF, REF, "MR", True, "Jürgen's \n cine")
MASKS = MasksRef(REF, REF, REF, STRUCTURES)
MESSAGES: list[Message] = [
    Load("cstm", None, "auto"), Load("cstm", "some.safetensors", "cpu"), Share("cseg-1", 1 << 40), Release("cseg-1"),
    Run(3, CINE, MASKS, None, None), Run(4, CINE, None, MASKS, (2, 1)), Cancel(3), Hello(77), Loaded("CPU, 2 threads"),
    Started(3, None), Started(3, 249), Done(3), Failed(0, "It is so.", True),
    Found.of(3, SlicePrediction(1, 2, np.eye(5, 7, dtype=np.uint8), 0.1 + 0.2)),
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was_from_one_line(message: Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert decode(line, TO_WORKER | FROM_WORKER) == message


def test_every_message_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set((TO_WORKER | FROM_WORKER).values())


def test_a_slice_travels_without_loss() -> None:
    labels = np.random.default_rng(0).integers(0, 256, (33, 17)).astype(np.uint8)
    found = decode(encode(Found.of(1, SlicePrediction(4, 5, labels.T, 1 / 3))), FROM_WORKER).prediction()
    assert (found.frame, found.slice, found.confidence) == (4, 5, 1 / 3)
    assert found.labels.dtype == np.uint8
    assert np.array_equal(found.labels, labels.T)


def test_numbers_of_numpy_are_numbers() -> None:
    message = Run(1, CINE, None, None, (np.int64(2), np.uint8(1)))
    assert decode(encode(message), TO_WORKER).start == (2, 1)


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
    line = json.dumps(json.loads(encode(MESSAGES[-1])) | change).encode()
    with pytest.raises(CardiacSegError, match=said) as refused:
        decode(line, FROM_WORKER)
    assert "restart the application" in str(refused.value)
    assert str(refused.value).endswith(".") and ". " not in str(refused.value)


@pytest.mark.parametrize("line", [b"", b"hello", b"[]", b"7", b"\x80\x04\x95", b'{"type": "Done", "run": 1}', b"{}"])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(CardiacSegError, match="do not understand each other"):
        decode(line, FROM_WORKER)


def test_a_worker_refuses_an_application_of_another_version_and_ends() -> None:
    line = encode(Cancel(1)).replace(b'"version": %d' % VERSION, b'"version": 99')
    command = [sys.executable, "-m", "CardiacSegLib.worker"]
    worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        worker.stdin.write(line)
        worker.stdin.flush()
        hello, refusal = (decode(worker.stdout.readline(), FROM_WORKER) for _ in range(2))
        assert hello == Hello(worker.pid)
        assert refusal.error.startswith(f"A message of version 99 came where {VERSION} is spoken") and refusal.ends
        assert worker.wait(timeout=30) == 1
    finally:
        worker.kill()
        worker.stdin.close()
        worker.stdout.close()
        worker.wait()


SCRIPT = """#!{python}
import sys, time
print({first!r}, end="", flush=True)
for line in sys.stdin:
    if '"Run"' in line:
        print({second!r}, end="", flush=True)
time.sleep(60)
"""


def scripted(folder: Path, first: bytes, second: bytes = b"") -> WorkerEngine:
    """A worker that says something at once, and something when it is asked to run."""
    script = folder / "python"
    script.write_text(SCRIPT.format(python=sys.executable, first=first.decode(), second=second.decode()))
    script.chmod(0o755)
    return WorkerEngine(python=str(script))


def tiny() -> tuple[Cine, Segmentation]:
    cine = Cine(np.zeros((2, 1, 4, 4), np.int16), np.eye(4), np.array([0.0, 1.0]))
    return cine, Segmentation(np.ones((2, 1, 4, 4), np.uint8), np.array([[2], [0]], np.uint8), cine.affine)


scripts = pytest.mark.skipif(os.name == "nt", reason="needs an executable script")


@scripts
def test_an_application_refuses_a_worker_of_another_version_and_ends_it(tmp_path: Path) -> None:
    worker = scripted(tmp_path, encode(Hello(77)).replace(b'"version": %d' % VERSION, b'"version": 99'))
    with pytest.raises(CardiacSegError, match=f"version 99 came where {VERSION} is spoken"):
        list(worker.segment(*tiny()))
    assert not worker.alive
    assert worker.begin(*tiny()).state is RunState.STARTING, "a new process is tried"
    worker.close()


@scripts
def test_results_of_a_run_that_is_not_wanted_any_more_are_nobodys(tmp_path: Path) -> None:
    late = [encode(Found.of(run, SlicePrediction(run, 0, np.ones((4, 4), np.uint8)))) for run in (1, 2)]
    worker = scripted(
        tmp_path,
        encode(Hello(77)) + encode(Loaded("a device")),
        late[0] + encode(Started(2, 1)) + late[0] + late[1] + encode(Failed(1, "Too late.", False)) + encode(Done(2)),
    )
    first = worker.begin(*tiny())
    second = worker.begin(*tiny())
    found = []
    while not second.finished:
        found += second.poll()
    assert [prediction.frame for prediction in found] == [2]
    assert (second.state, second.found) == (RunState.DONE, 1)
    assert (first.state, first.found, first.poll()) == (RunState.CANCELLED, 0, [])
    worker.close()
