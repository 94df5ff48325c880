"""The memory of a propagation: encoded slices in buffers that are allocated once and reused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from ..networks.matching import Memory
from .plan import Place


class MemoryBank:
    """Slots for encoded slices; a slot is free again when nobody will read its place any more.

    steps: the order of work, places found together; reads: for each place to be found, the places that it reads. From
    them the bank knows how many slots are ever needed at once (capacity) and when a place is read for the last time.
    sides: how many encodings belong to a place (as it is, mirrored); each side has slots of its own.
    """

    def __init__(self, steps: list[list[Place]], reads: dict[Place, list[Place]], sides: int = 1) -> None:
        self.sides = sides
        self.pending = Counter(place for step in steps for found in step for place in reads[found])
        self.capacity = most_at_once(steps, reads)
        self.slots: dict[Place, int] = {}
        self.free = list(range(self.capacity))[::-1]
        self.memory: Memory | None = None

    def wants(self, place: Place) -> bool:
        return self.pending[place] > 0 and place not in self.slots

    def store(self, place: Place, *encoded: Memory) -> None:
        """Copy an encoded slice (tensors (tokens, C)), every side of it, into a free slot."""
        if self.memory is None:
            count = self.sides * self.capacity
            self.memory = Memory(*(part.new_zeros(count, *part.shape) for part in encoded[0]))
        slot = self.slots[place] = self.free.pop()
        for side, memory in enumerate(encoded):
            for buffer, part in zip(self.memory, memory, strict=True):
                buffer[side * self.capacity + slot] = part

    def table(self, reads: list[list[Place]], device: torch.device) -> tuple[Tensor, Tensor]:
        """Slots (sides * B, M) of each row of places, one side after the other, and which entries are valid."""
        longest = max(len(row) for row in reads)
        slots = [[self.slots[p] for p in row] + [0] * (longest - len(row)) for row in reads]
        valid = [[True] * len(row) + [False] * (longest - len(row)) for row in reads]
        plain = torch.tensor(slots, device=device)
        sides = torch.cat([plain + side * self.capacity for side in range(self.sides)])
        return sides, torch.tensor(valid, device=device).repeat(self.sides, 1)

    def release(self, reads: list[list[Place]]) -> None:
        """These rows have been read; free the slots of places that were read for the last time."""
        for place in (p for row in reads for p in row):
            self.pending[place] -= 1
            if not self.pending[place]:
                self.free.append(self.slots.pop(place))


def most_at_once(steps: list[list[Place]], reads: dict[Place, list[Place]]) -> int:
    """The largest number of places that wait in memory together, each from its finding to its last reading."""
    born = {place: index for index, step in enumerate(steps) for place in step}
    last: dict[Place, int] = {}
    for index, step in enumerate(steps):
        for place in (p for found in step for p in reads[found]):
            born.setdefault(place, index)
            last[place] = index
    change = np.zeros(len(steps) + 1, int)
    for place, index in last.items():
        change[born[place]] += 1
        change[index + 1] -= 1
    return int(np.cumsum(change).max())
