"""The order in which predictions deserve a look."""

from __future__ import annotations

import numpy as np
import pytest

from CardiacSegLib.cine import Segmentation, Status
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.review import doubt, review_order


@pytest.fixture
def found() -> Segmentation:
    """The true masks of a heart, as if an engine had found them all."""
    truth = beating_heart(2, frames=12, slices=6, size=64, spacing=(2.8, 2.8, 12.0)).truth
    return Segmentation(truth.labels.copy(), np.full(truth.status.shape, Status.PREDICTED, np.uint8), truth.affine)


def sure(found: Segmentation) -> np.ndarray:
    return np.ones(found.status.shape)


def test_the_least_sure_slice_comes_first_where_all_else_is_equal() -> None:
    empty = Segmentation(np.zeros((3, 2, 4, 4), np.uint8), np.ones((3, 2), np.uint8), np.eye(4))
    confidence = np.array([[0.9, 0.8], [0.6, 0.95], [0.7, 0.85]])
    assert review_order(empty, confidence) == [(1, 0), (2, 0), (0, 1), (2, 1), (0, 0), (1, 1)]


@pytest.mark.parametrize("place", [(5, 2), (0, 3), (11, 0), (4, 5)])
def test_a_mask_that_jumps_out_of_the_motion_comes_first_at_either_end_of_the_cycle_too(
    found: Segmentation, place: tuple[int, int]
) -> None:
    found.labels[place] = np.roll(found.labels[place], 6, axis=1)
    assert review_order(found, sure(found))[0] == place


def test_a_lost_structure_comes_first(found: Segmentation) -> None:
    mask = found.labels[7, 3]
    mask[mask == 1] = 0
    assert review_order(found, sure(found))[0] == (7, 3)


def test_a_mask_between_its_neighbours_raises_no_doubt() -> None:
    labels = np.zeros((4, 1, 8, 8), np.uint8)
    for frame, size in enumerate((2, 4, 6, 4)):
        labels[frame, 0, 1 : 1 + size, 1 : 1 + size] = 1
    moving = Segmentation(labels, np.ones((4, 1), np.uint8), np.eye(4))
    doubts = doubt(moving, np.ones((4, 1)))[:, 0]
    assert doubts[1] == doubts[3] == 0
    assert doubts[2] == pytest.approx(0.1 * (36 - 16) / 36)


def test_only_predictions_are_proposed(found: Segmentation) -> None:
    found.status[0] = Status.ANNOTATED
    found.status[1] = Status.CORRECTED
    found.status[2] = Status.REVIEWED
    found.status[3] = Status.EMPTY
    order = review_order(found, sure(found))
    assert {frame for frame, _ in order} == set(range(4, 12))
    assert len(order) == len(set(order)) == 8 * 6


def test_a_neighbour_that_is_not_found_yet_raises_no_doubt(found: Segmentation) -> None:
    before = doubt(found, sure(found))[5].copy()
    found.labels[4], found.status[4] = 0, Status.EMPTY
    assert (doubt(found, sure(found))[5] <= before).all()


def test_of_two_slices_equally_unsure_the_larger_comes_first() -> None:
    labels = np.zeros((2, 2, 20, 20), np.uint8)
    labels[:, 0, 2:18, 2:18] = 1
    labels[:, 1, 8:12, 8:12] = 1
    found = Segmentation(labels, np.ones((2, 2), np.uint8), np.eye(4))
    assert {place[1] for place in review_order(found, np.full((2, 2), 0.8))[:2]} == {0}
