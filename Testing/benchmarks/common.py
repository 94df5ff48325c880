"""What the benchmarks share: the validation subjects, their cines with expert masks, and tables in the documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from CardiacSegLib.anatomy import to_native
from CardiacSegLib.cine import Cine, Segmentation, Status, empty_segmentation
from CardiacSegLib.readers import read_cine, read_labels
from CardiacSegLib.weights import WeightsCard, installed, read_card

ROOT = Path(__file__).resolve().parents[2]
ACDC = ROOT.parent / "shared" / "data" / "acdc"
VALIDATION = tuple(f"patient{n:03d}" for n in (5, 6, 18, 24, 25, 39, 49, 51, 60, 62, 66, 79, 85, 87, 96))
"""Subjects that no weights of this project were trained on; three of each of ACDC's five groups."""


WHOLE_CYCLES = ("cnn4d", "cnn3d")
"""Networks that were made for whole cycles and are not measured on ED and ES alone."""


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


def validation_pairs() -> list[Case]:
    """All validation subjects as cines of two frames, ED and ES, whole pictures and stacks on their own grid."""
    return [load_pair(ACDC / "training" / name) for name in VALIDATION]


def load_case(folder: Path) -> Case:
    """One subject in ACDC's layout with a 4D cine."""
    cine = read_cine(folder / f"{folder.name}_4d.nii.gz")
    expert = empty_segmentation(cine)
    frames = labelled_frames(folder)
    for frame, path in frames.items():
        expert.labels[frame] = expert_labels(path)
        expert.status[frame] = Status.ANNOTATED
    return Case(folder.name, cine, expert, *frames)


def load_pair(folder: Path) -> Case:
    """One subject in ACDC's layout, ED and ES alone."""
    masks = list(labelled_frames(folder).values())
    ed, es = (read_cine(path.with_name(path.name.replace("_gt", ""))) for path in masks)
    cine = replace(ed, frames=np.concatenate([ed.frames, es.frames]), times=np.array([0.0, 1.0]), times_known=False)
    labels = np.stack([expert_labels(path) for path in masks])
    status = np.full(labels.shape[:2], Status.ANNOTATED, np.uint8)
    return Case(folder.name, cine, Segmentation(labels, status, cine.affine), ed=0, es=1)


def labelled_frames(folder: Path) -> dict[int, Path]:
    """Numbers from 0 and mask files of ED and ES."""
    lines = (folder / "Info.cfg").read_text().splitlines()
    info = dict(line.split(": ", 1) for line in lines if ": " in line)
    numbers = [int(info[phase]) for phase in ("ED", "ES")]
    return {number - 1: folder / f"{folder.name}_frame{number:02d}_gt.nii.gz" for number in numbers}


def expert_labels(path: Path) -> np.ndarray:
    """Native labels (Z, Y, X) of one of ACDC's mask files."""
    labels, _, _ = read_labels(path)
    return to_native(labels[0], "acdc")


def cards_of(names: Sequence[str]) -> list[WeightsCard]:
    """The cards of installed weights by name, or of .safetensors files by path."""
    cards = {card.name: card for card in installed()}
    return [read_card(Path(name)) if name.endswith(".safetensors") else cards[name] for name in names]


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
