"""The engine in a process of its own: the same masks, quick to cancel, nothing found is lost, nothing left behind."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from worker_faults import PATIENCE, blocks, ended, follow

from CardiacSegLib.anatomy import LV, MYO, Structure
from CardiacSegLib.cine import Cine, Patient, Segmentation, SlicePrediction, Status
from CardiacSegLib.engines import PropagationEngine, load_engine
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks.cstm import CSTM, SIZES
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.weights import WeightsCard, save_weights
from CardiacSegLib.worker import RunState, WorkerEngine
from CardiacSegLib.worker.shared import PREFIX, Block

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path("/dev/shm")
linux = pytest.mark.skipif(
    not SHARED.is_dir() or not Path("/proc/self").is_dir(), reason="needs Linux's /dev/shm, /proc"
)
posix = pytest.mark.skipif(os.name == "nt", reason="needs signals")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Both processes compute with one thread, so that they round alike."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves shared memory behind."""
    before = blocks()
    yield
    assert wait_for(lambda: not blocks() - before, 10), blocks() - before


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, always the same: what they find is nonsense, found quickly."""
    torch.manual_seed(0)
    card = WeightsCard("test", "cstm", "small", (), "MIT", "", 0)
    path = tmp_path_factory.mktemp("weights") / "test.safetensors"
    return save_weights(path, CSTM(dataclasses.replace(SIZES["small"])), card)


@pytest.fixture(scope="module")
def engine(weights: Path) -> PropagationEngine:
    return load_engine("cstm", weights, "cpu")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return beating_heart(3, frames=4, slices=3, size=64, spacing=(2.6, 2.6, 10.0))


@pytest.fixture(scope="module")
def long_phantom() -> Phantom:
    """Takes some seconds, so that there is a middle of the run."""
    return beating_heart(4, frames=25, slices=10, size=64, spacing=(2.6, 2.6, 10.0))


@pytest.fixture(scope="module")
def worker(weights: Path) -> Iterator[WorkerEngine]:
    """One worker for all tests that do not kill it."""
    worker = WorkerEngine(weights=weights, device="cpu")
    worker.warm()
    yield worker
    worker.close()


def annotated(phantom: Phantom, place: tuple[int, int] = (0, 1)) -> Segmentation:
    """The truth in one place and nothing elsewhere."""
    labels, status = np.zeros_like(phantom.truth.labels), np.zeros_like(phantom.truth.status)
    labels[place], status[place] = phantom.truth.labels[place], Status.ANNOTATED
    return Segmentation(labels, status, phantom.cine.affine)


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> object:
    """What the condition says as soon as it says something, or what it says at the end."""
    end = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return answer


def assert_same(found: list[SlicePrediction], expected: list[SlicePrediction]) -> None:
    assert [(p.frame, p.slice, p.confidence) for p in found] == [(p.frame, p.slice, p.confidence) for p in expected]
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(found, expected, strict=True))


# The same as in process


def test_the_worker_finds_what_the_engine_in_process_finds(
    worker: WorkerEngine, engine: PropagationEngine, phantom: Phantom
) -> None:
    expected = list(engine.segment(phantom.cine, annotated(phantom)))
    found = list(worker.segment(phantom.cine, annotated(phantom)))
    assert len(found) == 11
    assert_same(found, expected)
    assert found[0].labels.flags.writeable, "a caller may go on drawing in it"


def test_start_and_previous_mean_what_they_mean_in_process(
    worker: WorkerEngine, engine: PropagationEngine, phantom: Phantom
) -> None:
    before = annotated(phantom)
    for prediction in engine.segment(phantom.cine, before):
        before.labels[prediction.frame, prediction.slice] = prediction.labels
        before.status[prediction.frame, prediction.slice] = Status.PREDICTED
    labels, status = before.labels.copy(), before.status.copy()
    labels[2, 2], status[2, 2] = phantom.truth.labels[2, 2], Status.CORRECTED
    after = Segmentation(labels, status, before.affine)
    expected = list(engine.segment(phantom.cine, after, start=(3, 2), previous=before))
    run = worker.begin(phantom.cine, after, start=(np.int64(3), np.int64(2)), previous=before)
    found = follow(run)
    assert 0 < len(found) < 10, "a correction is not a whole run"
    assert_same(found, expected)
    assert run.total == run.found == len(found)


def test_another_cine_of_the_same_size_and_masks_edited_in_place_are_seen(
    worker: WorkerEngine, engine: PropagationEngine, phantom: Phantom
) -> None:
    annotation = annotated(phantom)
    list(worker.segment(phantom.cine, annotation))
    annotation.labels[0, 1] = np.roll(annotation.labels[0, 1], 3, axis=0)
    darker = dataclasses.replace(phantom.cine, frames=phantom.cine.frames[::-1] // 2)
    assert_same(list(worker.segment(darker, annotation)), list(engine.segment(darker, annotation)))


def test_what_a_user_can_mend_is_said_as_the_engine_says_it_and_the_process_stays(
    worker: WorkerEngine, engine: PropagationEngine, phantom: Phantom
) -> None:
    nothing = Segmentation(phantom.truth.labels, np.zeros_like(phantom.truth.status), phantom.cine.affine)
    with pytest.raises(CardiacSegError) as expected:
        engine.segment(phantom.cine, nothing)
    list(worker.segment(phantom.cine, annotated(phantom)))
    pid = worker.pid
    run = worker.begin(phantom.cine, nothing)
    assert follow(run) == []
    assert (run.state, run.error) == (RunState.FAILED, str(expected.value))
    with pytest.raises(CardiacSegError, match="annotate one mid-ventricular slice"):
        list(worker.segment(phantom.cine))
    assert worker.alive and worker.pid == pid


# An event loop


def test_a_cold_start_goes_through_its_states_without_ever_blocking(weights: Path, phantom: Phantom) -> None:
    worker = WorkerEngine(weights=weights, device="cpu")
    states, waits, left = [], [], []
    assert not worker.alive and worker.device_name == ""
    began = time.monotonic()
    run = worker.begin(phantom.cine, annotated(phantom))
    waits.append(time.monotonic() - began)
    while not run.finished:
        states.append(run.state)
        left.append(run.seconds_left)
        asked = time.monotonic()
        run.poll()
        waits.append(time.monotonic() - asked)
        time.sleep(0.005)
    assert list(dict.fromkeys(states)) == [RunState.STARTING, RunState.LOADING, RunState.RUNNING]
    assert run.state is RunState.DONE and run.found == run.total == 11
    assert max(waits) < 0.5, "starting alone takes longer"
    told = [seconds for seconds in left if seconds is not None]
    assert left[0] is None and told and 0 <= told[-1] < max(told) < PATIENCE
    assert worker.device_name == "CPU, 1 thread"
    worker.close()


def test_a_warm_worker_is_running_at_once_and_does_not_load_again(
    weights: Path, phantom: Phantom, tmp_path: Path
) -> None:
    for path in (weights, weights.with_suffix(".json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    worker = WorkerEngine(weights=tmp_path / weights.name, device="cpu")
    worker.warm()
    assert wait_for(lambda: worker.device_name)
    (tmp_path / weights.name).unlink()
    runs = [worker.begin(phantom.cine, annotated(phantom)) for _ in range(2)]
    assert runs[1].state is RunState.RUNNING
    assert len(follow(runs[1])) == 11, "a process that loaded again would miss its weights"
    worker.close()


@linux
def test_the_cine_travels_once(worker: WorkerEngine, phantom: Phantom) -> None:
    def mapped() -> set[str]:
        lines = Path(f"/proc/{worker.pid}/maps").read_text().splitlines()
        return {line.split(maxsplit=5)[5] for line in lines if PREFIX in line}

    list(worker.segment(phantom.cine, annotated(phantom)))
    before = mapped()
    assert before, "the arrays are in shared memory"
    assert all(path.endswith("(deleted)") for path in before), "which has no name any more"
    list(worker.segment(phantom.cine, annotated(phantom, (1, 1))))
    assert mapped() == before


# Cancelling


def test_a_cancelled_run_keeps_what_was_found_and_the_process_stays_warm(
    worker: WorkerEngine, engine: PropagationEngine, phantom: Phantom, long_phantom: Phantom
) -> None:
    run = worker.begin(long_phantom.cine, annotated(long_phantom, (0, 4)))
    found, pid = follow(run, enough=3), worker.pid
    asked = time.monotonic()
    run.cancel()
    assert time.monotonic() - asked < 0.5
    assert run.state is RunState.CANCELLED
    found += run.poll()
    assert 3 <= len(found) == run.found < run.total == 249
    expected = list(engine.segment(phantom.cine, annotated(phantom)))
    assert_same(list(worker.segment(phantom.cine, annotated(phantom))), expected)
    assert run.poll() == [] and run.state is RunState.CANCELLED, "late results belong to nobody"
    assert worker.pid == pid


def test_closing_the_iterator_cancels_and_a_new_run_cancels_the_one_before(
    worker: WorkerEngine, phantom: Phantom, long_phantom: Phantom
) -> None:
    predictions = worker.segment(long_phantom.cine, annotated(long_phantom, (0, 4)))
    assert next(predictions).labels.any()
    predictions.close()
    first = worker.begin(long_phantom.cine, annotated(long_phantom, (0, 4)))
    asked = time.monotonic()
    second = worker.begin(phantom.cine, annotated(phantom))
    assert first.state is RunState.CANCELLED
    assert len(follow(second)) == 11
    assert time.monotonic() - asked < 5, "249 slices were not found first"


def test_a_run_is_cancelled_while_the_process_still_starts(weights: Path, phantom: Phantom) -> None:
    worker = WorkerEngine(weights=weights, device="cpu")
    run = worker.begin(phantom.cine, annotated(phantom))
    run.cancel()
    assert run.state is RunState.CANCELLED and run.poll() == []
    assert wait_for(lambda: worker.device_name), "it goes on loading"
    assert run.state is RunState.CANCELLED and run.found == 0
    worker.close()


# Deaths


@posix
def test_a_killed_process_fails_the_run_in_one_sentence_and_the_next_run_starts_a_new_one(
    weights: Path, phantom: Phantom, long_phantom: Phantom
) -> None:
    worker = WorkerEngine(weights=weights, device="cpu")
    run = worker.begin(long_phantom.cine, annotated(long_phantom, (0, 4)))
    found, pid = follow(run, enough=3), worker.pid
    os.kill(pid, signal.SIGKILL)
    found += follow(run)
    assert run.state is RunState.FAILED and not worker.alive
    assert run.error == (
        "The process that computes was ended by the system (SIGKILL, often because memory ran out); "
        "what was found is kept, and the next run starts a new one."
    )
    assert 3 <= run.found == len(found) < 249
    assert len(list(worker.segment(phantom.cine, annotated(phantom)))) == 11
    assert worker.pid != pid
    predictions = worker.segment(long_phantom.cine, annotated(long_phantom, (0, 4)))
    next(predictions)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(CardiacSegError, match="SIGKILL"):
        list(predictions)
    worker.close()


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
from CardiacSegLib.cine import Segmentation
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.worker import WorkerEngine
heart = beating_heart(4, frames=25, slices=4, size=64, spacing=(2.6, 2.6, 10.0))
status = np.zeros((25, 4), np.uint8)
status[0, 1] = 2
worker = WorkerEngine(weights=sys.argv[2], device="cpu")
run = worker.begin(heart.cine, Segmentation(heart.truth.labels, status, heart.cine.affine))
while sys.argv[3] == "computing" and not run.found:
    run.poll()
    time.sleep(0.01)
print(Path("/proc/self/task", str(__import__("os").getpid()), "children").read_text(), flush=True)
time.sleep(60)
"""


@linux
@pytest.mark.parametrize("moment", ["starting", "computing"])
def test_the_process_ends_with_an_application_that_is_killed(weights: Path, moment: str) -> None:
    before = blocks()
    command = [sys.executable, "-c", PARENT, str(ROOT), str(weights), moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as application:
        child = int(application.stdout.readline())
        assert not ended(child)
        application.kill()
    assert wait_for(lambda: ended(child), 10), "it reads the end of its pipe also while it computes"
    assert wait_for(lambda: not blocks() - before, 10)


def test_weights_that_are_not_there_are_named_and_nothing_is_left_running(phantom: Phantom, tmp_path: Path) -> None:
    worker = WorkerEngine(weights="no-such-weights", device="cpu")
    run = worker.begin(phantom.cine, annotated(phantom))
    follow(run)
    assert run.state is RunState.FAILED and not worker.alive
    assert run.error.startswith("The weights 'no-such-weights' are not installed")
    with pytest.raises(CardiacSegError, match=r"lacks a readable card gone\.json"):
        list(WorkerEngine(weights=tmp_path / "gone.safetensors").segment(phantom.cine, annotated(phantom)))


def test_a_python_that_does_not_start_or_lacks_something_is_told(phantom: Phantom, tmp_path: Path) -> None:
    run = WorkerEngine(python=str(tmp_path / "no-python")).begin(phantom.cine, annotated(phantom))
    assert run.state is RunState.FAILED and "no-python" in run.error
    with pytest.raises(CardiacSegError, match="no-python"):
        WorkerEngine(python=str(tmp_path / "no-python")).warm()


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], WorkerEngine]:
    """Workers whose engine does what its name says; they do not import torch."""
    (tmp_path / "sitecustomize.py").write_text(PRETENDERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda name: WorkerEngine(name, device="cpu")


PRETENDERS = """
import json, os, sys, time, types
from dataclasses import asdict

def load_engine(name, weights, device):
    from CardiacSegLib.cine import SlicePrediction
    from CardiacSegLib.errors import CardiacSegError
    import numpy as np

    class Pretender:
        device = types.SimpleNamespace(type="cpu")

        def segment(self, cine, annotation=None, *, start=None, previous=None):
            if name == "tells":
                raise CardiacSegError(json.dumps({
                    "frames": [str(cine.frames.dtype), cine.frames.shape, int(cine.frames.sum())],
                    "affine": cine.affine.tolist(), "times": cine.times.tolist(), "known": cine.times_known,
                    "modality": cine.modality, "name": cine.name, "patient": asdict(cine.patient),
                    "sources": cine.sources, "structures": [asdict(s) for s in annotation.structures],
                    "labels": int(annotation.labels.sum()), "status": annotation.status.tolist(), "start": start,
                }))
            yield SlicePrediction(0, 0, np.ones(cine.shape[2:], np.uint8))
            if name == "prints":
                print("a library prints", flush=True)
                os.write(1, b"and C does, too\\n")
            elif name == "fails":
                raise RuntimeError("CUDA error: device-side assert triggered\\nmore about it")
            elif name == "bursts":
                raise MemoryError
            elif name == "aborts":
                os.abort()
            elif name == "sleeps":
                time.sleep(60)
            yield SlicePrediction(0, 1, np.ones(cine.shape[2:], np.uint8))

    return Pretender()

sys.modules["CardiacSegLib.engines"] = types.SimpleNamespace(load_engine=load_engine)
sys.modules["torch"] = types.SimpleNamespace(get_num_threads=lambda: 2)
"""
Pretend = Callable[[str], WorkerEngine]


def test_all_that_an_engine_may_know_arrives_and_the_patient_stays_at_home(pretend: Pretend) -> None:
    frames = np.random.default_rng(0).integers(-9, 900, (3, 2, 5, 7)).astype(np.int16)[..., ::-1]
    affine = np.array([[1.1, 0.2, 0, -30.3], [0, 1 / 3, 0, 4], [0, 0, -8.5, 5], [0, 0, 0, 1]])
    cine = Cine(
        frames, affine, np.array([0, 33.1, 66.7]), "CT", False, Patient(180, 80, 60, "F"), (("1.2.3",) * 2,) * 3,
        ("odd",), "Ühr",
    )  # fmt: skip
    structures = (LV, dataclasses.replace(MYO, code=None), Structure(9, "my scar", (1, 0, 0.5)))
    masks = Segmentation(np.full(cine.shape, 9, np.uint8), np.full((3, 2), 3, np.uint8), affine, structures)
    worker = pretend("tells")
    run = worker.begin(cine, masks, start=(2, 1))
    follow(run)
    worker.close()
    assert json.loads(run.error) == json.loads(
        json.dumps(
            {
                "frames": ["int16", cine.shape, int(frames.sum())],
                "affine": affine.tolist(), "times": cine.times.tolist(), "known": False, "modality": "CT",
                "name": "Ühr", "patient": dataclasses.asdict(Patient()), "sources": (),
                "structures": [dataclasses.asdict(s) for s in structures], "labels": 9 * frames.size,
                "status": masks.status.tolist(), "start": (2, 1),
            }
        )
    )  # fmt: skip


def test_what_libraries_print_does_not_disturb_the_messages(pretend: Pretend, phantom: Phantom) -> None:
    worker = pretend("prints")
    assert len(list(worker.segment(phantom.cine, annotated(phantom)))) == 2
    worker.close()


@pytest.mark.parametrize(
    ("name", "what", "detail"),
    [
        ("fails", "(RuntimeError: CUDA error: device-side assert triggered);", "more about it"),
        ("bursts", "(MemoryError); what was found is kept, and the next run starts a new one once you have closed", ""),
        pytest.param("aborts", "(signal 6, Aborted);", "Fatal Python error: Aborted", marks=posix),
    ],
)
def test_an_engine_that_breaks_costs_only_what_was_not_found(
    pretend: Pretend, phantom: Phantom, name: str, what: str, detail: str
) -> None:
    worker = pretend(name)
    runs = []
    for _ in range(2):
        runs.append(worker.begin(phantom.cine, annotated(phantom)))
        assert len(follow(runs[-1])) == 1, "also in a second process"
        assert runs[-1].state is RunState.FAILED and not worker.alive
    assert what in runs[0].error and runs[0].error.count(". ") == 0 and runs[0].error.endswith(".")
    assert detail in runs[0].details and len(runs[0].details.splitlines()) <= 20


def test_cancelling_is_answered_while_a_batch_is_computed(pretend: Pretend, phantom: Phantom) -> None:
    worker = pretend("sleeps")
    run = worker.begin(phantom.cine, annotated(phantom))
    assert len(follow(run, enough=1)) == 1
    asked = time.monotonic()
    run.cancel()
    assert run.state is RunState.CANCELLED and time.monotonic() - asked < 0.5
    assert worker.alive
    worker.close()
    assert time.monotonic() - asked < 3, "closing does not wait for the batch"


@posix
def test_nobody_hears_of_a_process_that_was_killed_while_it_idled(pretend: Pretend, phantom: Phantom) -> None:
    worker = pretend("prints")
    for _ in range(2):
        assert len(list(worker.segment(phantom.cine, annotated(phantom)))) == 2
        os.kill(worker.pid, signal.SIGKILL)
        assert wait_for(lambda: not worker.alive)
    worker.close()


# Nothing left behind


@linux
def test_a_closed_worker_leaves_no_process_thread_or_open_file(pretend: Pretend, phantom: Phantom) -> None:
    def traces() -> tuple[str, int, int]:
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
        return children, threading.active_count(), len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = traces()
    for ending in ("closed", "forgotten", "closed in the middle"):
        worker = pretend("sleeps" if ending == "closed in the middle" else "prints")
        predictions = worker.segment(phantom.cine, annotated(phantom))
        first = list(itertools.islice(predictions, 1 if ending == "closed in the middle" else 2))
        assert first and worker.alive
        if ending != "forgotten":
            worker.close()
            assert not worker.alive and worker.pid == 0
        del worker, predictions
        gc.collect()
        assert traces() == before, ending


@linux
def test_a_launcher_between_the_two_is_no_obstacle(pretend: Pretend, phantom: Phantom, tmp_path: Path) -> None:
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    worker = WorkerEngine("sleeps", device="cpu", python=str(launcher))
    run = worker.begin(phantom.cine, annotated(phantom))
    assert len(follow(run, enough=1)) == 1
    pid = worker.pid
    worker.close()
    assert wait_for(lambda: ended(pid), 10), "ending the launcher alone would not end it"
    worker = WorkerEngine("aborts", device="cpu", python=str(launcher))
    run = worker.begin(phantom.cine, annotated(phantom))
    assert len(follow(run)) == 1
    assert run.state is RunState.FAILED and "ended unexpectedly with code" in run.error


def test_the_face_of_the_worker_costs_the_application_no_torch() -> None:
    code = "import sys, CardiacSegLib.worker; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


@linux
def test_no_room_for_shared_memory_is_a_sentence_and_not_a_crash(
    pretend: Pretend, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CardiacSegError, match="There is no room for 1125899907 MB of shared memory"):
        Block.create(1 << 50)
    worker = pretend("prints")
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        run = worker.begin(phantom.cine, annotated(phantom))
    assert run.state is RunState.FAILED and "close other programs" in run.error
    assert len(list(worker.segment(phantom.cine, annotated(phantom)))) == 2, "there is room again"
    worker.close()


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")
