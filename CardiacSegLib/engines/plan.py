"""The order of work of the propagation: which slice is found from which, and what a correction can change.

It knows frames and slices only, no picture and no network, so that it can be read and tested by itself.
A place is (frame, slice). All frame distances are round the closed heart cycle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Place = tuple[int, int]

KEPT_A_SIDE = 4
"""So many predicted frames of a slice stay in memory for the slices behind it on each side of an anchor; a longer way
to the next anchor means larger gaps."""


class Plan:
    """How masks travel from the fixed slices to all others.

    fixed: (T, Z) bool, the slices that a person has made; drawn: (T, Z) how many structures each of them shows (None
    counts all alike). Roots are the slices with a fixed frame that shows the most structures: they are found through
    time alone, each frame straight from the fixed frames around it, so that no error is handed on from frame to frame.
    All others are found through the stack, each from its neighbour towards the nearest root: first at their anchors,
    the frames that are fixed in the slice itself or in the root, then at all other frames, from the anchors around
    them and from the neighbour. A base corrected in systole, where structures have left it, therefore goes on learning
    from the slices below it.

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
        self.kept = [self._kept(z) for z in range(self.slices)]

    def nearest_root(self, z: int) -> int:
        return int(self.roots[np.abs(self.roots - z).argmin()])

    def _kept(self, z: int) -> np.ndarray:
        """The frames of a slice that stay in memory for the slices behind it: its anchors and some between them.

        The gap between them follows from the way between the two anchors around a frame and from nothing beyond them,
        so that a correction changes nothing beyond them either.
        """
        frames, anchors = np.arange(self.frames)[:, None], self.anchors[z][None]
        after, before = ((frames - anchors) % self.frames).min(axis=1), ((anchors - frames) % self.frames).min(axis=1)
        gap = np.maximum(1, -(-((after + before) // 2) // KEPT_A_SIDE))
        return np.flatnonzero(np.minimum(after, before) % gap == 0)

    def sources(self, z: int) -> list[int]:
        """Neighbour slices that lie nearer to a root; none for a root."""
        return [n for n in (z - 1, z + 1) if 0 <= n < self.slices and self.distance[n] < self.distance[z]]

    def cycle_distance(self, a: int, b: np.ndarray | int) -> np.ndarray | int:
        return np.minimum((a - b) % self.frames, (b - a) % self.frames)

    def memory_of(self, place: Place) -> list[Place]:
        """What is read to find this place, at most seven places, the surest first."""
        frame, z = place
        learned = self.own[z] if frame in self.anchors[z] else self.anchors[z]
        found = [(t, z) for t in self._around(learned, frame)]
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

        With start, that place comes first with what it needs, then the rest of its slice, then the others, nearest
        first.
        """
        done = self.fixed.copy()
        if start is not None:
            for place in self._needed(start):
                done[place] = True
                yield [place]
        for slices in self._slice_order(start):
            for anchors in (True, False):
                group = [(t, z) for z in slices for t in range(self.frames) if (t in self.anchors[z]) == anchors]
                group = [place for place in group if not done[place]]
                if start is not None:
                    group.sort(key=lambda place: self.cycle_distance(start[0], place[0]))
                if group:
                    yield group

    def _needed(self, place: Place) -> list[Place]:
        """The place and all that has to be found before it, in an order that works; empty if it is fixed."""
        order: dict[Place, None] = {}

        def add(wanted: Place) -> None:
            if not self.fixed[wanted] and wanted not in order:
                for read in self.memory_of(wanted):
                    add(read)
                order[wanted] = None

        add(place)
        return list(order)

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
