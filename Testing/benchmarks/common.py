"""What the benchmarks share: the validation subjects, their cines with expert masks, and tables in the documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CardiacSegLib.anatomy import to_native
from CardiacSegLib.cine import Cine, Segmentation, Status, empty_segmentation
from CardiacSegLib.readers import read_cine, read_labels

ROOT = Path(__file__).resolve().parents[2]
ACDC = ROOT.parent / "shared" / "data" / "acdc"
VALIDATION = tuple(f"patient{n:03d}" for n in (5, 6, 18, 24, 25, 39, 49, 51, 60, 62, 66, 79, 85, 87, 96))
"""Subjects that no weights of this project were trained on; three of each of ACDC's five groups."""


@dataclass(frozen=True)
class Case:
    """A validation cine: expert masks (T, Z, Y, X) that are drawn at the frames ed and es only."""

    name: str
    cine: Cine
    expert: Segmentation
    ed: int
    es: int

    def annotated(self, slices: Sequence[int] | None = None) -> Segmentation:
        """The expert's masks of the ED frame as annotation: of all slices, or of some."""
        chosen = range(self.cine.shape[1]) if slices is None else slices
        blank = empty_segmentation(self.cine)
        for z in chosen:
            blank.labels[self.ed, z] = self.expert.labels[self.ed, z]
            blank.status[self.ed, z] = Status.ANNOTATED
        return blank

    @property
    def middle(self) -> int:
        """The slice in the middle of those that show myocardium at ED."""
        shown = np.flatnonzero((self.expert.labels[self.ed] == 2).any(axis=(1, 2)))
        return int(shown[len(shown) // 2])


def validation_cases() -> list[Case]:
    """The validation subjects that have a cine."""
    return [load_case(ACDC / "cine" / name) for name in VALIDATION if (ACDC / "cine" / name).is_dir()]


def load_case(folder: Path) -> Case:
    """One subject in ACDC's layout with a 4D cine."""
    lines = (folder / "Info.cfg").read_text().splitlines()
    info = dict(line.split(": ", 1) for line in lines if ": " in line)
    cine = read_cine(folder / f"{folder.name}_4d.nii.gz")
    expert = empty_segmentation(cine)
    frames = [int(info[phase]) - 1 for phase in ("ED", "ES")]
    for frame in frames:
        labels, _, _ = read_labels(folder / f"{folder.name}_frame{frame + 1:02d}_gt.nii.gz")
        expert.labels[frame] = to_native(labels[0], "acdc")
        expert.status[frame] = Status.ANNOTATED
    return Case(folder.name, cine, expert, *frames)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(document: Path, name: str, text: str) -> None:
    """Put text between the marks `<!-- name -->` and `<!-- /name -->` of a document."""
    content = document.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    if not pattern.search(content):
        raise SystemExit(f"{document} has no section {name}.")
    document.write_text(pattern.sub(lambda m: m[1] + text.strip() + "\n" + m[2], content), encoding="utf-8")
