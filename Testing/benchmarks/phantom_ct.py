"""The 4D CNN beside its 3D twin on gated CT: the phantom in CT contrast, whose truth is known in every phase.

    python Testing/benchmarks/phantom_ct.py --weights FILE ... [--hearts 3] [--write]

The weights are trained on other hearts of the phantom, e.g. by

    cardiacseg train cnn3d --size ct-coarse --data phantom-ct=12 --minutes 10 --batch 2 -o FOLDER

No real 4D CT with masks could be had, so this says how the methods compare, not how they do on patients; such weights
are not shipped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.anatomy import STRUCTURES
from CardiacSegLib.cine import Cine, Engine, Segmentation, Status, empty_segmentation
from CardiacSegLib.engines import load_engine
from CardiacSegLib.measures.smoothness import label_change, surface_motion
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.weights import read_card
from Testing.benchmarks.common import ROOT, table, write_section

HEADER = ("method", "LV", "MYO", "RV", "EF error", "label change √ml", "surface motion mm")


def hearts(count: int) -> list[Phantom]:
    """Ten phases each; trainings draw seeds from three millions on."""
    return [
        beating_heart(500 + i, frames=10, slices=48, size=128, spacing=(1.2, 1.2, 2.0), modality="CT")
        for i in range(count)
    ]


def found_by(engine: Engine, cine: Cine) -> Segmentation:
    found = empty_segmentation(cine)
    for prediction in engine.segment(cine):
        found.labels[prediction.frame, prediction.slice] = prediction.labels
        found.status[prediction.frame, prediction.slice] = Status.PREDICTED
    return found


def ejection_fraction(segmentation: Segmentation) -> float:
    """(largest - smallest) / largest volume of the LV over the cycle, in percent, as in the paper."""
    volumes = (segmentation.labels == 1).sum(axis=(1, 2, 3))
    return 100.0 * float(volumes.max() - volumes.min()) / float(volumes.max())


def dice_of(value: int, found: Sequence[Segmentation], truth: Sequence[Segmentation]) -> float:
    """The mean over all phases and hearts."""
    pairs = [
        (a == value, b == value)
        for f, t in zip(found, truth, strict=True)
        for a, b in zip(f.labels, t.labels, strict=True)
    ]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def row(name: str, found: Sequence[Segmentation], truth: Sequence[Segmentation]) -> list[str]:
    """Mean Dice over all phases and hearts, error of the EF in points, and both measures of smoothness."""
    dice = [dice_of(structure.value, found, truth) for structure in STRUCTURES]
    errors = [abs(ejection_fraction(f) - ejection_fraction(t)) for f, t in zip(found, truth, strict=True)]
    change, motion = (np.mean([measure(f) or 0.0 for f in found]) for measure in (label_change, surface_motion))
    return [name, *(f"{d:.3f}" for d in dice), f"{np.mean(errors):.1f}", f"{change:.2f}", f"{motion:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="+", required=True, type=Path, help="the .safetensors files")
    parser.add_argument("--hearts", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write docs/results.md")
    options = parser.parse_args()
    phantoms = hearts(options.hearts)
    truth = [phantom.truth for phantom in phantoms]
    rows = []
    for path in options.weights:
        engine = load_engine(read_card(path).network, path, "cpu")
        rows.append(row(path.stem, [found_by(engine, phantom.cine) for phantom in phantoms], truth))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    rows.append(row("the truth", truth, truth))
    text = table(HEADER, rows)
    print(text)
    if options.write:
        write_section(ROOT / "docs" / "results.md", "phantom-ct", text)


if __name__ == "__main__":
    main()
