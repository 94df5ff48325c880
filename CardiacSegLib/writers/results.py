"""The folder of results of one cine: masks, measures, volumes, curve and overlay, all of them or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..atomic import remedy
from ..cine import Cine, Segmentation
from ..errors import CardiacSegError
from ..measures.curves import known_curves
from ..measures.study import StudyMeasures
from .figures import write_curve, write_overlay
from .images import write_segmentation
from .tables import write_measures, write_volumes


@contextmanager
def complete_folder(output: str | Path) -> Iterator[Path]:
    """Yield a temporary folder inside `output` whose files move to `output` together when the block succeeds.

    Enter it before long work: a place where nothing can be written is refused at once. When the block fails, no file
    and no new folder is left. Raises CardiacSegError, naming the folder and the remedy, if an OSError ends the block.
    """
    output = Path(output)
    created = [folder for folder in (output, *output.parents) if not folder.exists()]
    temporary = None
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=output) as temporary:
            yield Path(temporary)
            for name in sorted(os.listdir(temporary)):
                os.replace(Path(temporary, name), output / name)
        created = []
    except FileExistsError as error:
        raise CardiacSegError(f"{output} is a file; give a folder to write the results to.") from error
    except OSError as error:
        raise CardiacSegError(f"{output} could not be written: {remedy(error)}.") from error
    except CardiacSegError as error:
        raise CardiacSegError(str(error).replace(str(temporary), str(output))) from error
    finally:
        for folder in created:
            with suppress(OSError):
                folder.rmdir()


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
    curves = known_curves(segmentation)
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
