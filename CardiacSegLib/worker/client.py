"""The face of the worker: an engine whose work is done in a process of its own."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path

from ..cine import Cine, Segmentation, SlicePrediction
from ..errors import CardiacSegError
from .messages import (
    NEXT,
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
    Run,
    Started,
)
from .process import WorkerProcess

PATIENCE = 0.1
"""Seconds for which the blocking iterator waits at once, so that Ctrl+C is answered."""
SILENCE, SILENCE_AT_START = 20.0, 120.0
"""Seconds without an answer after which a process counts as stopped; importing PyTorch may stop every thread long."""


class RunState(Enum):
    """Where a run stands; the last three are final."""

    STARTING = "starting"
    LOADING = "loading"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


FINISHED = (RunState.DONE, RunState.CANCELLED, RunState.FAILED)


class WorkerRun:
    """One segmentation in the worker, followed by asking: from a timer of an event loop, in the thread that began it.

    state: a RunState. total: slices that will be found, None while unknown. found: slices that have arrived. error: one
    sentence when the run has FAILED, with the last lines of the worker's stderr in details.
    """

    def __init__(self, engine: WorkerEngine, number: int, shape: tuple[int, int, int, int]) -> None:
        self.state = RunState.STARTING
        self.total: int | None = None
        self.found = 0
        self.error = ""
        self.details = ""
        self._engine, self.number, self._shape = engine, number, shape
        self._arrived: list[SlicePrediction] = []
        self._began = self._last = 0.0

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.state in FINISHED

    @property
    def seconds_left(self) -> float | None:
        """Time left by the pace of the slices found so far; None while there is no pace or no total."""
        if self.state is not RunState.RUNNING or not self.found or self.total is None:
            return None
        pace = (self._last - self._began) / self.found
        return max(0.0, (self.total - self.found) * pace - (time.monotonic() - self._last))

    def poll(self) -> list[SlicePrediction]:
        """The slices that have arrived since the last call; never waits."""
        self._engine.receive()
        arrived, self._arrived = self._arrived, []
        return arrived

    def cancel(self) -> None:
        """Stop; the state is CANCELLED at once, what had arrived can still be polled, and the process stays warm."""
        if not self.finished:
            self._engine.receive()
        if not self.finished:
            self.state = RunState.CANCELLED
            self._engine.stop(self.number)

    def hear(self, message: Message) -> None:
        """Take in what the worker said about this run. Raises CardiacSegError for what cannot be."""
        if isinstance(message, Started):
            self.state, self.total = RunState.RUNNING, message.total
            self._began = self._last = time.monotonic()
        elif isinstance(message, Found):
            self._arrived.append(message.prediction(self._shape))
            self._last = time.monotonic()
            self.found += 1
        elif isinstance(message, Done):
            self.state = RunState.DONE
        elif isinstance(message, Failed):
            self.fail(message.error)

    def fail(self, error: str, details: str = "") -> None:
        """It has gone wrong; what had arrived can still be polled."""
        self.state, self.error, self.details = RunState.FAILED, error, details


class WorkerEngine:
    """An engine in a process of its own, which starts when it is needed and lives on between runs.

    The network is loaded once. A cine travels once, as long as the same array is given; masks travel with every run.
    One run at a time: a new one cancels the one before. If the process dies, the run has FAILED and the next run starts
    a new process. The process ends with close(), and when the application ends in whatever way. For one thread only.
    """

    def __init__(
        self,
        name: str = "cstm",
        weights: str | Path | None = None,
        device: str = "auto",
        python: str | None = None,
    ) -> None:
        """name, weights, device: as load_engine takes them; python: the executable, by default the one that runs."""
        self.name = name
        if str(weights).endswith(".safetensors"):
            weights = Path(weights).absolute()  # the process has another working folder
        self._load = Load(name, None if weights is None else str(weights), device)
        self._python = python or sys.executable
        self._process: WorkerProcess | None = None
        self._run: WorkerRun | None = None
        self._runs = 0
        self._frames = lambda: None
        self._device_name = ""

    @property
    def device_name(self) -> str:
        """What the network computes on, in words; empty until it is loaded."""
        self.receive()
        return self._device_name

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int:
        """The number of its process, 0 where there is none or it has not answered yet."""
        return self._process.pid if self.alive else 0

    def warm(self) -> None:
        """Start the process and load the network in advance, without waiting for it.

        Raises CardiacSegError where the executable cannot be started.
        """
        self.receive()
        if not self.alive:
            self._start()

    def close(self) -> None:
        """End the process; a run that has not finished is cancelled."""
        if self._run is not None:
            self._run.cancel()
        self._drop()

    def segment(
        self,
        cine: Cine,
        annotation: Segmentation | None = None,
        *,
        start: tuple[int, int] | None = None,
        previous: Segmentation | None = None,
    ) -> Iterator[SlicePrediction]:
        """Yield what the engine in process would yield, waiting for each slice; closing the iterator cancels.

        Raises CardiacSegError where the engine would, and when the process dies.
        """
        run = self.begin(cine, annotation, start=start, previous=previous)
        try:
            while True:
                yield from run.poll()
                if run.finished:
                    break
                self._process.wait(PATIENCE)
        finally:
            run.cancel()
        if run.state is RunState.FAILED:
            raise CardiacSegError(run.error)

    def begin(
        self,
        cine: Cine,
        annotation: Segmentation | None = None,
        *,
        start: tuple[int, int] | None = None,
        previous: Segmentation | None = None,
    ) -> WorkerRun:
        """Begin to segment and return at once, after the copy into shared memory; arguments as of the engine.

        A run that could not begin has FAILED; nothing is raised.
        """
        if self._run is not None:
            self._run.cancel()
        self.receive()
        self._runs += 1
        run = self._run = WorkerRun(self, self._runs, cine.shape)
        try:
            if not self.alive:
                self._start()
            elif self._process.pid:
                run.state = RunState.RUNNING if self._device_name else RunState.LOADING
            self._process.send(self._request(run, cine, annotation, previous, start))
        except CardiacSegError as error:
            run.fail(str(error))
        except OSError:  # it died between our last look and now
            self._lose()
        return run

    def _start(self) -> None:
        """A new process, which begins to load."""
        self._drop()
        self._process = WorkerProcess(self._python)
        with suppress(OSError):  # if it has died already, we shall see that when we look
            self._process.send(self._load)

    def _request(
        self,
        run: WorkerRun,
        cine: Cine,
        annotation: Segmentation | None,
        previous: Segmentation | None,
        start: tuple[int, int] | None,
    ) -> Run:
        """The message that begins a run, its arrays in shared memory."""
        known = self._frames() is cine.frames
        arrays = self._process.share("cine", (cine.frames, cine.affine, cine.times), skip=int(known))
        self._frames = weakref.ref(cine.frames)
        shared = CineRef(*arrays, cine.modality, cine.times_known, cine.name)
        masks = [self._masks("annotation", annotation), self._masks("previous", previous)]
        return Run(run.number, shared, *masks, None if start is None else tuple(start))

    def _masks(self, role: str, masks: Segmentation | None) -> MasksRef | None:
        """The masks in shared memory."""
        if masks is None:
            return None
        return MasksRef(*self._process.share(role, (masks.labels, masks.status, masks.affine)), masks.structures)

    def stop(self, number: int) -> None:
        """Tell the worker that a run is not wanted any more."""
        if self.alive:
            try:
                self._process.send(Cancel(number))
            except OSError:
                self._lose()

    def receive(self) -> None:
        """Take in what has arrived from the worker; never waits."""
        if self._process is None:
            return
        alive = self._process.alive  # asked first: what a process wrote before it died is read below
        try:
            for message in self._process.receive():
                self._hear(message)
        except CardiacSegError as error:  # a message that is not understood
            self._fail(str(error))
            self._drop()
        if self._process is not None and not alive:
            self._lose()
        elif self._process is not None and self._process.silence > self._patience:
            self._fail(f"The process that computes has not answered for {self._patience:.0f} s; {NEXT}.")
            self._drop()

    @property
    def _patience(self) -> float:
        return SILENCE if self._device_name else SILENCE_AT_START

    def _hear(self, message: Message) -> None:
        """Take in one message."""
        run = self._run if self._run is not None and not self._run.finished else None
        if isinstance(message, Hello) and run is not None:
            run.state = RunState.LOADING
        elif isinstance(message, Loaded):
            self._device_name = message.device
        elif isinstance(message, Failed) and message.ends:
            self._fail(message.error)
            self._drop()
        elif run is not None and message.run == run.number:
            run.hear(message)

    def _lose(self) -> None:
        """The process has died: say so, and forget it."""
        process = self._process
        self._fail(f"The process that computes {process.death()}; {NEXT}.")
        self._drop()

    def _fail(self, error: str) -> None:
        """What the worker was doing has failed."""
        if self._run is not None and not self._run.finished:
            self._run.fail(error, self._process.details)

    def _drop(self) -> None:
        """End the process and forget what it knew."""
        if self._process is not None:
            self._process.end()
        self._process = None
        self._frames = lambda: None
        self._device_name = ""
