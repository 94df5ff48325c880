"""The worker process: python -m CardiacSegLib.worker, started by WorkerEngine, spoken to through stdin and stdout."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time

from .messages import Hello, Message, encode
from .server import Inbox, Server, listen_in_background

PATIENCE = 10


def main() -> None:
    """Listen, serve, and leave without waiting for anybody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in a terminal is for the application
    faulthandler.enable()
    # messages go through a copy of stdout that nothing else knows; what libraries print goes to stderr
    out = os.dup(1)
    os.dup2(2, 1)

    def send(message: Message) -> None:
        line = memoryview(encode(message))
        try:
            while line:
                line = line[os.write(out, line) :]
        except OSError:  # the application is gone: the thread that listens takes the last blocks and ends the process
            time.sleep(PATIENCE)
            os._exit(1)

    inbox = Inbox(sys.stdin.buffer)
    listen_in_background(inbox)
    send(Hello(os.getpid()))
    Server(inbox, send).serve()
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
