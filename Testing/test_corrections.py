"""Which slices a correction of an automatic result changes."""

from __future__ import annotations

import numpy as np

from CardiacSegLib.cine import Segmentation, Status
from CardiacSegLib.corrections import memory_for, reach


def places(mask: np.ndarray) -> set[tuple[int, int]]:
    return {(int(frame), int(z)) for frame, z in np.argwhere(mask)}


def changed_at(*where: tuple[int, int], shape: tuple[int, int] = (12, 4)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for place in where:
        mask[place] = True
    return mask


def test_a_correction_reaches_a_quarter_of_the_closed_cycle_and_the_slices_beside_it() -> None:
    changed = changed_at((1, 2))
    expected = {(10, 2), (11, 2), (0, 2), (2, 2), (3, 2), (4, 2), (1, 1), (1, 3)}
    assert places(reach(changed, changed)) == expected


def test_a_persons_slice_is_not_found_again_and_nothing_beyond_it() -> None:
    changed = changed_at((6, 1))
    fixed = changed | changed_at((8, 1), (6, 0))
    assert places(reach(changed, fixed)) == {(3, 1), (4, 1), (5, 1), (7, 1), (6, 2)}


def test_a_released_slice_is_found_again_with_its_surroundings() -> None:
    again = reach(changed_at((6, 1)), changed_at())
    assert again[6, 1]
    assert len(places(again)) == 9


def test_two_frames_and_one_slice_are_enough() -> None:
    changed = changed_at((0, 0), shape=(2, 1))
    assert places(reach(changed, changed)) == {(1, 0)}
    alone = changed_at((0, 0), shape=(1, 1))
    assert places(reach(alone, alone)) == set()


def test_the_memory_is_given_what_stands_and_asked_for_what_is_reached_or_empty() -> None:
    labels = np.arange(48, dtype=np.uint8).reshape(12, 4, 1, 1) % 3 + 1
    status = np.full((12, 4), Status.PREDICTED, np.uint8)
    status[6, 1], status[0, 3] = Status.CORRECTED, Status.EMPTY
    now = Segmentation(labels, status, np.eye(4))
    memory = memory_for(now, changed_at((6, 1)))
    asked = {(3, 1), (4, 1), (5, 1), (7, 1), (8, 1), (9, 1), (6, 0), (6, 2), (0, 3)}
    assert places(~memory.fixed) == asked
    assert (memory.labels[memory.fixed] == labels[memory.fixed]).all()
    assert not memory.labels[~memory.fixed].any()
    assert now.status[5, 1] == Status.PREDICTED
