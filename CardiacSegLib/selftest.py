"""The scenarios of the module's self test: they work a panel by its buttons, in Slicer as in the host.

panel: a CardiacSegWidget. wait: called with a condition, lets the application work until it holds, or raises.
scene: the one that the panel works in. folder: for files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .choices import MEMORY
from .cine import SlicePrediction, Status
from .dependencies import REPORT, missing_packages
from .measures.study import measure_study
from .phantom import Phantom, beating_heart
from .temporary import private_folder

Wait = Callable[[Callable[[], Any]], None]
_PATIENCE = 120  # seconds


def run(panel: Any, scene: Any, process_events: Callable[[], None]) -> None:
    """All scenarios, each in an empty scene; raises AssertionError where something is not as it should be."""

    def wait(condition: Callable[[], Any]) -> None:
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            process_events()
            time.sleep(0.01)

    chosen = panel.memory()[0]
    scenarios = (
        segment_correct_and_measure, automatic_then_memory, cancel_and_undo, measure_and_report, save_and_load,
        close_during_a_run,
    )  # fmt: skip
    for scenario in scenarios:
        with private_folder() as folder:
            scene.Clear(False)
            panel._parameterNode.method = MEMORY
            panel._parameterNode.weights = chosen or str(random_weights(folder))
            try:
                scenario(panel, wait, scene, folder)
            finally:
                scene.Clear(False)
                panel.session.close()


def why_skipped(packages: Sequence[str]) -> str:
    """What the self test lacks, in one sentence; nothing where it can run. packages: those that are missing."""
    names = ", ".join(package.split(">=")[0] for package in packages)
    sentence = f"The self test was skipped: {names} is not installed; press Install what is missing."
    return sentence if packages else ""


def random_weights(folder: Path, network: str = "cstm") -> Path:
    """Weights of size small that find nonsense quickly, of the memory network or of the U-Net. Needs PyTorch."""
    import torch

    from .networks import cstm, unet
    from .weights import WeightsCard, save_weights

    torch.manual_seed(0)
    made = cstm.CSTM(cstm.SIZES["small"]) if network == "cstm" else unet.UNet(unet.SIZES["small"])
    card = WeightsCard("random", network, "small", ("none",), "MIT", "self test", 0)
    return save_weights(folder / f"random-{network}.safetensors", made, card)


def open_heart(panel: Any, wait: Wait) -> Phantom:
    """Open a small beating heart whose middle slice is annotated in frame 0, and show it."""
    heart = beating_heart(3, frames=6, slices=4, size=64, spacing=(2.8, 2.8, 14.0))
    panel.load(lambda: panel.logic.addCine(heart.cine))
    panel.goTo(0, 2)
    panel.session.study.set_slice(0, 2, heart.truth.labels[0, 2], Status.ANNOTATED)
    panel.showAll()
    wait(lambda: panel.ui.segmentButton.enabled)
    return heart


def segment_correct_and_measure(panel: Any, wait: Wait, scene: Any, folder: Path) -> None:
    """All slices are found, a correction is propagated and kept, and the numbers are shown."""
    heart = open_heart(panel, wait)
    panel.ui.segmentButton.click()
    wait(lambda: not panel.session.running)
    study = panel.session.study
    assert (study.status[1:] == Status.PREDICTED).all()
    assert (study.read().labels[0, 2] == heart.truth.labels[0, 2]).all()
    study.set_slice(3, 2, heart.truth.labels[3, 2], Status.CORRECTED)
    panel.showAll()
    wait(lambda: panel.ui.propagateButton.enabled)
    panel.ui.propagateButton.click()
    wait(lambda: not panel.session.running)
    assert study.status[3, 2] == Status.CORRECTED
    assert (study.read_frame(3)[2] == heart.truth.labels[3, 2]).all()
    wait(lambda: "EF" in panel.ui.efLabel.text)


def automatic_then_memory(panel: Any, wait: Wait, scene: Any, folder: Path) -> None:
    """An automatic method needs no annotation; a correction of its result changes its neighbours and nothing else."""
    heart = open_heart(panel, wait)
    study = panel.session.study
    panel._parameterNode.automaticWeights = str(random_weights(folder, "unet"))
    panel._parameterNode.method = "unet"
    wait(lambda: panel.ui.segmentButton.enabled)
    panel.ui.segmentButton.click()
    wait(lambda: not panel.session.running)
    assert (study.status[1:] == Status.PREDICTED).all()
    before = study.read().labels
    study.set_slice(3, 2, heart.truth.labels[3, 2], Status.CORRECTED)
    panel.showAll()
    wait(lambda: panel.ui.propagateButton.enabled)
    panel.ui.propagateButton.click()
    wait(lambda: not panel.session.running)
    changed = (study.read().labels != before).any(axis=(2, 3))
    assert not changed[[0, 1, 5]].any()
    assert (study.read_frame(3)[2] == heart.truth.labels[3, 2]).all()


def cancel_and_undo(panel: Any, wait: Wait, scene: Any, folder: Path) -> None:
    """Cancel keeps what was found; undo takes back the run."""
    open_heart(panel, wait)
    study = panel.session.study
    before = study.read()
    panel.ui.segmentButton.click()
    wait(lambda: (study.status == Status.PREDICTED).any())
    if panel.session.running:
        panel.ui.segmentButton.click()
    wait(lambda: not panel.session.running)
    assert (study.status == Status.PREDICTED).any()
    panel.ui.undoButton.click()
    after = study.read()
    assert (after.labels == before.labels).all()
    assert (after.status == before.status).all()


def measure_and_report(panel: Any, wait: Wait, scene: Any, folder: Path) -> None:
    """Bullseye and curve show the library's numbers and follow an edit; frames are accepted; the rest is exported."""
    heart = open_heart(panel, wait)
    study, results = panel.session.study, panel.results
    places = list(np.ndindex(*heart.truth.status.shape))
    study.apply(SlicePrediction(*place, heart.truth.labels[place]) for place in places)
    panel.showAll()
    wait(lambda: not results.busy and not results.measuring)
    expected = measure_study(study.read(), study.patient, study.cine.times).segments
    assert results.table == expected
    assert [field.value for field in results.bullseye.fields()] == [one.ed_mm for one in expected.segments[:16]]
    assert set(results.curve.drawn().lines) == {"LV", "RV"}
    panel.ui.segmentsCheckBox.click()
    panel.goTo(3, 2)
    panel.ui.segmentsCheckBox.click()
    panel.ui.insertionSpin.setValue(10)
    wait(lambda: results.table.insertion_from == "given")
    panel.ui.acceptFrameButton.click()
    assert (study.status[3] == Status.REVIEWED).all()
    panel.ui.folderEdit.setCurrentPath(str(folder / "export"))
    for box in (panel.ui.framesCheckBox, panel.ui.stlCheckBox):
        box.setChecked(True)
    wait(lambda: panel.ui.exportButton.enabled)
    panel.ui.exportButton.click()
    assert len(list((folder / "export").glob("*.seg.nrrd"))) == len(study.status)
    assert len(list((folder / "export").glob("*.stl"))) == 3 * len(study.status)
    if not missing_packages(REPORT):
        panel.output.writeReport(str(folder / "report"))
        data = json.loads((folder / "report" / "measures.json").read_text(encoding="utf-8"))
        assert data["segments"]["insertion_deg"] == 10
        assert data["masks"]["count"]["reviewed"] == len(study.status[0])


def save_and_load(panel: Any, wait: Wait, scene: Any, folder: Path) -> None:
    """A saved scene brings the study back with masks, status and the state of the runs."""
    open_heart(panel, wait)
    panel.ui.segmentButton.click()
    wait(lambda: not panel.session.running)
    study = panel.session.study
    labels, status = study.read().labels, study.status
    assert scene.WriteToMRB(str(folder / "study.mrb"))
    scene.Clear(False)
    assert panel.session.study is None
    assert scene.ReadFromMRB(str(folder / "study.mrb"))
    wait(lambda: panel.session.study is not None)
    again = panel.session.study
    assert (np.stack([again.read_frame(frame) for frame in range(6)]) == labels).all()
    assert (again.status == status).all()
    assert again.last_method == MEMORY


def close_during_a_run(panel: Any, wait: Wait, scene: Any, folder: Path) -> None:
    """Closing the scene ends a run and leaves an empty panel."""
    open_heart(panel, wait)
    panel.ui.segmentButton.click()
    assert panel.session.running
    scene.Clear(False)
    assert panel.session.study is None
    assert not panel.session.running
    assert not panel.ui.segmentButton.enabled
