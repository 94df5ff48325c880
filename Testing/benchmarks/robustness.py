"""Dice against noise, shot noise, blur and shift: of all engines, and of the networks of the study of image position.

    python Testing/benchmarks/robustness.py --train            # the study's networks, into results/robustness
    python Testing/benchmarks/robustness.py [--weights NAME ...] [--write]

Every engine gets the same two-frame cines, ED and ES of the validation subjects on their own grid, both frames
degraded, with the expert's mask of ED; scored at ES. The automatic methods do not read the mask, the memory network
carries it to ES. The 4D CNN and its twin need whole cycles and get the validation cines instead. What was measured is
kept in results/robustness/curves.json, so that engines can be measured one by one; --write draws the curves of all.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.cine import Engine
from CardiacSegLib.engines import load_engine
from CardiacSegLib.weights import WeightsCard, installed
from Testing.benchmarks import position
from Testing.benchmarks.common import (
    ROOT,
    WHOLE_CYCLES,
    Case,
    cards_of,
    table,
    validation_cases,
    validation_pairs,
    write_section,
)
from Testing.benchmarks.degradation import LEVELS, degraded, scaled, shifted
from Testing.benchmarks.position import dice

CURVES = position.FOLDER / "curves.json"
IMAGES = ROOT / "docs" / "images"

Curves = dict[str, dict[str, list[float]]]
"""Name -> kind of degradation -> Dice without it and at each of its levels."""


def curves_of(score: Callable[[str, float | None], float]) -> dict[str, list[float]]:
    """Dice of score(kind, level) without degradation and at every level of each kind."""
    plain = score("", None)
    return {kind: [plain, *(score(kind, level) for level in levels)] for kind, levels in LEVELS.items()}


def dice_at_es(engine: Engine, cases: Sequence[Case], kind: str, level: float | None) -> float:
    """Mean Dice over cases and structures at ES, from cines that are degraded in all frames."""
    scores = []
    for number, case in enumerate(cases):
        frames, expert = scaled(case.cine.frames), case.expert.labels
        if level is not None:
            frames = degraded(frames, kind, level, np.random.default_rng(number))
            if kind == "shift":
                expert = shifted(expert, round(level * frames.shape[-1]), "constant")
        moved = dataclasses.replace(case, expert=dataclasses.replace(case.expert, labels=expert))
        found = np.zeros(expert.shape[1:], np.uint8)
        for prediction in engine.segment(dataclasses.replace(case.cine, frames=frames), moved.annotated()):
            if prediction.frame == case.es:
                found[prediction.slice] = prediction.labels
        scores += [dice(found == value, expert[case.es] == value) for value in (1, 2, 3)]
    return float(np.nanmean(scores))


def measure_engine(card: WeightsCard) -> dict[str, list[float]]:
    engine = load_engine(card.network, card.path, "cpu")
    cases = validation_cases() if card.network in WHOLE_CYCLES else validation_pairs()
    return curves_of(lambda kind, level: dice_at_es(engine, cases, kind, level))


def measure_study() -> Curves:
    """The curves of the study's networks that were trained."""
    _, volumes = position.training_and_validation()
    found = {}
    for name in position.NETWORKS:
        if position.weights_file(name).is_file():
            network = position.load(name)
            found[name] = curves_of(lambda kind, level, n=network: position.dice_of(n, volumes, kind, level))
            print(f"{name}: {found[name]['shift'][0]:.3f}", file=sys.stderr, flush=True)
    return found


def kept() -> dict[str, Curves]:
    """What was measured so far, by "engines" and "study"."""
    return json.loads(CURVES.read_text()) if CURVES.is_file() else {}


def keep(group: str, found: Curves) -> None:
    """Add to what was measured, also by a run that went on at the same time."""
    curves = kept()
    curves.setdefault(group, {}).update(found)
    CURVES.parent.mkdir(parents=True, exist_ok=True)
    CURVES.write_text(json.dumps(curves, indent=1))


# Curves and tables ----------------------------------------------------------------------------------------------------

LABELS = {
    "Gaussian noise": "standard deviation of the noise",
    "shot noise": "counts at full intensity",
    "Gaussian blur": "standard deviation of the blur, pixels",
    "shift": "shift, share of the width",
}


def draw(rows: Sequence[Mapping[str, Mapping[str, Sequence[float]]]], titles: Sequence[str], path: Path) -> None:
    """One row of panels for each set of curves, a panel for each kind of degradation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(rows), len(LEVELS), figsize=(13, 3.2 * len(rows)), sharey="row", squeeze=False)
    for line, curves, title in zip(panels, rows, titles, strict=True):
        for panel, (kind, levels) in zip(line, LEVELS.items(), strict=True):
            for name, curve in curves.items():
                panel.plot(range(len(levels) + 1), curve[kind], marker="o", markersize=3, label=name)
            panel.set_xticks(range(len(levels) + 1), ["none", *(f"{level:g}" for level in levels)])
            panel.set_xlabel(LABELS[kind])
            panel.set_ylim(0, 1)
            panel.grid(alpha=0.3)
        line[0].set_ylabel(f"{title}\nDice")
        line[-1].legend(fontsize=7, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


SHOWN = {"Gaussian noise": (2, 5), "shot noise": (2, 5), "Gaussian blur": (2, 5), "shift": (2, 5)}
"""Which levels the table shows; the figures show all."""


def header() -> list[str]:
    shown = [f"{kind} {LEVELS[kind][i - 1]:g}" for kind, numbers in SHOWN.items() for i in numbers]
    return ["undegraded", *shown]


def cells(curve: Mapping[str, Sequence[float]]) -> list[str]:
    return [f"{curve['shift'][0]:.3f}", *(f"{curve[kind][i]:.3f}" for kind, numbers in SHOWN.items() for i in numbers)]


def write_all(curves: dict[str, Curves]) -> dict[str, str]:
    """Draw both figures; returns the tables by the section that they belong in."""
    engines, study = curves.get("engines", {}), curves.get("study", {})
    parts = {}
    if engines:
        draw([engines], ["engines"], IMAGES / "robustness.png")
        parts["robustness"] = table(["weights", *header()], [[name, *cells(c)] for name, c in engines.items()])
    if study:
        kinds = {"U-Net": "zero padding", "U-Net, reflected": "reflection padding", "small CNN": "small CNN"}
        groups: dict[str, Curves] = {title: {} for title in kinds.values()}
        for name, curve in study.items():
            groups[kinds[name.rsplit(", ", 1)[0]]][name] = curve
        groups = {title: group for title, group in groups.items() if group}
        draw(list(groups.values()), list(groups), IMAGES / "position.png")
        rows = [[name, position.STUDY.get(name, "-"), *cells(c)] for name, c in study.items()]
        parts["position"] = table(["network", "in the study", *header()], rows)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train the study's networks that are missing, and end")
    parser.add_argument("--steps", type=int, default=position.STEPS, help="of each training")
    parser.add_argument("--weights", nargs="*", default=[card.name for card in installed()])
    parser.add_argument("--study", action="store_true", help="measure the study's networks too")
    parser.add_argument("--write", action="store_true", help="write docs/results.md and the figures")
    arguments = parser.parse_args()
    if arguments.train:
        position.train_missing(arguments.steps)
        return
    for card in cards_of(arguments.weights):
        began = time.monotonic()
        keep("engines", {card.name: measure_engine(card)})
        print(f"{card.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if arguments.study:
        keep("study", measure_study())
    if arguments.write:
        for name, text in write_all(kept()).items():
            print(f"\n{name}\n{text}")
            write_section(ROOT / "docs" / "results.md", name, text)


if __name__ == "__main__":
    main()
