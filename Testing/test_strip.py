"""The strip of frames and slices."""

from __future__ import annotations

import numpy as np
import pytest

from CardiacSegLib.cine import Status
from CardiacSegLib.strip import COLORS, cell, cells, legend, place_at


@pytest.mark.parametrize("size", [(400, 90), (7, 5), (1000, 33)])
def test_every_cell_is_found_again_under_its_middle(size: tuple[int, int]) -> None:
    shape = (6, 4)
    for place in np.ndindex(shape):
        left, top, width, height = cell(shape, size, *place)
        assert place_at(shape, size, left + width // 2, top + height // 2) == place


def test_cells_do_not_overlap_and_stay_inside() -> None:
    covered = np.zeros((90, 401), int)
    for (left, top, width, height), _ in cells(np.zeros((7, 3), np.uint8), (401, 90)):
        covered[top : top + height, left : left + width] += 1
    assert covered.max() == 1
    assert covered.sum() > 0.9 * covered.size


def test_a_cell_has_the_color_of_its_status() -> None:
    status = np.array([[Status.EMPTY, Status.CORRECTED]], np.uint8)
    assert [color for _, color in cells(status, (10, 10))] == [COLORS[0], COLORS[3]]
    assert len(COLORS) == len(Status) == legend().count("&#9632;")


def test_a_point_outside_counts_to_the_nearest_slice() -> None:
    assert place_at((5, 4), (100, 50), -3, 400) == (0, 3)
    assert place_at((5, 4), (0, 0), 10, 10) == (4, 3)
