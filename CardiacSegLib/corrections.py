"""Which slices a correction of an automatic result changes, and what the memory network is given for it."""

from __future__ import annotations

import numpy as np

from .cine import Segmentation, Status


def reach(changed: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The slices that are found again after some were changed: (T, Z) bool; changed, fixed: (T, Z) bool.

    A change reaches the same slice in a quarter of the cycle to each side (round the closed cycle), but not beyond a
    slice that a person has fixed, and the slices above and below in its own frame. An automatic method looks at each
    frame anew, so its mistake in one frame says little about frames half a cycle away: those stay and are the other
    end of the way. A changed slice that nobody has fixed, since it was released, is found again too.
    """
    frames = len(changed)
    again = changed.copy()
    for frame, z in np.argwhere(changed):
        again[frame, max(z - 1, 0) : z + 2] = True
        for step in (-1, 1):
            for distance in range(1, min(max(frames // 4, 1), frames - 1) + 1):
                place = (frame + step * distance) % frames, z
                if fixed[place]:
                    break
                again[place] = True
    return again & ~fixed


def memory_for(now: Segmentation, changed: np.ndarray) -> Segmentation:
    """The annotation from which the memory network finds again what the changes reach, and what is still empty.

    Everything else is given as it stands, a person's slices and those of the automatic method alike.
    """
    again = reach(changed, now.fixed) | (now.status == Status.EMPTY)
    labels, status = now.labels.copy(), now.status.copy()
    status[status == Status.PREDICTED] = Status.REVIEWED
    labels[again], status[again] = 0, Status.EMPTY
    return Segmentation(labels, status, now.affine, now.structures)
