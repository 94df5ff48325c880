"""An engine that finds the truth at once, a few slices at every poll, in a process that does not exist."""

from __future__ import annotations

from enum import Enum

import numpy as np

from CardiacSegLib.cine import Segmentation, SlicePrediction

State = Enum("State", "RUNNING DONE CANCELLED FAILED")


class Engine:
    """Finds the truth, a frame at every poll, in a process that does not exist."""

    def __init__(self, truth: Segmentation) -> None:
        self.truth, self.runs, self.closed = truth, [], False
        self.alive, self.device_name = False, ""

    def warm(self) -> None:
        self.alive = True

    def begin(self, cine, annotation, *, start=None, previous=None) -> Run:
        self.alive, self.device_name = True, "two slow cores"
        self.runs.append(Run(self.truth, annotation, start, previous))
        return self.runs[-1]

    def close(self) -> None:
        self.closed = True


class Run:
    def __init__(self, truth, annotation, start, previous) -> None:
        self.annotation, self.start, self.previous = annotation, start, previous
        self.places = [tuple(map(int, place)) for place in np.argwhere(~annotation.fixed)]
        self.truth, self.total, self.found = truth, len(self.places), 0
        self.state, self.seconds_left, self.error = State.RUNNING, 3.0, ""

    def poll(self) -> list[SlicePrediction]:
        if self.state is not State.RUNNING:
            return []
        now, self.places = self.places[:4], self.places[4:]
        self.found += len(now)
        if not self.places:
            self.state = State.DONE
        return [SlicePrediction(*place, self.truth.labels[place], 0.9) for place in now]

    def cancel(self) -> None:
        self.state = State.CANCELLED
