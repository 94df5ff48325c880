"""Whether correcting in the proposed order ("Next to check") raises Dice faster than going in order.

    python Testing/benchmarks/review.py [--weights NAME] [--write]

One slice is annotated, the middle of the ED frame. Then the other slices of the ED and ES frames, of which the expert's
masks are known, are replaced by them one after the other: as proposed, in order (ED and ES from slice 0 on), and in the
best order, which knows the truth. Nothing is propagated in between. With --write the table goes into docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.cine import Segmentation, Status
from CardiacSegLib.engines import load_engine
from CardiacSegLib.review import review_order
from Testing.benchmarks.common import ROOT, Case, table, validation_cases, write_section

Place = tuple[int, int]
SHOWN = (0, 1, 2, 3, 4, 6, 8)


def found_from_one_slice(engine, case: Case) -> tuple[Segmentation, np.ndarray]:
    """What the engine finds from the middle slice of ED, and its confidence (T, Z)."""
    result = case.annotated([case.middle])
    confidence = np.ones(result.status.shape)
    for found in engine.segment(case.cine, case.annotated([case.middle])):
        place = found.frame, found.slice
        result.labels[place], result.status[place] = found.labels, Status.PREDICTED
        confidence[place] = found.confidence
    return result, confidence


def dice(labels: np.ndarray, case: Case) -> float:
    """Mean over structures and the frames ED and ES of the 3D Dice."""
    values = []
    for frame in (case.ed, case.es):
        for value in (1, 2, 3):
            found, expert = labels[frame] == value, case.expert.labels[frame] == value
            if found.any() or expert.any():
                values.append(2 * (found & expert).sum() / (found.sum() + expert.sum()))
    return float(np.mean(values))


def curve(case: Case, result: Segmentation, order: list[Place]) -> list[float]:
    """Dice after 0, 1, 2 ... corrections."""
    labels = result.labels.copy()
    values = [dice(labels, case)]
    for place in order:
        labels[place] = case.expert.labels[place]
        values.append(dice(labels, case))
    return values


def best_order(case: Case, result: Segmentation, places: list[Place]) -> list[Place]:
    """At every step the slice whose correction raises Dice most."""
    labels, left, order = result.labels.copy(), list(places), []
    while left:
        gains = []
        for place in left:
            kept, labels[place] = labels[place].copy(), case.expert.labels[place]
            gains.append(dice(labels, case))
            labels[place] = kept
        order.append(left.pop(int(np.argmax(gains))))
        labels[order[-1]] = case.expert.labels[order[-1]]
    return order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=None)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    engine = load_engine("cstm", arguments.weights, "cpu")
    curves: dict[str, list[list[float]]] = {"as proposed": [], "in order": [], "at best": []}
    for case in validation_cases():
        result, confidence = found_from_one_slice(engine, case)
        known = [place for place in review_order(result, confidence) if place[0] in (case.ed, case.es)]
        orders = {"as proposed": known, "in order": sorted(known), "at best": best_order(case, result, known)}
        for name, order in orders.items():
            curves[name].append(curve(case, result, order))
    rows = [
        [name, *(f"{np.mean([values[min(k, len(values) - 1)] for values in each]):.3f}" for k in SHOWN)]
        for name, each in curves.items()
    ]
    text = table(["order", *(f"{k} corrected" for k in SHOWN)], rows)
    print(text)
    if arguments.write:
        write_section(ROOT / "docs" / "results.md", "review", text)


if __name__ == "__main__":
    main()
