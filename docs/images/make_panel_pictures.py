"""Makes panel.png and overlay.png: the panel and the slice view with the sample, in the host that stands in for Slicer.

.venv/bin/python docs/images/make_panel_pictures.py

The annotation is the expert's at end-diastole; where weights are installed, all other slices are found from it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SLICE, END_SYSTOLE = 5, 7
LONGEST_RUN = 900.0  # seconds, on a busy processor


def main() -> None:
    """Open the sample, segment it if that is possible, and take the pictures."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]
    from SlicerHost.testing import Host

    from CardiacSegLib import weights

    host = Host()
    panel = host.load(ROOT / "CardiacSeg" / "CardiacSeg.py")
    host.window.resize(1500, 1000)
    panel.load(lambda: panel.logic.loadSample(annotated=True))
    host.settle(0.5)
    if weights.installed():
        host.click(panel.ui.segmentButton)
        host.wait(lambda: panel.session.running, LONGEST_RUN)
        host.wait(lambda: not panel.session.running, LONGEST_RUN)
    panel.goTo(END_SYSTOLE if weights.installed() else 18, SLICE)
    host.settle(1.0)
    host.picture(path=HERE / "panel.png")
    host.picture(host.slice_view(), HERE / "overlay.png")
    host.end()


if __name__ == "__main__":
    main()
