"""What all engines share: their iterator, what they refuse, and how sure they are of a slice."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from ..cine import Cine, Segmentation, SlicePrediction
from ..errors import CardiacSegError
from .plan import Place


class Predictions(Iterator[SlicePrediction]):
    """What a run finds, one slice at a time; operator.length_hint tells how many slices are still to come."""

    def __init__(self, found: Generator[SlicePrediction, None, None], total: int) -> None:
        self._found, self._left = found, total

    def __next__(self) -> SlicePrediction:
        prediction = next(self._found)
        self._left -= 1
        return prediction

    def __length_hint__(self) -> int:
        return self._left

    def close(self) -> None:
        """Give up the rest, and the memory with it."""
        self._found.close()


def check_places(cine: Cine, annotation: Segmentation | None, start: Place | None) -> None:
    """Raise CardiacSegError if the annotation is on another grid or start is not a (frame, slice) of the cine."""
    if annotation is not None and annotation.labels.shape != cine.shape:
        raise CardiacSegError(
            f"The annotation has the shape {annotation.labels.shape}, {cine.name} {cine.shape}; "
            "give an annotation on the cine's grid."
        )
    if start is not None and not all(0 <= index < size for index, size in zip(start, cine.shape, strict=False)):
        raise CardiacSegError(
            f"{cine.name} has no frame {start[0]} with a slice {start[1]}; "
            f"choose frames 0 to {cine.shape[0] - 1} and slices 0 to {cine.shape[1] - 1} (counted from 0)."
        )


def border_confidence(best: Tensor, winner: Tensor) -> list[float]:
    """Mean probability of the winner on the pixels beside another winner, or of the whole slice where it is uniform."""
    border = torch.zeros_like(winner, dtype=torch.bool)
    for dim in (1, 2):
        differs = winner.diff(dim=dim) != 0
        border.narrow(dim, 0, differs.shape[dim]).logical_or_(differs)
        border.narrow(dim, 1, differs.shape[dim]).logical_or_(differs)
    return [float(b[edge].mean() if edge.any() else b.mean()) for b, edge in zip(best, border, strict=True)]
