"""Writes the scene that the tests of older versions read: python Testing/scenes/make_scene.py FILE.mrb.

version1.mrb was written like this by revision 79e9908, before scenes told their version.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]

import numpy as np  # noqa: E402
from mrml_scene import real_scene  # noqa: E402

from CardiacSegLib import mrml  # noqa: E402
from CardiacSegLib.cine import SlicePrediction, Status  # noqa: E402
from CardiacSegLib.phantom import Phantom, beating_heart  # noqa: E402


def small_heart() -> Phantom:
    """The heart in the stored scenes."""
    return beating_heart(3, frames=3, slices=3, size=32, spacing=(5.6, 5.6, 18.0))


def stored_masks(heart: Phantom) -> tuple[np.ndarray, np.ndarray]:
    """Labels (T, Z, Y, X) and status (T, Z) of the stored scenes: one slice annotated, one corrected, all found."""
    labels, status = heart.truth.labels.copy(), np.full(heart.truth.status.shape, int(Status.PREDICTED))
    labels[2, 1] = np.roll(labels[2, 1], 1, 0)
    status[0, 1], status[2, 1] = Status.ANNOTATED, Status.CORRECTED
    return labels, status


def write(path: Path) -> None:
    """Write the scene, as a reader leaves it after a run and a correction."""
    heart = small_heart()
    labels, _ = stored_masks(heart)
    with tempfile.TemporaryDirectory() as folder, real_scene(Path(folder)) as scene:
        image = mrml.cine_to_scene(scene, heart.cine)
        study = mrml.open_study(mrml.scene_to_cine(image), image)
        study.set_slice(0, 1, labels[0, 1], Status.ANNOTATED)
        began = study.read()
        study.apply(SlicePrediction(t, z, heart.truth.labels[t, z], 0.5) for t in range(3) for z in range(3))
        study.remember_run(began, "cstm")
        study.set_slice(2, 1, labels[2, 1], Status.CORRECTED)
        study.close()
        assert scene.WriteToMRB(str(path), None), path


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve())
