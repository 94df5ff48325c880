"""What propagating one correction of an automatic result does to the slices beside it.

    python Testing/benchmarks/corrections.py [--engine unet] [--cines 5] [--write]

In each cine the three worst slices at end-systole are replaced by the expert's, one at a time; scored are the
slices above and below, whose expert masks nobody gave.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.cine import Engine, Segmentation, Status, empty_segmentation
from CardiacSegLib.corrections import memory_for
from CardiacSegLib.engines import load_engine
from Testing.benchmarks.common import ROOT, Case, table, validation_cases, write_section

CORRECTED = 3  # slices a cine


def filled(engine: Engine, case: Case, annotation: Segmentation) -> Segmentation:
    """The annotation with everything that the engine finds."""
    labels, status = annotation.labels.copy(), annotation.status.copy()
    for found in engine.segment(case.cine, annotation):
        labels[found.frame, found.slice], status[found.frame, found.slice] = found.labels, Status.PREDICTED
    return dataclasses.replace(annotation, labels=labels, status=status)


def dice(found: np.ndarray, expert: np.ndarray) -> float:
    """Mean over the structures that are in either."""
    values = [value for value in (1, 2, 3) if ((found == value) | (expert == value)).any()]
    overlap = [2 * ((found == v) & (expert == v)).sum() / ((found == v).sum() + (expert == v).sum()) for v in values]
    return float(np.mean(overlap)) if overlap else 1.0


def neighbours(automatic: Engine, memory: Engine, case: Case) -> Iterator[tuple[float, float]]:
    """Dice before and after, of every slice beside a corrected one."""
    found = filled(automatic, case, empty_segmentation(case.cine))
    expert, es = case.expert.labels[case.es], case.es
    before = [dice(mask, truth) for mask, truth in zip(found.labels[es], expert, strict=True)]
    for z in np.argsort(before)[:CORRECTED]:
        labels, changed = found.labels.copy(), np.zeros(found.status.shape, bool)
        labels[es, z], changed[es, z] = expert[z], True
        status = np.where(changed, Status.CORRECTED, found.status).astype(np.uint8)
        after = filled(memory, case, memory_for(dataclasses.replace(found, labels=labels, status=status), changed))
        for beside in (z - 1, z + 1):
            if 0 <= beside < len(expert):
                yield before[beside], dice(after.labels[es, beside], expert[beside])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="unet")
    parser.add_argument("--cines", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/results.md")
    arguments = parser.parse_args()
    automatic, memory = load_engine(arguments.engine, None, "cpu"), load_engine("cstm", None, "cpu")
    rows = []
    for case in validation_cases()[: arguments.cines]:
        scores = np.array(list(neighbours(automatic, memory, case)))
        rows.append((case.name, len(scores), *scores.mean(axis=0), int((scores[:, 1] > scores[:, 0]).sum())))
        print(*rows[-1], sep=", ", file=sys.stderr, flush=True)
    count = np.array([row[1] for row in rows])
    total = ("all", count.sum(), *(float(np.average([r[i] for r in rows], weights=count)) for i in (2, 3)))
    rows.append((*total, sum(row[4] for row in rows)))
    header = (f"cine, {arguments.engine}", "slices beside", "Dice before", "after", "higher than before")
    text = table(header, [[r[0], str(r[1]), f"{r[2]:.3f}", f"{r[3]:.3f}", str(r[4])] for r in rows])
    print(text)
    if arguments.write:
        write_section(ROOT / "docs" / "results.md", "corrections", text)


if __name__ == "__main__":
    main()
