"""The worker's process as the application holds it: started, written to, read without ever waiting, ended.

No thread reads for the application: in Slicer Python threads stand still while the event loop idles in C++.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import CardiacSegError
from ..threads import wait_briefly
from .messages import FROM_WORKER, MAX_LINE, ArrayRef, Hello, Message, Ping, Pong, Release, Share, decode, encode
from .shared import Block, layout, sweep, unlink

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 1 << 20
BEAT = 1.0
"""Seconds between two questions whether the worker lives."""
LINES_KEPT, LINE_KEPT = 20, 2000


class WorkerProcess:
    """A running `python -m CardiacSegLib.worker` with its pipes and the blocks of memory that it shares."""

    def __init__(self, python: str) -> None:
        """Start it, a group of processes of its own; raises CardiacSegError where the executable cannot be started."""
        sweep()
        environment = dict(os.environ)
        wait_briefly(environment)
        # found both where the working folder is on Python's path and where that was switched off
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        try:
            self._popen = subprocess.Popen(
                [python, "-m", "CardiacSegLib.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                cwd=ROOT, env=environment, start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except OSError as error:
            raise CardiacSegError(
                f"Python could not be started as {python} ({error.strerror or error}); "
                "choose another executable or install the application again."
            ) from error
        self.pid, self.silence = 0, 0.0
        self._key = secrets.token_hex(16)
        self._asked_at = self._seen_at = time.monotonic()
        self._answered = True
        self._out, self._errors = PipeReader(self._popen.stdout), PipeReader(self._popen.stderr)
        self._last_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._blocks: dict[str, tuple[Block, int]] = {}
        self._names: set[str] = set()
        # also when it is forgotten, and when the application ends without closing it
        self._end = weakref.finalize(self, end_process, self._popen, self._names)

    @property
    def alive(self) -> bool:
        """Whether it was not ended and its pipe is open."""
        return self._end.alive and not self._out.ended and self._popen.poll() is None

    @property
    def details(self) -> str:
        """The last lines that it wrote to its stderr."""
        return "\n".join(self._last_lines)

    def end(self) -> None:
        """End it now; what it found and was not received is lost."""
        self._end()

    def send(self, message: Message) -> None:
        """Write a message. Raises BrokenPipeError (an OSError) where nobody reads any more."""
        line = memoryview(encode(message, self._key))
        while line:
            line = line[self._popen.stdin.write(line) :]

    def share(self, role: str, arrays: Sequence[np.ndarray], skip: int = 0) -> list[ArrayRef]:
        """Copy arrays into the role's block of shared memory, a new one where the size changed; returns their places.

        skip: so many arrays at the beginning lie there already, if the block is still the same.
        """
        size = layout("", arrays)[1]
        block, old_size = self._blocks.get(role, (None, 0))
        if size != old_size:
            if block is not None:
                self._release(role)
            block, skip = Block.create(size), 0
            self._names.add(block.name)
            self._blocks[role] = block, size
            # the worker maps and unlinks it while we copy: whoever is killed from now on, nothing is left
            self.send(Share(block.name, size))
        refs, _ = layout(block.name, arrays)
        for ref, array in list(zip(refs, arrays, strict=True))[skip:]:
            np.copyto(block.array(ref), array)
        return refs

    def _release(self, role: str) -> None:
        """Give up the block of a role on both sides."""
        block, _ = self._blocks.pop(role)
        unlink(block.name)
        self._names.discard(block.name)
        self.send(Release(block.name))

    def receive(self) -> Iterator[Message]:
        """The messages that have arrived; never waits. Raises CardiacSegError for one that is not understood."""
        lines = self._out.lines()
        errors = (line[:LINE_KEPT].decode("utf-8", "replace").rstrip() for line in self._errors.lines())
        self._last_lines.extend(errors)
        self._listen(bool(lines))
        for line in lines:
            message = decode(line, FROM_WORKER, self._key)
            if isinstance(message, Pong):
                self._answered = True
                continue
            if isinstance(message, Hello):
                self.pid = message.pid
            yield message

    def _listen(self, heard: bool) -> None:
        """Count the seconds of silence; only while we look, since an application that sleeps hears nothing."""
        now = time.monotonic()
        self.silence = 0.0 if heard else self.silence + min(now - self._seen_at, BEAT)
        self._seen_at = now
        if self._answered and self.pid and now - self._asked_at > BEAT:
            self._answered, self._asked_at = False, now
            with suppress(OSError):  # that it has died is seen elsewhere
                self.send(Ping())

    def wait(self, seconds: float) -> None:
        """Until something arrives, at most so long."""
        if os.name == "nt":  # pipes cannot be waited for together there
            time.sleep(min(seconds, 0.02))
            return
        with selectors.DefaultSelector() as selector:
            for pipe in (self._out, self._errors):
                if not pipe.ended:
                    selector.register(pipe.descriptor, selectors.EVENT_READ)
            selector.select(seconds)

    def death(self) -> str:
        """How it ended, to go on after "The process that computes"; ask when its pipe has ended."""
        try:
            code = self._popen.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            return "was lost"
        if code >= 0:
            last = f" ({self._last_lines[-1]})" if self._last_lines else ""
            return f"ended unexpectedly with code {code}{last}"
        if code == -signal.SIGKILL:
            return "was ended by the system (SIGKILL, often because memory ran out)"
        return f"was ended by the system (signal {-code}, {signal.strsignal(-code)})"


class PipeReader:
    """Lines from a pipe, as far as they have arrived; what is longer than a message is handed out unfinished."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.descriptor = pipe.fileno()
        self.ended = False
        self._rest = b""
        if os.name != "nt":
            os.set_blocking(self.descriptor, False)

    def lines(self) -> list[bytes]:
        """The complete lines; the rest waits for the next call. Sets `ended` when the other side has closed."""
        parts, size = [self._rest], len(self._rest)
        while not self.ended and size <= MAX_LINE and (part := self._available()):
            parts.append(part)
            size += len(part)
        *lines, self._rest = b"".join(parts).split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines, self._rest = [*lines, self._rest], b""
        return lines

    def _available(self) -> bytes:
        """What can be read without waiting, or nothing."""
        try:
            size = _available_on_windows(self.descriptor) if os.name == "nt" else CHUNK
            part = os.read(self.descriptor, size) if size else b""
            self.ended = bool(size) and not part
            return part
        except BlockingIOError:
            return b""
        except OSError:  # Windows reports a closed pipe as an error
            self.ended = True
            return b""


def _available_on_windows(descriptor: int) -> int:
    """Bytes that wait in a pipe; Windows cannot read pipes of subprocess without waiting. OSError if it is closed."""
    import _winapi
    import msvcrt

    return _winapi.PeekNamedPipe(msvcrt.get_osfhandle(descriptor), 0)[0]


def end_process(popen: subprocess.Popen, names: Collection[str]) -> None:
    """End the process, its launcher if it has one, its pipes, and the names of its memory."""
    with suppress(OSError):
        popen.stdin.close()  # the worker ends when it reads this; killing a launcher would not end it
    if popen.poll() is None:
        if hasattr(os, "killpg"):  # its group, since behind a launcher it may be stopped and not read
            with suppress(OSError):
                os.killpg(popen.pid, signal.SIGKILL)
        popen.kill()
        with suppress(subprocess.TimeoutExpired):
            popen.wait(timeout=2)
    popen.stdout.close()
    popen.stderr.close()
    for name in names:
        unlink(name)
