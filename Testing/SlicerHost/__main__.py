"""`python -m SlicerHost`: the module CardiacSeg in a window, with its sample cine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Open the window and run until it is closed; returns the exit code."""
    from . import application

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C ends it; Qt's event loop would not hear Python's
    app = application.start()
    module = application.load_module(ROOT / "CardiacSeg" / "CardiacSeg.py")
    app._window.show()
    app._window._select(module.name)
    app.startupCompleted.emit()
    module.widgetRepresentation().self().ui.sampleButton.click()
    code = app.exec()
    module._destroy_panel()
    return code


if __name__ == "__main__":
    sys.exit(main())
