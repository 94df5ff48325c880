"""The worker process: python -m CardiacSegLib.worker, started by WorkerEngine, spoken to through stdin and stdout."""

from __future__ import annotations

import faulthandler
import itertools
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable

from ..errors import CardiacSegError
from .messages import Failed, Hello, Message, encode, key_of
from .server import Inbox, Server, lines_of, listen_in_background

PATIENCE = 10


def main() -> None:
    """Listen, serve, and leave without waiting for anybody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in a terminal is for the application
    faulthandler.enable()
    # messages go through a copy of stdout that nothing else knows; what libraries print goes to stderr
    out = os.dup(1)
    os.dup2(2, 1)
    lines = lines_of(sys.stdin.buffer)
    first = next(lines, None)
    if first is None:  # the application has ended before it said anything
        os._exit(0)
    try:
        key = key_of(first)
    except CardiacSegError as error:
        sender(out, secrets.token_hex(16))(Failed(0, str(error), ends=True))
        os._exit(1)
    send = sender(out, key)
    inbox = Inbox(itertools.chain([first], lines), key, send)
    listen_in_background(inbox)
    try:
        send(Hello(os.getpid()))
        Server(inbox, send).serve()
    except BrokenPipeError:  # the application is gone: the thread that listens takes the last blocks and ends this
        time.sleep(PATIENCE)
    os._exit(1)


def sender(out: int, key: str) -> Callable[[Message], None]:
    """A function that writes messages, also for two threads at once; raises BrokenPipeError where nobody reads."""
    turn = threading.Lock()

    def send(message: Message) -> None:
        line = memoryview(encode(message, key))
        try:
            with turn:
                while line:
                    line = line[os.write(out, line) :]
        except OSError as error:  # Windows has other errors for that
            raise BrokenPipeError from error

    return send


if __name__ == "__main__":
    main()
