"""What each choice of the memory reading is worth: one setting changed at a time, the same weights, one run.

On every second validation cine, to be done in ten minutes.

python Testing/benchmarks/ablation.py [--weights NAME] [--write]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.engines import PropagationEngine, load_engine, plan, propagation
from Testing.benchmarks.accuracy import STRUCTURES, evaluate
from Testing.benchmarks.common import ROOT, Case, table, validation_cases, write_section


class HandedOn(plan.Plan):
    """The plan of a tracker: each frame reads the frame beside it, towards its anchor, as well."""

    def to_anchor(self, place: plan.Place) -> int:
        return int(self.cycle_distance(place[0], self.anchors[place[1]]).min())

    def memory_of(self, place: plan.Place) -> list[plan.Place]:
        beside = [((place[0] + step) % self.frames, place[1]) for step in (-1, 1)]
        nearer = [p for p in beside if self.to_anchor(p) < self.to_anchor(place)]
        return list(dict.fromkeys([*super().memory_of(place), *nearer]))

    def groups(self, start: plan.Place | None = None) -> Iterator[list[plan.Place]]:
        for group in super().groups():
            for distance in sorted({self.to_anchor(p) for p in group}):
                yield [p for p in group if self.to_anchor(p) == distance]


SETTINGS: tuple[tuple[str, dict[str, object]], ...] = (
    ("as shipped", {}),
    ("dense matching (STCN, top 20)", {"matching": "dense"}),
    ("K = 2", {"top_k": 2}),
    ("K = 4", {"top_k": 4}),
    ("K = 8", {"top_k": 8}),
    ("patches without overlap (step 4)", {"step": 4}),
    ("1.2 mm a pixel", {"spacing_mm": 1.2}),
    ("1.4 mm a pixel", {"spacing_mm": 1.4}),
    ("found as it is only, not mirrored", {"sides": ((),)}),
    ("mirrored along both axes as well", {"sides": ((), (-2,), (-1,))}),
    ("the frame beside is read too", {"plan": HandedOn}),
    ("8 frames a side stay in memory for the next slice", {"kept": 8}),
)


@contextmanager
def changed(engine: PropagationEngine, settings: dict[str, object]) -> Iterator[None]:
    """The engine with some settings of the network or of the plan changed."""
    config = engine.network.config
    places = {"kept": (plan, "KEPT_A_SIDE"), "plan": (propagation, "Plan"), "sides": (propagation, "SIDES")}
    usual = {key: getattr(*place) for key, place in places.items()}
    engine.network.config = dataclasses.replace(config, **{k: v for k, v in settings.items() if k not in places})
    for key, (module, name) in places.items():
        setattr(module, name, settings.get(key, usual[key]))
    try:
        yield
    finally:
        engine.network.config = config
        for key, (module, name) in places.items():
            setattr(module, name, usual[key])


def row(name: str, engine: PropagationEngine, cases: list[Case]) -> list[str]:
    spent, count = 0.0, 0

    def method(case, annotation):
        nonlocal spent, count
        labels = annotation.labels.copy()
        began = time.perf_counter()
        for found in engine.segment(case.cine, annotation):
            labels[found.frame, found.slice] = found.labels
            count += 1
        spent += time.perf_counter() - began
        return labels

    stack = evaluate(cases, method, middle_only=False)
    middle = evaluate(cases, method, middle_only=True)
    dice = [f"{np.nanmean([r[f'{s} all'] for s in STRUCTURES]):.4f}" for r in (stack, middle)]
    return [name, *dice, f"{np.abs(stack['EF']).mean():.2f}", f"{spent / count * 1000:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="cstm-small")
    parser.add_argument("--write", action="store_true", help="write docs/results.md")
    arguments = parser.parse_args()
    engine = load_engine("cstm", arguments.weights, "cpu")
    cases = validation_cases()[::2]
    rows = []
    for name, settings in SETTINGS:
        with changed(engine, settings):
            rows.append(row(name, engine, cases))
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    text = table(("changed", "ED stack → ES, mean Dice", "one slice → all, mean Dice", "EF error", "ms a slice"), rows)
    print(text)
    if arguments.write:
        write_section(ROOT / "docs" / "results.md", "ablation", text)


if __name__ == "__main__":
    main()
