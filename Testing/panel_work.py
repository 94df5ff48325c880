"""What the tests of the panel share: random weights, a small heart, one warm worker, and hands that work the panel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from CardiacSegLib.cine import Status
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.selftest import random_weights
from CardiacSegLib.worker import WorkerEngine
from CardiacSegLib.writers.images import write_cine

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "CardiacSeg" / "CardiacSeg.py"
LV, MYO, RV = "CardiacSeg_1", "CardiacSeg_2", "CardiacSeg_3"
RUN = 120  # seconds that a run may take on a busy machine


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, always the same: what they find is nonsense, found quickly."""
    return random_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def heart() -> Phantom:
    """Six frames, four slices, 64 x 64 pixels, with its true masks."""
    return beating_heart(3, frames=6, slices=4, size=64, spacing=(2.8, 2.8, 14.0))


@pytest.fixture(scope="session")
def cine_file(heart: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cine") / "heart.seq.nrrd"
    write_cine(heart.cine, path)
    return path


@contextmanager
def warm_worker(name: str, weights: Path) -> Iterator[WorkerEngine]:
    """A worker for many tests, since to start one takes seconds; it computes with one thread, and no panel ends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        engine = WorkerEngine(name, weights, "cpu")
        engine.warm()
        while not engine.device_name:
            time.sleep(0.05)
        close, engine.close = engine.close, lambda: None
        yield engine
        close()


@pytest.fixture(scope="module")
def worker(weights: Path) -> Iterator[WorkerEngine]:
    """The warm worker of the memory network."""
    with warm_worker("cstm", weights) as engine:
        yield engine


@pytest.fixture
def panel(worker: WorkerEngine, host, weights: Path) -> Any:
    """The panel in an empty scene, with the worker of all tests."""
    panel = load(host, weights)
    panel.session._engine_for = lambda *choice: worker
    return panel


def load(host, weights: Path) -> Any:
    """The panel with a worker of its own."""
    panel = host.load(MODULE)
    panel.ui.deviceCombo.setCurrentIndex(1)
    panel._parameterNode.weights = str(weights)
    host.settle()
    return panel


@pytest.fixture
def open_panel(host, panel, cine_file: Path) -> Any:
    """The panel with the small heart, of which the middle slice of frame 0 is in view."""
    panel.load(lambda: panel.logic.loadCine(str(cine_file)))
    host.settle()
    return panel


def ras(panel: Any, x: float, y: float, z: int) -> tuple[float, float, float]:
    """Where a pixel of a slice lies in mm, as the views count."""
    lps = panel.session.study.cine.affine @ [x, y, z, 1]
    return -lps[0], -lps[1], lps[2]


def draw(host, panel: Any, segment: str, center: tuple[float, float], radius: float) -> None:
    """Draw a disc with the Segment Editor's Draw or Paint effect and the mouse."""
    z = panel.place()[1]
    panel.editor.setCurrentSegmentID(segment)
    panel.editor.setActiveEffectByName("Draw")
    angles = np.linspace(0, 2 * np.pi, 24)
    outline = [(center[0] + radius * np.cos(a), center[1] + radius * np.sin(a)) for a in angles]
    host.drag([ras(panel, x, y, z) for x, y in outline])
    host.key("Return", host.slice_view())
    panel.editor.setActiveEffect(None)
    calm(host, panel)


def annotate(host, panel: Any, heart: Phantom, frame: int = 0, z: int = 2) -> None:
    """Put the true masks into one slice as a person would."""
    panel.goTo(frame, z)
    panel.session.study.set_slice(frame, z, heart.truth.labels[frame, z], Status.ANNOTATED)
    panel.onEdited()
    calm(host, panel)


def calm(host, panel: Any) -> None:
    """Wait until the numbers have followed the last edit."""
    host.settle(0.05)
    host.wait(lambda: not panel.results.busy, RUN)
    host.settle()


def segment(host, panel: Any) -> None:
    """Press Segment and wait until all is found."""
    host.click(panel.ui.segmentButton)
    host.wait(lambda: not panel.session.running, RUN)
    calm(host, panel)


def labels(panel: Any) -> np.ndarray:
    """(T, Z, Y, X) as it stands in the scene."""
    study = panel.session.study
    return np.stack([study.read_frame(frame) for frame in range(study.cine.shape[0])])
