"""How quickly the panel answers: first slice, cancel, correction, results, bullseye and stepping, in the host.

    python Testing/benchmarks/panel.py [--weights NAME] [--repeats 3] [--write]

Times are from the click until the application has nothing left to do. Where other programs want the processors too,
the time for which the panel or the worker waited for one is told by Linux and left out; both times are in the table.
Pictures are drawn by the processor, in the panel's own thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from CardiacSegLib.cine import Status
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.readers import read_annotation
from Testing.benchmarks.common import ROOT, table, write_section

SAMPLE = ROOT / "Resources" / "SampleData"
LONGEST = 900.0  # seconds that a run may take on a busy machine
FRAME, SLICE = 18, 5  # of the sample, annotated: end-diastole, mid-ventricular
INSERTION = 312  # degrees, where the U-Net sees the RV; the masks of the sample hold none


class Seconds(NamedTuple):
    """By the clock, and without waiting for a processor that other programs had."""

    clock: float
    own: float


class Clock:
    """Measures one answer of the application in laps; each lap is waited for by the panel or by the worker."""

    def __init__(self, pid: int = 0) -> None:
        """pid: of the worker, where it has a part in the answer."""
        self._tasks = [*Path("/proc/self/task").glob("*"), *(Path(f"/proc/{pid}/task").glob("*") if pid else ())]
        self.clock = self.own = 0.0
        self._began, self._waited = time.perf_counter(), self._waits()

    def lap(self) -> None:
        """End a lap. The longest wait of a single thread is left out: threads may have waited at the same time."""
        now, waited = time.perf_counter(), self._waits()
        seconds = now - self._began
        self.clock += seconds
        self.own += seconds - max((b - a for a, b in zip(self._waited, waited, strict=True)), default=0.0)
        self._began, self._waited = now, waited

    def seconds(self) -> Seconds:
        return Seconds(self.clock, self.own)

    def _waits(self) -> list[float]:
        """Seconds for which each thread was ready to run and had no processor; 0 where the system does not tell."""
        try:
            return [int((task / "schedstat").read_text().split()[1]) * 1e-9 for task in self._tasks]
        except (OSError, IndexError):
            return [0.0 for _ in self._tasks]


def best(measure: Callable[[], Seconds], repeats: int) -> Seconds:
    """The best of several, by its own time."""
    return min((measure() for _ in range(repeats)), key=lambda seconds: seconds.own)


def open_sample(host: Any, panel: Any) -> None:
    """Open the bundled cine with the expert's mask of one slice, show that slice, and wait for the warm worker."""
    panel.load(panel.logic.loadSample)
    study = panel.session.study
    expert = read_annotation(SAMPLE / "annotation.nii.gz", study.cine, FRAME)
    study.set_slice(FRAME, SLICE, expert.labels[FRAME, SLICE], Status.ANNOTATED)
    panel.goTo(FRAME, SLICE)
    host.wait(lambda: panel.ui.deviceFoundLabel.text, LONGEST)
    host.settle(0.5)


def until_found(host: Any, panel: Any, clicked: Any, wanted: set | None = None) -> Seconds:
    """From a click until the wanted slices, or any, were found and shown."""
    written: set = set()
    poll = panel.session.poll
    panel.session.poll = lambda: [written.add(place) or place for place in poll()]
    try:
        clock = Clock(panel.session._engine.pid)
        clicked.click()
        clock.lap()
        host.wait(lambda: wanted <= written if wanted else written, LONGEST)
        clock.lap()
    finally:
        panel.session.poll = poll
    return clock.seconds()


def first_slice(host: Any, panel: Any) -> Seconds:
    """From Segment to the first slice on the screen; then the run is taken back."""
    seconds = until_found(host, panel, panel.ui.segmentButton)
    if panel.session.running:
        panel.ui.segmentButton.click()
    host.wait(lambda: not panel.session.running, LONGEST)
    panel.ui.undoButton.click()
    host.settle(0.5)
    return seconds


def cancel(host: Any, panel: Any) -> Seconds:
    """From Cancel, in the middle of a run, until Segment can be pressed again."""
    panel.ui.segmentButton.click()
    host.wait(lambda: panel.session._run.found > 2, LONGEST)
    clock = Clock()
    panel.ui.segmentButton.click()
    host.wait(lambda: panel.ui.segmentButton.text == "Segment", LONGEST)
    clock.lap()
    panel.ui.undoButton.click()
    host.settle(0.5)
    return clock.seconds()


def correction(host: Any, panel: Any, frame: int, z: int) -> Seconds:
    """From Propagate, after a slice was corrected, until its neighbours in time are shown anew."""
    study = panel.session.study
    mask = study.read().labels[frame, z]
    study.set_slice(frame, z, np.where(np.roll(mask, 2, axis=1) > 0, np.roll(mask, 2, axis=1), mask), Status.CORRECTED)
    panel.goTo(frame, z)
    panel.showAll()
    host.settle(0.5)
    frames = len(study.status)
    beside = {((frame + step) % frames, z) for step in (-1, 1)}
    seconds = until_found(host, panel, panel.ui.propagateButton, {b for b in beside if not study.read().fixed[b]})
    if panel.session.running:
        panel.ui.segmentButton.click()
    host.wait(lambda: not panel.session.running, LONGEST)
    panel.ui.undoButton.click()
    study.set_slice(frame, z, mask, Status.PREDICTED)
    panel.showAll()
    host.settle(0.5)
    return seconds


def results(host: Any, panel: Any, frame: int, z: int) -> Seconds:
    """From an edit of the LV until the numbers in the panel are others."""
    study, before = panel.session.study, panel.ui.efLabel.text
    mask = study.read().labels[frame, z]
    larger = mask.copy()
    larger[mask == 0] = 1
    clock = Clock()
    study.set_slice(frame, z, larger, Status.CORRECTED)
    panel.onEdited()
    host.wait(lambda: panel.ui.efLabel.text != before, LONGEST)
    clock.lap()
    study.set_slice(frame, z, mask, Status.PREDICTED)
    panel.onEdited()
    host.wait(lambda: panel.ui.efLabel.text == before, LONGEST)
    return clock.seconds()


def bullseye(host: Any, panel: Any, frame: int, z: int, shift: int) -> tuple[Seconds, Seconds]:
    """From an edit of the wall until the bullseye shows it, and the longest that the panel stood still for it.

    shift: pixels by which the mask is moved; another each time, since a mask that is known is not measured again.
    """
    study, measured, session = panel.session.study, [], panel.session
    mask, before = study.read().labels[frame, z], panel.results.table
    clock, segments = Clock(), session.segments

    def timed(measures: Any) -> Iterator[Any]:
        steps = segments(measures)
        while True:
            step = Clock()
            table = next(steps)
            step.lap()
            measured.append(step.seconds())
            yield table

    session.segments = timed
    try:
        study.set_slice(frame, z, np.roll(mask, shift, axis=0), Status.CORRECTED)
        panel.onEdited()
        host.wait(lambda: panel.results.table is not before and not panel.results.measuring, LONGEST)
        clock.lap()
    finally:
        session.segments = segments
    study.set_slice(frame, z, mask, Status.PREDICTED)
    panel.onEdited()
    host.wait(lambda: not panel.results.busy and not panel.results.measuring, LONGEST)
    return clock.seconds(), max(measured, key=lambda seconds: seconds.own)


def open_large(host: Any, panel: Any) -> None:
    """Open a cine of 512 x 512 pixels with masks in all frames, in a view of that size."""
    heart = beating_heart(1, frames=10, slices=3, size=512, spacing=(0.5, 0.5, 10.0))
    panel.load(lambda: panel.logic.addCine(heart.cine))
    for frame in range(10):
        panel.session.study.set_slice(frame, 1, heart.truth.labels[frame, 1], Status.ANNOTATED)
    panel.goTo(0, 1)
    view = host.slice_view()
    host.window.resize(host.window.width + 512 - view.width, host.window.height + 512 - view.height)
    host.settle(0.5)


def step(host: Any, panel: Any) -> Seconds:
    """One of 40 steps through the frames, drawn with its masks; nothing waits in it, so its own time is CPU time."""
    study, pictures = panel.session.study, set()
    began, used = time.perf_counter(), time.process_time()
    for number in range(40):
        study.frame = (number + 1) % 10
        host.app.processEvents()
        pictures.add(host.slice_view()._pixels.tobytes()[::97])
    seconds = Seconds((time.perf_counter() - began) / 40, (time.process_time() - used) / 40)
    assert len(pictures) == 10, "not every frame was drawn"
    return seconds


BARS = {
    "click to the first new slice on the screen, warm worker": 1.0,
    "cancel": 0.5,
    "correction to the neighbours on the screen": 1.0,
    "an edit to the numbers and the curve": 1.0,
    "an edit to the bullseye, which waits 0.9 s for a pause": 2.0,
    "the longest standstill while the walls are measured": 0.05,
    "one step through the frames with masks, 512 x 512": 0.05,
}


def measure_all(host: Any, panel: Any, repeats: int) -> Iterator[Seconds]:
    """The best of several for each of BARS, in their order."""
    open_sample(host, panel)
    yield best(lambda: first_slice(host, panel), repeats)
    yield best(lambda: cancel(host, panel), repeats)
    panel.ui.segmentButton.click()
    host.wait(lambda: not panel.session.running, LONGEST)
    host.settle(1.0)
    yield best(lambda: correction(host, panel, 7, SLICE), repeats)
    yield best(lambda: results(host, panel, 7, SLICE), repeats)
    panel.ui.insertionSpin.value = INSERTION
    ed = panel.session.results().measures.ed_frame
    followed = [bullseye(host, panel, ed, SLICE, number + 1) for number in range(repeats)]
    yield from (min(column, key=lambda seconds: seconds.own) for column in zip(*followed, strict=True))
    open_large(host, panel)
    yield best(lambda: step(host, panel), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="cstm-small")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write docs/results.md")
    arguments = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path.insert(0, str(ROOT / "Testing"))
    from SlicerHost.testing import Host

    host = Host()
    panel = host.load(ROOT / "CardiacSeg" / "CardiacSeg.py")
    panel._parameterNode.weights = arguments.weights
    rows = []
    for (what, bar), seconds in zip(BARS.items(), measure_all(host, panel, arguments.repeats), strict=True):
        rows.append([what, *(f"{1000 * number:.0f}" for number in (bar, seconds.own, seconds.clock))])
        print(*rows[-1], sep=", ", file=sys.stderr)
    text = table(("ms", "at most", "measured", "with waiting for other programs"), rows)
    text += f"\n\n{os.cpu_count()} cores, {panel.ui.deviceFoundLabel.text or 'CPU'}; load {os.getloadavg()[0]:.1f}."
    print(text)
    if arguments.write:
        write_section(ROOT / "docs" / "results.md", "panel", text)
    host.end()


if __name__ == "__main__":
    main()
