"""The engine of the product: carries a person's masks through time and through the stack with a memory network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..cine import Cine, Segmentation, SlicePrediction, Status
from ..errors import CardiacSegError
from ..networks.cstm import CSTM, Features, aggregate
from ..networks.matching import Memory
from ..networks.precision import autocast
from .cleaning import without_specks
from .memory_bank import MemoryBank
from .plan import Plan, affected
from .predictions import Place, Predictions, border_confidence, check_places
from .view import View

BATCH = 4
"""Slices that go through the network together, each from all SIDES; more gain little on a CPU and cost memory."""

SIDES: tuple[tuple[int, ...], ...] = ((), (-2,))
"""The axes along which a slice is mirrored before the network finds it: each slice is found as it is and mirrored along
its rows, and the mean counts. The ablation in docs/results.md shows what that is worth."""


class PropagationEngine:
    """Finds all slices of a cine from those that a person has annotated, corrected or reviewed.

    The engine keeps nothing between runs: what it yields depends on the cine, on the masks and on which slices are
    fixed. Masks enter the memory as they stand on the native grid, so computing only what a correction can change gives
    the same masks as computing all again.
    """

    name = "cstm"

    def __init__(self, network: CSTM, device: torch.device) -> None:
        self.network = network.eval().to(device, memory_format=torch.channels_last)
        self.device = device

    def segment(
        self,
        cine: Cine,
        annotation: Segmentation | None = None,
        *,
        start: Place | None = None,
        previous: Segmentation | None = None,
    ) -> Iterator[SlicePrediction]:
        """Yield a prediction for every slice that is not fixed in the annotation.

        start: (frame, slice) that is wanted first. previous: the annotation from which all the predicted slices were
        found; then only what the changes since can change is found again, and slices that are EMPTY. That is
        everything where a change brings a structure or widens the view, since a slice found in one view differs by a
        little from the same slice found in another.
        Raises CardiacSegError if nothing is annotated, the grids differ or start is not a slice of the cine.
        """
        if annotation is None or not annotation.fixed.any():
            raise CardiacSegError(f"No slice of {cine.name} is annotated; annotate one mid-ventricular slice first.")
        check_places(cine, annotation, start)
        if previous is not None and previous.labels.shape != cine.shape:
            raise CardiacSegError(
                f"The previous annotation has the shape {previous.labels.shape}, {cine.name} {cine.shape}; "
                "give one on the cine's grid, or none to find everything again."
            )
        run = Run(self, cine, annotation, start, previous)
        return Predictions(run.predictions(), sum(len(step) for step in run.steps))


class Run:
    """One propagation: the plan, the view, the memory and the labels so far."""

    def __init__(
        self,
        engine: PropagationEngine,
        cine: Cine,
        annotation: Segmentation,
        start: Place | None,
        previous: Segmentation | None,
    ) -> None:
        self.network, self.device, self.cine = engine.network, engine.device, cine
        self.labels = annotation.labels.copy()
        self.values = structures_of(annotation)
        if not self.values:
            raise CardiacSegError(f"The annotated slices of {cine.name} are all empty; draw at least one structure.")
        self.view = self.view_of(annotation)
        self.plan = plan_of(annotation)
        wanted = ~annotation.fixed
        if previous is not None and self.sees_the_same(previous):
            wanted &= self.changed_by(previous, annotation) | (annotation.status == Status.EMPTY)
        groups = [[p for p in group if wanted[p]] for group in self.plan.groups(start)]
        self.steps = [g[i : i + BATCH] for g in groups for i in range(0, len(g), BATCH)]
        self.reads = {p: self.plan.memory_of(p) for step in self.steps for p in step}
        self.bank = MemoryBank(self.steps, self.reads, len(SIDES))

    def view_of(self, annotation: Segmentation) -> View:
        config = self.network.config
        heart = annotation.labels[annotation.fixed].any(axis=0)
        return View(self.cine, heart, config.spacing_mm, config.shorter_side, config.stride)

    def sees_the_same(self, previous: Segmentation) -> bool:
        """Whether the previous annotation led to the same structures in the same view."""
        if structures_of(previous) != self.values:
            return False
        view = self.view_of(previous)
        return (view.rows, view.columns) == (self.view.rows, self.view.columns)

    def changed_by(self, previous: Segmentation, annotation: Segmentation) -> np.ndarray:
        """(T, Z) bool: slices that come out differently from this annotation than from the previous one."""
        edited = (previous.labels != annotation.labels).any(axis=(2, 3))
        changed = (previous.fixed != annotation.fixed) | (previous.fixed & annotation.fixed & edited)
        return affected(plan_of(previous), self.plan, changed)

    def predictions(self) -> Iterator[SlicePrediction]:
        for step in self.steps:
            for place, labels, confidence in self.find(step):
                yield SlicePrediction(*place, labels, confidence)

    @torch.inference_mode()
    def find(self, step: list[Place]) -> list[tuple[Place, np.ndarray, float]]:
        """Find the masks of some places that do not read each other, and remember those that others will read."""
        with autocast(self.device):
            return self.find_step(step)

    def find_step(self, step: list[Place]) -> list[tuple[Place, np.ndarray, float]]:
        reads = [self.reads[place] for place in step]
        missing = list(dict.fromkeys(p for row in reads for p in row if p not in self.bank.slots))
        for i in range(0, len(missing), BATCH):
            self.remember(missing[i : i + BATCH])
        pictures = self.pictures(step)
        features = self.network.encode_key(pictures)
        slots, valid = self.bank.table(reads, self.device)
        read = self.network.read(features, self.bank.memory, slots, valid)
        found = self.network.decode(features, *read, len(self.values))
        results = self.finish(step, found)
        self.bank.release(reads)
        kept = [i for i, place in enumerate(step) if self.bank.pending[place]]
        if kept:
            sides = [side * len(step) + i for side in range(len(SIDES)) for i in kept]
            chosen = Features(*(f[sides] for f in features))
            self.remember([step[i] for i in kept], pictures[sides], chosen, [results[i][1] for i in kept])
        return results

    def remember(
        self,
        places: list[Place],
        pictures: Tensor | None = None,
        features: Features | None = None,
        labels: list[np.ndarray] | None = None,
    ) -> None:
        """Encode places into the memory with their masks as they stand on the native grid."""
        if pictures is None:
            pictures = self.pictures(places)
            features = self.network.encode_key(pictures)
        labels = labels or [self.labels[place] for place in places]
        masks = torch.cat([self.view.masks(mask, self.values) for mask in labels]).to(self.device)
        value4, value3 = self.network.encode_value(pictures, features, from_all_sides(masks))
        encoded = [Memory(*parts) for parts in zip(features.key4, features.key3, value4, value3, strict=True)]
        for i, place in enumerate(places):
            self.bank.store(place, *encoded[i :: len(places)])

    def pictures(self, places: list[Place]) -> Tensor:
        """(sides * B, 1, height, width): the pictures, one side after the other."""
        pictures = torch.cat([self.view.picture(self.cine.frames[place]) for place in places])
        return from_all_sides(pictures).to(self.device, memory_format=torch.channels_last)

    def finish(self, step: list[Place], logits: Tensor) -> list[tuple[Place, np.ndarray, float]]:
        """Labels on the native grid, and how sure they are: the mean of what was found from all sides."""
        seen = torch.softmax(aggregate(logits.float()), dim=1).chunk(len(SIDES))
        turned = [maps.flip(axes) for maps, axes in zip(seen, SIDES, strict=True)]
        probabilities = self.view.native(torch.stack(turned).mean(dim=0))
        best, winner = probabilities.max(dim=1)
        values = torch.tensor((0, *self.values), dtype=torch.uint8, device=winner.device)
        labels = values[winner].cpu().numpy()
        shape = self.cine.shape[2:]
        sure = border_confidence(best, winner)
        return [(p, self.view.paste(without_specks(labels[i]), shape), sure[i]) for i, p in enumerate(step)]


def from_all_sides(maps: Tensor) -> Tensor:
    """The maps (B, C, height, width) as the network sees them from every side, along the batch."""
    return torch.cat([maps.flip(axes) for axes in SIDES])


def structures_of(annotation: Segmentation) -> tuple[int, ...]:
    """The label values that the fixed slices show."""
    return tuple(int(v) for v in np.unique(annotation.labels[annotation.fixed]) if v)


def plan_of(annotation: Segmentation) -> Plan:
    """The plan that follows from the fixed slices and how many structures each shows."""
    drawn = np.zeros(annotation.status.shape, int)
    for place in zip(*np.nonzero(annotation.fixed), strict=True):
        drawn[place] = np.count_nonzero(np.bincount(annotation.labels[place].ravel(), minlength=256)[1:])
    return Plan(annotation.fixed, drawn)
