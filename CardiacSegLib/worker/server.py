"""The worker's side: a thread that listens, also while the network computes, and the loop that computes."""

from __future__ import annotations

import operator
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO

import numpy as np

from ..cine import Cine, Engine, Segmentation
from ..errors import CardiacSegError
from .messages import (
    MAX_LINE,
    MISMATCH,
    NEXT,
    TO_WORKER,
    ArrayRef,
    Cancel,
    CineRef,
    Done,
    Failed,
    Found,
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
)
from .shared import Block, unlink

Send = Callable[[Message], None]


class Inbox:
    """What the application has said; it is read at once, so that a cancel and the end are never missed.

    jobs: what is to be loaded and run, in its order, or the error of a message that was not understood. cancelled: runs
    up to this number are not wanted any more.
    """

    def __init__(self, lines: Iterable[bytes], key: str, send: Send) -> None:
        """lines: what the application says, as it says it; key: what every message must hold; send: for answers."""
        self.jobs: queue.Queue[Load | Job | CardiacSegError] = queue.Queue()
        self.cancelled = 0
        self._lines, self._key, self._send = lines, key, send
        self._blocks: dict[str, Block] = {}

    def listen(self) -> None:
        """Read until the application closes the pipe or dies, then end this process, whatever it is computing."""
        try:
            for line in self._lines:
                self._take(decode(line, TO_WORKER, self._key))
        except CardiacSegError as error:
            self.jobs.put(error)
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        else:
            os._exit(0)

    def _take(self, message: Message) -> None:
        """Do what can be done at once, put the rest into the queue."""
        if isinstance(message, Share):
            self._blocks[message.block] = Block.attach(message.block, message.size)
            unlink(message.block)  # from here on nothing is left behind, whoever is killed
        elif isinstance(message, Release):
            self._blocks.pop(message.block, None)
        elif isinstance(message, Cancel):
            self.cancelled = max(self.cancelled, message.run)
        elif isinstance(message, Ping):
            with suppress(BrokenPipeError):  # nobody reads any more: the end of the pipe comes next
                self._send(Pong())
        elif isinstance(message, Run):
            self.jobs.put(Job(message, self._blocks))
        else:
            self.jobs.put(message)


class Job:
    """A run and its arrays, which are mapped when it is asked for and its blocks are surely there."""

    def __init__(self, message: Run, blocks: dict[str, Block]) -> None:
        self.run, self.start, self._cine = message.run, message.start, message.cine
        self._arrays = [self._map(ref, blocks) for ref in (message.cine, message.annotation, message.previous)]
        self._structures = [ref.structures if ref else () for ref in (message.annotation, message.previous)]

    @staticmethod
    def _map(refs: CineRef | MasksRef | None, blocks: dict[str, Block]) -> list[np.ndarray]:
        """The arrays of a cine or of masks, in the order of their fields."""
        places = [ref for ref in vars(refs).values() if isinstance(ref, ArrayRef)] if refs else []
        for place in places:
            if place.block not in blocks:
                raise CardiacSegError(f"An array lies in {place.block!r:.40}, which was not shared; {MISMATCH}.")
        return [blocks[place.block].array(place) for place in places]

    def cine(self) -> Cine:
        """The cine in shared memory."""
        ref = self._cine
        return Cine(*self._arrays[0], modality=ref.modality, times_known=ref.times_known, name=ref.name)

    def annotation(self) -> Segmentation | None:
        """The masks in shared memory."""
        return Segmentation(*self._arrays[1], self._structures[0]) if self._arrays[1] else None

    def previous(self) -> Segmentation | None:
        """The masks of the run before."""
        return Segmentation(*self._arrays[2], self._structures[1]) if self._arrays[2] else None


class Server:
    """Loads the engine once and runs what is asked, one run after the other."""

    def __init__(self, inbox: Inbox, send: Send) -> None:
        self._inbox, self._send = inbox, send
        self._engine: Engine | None = None

    def serve(self) -> None:
        """Work until something happens after which this process had better end; BrokenPipeError if nobody reads."""
        run = 0
        try:
            while True:
                job = self._inbox.jobs.get()
                if isinstance(job, CardiacSegError):
                    raise job
                if isinstance(job, Load):
                    self._load(job)
                else:
                    run = job.run
                    self._segment(job)
                    run = 0
        except CardiacSegError as error:
            self._send(Failed(run, str(error), ends=True))
        except BrokenPipeError:
            raise
        except Exception as error:  # memory is full, CUDA has failed: nothing in this process can be trusted any more
            traceback.print_exc()
            sys.stderr.flush()
            self._send(Failed(run, sentence(error), ends=True))

    def _load(self, message: Load) -> None:
        from ..engines import load_engine  # torch takes seconds to import; the pipe is being read by now

        self._engine = load_engine(message.name, message.weights, message.device)
        self._send(Loaded(device_in_words(self._engine.device.type)))

    def _segment(self, job: Job) -> None:
        """One run; an error that the user can mend ends the run only."""
        if self._inbox.cancelled >= job.run:
            return
        try:
            annotation, previous = job.annotation(), job.previous()
            found = self._engine.segment(job.cine(), annotation, start=job.start, previous=previous)
            self._send(Started(job.run, how_many(found, annotation, previous)))
            for prediction in found:
                if self._inbox.cancelled >= job.run:
                    return
                self._send(Found.of(job.run, prediction))
            self._send(Done(job.run))
        except CardiacSegError as error:
            self._send(Failed(job.run, str(error), ends=False))


def how_many(found: object, annotation: Segmentation | None, previous: Segmentation | None) -> int | None:
    """The slices that a run will find: what its iterator says, else all that are not fixed if it finds them anew."""
    everything = -1
    if annotation is not None and previous is None:
        everything = int((~annotation.fixed).sum())
    hint = operator.length_hint(found, everything)
    return hint if hint >= 0 else None


def device_in_words(kind: str) -> str:
    """The device as a user knows it."""
    import torch

    if kind == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def sentence(error: Exception) -> str:
    """What an unforeseen error means for the user."""
    first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    first_do = ""
    if isinstance(error, MemoryError) or "memory" in first.lower():
        first_do = " once you have closed other programs or chosen another device"
    return f"The process that computes stopped ({what}); {NEXT}{first_do}."


def lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream; of one that is longer than any message only the beginning is read, and refused."""
    return iter(lambda: stream.readline(MAX_LINE + 1), b"")


def listen_in_background(inbox: Inbox) -> None:
    """Start the thread that listens; it ends with the process."""
    threading.Thread(target=inbox.listen, name="listen", daemon=True).start()
