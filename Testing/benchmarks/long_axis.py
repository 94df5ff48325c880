"""Long-axis cines: masks of one frame carried through the others, and volumes by area and length.

python Testing/benchmarks/long_axis.py [--write]

On eight simulated hearts all pixels have a truth. On the one clinical study at hand there is none; its long-axis masks
are compared with the masks of its short-axis stack, which an automatic tool made, on the lines where the planes cross.
Its first frame was drawn by hand, roughly and by no expert.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.path import Path as Polygon

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from long_axis_heart import long_axis_heart

from CardiacSegLib.anatomy import LV, MYO, RV
from CardiacSegLib.cine import Cine, Segmentation, Status, empty_segmentation
from CardiacSegLib.engines import load_engine
from CardiacSegLib.measures import measure
from CardiacSegLib.readers import read_segmentation, read_study
from Testing.benchmarks.common import ROOT, table, write_section

STRUCTURES = (LV, MYO, RV)
HEARTS = ((1, 4), (2, 4), (3, 2), (4, 4), (5, 2), (6, 4), (7, 4), (8, 2))
CLINICAL = ROOT.parent / "shared" / "data" / "bivme_patient1"
# fmt: off
DRAWN = {
    "4ch": {
        RV: [(99, 112), (101, 132), (111, 150), (123, 164), (131, 172), (115, 166), (95, 156), (78, 143), (68, 128)],
        MYO: [(100, 110), (101, 130), (111, 148), (125, 165), (135, 173), (147, 175), (154, 168), (159, 150),
              (159, 135), (152, 115), (145, 104), (137, 96), (135, 98), (104, 110)],
        LV: [(104, 110), (107, 128), (117, 145), (128, 160), (138, 171), (145, 171), (150, 163), (153, 145),
             (152, 130), (147, 115), (141, 105), (135, 98)],
    },
    "2ch": {
        MYO: [(105, 112), (88, 114), (75, 118), (66, 130), (59, 148), (57, 165), (62, 177), (75, 181), (95, 177),
              (110, 168), (120, 158), (126, 147), (122, 146), (104, 118)],
        LV: [(104, 118), (90, 120), (78, 125), (70, 138), (63, 152), (61, 165), (66, 176), (75, 177), (90, 172),
             (105, 163), (115, 156), (122, 146)],
    },
}
# fmt: on
"""Outlines (x, y) in pixels of the first frame of the clinical study's views."""


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def propagated(engine, cine: Cine, first: np.ndarray) -> Segmentation:
    """All frames from the labels (Y, X) of frame 0."""
    found = empty_segmentation(cine)
    found.labels[0, 0], found.status[0, 0] = first, Status.ANNOTATED
    for slice_ in list(engine.segment(cine, found)):
        found.labels[slice_.frame, 0], found.status[slice_.frame, 0] = slice_.labels, Status.PREDICTED
    return found


def simulated(engine) -> str:
    """A row a heart: Dice of the frames, and EF by area and length of found and true masks."""
    rows = []
    for seed, view in HEARTS:
        cine, truth, volumes = long_axis_heart(seed, view)
        found = propagated(engine, cine, truth.labels[0, 0])
        cells = []
        for structure in STRUCTURES:
            scores = [
                dice(found.labels[t] == structure.value, truth.labels[t] == structure.value)
                for t in range(1, len(volumes))
            ]
            there = (truth.labels == structure.value).any()
            cells.append(f"{np.mean(scores):.3f} ({min(scores):.3f})" if there else "-")
        efs = [measure(masks).lv_ef_area_length_percent for masks in (found, truth)]
        efs.append(100 * np.ptp(volumes) / volumes.max())
        rows.append((f"{seed}, {view}-chamber", *cells, *(f"{ef:.1f}" for ef in efs)))
    names = ("LV, mean (worst frame)", "MYO", "RV", "EF found (%)", "of the true masks", "in truth")
    return table(("heart, view", *names), rows)


def crossing(view: Segmentation, stack: Segmentation) -> dict[str, tuple[float, list[float]]]:
    """Structure -> Dice in frame 0 and in each other frame, on the pixels within 1 mm of a short-axis slice."""
    rows, columns = np.mgrid[: view.labels.shape[2], : view.labels.shape[3]]
    points = view.affine @ np.stack([columns, rows, 0 * rows, 0 * rows + 1]).reshape(4, -1)
    x, y, z = (np.linalg.inv(stack.affine) @ points)[:3]
    place = np.rint([z, y, x]).astype(int)
    near = np.abs(z - place[0]) * np.linalg.norm(stack.affine[:3, 2]) < 1
    near &= ((place >= 0) & (place < np.array(stack.labels.shape[1:])[:, None])).all(axis=0)
    here, there = view.labels.reshape(len(view.labels), -1)[:, near], stack.labels[(slice(None), *place[:, near])]
    scores = {
        one.name: [dice(a == one.value, b == one.value) for a, b in zip(here, there, strict=True)]
        for one in STRUCTURES
        if (here == one.value).any()
    }
    return {name: (values[0], values[1:]) for name, values in scores.items()}


def clinical(engine) -> str:
    """The clinical study: agreement on the crossing lines, and its EF in three ways."""
    study = read_study(CLINICAL / "dicom.zip")
    stack = read_segmentation(CLINICAL / "sax_gp_seg.nii.gz", "acdc")
    rows, found = [], {}
    for view, outlines in DRAWN.items():
        cine = study.chosen(view)
        pixels = np.stack(np.mgrid[: cine.shape[2], : cine.shape[3]][::-1], axis=-1).reshape(-1, 2)
        first = np.zeros(cine.shape[2:], np.uint8)
        for structure, outline in outlines.items():
            first[Polygon(outline).contains_points(pixels).reshape(first.shape)] = structure.value
        found[view] = propagated(engine, cine, first)
        for name, (drawn, others) in crossing(found[view], stack).items():
            rows.append((view, name, f"{drawn:.2f}", f"{np.mean(others):.2f} ({min(others):.2f})"))
    one, two, discs = measure(found["4ch"]), measure(found["4ch"], second=found["2ch"]), measure(stack)
    area_length = ("lv_edv_area_length_ml", "lv_esv_area_length_ml", "lv_ef_area_length_percent")
    ways = (
        ("area-length, 4-chamber", *(getattr(one, name) for name in area_length)),
        ("area-length, 4- and 2-chamber", *(getattr(two, name) for name in area_length)),
        ("six discs", discs.lv_edv_ml, discs.lv_esv_ml, discs.lv_ef_percent),
    )
    crossings = table(("view", "structure", "drawn frame", "other frames, mean (worst)"), rows)
    numbers = [(name, f"{edv:.0f}", f"{esv:.0f}", f"{ef:.1f}") for name, edv, esv, ef in ways]
    return f"{crossings}\n\n{table(('LV', 'EDV (ml)', 'ESV (ml)', 'EF (%)'), numbers)}"


def main() -> None:
    engine = load_engine("cstm", "cstm-small", "cpu")
    text = simulated(engine) + (f"\n\n{clinical(engine)}" if CLINICAL.is_dir() else "")
    print(text)
    if "--write" in sys.argv:
        write_section(ROOT / "docs" / "results.md", "long-axis", text)


if __name__ == "__main__":
    main()
