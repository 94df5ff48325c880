"""Accuracy on the validation cines: the memory network beside optical flow and copying the mask, in one run.

    python Testing/benchmarks/accuracy.py [--weights NAME ...] [--write]

With --write the tables go into docs/results.md and the README, and the figures onto the cards of the weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.cine import Segmentation
from CardiacSegLib.engines import load_engine
from CardiacSegLib.measures.agreement import agreement
from CardiacSegLib.weights import find_weights, installed, write_card
from Testing.benchmarks.common import ROOT, Case, table, validation_cases, write_section

STRUCTURES = ("LV", "MYO", "RV")
REGIONS = ("base", "mid", "apex")
Method = Callable[[Case, Segmentation], np.ndarray]


def by_network(weights: str) -> Method:
    """Labels (T, Z, Y, X) found by the engine with these weights."""
    engine = load_engine("cstm", weights, "cpu")

    def run(case: Case, annotation: Segmentation) -> np.ndarray:
        labels = annotation.labels.copy()
        for found in engine.segment(case.cine, annotation):
            labels[found.frame, found.slice] = found.labels
        return labels

    return run


def by_copy(case: Case, annotation: Segmentation) -> np.ndarray:
    """The ED mask at every frame."""
    return np.broadcast_to(annotation.labels[case.ed], annotation.labels.shape).copy()


def by_flow(case: Case, annotation: Segmentation) -> np.ndarray:
    """The ED mask moved to ES by dense optical flow (OpenCV DIS, medium preset), slice by slice."""
    import cv2

    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    labels = annotation.labels.copy()
    low, high = np.percentile(case.cine.frames, (1, 99.5))
    rows, columns = np.mgrid[: case.cine.shape[2], : case.cine.shape[3]].astype(np.float32)
    for z in range(case.cine.shape[1]):
        ed, es = (
            np.clip((case.cine.frames[t, z] - low) / (high - low) * 255, 0, 255).astype(np.uint8)
            for t in (case.ed, case.es)
        )
        moved = flow.calc(es, ed, None)
        shares = [
            cv2.remap(
                (annotation.labels[case.ed, z] == v).astype(np.float32),
                columns + moved[..., 0],
                rows + moved[..., 1],
                cv2.INTER_LINEAR,
            )
            for v in range(4)
        ]
        labels[case.es, z] = np.argmax(shares, axis=0)
    return labels


def scores(case: Case, labels: np.ndarray, frames: tuple[int, ...]) -> dict[str, float]:
    """Dice per structure and region over the frames, and the LV ejection fraction found minus the expert's."""
    found = Segmentation(labels, case.expert.status, case.cine.affine)
    rows = agreement(found, case.expert, frames)
    result = {}
    for structure in STRUCTURES:
        for region in ("all", *REGIONS):
            dice = [r["dice"] for r in rows if r["structure"] == structure and r["region"] == region]
            dice = [d for d in dice if d is not None]
            result[f"{structure} {region}"] = float(np.mean(dice)) if dice else np.nan
        hd95 = [r["hd95_mm"] for r in rows if r["structure"] == structure and r["region"] == "all"]
        result[f"{structure} hd95"] = float(np.mean([h for h in hd95 if h is not None] or [np.nan]))
    result["EF"] = ejection_fraction(labels, case) - ejection_fraction(case.expert.labels, case)
    return result


def ejection_fraction(labels: np.ndarray, case: Case) -> float:
    ed, es = ((labels[t] == 1).sum() for t in (case.ed, case.es))
    return 100.0 * (ed - es) / ed


def evaluate(cases: list[Case], method: Method, middle_only: bool) -> dict[str, np.ndarray]:
    """Every score as an array over the cases."""
    results = []
    for case in cases:
        annotation = case.annotated([case.middle] if middle_only else None)
        frames = (case.ed, case.es) if middle_only else (case.es,)
        results.append(scores(case, method(case, annotation), frames))
    return {key: np.array([r[key] for r in results]) for key in results[0]}


def summary(name: str, result: dict[str, np.ndarray]) -> list[str]:
    dice = [result[f"{s} all"] for s in STRUCTURES]
    cells = [f"{np.nanmean(d):.3f}" for d in (*dice, np.concatenate(dice))]
    worst = f"{np.nanmin(dice[0]):.3f}"
    hd95 = " / ".join(f"{np.nanmean(result[f'{s} hd95']):.1f}" for s in STRUCTURES)
    ef = result["EF"]
    return [name, *cells, worst, hd95, f"{np.abs(ef).mean():.1f}", f"{ef.mean():+.1f} ± {ef.std():.1f}"]


HEADER = ("method", "LV", "MYO", "RV", "mean", "worst LV", "HD95 mm LV / MYO / RV", "EF error", "EF bias")


README_HEADER = ("method", "LV", "MYO", "RV", "worst LV", "EF error (points)", "one slice → all")


def short_rows(stacks: list[list[str]], middles: list[list[str]]) -> list[list[str]]:
    """The README's table: the rows of the ED stack, shortened, and the mean Dice from one slice where there is one."""
    from_one = {row[0]: row[HEADER.index("mean")] for row in middles}
    chosen = [HEADER.index(name) for name in ("method", "LV", "MYO", "RV", "worst LV", "EF error")]
    return [[*(row[i] for i in chosen), from_one.get(row[0], "-")] for row in stacks]


def region_rows(name: str, result: dict[str, np.ndarray]) -> list[list[str]]:
    return [[name, region, *(f"{np.nanmean(result[f'{s} {region}']):.3f}" for s in STRUCTURES)] for region in REGIONS]


def figures(stack: dict[str, np.ndarray], middle: dict[str, np.ndarray]) -> dict[str, float]:
    """What a card tells."""
    told = {f"es_dice_{s.lower()}": np.nanmean(stack[f"{s} all"]) for s in STRUCTURES}
    told["es_dice_lv_worst"] = np.nanmin(stack["LV all"])
    told["lvef_mean_absolute_error_points"] = np.abs(stack["EF"]).mean()
    told["one_slice_mean_dice"] = np.nanmean([middle[f"{s} all"] for s in STRUCTURES])
    return {key: round(float(value), 3) for key, value in told.items()}


def tell_card(weights: str, told: dict[str, float], cases: list[Case]) -> None:
    path = find_weights(weights, "cstm").path
    entry = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    entry["figures"] = {"validation": f"{len(cases)} ACDC cines, never trained on", **told}
    write_card(path, entry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="*", default=[c.name for c in installed() if c.network == "cstm"])
    parser.add_argument("--write", action="store_true", help="write docs/results.md, the README and the cards")
    arguments = parser.parse_args()
    cases = validation_cases()
    stacks, middles, regions = [], [], []
    for name, method in (("copy the ED mask", by_copy), ("optical flow (DIS)", by_flow)):
        stacks.append(summary(name, evaluate(cases, method, middle_only=False)))
    for weights in arguments.weights:
        began = time.monotonic()
        method = by_network(weights)
        stack = evaluate(cases, method, middle_only=False)
        middle = evaluate(cases, method, middle_only=True)
        stacks.append(summary(weights, stack))
        middles.append(summary(weights, middle))
        regions += region_rows(weights, middle)
        print(f"{weights}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        if arguments.write:
            tell_card(weights, figures(stack, middle), cases)
    parts = {
        "ed-stack": table(HEADER, stacks),
        "one-slice": table(HEADER, middles),
        "one-slice-regions": table(("weights", "region", *STRUCTURES), regions),
    }
    for name, text in parts.items():
        print(f"\n{name} ({len(cases)} cines)\n{text}")
        if arguments.write:
            write_section(ROOT / "docs" / "results.md", name, text)
    if arguments.write:
        write_section(ROOT / "README.md", "results", table(README_HEADER, short_rows(stacks, middles)))


if __name__ == "__main__":
    main()
