"""The results of one cine: masks, measures, volumes, curve and overlay."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..cine import Cine, Segmentation
from ..measures.curves import known_curves
from ..measures.study import StudyMeasures
from .figures import write_curve, write_overlay
from .images import write_segmentation
from .tables import write_measures, write_volumes


def write_results(
    folder: Path,
    segmentation: Segmentation,
    study: StudyMeasures,
    cine: Cine | None = None,
    expert: Segmentation | None = None,
) -> None:
    """Write measures.json, volumes.csv and curve.png, and with a cine segmentation.nii.gz and overlay.gif.

    expert: masks on the same grid whose volumes are marked in the curve, at the frames that they hold.
    Raises CardiacSegError where a file cannot be written.
    """
    times = cine.times if cine is not None and cine.times_known else None
    curves = study.volumes_ml
    points = {
        name: {int(frame): float(curve[frame]) for frame in np.flatnonzero(curve > 0)}
        for name, curve in (known_curves(expert) if expert is not None else {}).items()
    }
    write_measures(folder / "measures.json", study.to_dict())
    write_volumes(folder / "volumes.csv", curves, times)
    write_curve(folder / "curve.png", curves, times, study.measures.ed_frame, study.measures.es_frame, points)
    if cine is not None:
        write_segmentation(segmentation, folder / "segmentation.nii.gz", cine)
        write_overlay(folder / "overlay.gif", cine, segmentation)
