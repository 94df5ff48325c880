"""What the engines take out of what a network found: specks in a slice, stray pieces of a stack."""

from __future__ import annotations

import numpy as np

from CardiacSegLib.engines.cleaning import cleaned, largest_piece, without_specks


def heart() -> np.ndarray:
    """A slice (40, 40) with a cavity of 36 pixels in a ring, and an RV of 40 pixels beside it."""
    labels = np.zeros((40, 40), np.uint8)
    labels[8:18, 8:18] = 2
    labels[10:16, 10:16] = 1
    labels[8:18, 20:24] = 3
    return labels


def test_a_speck_beside_a_structure_goes_and_everything_else_stays() -> None:
    clean = heart()
    spotted = clean.copy()
    spotted[30, 30:33], spotted[2, 2], spotted[35, 5] = 1, 2, 3
    assert np.array_equal(without_specks(spotted), clean)
    assert spotted[30, 30] == 1, "what was given stays as it is"


def test_a_structure_in_two_parts_keeps_both() -> None:
    labels = heart()
    labels[30:34, 8:12] = 3  # 16 of 40 pixels: the right ventricle in two parts
    assert np.array_equal(without_specks(labels), labels)


def test_a_small_structure_alone_in_a_slice_stays() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[5, 5] = 1
    assert np.array_equal(without_specks(labels), labels)
    assert not without_specks(np.zeros((40, 40), np.uint8)).any()


def test_a_diagonal_wall_is_one_piece() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[np.arange(20), np.arange(20)] = 2
    assert np.array_equal(without_specks(labels), labels)
    assert largest_piece(labels[None] > 0).sum() == 20


def test_of_a_stack_the_heart_stays_with_the_largest_piece_of_each_structure() -> None:
    clean = np.stack([heart()] * 4)
    spotted = clean.copy()
    spotted[1, 30:33, 30:33] = 1  # away from the heart
    spotted[2, 18:20, 8:10] = 3  # touches the heart, not the right ventricle
    assert np.array_equal(cleaned(spotted), clean)


def test_parts_of_a_heart_may_lie_some_pixels_apart_but_not_far() -> None:
    near, far = np.zeros((2, 1, 40, 40), np.uint8)
    near[0, 10:20, 5:15], near[0, 10:16, 20:24] = 2, 3
    far[0, 10:20, 5:15], far[0, 10:16, 30:34] = 2, 3
    assert np.array_equal(cleaned(near), near)
    assert set(np.unique(cleaned(far))) == {0, 2}


def test_holes_in_a_cavity_are_blood_and_those_in_the_wall_stay() -> None:
    whole = np.stack([heart()] * 2)
    holed = whole.copy()
    holed[0, 12:14, 12:14] = 0  # a papillary muscle
    holed[1, 12, 12] = 2  # a speck of wall within the blood
    holed[:, 12:14, 21:23] = 0
    assert np.array_equal(cleaned(holed), whole)
    apex = whole.copy()
    apex[:, 10:16, 10:16] = 0  # a ring without a cavity
    assert np.array_equal(cleaned(apex), apex)


def test_nothing_found_stays_nothing() -> None:
    assert not cleaned(np.zeros((3, 20, 20), np.uint8)).any()
