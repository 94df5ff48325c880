"""Makes panel.png, overlay.png and results.png: the panel and the slice view with the sample, in the host for tests.

.venv/bin/python docs/images/make_panel_pictures.py

The annotation is the expert's at end-diastole; where weights are installed, all other slices are found from it. The
expert drew no RV, so the start of the segments is told: it is where the U-Net sees the RV's insertion.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SLICE, END_SYSTOLE = 5, 7
INSERTION = 312  # degrees
GAP = 8
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
    take_results(host, panel)
    host.end()


def take_results(host, panel) -> None:
    """The sections from Results on, with the slice and its segments."""
    from PIL import Image

    panel.ui.insertionSpin.value = INSERTION
    host.wait(lambda: not panel.results.busy and not panel.results.measuring, LONGEST_RUN)
    host.click(panel.ui.segmentsCheckBox)
    host.settle(1.0)
    results, *others = (host.picture(getattr(panel.ui, f"{name}Section")) for name in ("results", "report", "export"))
    width = results.shape[1]
    view = Image.fromarray(host.picture(host.slice_view()))
    left, side = (view.width - view.height) // 2, view.height
    view = view.crop((left, 0, left + side, side)).resize((width, width), Image.Resampling.LANCZOS)
    column = np.concatenate([*others, np.asarray(view)])
    picture = np.full((max(len(results), len(column)), 2 * width + GAP, 3), 255, np.uint8)
    picture[: len(results), :width] = results
    picture[: len(column), width + GAP :] = column
    Image.fromarray(picture).save(HERE / "results.png", optimize=True)


if __name__ == "__main__":
    main()
