"""The order of work of the propagation: which slice is found from which, and what a correction can change.

It knows frames and slices only, no picture and no network, so that it can be read and tested by itself.
A place is (frame, slice). All frame distances are round the closed heart cycle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Place = tuple[int, int]

KEPT_A_SIDE = 4
"""So many predicted frames of a slice stay in memory on each side of an anchor; a longer way to the next anchor means
larger gaps."""


class Plan:
    """How masks travel from the fixed slices to all others.

    fixed: (T, Z) bool, the slices that a person has made; drawn: (T, Z) how many structures each of them shows (None
    counts all alike). Roots are the slices with a fixed frame that shows the most structures: they are found through
    time alone, from their fixed frames forwards and backwards. All others are found through the stack, each from its
    neighbour towards the nearest root, and through time as well, from their own fixed frames and those of the root. A
    base corrected in systole, where structures have left it, therefore goes on learning from the slices below it.

    Every place has a bounded list of places that it reads (memory_of), which depends on `fixed` and `drawn` alone and
    not on the order of work. Raises ValueError if nothing is fixed.
    """

    def __init__(self, fixed: np.ndarray, drawn: np.ndarray | None = None) -> None:
        self.fixed = fixed.astype(bool)
        self.frames, self.slices = fixed.shape
        if not self.fixed.any():
            raise ValueError("nothing is fixed")
        most = np.where(self.fixed, 1 if drawn is None else drawn, -1).max(axis=0)
        self.roots = np.flatnonzero(most == most.max())
        self.distance = np.abs(np.arange(self.slices)[:, None] - self.roots[None]).min(axis=1)
        self.own = [np.flatnonzero(self.fixed[:, z]) for z in range(self.slices)]
        self.anchors = [np.union1d(self.own[z], self.own[self.nearest_root(z)]) for z in range(self.slices)]
        self.depth, self.direction, self.gap = self._depths()
        self.kept = [np.flatnonzero(self.depth[:, z] % self.gap[:, z] == 0) for z in range(self.slices)]

    def nearest_root(self, z: int) -> int:
        return int(self.roots[np.abs(self.roots - z).argmin()])

    def _depths(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(T, Z): frames to the nearest anchor, its side (1: it lies before, -1: after, 0: this is one), and the gap.

        The gap between frames that stay in memory follows from the way between the two anchors around a frame and from
        nothing beyond them, so that a correction changes nothing beyond them either.
        """
        frames = np.arange(self.frames)[:, None]
        after = np.stack([((frames - a) % self.frames).min(axis=1) for a in self.anchors], axis=1)
        before = np.stack([((a - frames) % self.frames).min(axis=1) for a in self.anchors], axis=1)
        side = np.where(after <= before, 1, -1) * (after > 0)
        gap = np.maximum(1, -(-((after + before) // 2) // KEPT_A_SIDE))
        return np.minimum(after, before), side, gap

    def sources(self, z: int) -> list[int]:
        """Neighbour slices that lie nearer to a root; none for a root."""
        return [n for n in (z - 1, z + 1) if 0 <= n < self.slices and self.distance[n] < self.distance[z]]

    def cycle_distance(self, a: int, b: np.ndarray) -> np.ndarray:
        d = np.abs(a - b)
        return np.minimum(d, self.frames - d)

    def memory_of(self, place: Place) -> list[Place]:
        """What is read to find this place, at most twelve places, the surest first."""
        frame, z = place
        depth, direction = int(self.depth[place]), int(self.direction[place])
        if depth:
            found = [(t, z) for t in self._around(self.anchors[z], frame)]
            anchor, gap = frame - direction * depth, int(self.gap[place])
            last = (depth - 1) // gap * gap
            found += [((anchor + direction * d) % self.frames, z) for d in (last, last - gap) if d > 0]
        else:
            found = [(t, z) for t in self._around(self.own[z], frame)]
        found += [(self._nearest(self.kept[source], frame), source) for source in self.sources(z)]
        beside = {z - 1, z + 1} if self.distance[z] <= 1 else {z - 1, z + 1, self.nearest_root(z)}
        for n in sorted(beside):
            if 0 <= n < self.slices and len(self.own[n]):
                found.append((self._nearest(self.own[n], frame), n))
        return list(dict.fromkeys(found))

    def _around(self, anchors: np.ndarray, frame: int) -> list[int]:
        """The anchor at or before the frame and the one at or after it; none if there are no anchors."""
        if not len(anchors):
            return []
        before, after = (frame - anchors) % self.frames, (anchors - frame) % self.frames
        return [int(anchors[before.argmin()]), int(anchors[after.argmin()])]

    def _nearest(self, frames: np.ndarray, frame: int) -> int:
        return int(frames[self.cycle_distance(frame, frames).argmin()])

    def groups(self, start: Place | None = None) -> Iterator[list[Place]]:
        """All places that are to be found, in groups whose members do not read each other.

        With start, what that place needs comes first, then the rest of its slice, then the others, nearest first.
        """
        for slices in self._slice_order(start):
            sides = ((0, 1, -1),)
            if start is not None and slices == [start[1]]:
                first = int(self.direction[start])
                sides = ((0, first), (-first,)) if first else ((0,), (1, -1))
            for side in sides:
                yield from self._by_depth(slices, side)

    def _slice_order(self, start: Place | None) -> Iterator[list[int]]:
        order = range(self.slices)
        if start is not None:
            needed = self._ancestors(start[1])
            yield from ([z] for z in sorted(needed, key=lambda z: self.distance[z]))
            yield [start[1]]
            order = [z for z in order if z not in {*needed, start[1]}]
        for distance in range(int(self.distance.max()) + 1):
            ready = [z for z in order if self.distance[z] == distance]
            if start is not None:
                yield from ([z] for z in sorted(ready, key=lambda z: abs(z - start[1])))
            elif ready:
                yield ready

    def _ancestors(self, z: int) -> set[int]:
        found: set[int] = set()
        for source in self.sources(z):
            found |= {source} | self._ancestors(source)
        return found

    def _by_depth(self, slices: list[int], sides: tuple[int, ...]) -> Iterator[list[Place]]:
        places: dict[int, list[Place]] = {}
        for z in slices:
            for t in range(self.frames):
                if not self.fixed[t, z] and self.direction[t, z] in sides:
                    places.setdefault(int(self.depth[t, z]), []).append((t, z))
        for depth in sorted(places):
            yield places[depth]


def affected(old: Plan, new: Plan, changed: np.ndarray) -> np.ndarray:
    """Which places can come out differently: (T, Z) bool.

    old, new: the plans of the last run and of now. changed: fixed slices that are new, given up, or were edited since.
    A place is affected if it reads other places than before, or one that changed or is affected.
    """
    moved = changed.copy()
    for group in new.groups():
        for place in group:
            reads = new.memory_of(place)
            if old.fixed[place] or reads != old.memory_of(place) or any(moved[p] for p in reads):
                moved[place] = True
    return moved & ~new.fixed
