"""How exact wall thickness, segments, volumes and rates are, on bodies and hearts whose truth is known.

    python Testing/benchmarks/measures.py [--write]

Bodies are drawn on pixels of 1.25 mm at ten places between the pixels. Phantoms: ten hearts, each with an ejection
fraction of 35, 55 and 70 %, pixels of 1.25 mm, slices of 8 mm; their masks are measured as an expert's would be. Real
hearts: the validation subjects' expert masks at ED and ES, of which no truth is known. With --write the tables go into
docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.anatomy import to_native
from CardiacSegLib.cine import Segmentation, Status
from CardiacSegLib.measures.curves import known_curves, ventricle_curve
from CardiacSegLib.measures.study import measure_study
from CardiacSegLib.measures.wall import ANGLES, measure_wall
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.phantom_heart import THETA, Heart, contraction, draw_heart, slice_depths
from CardiacSegLib.readers import read_labels
from Testing.benchmarks.common import ACDC, ROOT, VALIDATION, table, write_section

SEEDS, FRACTIONS, PIXEL, SLICE = range(10), (35.0, 55.0, 70.0), 1.25, 8.0
DIRECTIONS = np.arange(ANGLES) * 2 * np.pi / ANGLES
DEPTHS = np.arange(8) * SLICE
BODIES = {
    "cylinder": (np.full(8, 25.0), np.full(8, 33.0)),
    "cone": (26 - 0.3 * DEPTHS, 36 - 0.4 * DEPTHS),
    "ellipsoid": (25 * np.sqrt(1 - (DEPTHS / 75) ** 2), 35 * np.sqrt(1 - (DEPTHS / 85) ** 2)),
    "wall of one pixel": (np.full(8, 25.0), np.full(8, 25.0 + PIXEL)),
}
"""Radii of endo- and epicardium in mm, slice by slice."""


def masks_of(endo: np.ndarray, epi: np.ndarray, shift: np.ndarray) -> Segmentation:
    """The slices of a round body whose axis lies off the middle of a pixel."""
    rows, columns = np.mgrid[:96, :96]
    distance = np.hypot(columns - 48 - shift[0], rows - 48 - shift[1]) * PIXEL
    labels = np.stack([np.where(distance < a, 1, np.where(distance < b, 2, 0)) for a, b in zip(endo, epi, strict=True)])
    status = np.full((1, len(endo)), int(Status.PREDICTED), np.uint8)
    return Segmentation(labels[None].astype(np.uint8), status, np.diag([PIXEL, PIXEL, SLICE, 1.0]))


def body_rows() -> Iterator[list[str]]:
    """A row for every body: error of single directions, of the mean of a slice."""
    for name, (endo, epi) in BODIES.items():
        errors = []
        for seed in range(10):
            shift = np.random.default_rng(seed).uniform(-0.5, 0.5, 2)
            errors.append(measure_wall(masks_of(endo, epi, shift)).thickness_mm[0] - (epi - endo)[:, None])
        found = np.array(errors)
        slices = np.nanmean(found, axis=2)
        yield [name, *(f"{v:.2f}" for v in (np.nanmean(abs(found)), np.nanmean(found), abs(slices).max()))]


def hearts() -> Iterator[tuple[Heart, Phantom]]:
    """The phantoms' geometry and their masks in all 25 frames."""
    for seed in SEEDS:
        for fraction in FRACTIONS:
            heart = draw_heart(np.random.default_rng([seed, 0]), 10, SLICE, fraction)
            yield heart, beating_heart(seed, spacing=(PIXEL, PIXEL, SLICE), ejection_fraction=fraction)


def wall_errors(heart: Heart, drawn: Phantom, frames: tuple[int, ...]) -> list[float]:
    """Mean absolute error in mm of each slice with a closed wall, at these frames."""
    beat, depths = contraction(25, heart.systole), slice_depths(heart, 10, SLICE)
    found, errors = measure_wall(drawn.truth, frames).thickness_mm, []
    for f, frame in enumerate(frames):
        for z, depth in enumerate(depths):
            walls = heart.walls(beat[frame], depth)
            if walls and np.isfinite(found[f, z]).all():
                true = np.interp(DIRECTIONS, THETA, walls[1] - walls[0], period=2 * np.pi)
                errors.append(float(abs(found[f, z] - true).mean()))
    return errors


def phantom_rows() -> tuple[list[list[str]], float]:
    """A row for every number: mean and largest error; and the seconds that one study takes."""
    wall, rest, spent = [], {name: [] for name in ("volumes (ml)", "EF (points)", "rates (%)", "time to ES (ms)")}, []
    for heart, drawn in hearts():
        began = time.process_time()
        study = measure_study(drawn.truth, drawn.cine.patient, drawn.cine.times)
        spent.append(time.process_time() - began)
        lv = drawn.volumes_ml["LV"]
        ed, es = int(lv.argmax()), int(lv.argmin())
        wall += wall_errors(heart, drawn, (ed, es))
        rest["EF (points)"].append(study.measures.lv_ef_percent - 100 * (1 - lv[es] / lv[ed]))
        for name, found in (("LV", study.lv), ("RV", study.rv)):
            true = drawn.volumes_ml[name]
            rest["volumes (ml)"] += list(known_curves(drawn.truth)[name] - true)
            expected = ventricle_curve(true, drawn.cine.times, ed, es, drawn.cine.patient.heart_rate_bpm)
            rest["time to ES (ms)"].append(found.time_to_smallest_ms - expected.time_to_smallest_ms)
            for side in ("ejection", "filling"):
                a, b = (getattr(one, f"peak_{side}_rate_ml_per_s") for one in (found, expected))
                rest["rates (%)"].append(100 * (a / b - 1))
    values = {"wall thickness of a slice (mm)": wall, **rest}
    rows = [[name, str(len(v)), f"{np.mean(np.abs(v)):.2f}", f"{np.max(np.abs(v)):.2f}"] for name, v in values.items()]
    return rows, float(np.median(spent))


def real_rows() -> Iterator[list[str]]:
    """A row for every validation subject's group: segments found, thickness of the middle, mean thickening."""
    groups: dict[str, list[dict]] = {}
    for name in VALIDATION:
        folder = ACDC / "training" / name
        info = dict(line.split(": ", 1) for line in (folder / "Info.cfg").read_text().splitlines() if ": " in line)
        read = [read_labels(path) for path in sorted(folder.glob("*_gt.nii.gz"))]
        labels = np.concatenate([to_native(one[0], "acdc") for one in read])
        masks = Segmentation(labels, np.full(labels.shape[:2], int(Status.ANNOTATED), np.uint8), read[0][1])
        groups.setdefault(info["Group"].strip(), []).append(measure_study(masks).to_dict())
    for group, studies in sorted(groups.items()):
        rows = [row for study in studies for row in study["segments"]["rows"] if row["ed_mm"] is not None]
        thickening = [row["thickening_percent"] for row in rows if row["thickening_percent"] is not None]
        middle = [study["lv_mid_wall_ed_mm"] for study in studies]
        yield [
            group, str(len(studies)), f"{len(rows)} of {16 * len(studies)}", f"{np.mean(middle):.1f}",
            f"{np.mean(thickening):.0f}",
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    write = parser.parse_args().write
    rows, seconds = phantom_rows()
    parts = [
        table(("Body", "Mean error of a direction (mm)", "Bias (mm)", "Worst mean of a slice (mm)"), list(body_rows())),
        table(("Phantom, 30 hearts", "Values", "Mean error", "Largest error"), rows),
        f"A study of 25 frames and 10 slices takes {seconds:.2f} s of one core.",
    ]
    if ACDC.is_dir():
        header = ("Real hearts", "Subjects", "Segments found", "Middle at ED (mm)", "Mean thickening (%)")
        parts.append(table(header, list(real_rows())))
    text = "\n\n".join(parts)
    print(text)
    if write:
        write_section(ROOT / "docs" / "results.md", "measures", text)


if __name__ == "__main__":
    main()
