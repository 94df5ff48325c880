"""What the order of work promises: nothing reads what is not yet found, memory is bounded, a correction stays local."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from CardiacSegLib.engines.memory_bank import MemoryBank
from CardiacSegLib.engines.plan import Place, Plan, affected
from CardiacSegLib.networks.matching import Memory

MOST_READ = 12


def fixed_at(frames: int, slices: int, *places: tuple[object, object]) -> np.ndarray:
    """(T, Z) bool with these places fixed; a slice(None) stands for all."""
    fixed = np.zeros((frames, slices), bool)
    for place in places:
        fixed[place] = True
    return fixed


def random_fixed(seed: int) -> np.ndarray:
    """Any number of fixed places, at least one, on a cine of any shape."""
    rng = np.random.default_rng(seed)
    fixed = rng.random((rng.integers(1, 30), rng.integers(1, 12))) < rng.choice([0.01, 0.1, 0.4, 0.9])
    fixed[rng.integers(fixed.shape[0]), rng.integers(fixed.shape[1])] = True
    return fixed


ALL = slice(None)

ANNOTATIONS: dict[str, np.ndarray] = {
    "one mid slice of the first frame": fixed_at(25, 10, (0, 4)),
    "the whole first frame": fixed_at(25, 10, (0, ALL)),
    "the whole first and a systolic frame": fixed_at(25, 10, (0, ALL), (9, ALL)),
    "one slice of a late frame at the apex": fixed_at(30, 8, (22, 7)),
    "base and apex": fixed_at(20, 9, (0, 0), (0, 8)),
    "base and apex of different frames": fixed_at(20, 9, (3, 0), (11, 8)),
    "frames scattered over the slices": fixed_at(24, 7, (1, 1), (5, 1), (23, 3), (10, 6), (11, 6)),
    "a slice drawn in all frames": fixed_at(15, 5, (ALL, 2)),
    "all but one place": ~fixed_at(12, 6, (7, 3)),
    "everything": fixed_at(6, 3, (ALL, ALL)),
    "two frames": fixed_at(2, 4, (1, 2)),
    "one frame": fixed_at(1, 6, (0, 3)),
    "one slice": fixed_at(25, 1, (4, 0)),
    "one slice of two frames": fixed_at(2, 1, (0, 0)),
} | {f"random {seed}": random_fixed(seed) for seed in range(40)}


@pytest.fixture(params=ANNOTATIONS)
def fixed(request: pytest.FixtureRequest) -> np.ndarray:
    return ANNOTATIONS[request.param]


def starts(fixed: np.ndarray) -> list[Place | None]:
    """No start, the corners, and some places in between, fixed ones included."""
    frames, slices = fixed.shape
    rng = np.random.default_rng(frames * 100 + slices)
    return [
        None,
        (0, 0),
        (frames - 1, slices - 1),
        *((int(rng.integers(frames)), int(rng.integers(slices))) for _ in "abc"),
    ]


def places(fixed: np.ndarray) -> Iterator[Place]:
    return ((int(t), int(z)) for t, z in np.argwhere(fixed))


def needs(plan: Plan, place: Place) -> set[Place]:
    """All that has to be known before a place can be found, by following what is read."""
    found: set[Place] = set()
    waiting = [place]
    while waiting:
        place = waiting.pop()
        if not plan.fixed[place]:
            fresh = set(plan.memory_of(place)) - found
            found |= fresh
            waiting += fresh
    return found


# Order ----------------------------------------------------------------------------------------------------------------


def test_every_slice_that_is_not_fixed_is_found_exactly_once(fixed: np.ndarray) -> None:
    for start in starts(fixed):
        found = [place for group in Plan(fixed).groups(start) for place in group]
        assert sorted(found) == list(places(~fixed))


def test_nothing_is_read_before_it_is_known(fixed: np.ndarray) -> None:
    plan = Plan(fixed)
    for start in starts(fixed):
        known = set(places(fixed))
        for group in plan.groups(start):
            for place in group:
                reads = plan.memory_of(place)
                assert reads, f"{place} is found from nothing"
                assert known.issuperset(reads), f"{place} reads {set(reads) - known} too early"
            known.update(group)


def test_a_place_reads_at_most_twelve_others_and_none_twice(fixed: np.ndarray) -> None:
    plan = Plan(fixed)
    for place in places(~fixed):
        reads = plan.memory_of(place)
        assert len(reads) == len(set(reads)) <= MOST_READ


def test_what_a_place_reads_does_not_depend_on_where_work_starts(fixed: np.ndarray) -> None:
    expected = {place: Plan(fixed).memory_of(place) for place in places(~fixed)}
    for start in starts(fixed):
        plan = Plan(fixed)
        assert {place: plan.memory_of(place) for group in plan.groups(start) for place in group} == expected


def test_a_plan_leaves_the_array_that_it_is_given_alone(fixed: np.ndarray) -> None:
    kept = fixed.copy()
    list(Plan(fixed).groups((0, 0)))
    np.testing.assert_array_equal(fixed, kept)


def test_every_place_is_found_from_a_person_s_mask_in_the_end(fixed: np.ndarray) -> None:
    plan = Plan(fixed)
    for place in list(places(~fixed))[:: max(1, (~fixed).sum() // 8)]:
        assert any(fixed[need] for need in needs(plan, place))


# Time and stack -------------------------------------------------------------------------------------------------------


def rounds(fixed: np.ndarray) -> dict[Place, int]:
    """In which group each place is found."""
    return {place: index for index, group in enumerate(Plan(fixed).groups()) for place in group}


def test_the_cycle_is_closed_so_the_last_frame_is_next_to_the_first() -> None:
    fixed = fixed_at(25, 10, (0, ALL))
    plan, found = Plan(fixed), rounds(fixed)
    assert found[24, 4] == found[1, 4] == 0
    assert plan.memory_of((24, 4))[0] == (0, 4)
    assert max(found.values()) == 11, "both directions meet half way round, at frames 12 and 13"
    assert (11, 4) not in needs(plan, (14, 4)) and (14, 4) not in needs(plan, (11, 4))


@pytest.mark.parametrize("first", [1, 7, 24])
def test_turning_the_cycle_turns_the_plan(first: int) -> None:
    fixed = fixed_at(25, 5, (0, 2), (9, 2))
    straight, turned = Plan(fixed), Plan(np.roll(fixed, first, axis=0))
    for t, z in places(~fixed):
        away = sorted((min((frame - t) % 25, (t - frame) % 25), n) for frame, n in straight.memory_of((t, z)))
        t = (t + first) % 25
        assert sorted((min((frame - t) % 25, (t - frame) % 25), n) for frame, n in turned.memory_of((t, z))) == away


def test_work_goes_from_the_annotated_slice_towards_base_and_apex() -> None:
    found = rounds(fixed_at(25, 9, (0, 4)))
    first = [min(step for (_, slice_), step in found.items() if slice_ == z) for z in range(9)]
    assert first == sorted(first[:5], reverse=True) + sorted(first[5:])
    assert len(set(first[:5])) == 5 and first[5:] == first[3::-1], "both ways at once"


def test_a_slice_without_annotation_is_read_from_its_neighbour_at_the_same_phase() -> None:
    plan = Plan(fixed_at(8, 5, (0, 2)))
    for frame in range(8):
        assert (frame, 2) in plan.memory_of((frame, 3)) and (frame, 3) in plan.memory_of((frame, 4))


def test_a_slice_between_two_annotated_ones_is_read_from_both() -> None:
    plan = Plan(fixed_at(8, 3, (0, 0), (0, 2)))
    assert {z for _, z in plan.memory_of((0, 1))} == {0, 2}


def test_the_annotated_frames_around_a_frame_are_always_in_its_memory() -> None:
    plan = Plan(fixed_at(400, 4, (0, ALL), (130, ALL), (200, 2)))
    for frame in range(1, 130):
        assert {(0, 2), (130, 2)} <= set(plan.memory_of((frame, 2)))
    for frame in range(201, 400):
        assert {(200, 2), (0, 2)} <= set(plan.memory_of((frame, 2)))


# Start ----------------------------------------------------------------------------------------------------------------


def test_what_the_start_needs_comes_first_and_nothing_from_other_slices(fixed: np.ndarray) -> None:
    plan = Plan(fixed)
    for start in starts(fixed):
        if start is None or fixed[start]:
            continue
        order = [place for group in plan.groups(start) for place in group]
        before = order[: order.index(start)]
        required = needs(plan, start)
        assert {p for p in required if not fixed[p]} <= set(before)
        assert {z for _, z in before} <= {z for _, z in required} | {start[1]}


@pytest.mark.parametrize(("start", "others"), [((5, 3), range(11, 20)), ((15, 3), range(1, 10))])
def test_the_side_of_the_start_comes_before_the_other_side_of_the_cycle(start: Place, others: range) -> None:
    groups = list(Plan(fixed_at(20, 6, (0, ALL))).groups(start))
    before = groups[: 1 + next(i for i, group in enumerate(groups) if start in group)]
    assert {z for group in before for _, z in group} == {3}
    assert not {t for group in before for t, _ in group} & set(others)


def test_after_the_slice_of_the_start_the_nearest_slices_follow() -> None:
    order = [z for group in Plan(fixed_at(10, 9, (0, ALL))).groups((3, 5)) for _, z in group]
    away = [abs(z - 5) for z in dict.fromkeys(order)]
    assert away == sorted(away) and away[0] == 0


# Memory ---------------------------------------------------------------------------------------------------------------


def bank_of(
    fixed: np.ndarray, start: Place | None = None, batch: int = 8
) -> tuple[MemoryBank, list[list[Place]], Plan]:
    plan = Plan(fixed)
    steps = [group[i : i + batch] for group in plan.groups(start) for i in range(0, len(group), batch)]
    reads = {place: plan.memory_of(place) for step in steps for place in step}
    return MemoryBank(steps, reads), steps, plan


def encoded(place: Place) -> Memory:
    """A slice in memory that can be told from all others."""
    return Memory(*(torch.full((3, 2), 1000.0 * place[0] + place[1] + part / 8) for part in range(4)))


def test_the_memory_holds_what_is_read_as_long_as_it_is_read_and_not_longer(fixed: np.ndarray) -> None:
    for start in starts(fixed)[:3]:
        bank, steps, plan = bank_of(fixed, start)
        most = 0
        for step in steps:
            reads = [plan.memory_of(place) for place in step]
            for place in {p for row in reads for p in row}:
                assert fixed[place] or place in bank.slots, f"{place} was forgotten"
                if bank.wants(place):
                    bank.store(place, encoded(place))
            most = max(most, len(bank.slots))
            check_table(bank, reads)
            bank.release(reads)
            for place in step:
                if bank.wants(place):
                    bank.store(place, encoded(place))
            most = max(most, len(bank.slots))
        assert not bank.slots and len(bank.free) == bank.capacity
        assert most <= bank.capacity <= most + 8, "no more slots than needed, but for those of one step"


def check_table(bank: MemoryBank, reads: list[list[Place]]) -> None:
    """Each valid entry of the table leads to what was stored for its place; the others are padding."""
    slots, valid = bank.table(reads, torch.device("cpu"))
    assert valid.sum(dim=1).tolist() == [len(row) for row in reads]
    stored = bank.memory.value3[slots][..., 0, 0]
    for row, values, used in zip(reads, stored, valid, strict=True):
        assert values[used].tolist() == [encoded(place).value3[0, 0].item() for place in row]


@pytest.mark.parametrize(
    "annotate",
    [
        lambda frames: fixed_at(frames, 10, (0, ALL)),
        lambda frames: fixed_at(frames, 10, (0, 4)),
        lambda frames: fixed_at(frames, 10, (0, ALL), (frames // 3, ALL)),
        lambda frames: fixed_at(frames, 10, (0, 2), (frames // 2, 7)),
    ],
    ids=["whole stack", "one mid slice", "end-diastole and end-systole", "two slices of two frames"],
)
def test_the_memory_does_not_grow_from_25_to_400_frames(annotate: Callable[[int], np.ndarray]) -> None:
    short, long, longest = (bank_of(annotate(frames))[0].capacity for frames in (25, 150, 400))
    assert max(long, longest) <= 1.15 * short, "the gaps grow with the cine instead"


@pytest.mark.parametrize("frames", [25, 400])
def test_a_start_needs_no_more_memory_than_the_plain_order(frames: int) -> None:
    fixed = fixed_at(frames, 10, (0, 4))
    assert bank_of(fixed, start=(frames // 2, 9))[0].capacity <= bank_of(fixed)[0].capacity


def test_nothing_to_find_needs_no_memory() -> None:
    assert bank_of(np.ones((5, 3), bool))[0].capacity == 0


def test_a_long_cine_is_planned_in_less_than_a_second() -> None:
    fixed = fixed_at(400, 10, (0, ALL), (130, 5))
    began = time.process_time()
    bank_of(fixed, start=(200, 5))
    affected(fixed_at(400, 10, (0, ALL)), fixed, fixed_at(400, 10, (130, 5)))
    assert time.process_time() - began < 1


# Corrections ----------------------------------------------------------------------------------------------------------


def results(fixed: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """A stand-in for the pictures: what is found is a fingerprint of the place, of what it reads and in which order."""
    plan = Plan(fixed)
    found = np.zeros(fixed.shape, np.int64)
    found[fixed] = masks[fixed]
    for group in plan.groups():
        for place in group:
            found[place] = hash((place, tuple((p, int(found[p])) for p in plan.memory_of(place))))
    return found


def random_correction(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed places before and after, and the changed ones: some drawn, some drawn anew, some given up."""
    rng = np.random.default_rng([7, seed])
    before = random_fixed(seed)
    drawn = (rng.random(before.shape) < 0.04) & ~before
    edited = (rng.random(before.shape) < 0.1) & before
    given_up = (rng.random(before.shape) < 0.1) & before & ~edited if seed % 3 == 0 else np.zeros_like(before)
    after = (before | drawn) & ~given_up
    return (before, after, drawn | edited) if after.any() else (before, before, edited)


@pytest.mark.parametrize("seed", range(60))
def test_affected_is_exactly_what_comes_out_differently(seed: int) -> None:
    before, after, changed = random_correction(seed)
    masks = np.random.default_rng(seed).integers(1, 2**60, before.shape)
    differs = results(before, masks) != results(after, masks + changed)
    np.testing.assert_array_equal(affected(before, after, changed), differs & ~after)


def test_without_a_change_nothing_is_affected(fixed: np.ndarray) -> None:
    assert not affected(fixed, fixed, np.zeros_like(fixed)).any()


def test_after_nothing_was_fixed_everything_is_affected(fixed: np.ndarray) -> None:
    np.testing.assert_array_equal(affected(np.zeros_like(fixed), fixed, fixed), ~fixed)


def test_a_slice_that_a_person_drew_is_never_affected(fixed: np.ndarray) -> None:
    assert not (affected(fixed, fixed, np.ones_like(fixed)) & fixed).any()


def test_the_arrays_given_to_affected_are_left_alone() -> None:
    before, after, changed = random_correction(3)
    copies = before.copy(), after.copy(), changed.copy()
    affected(before, after, changed)
    for array, copy in zip((before, after, changed), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("frames", "drawn", "corrected", "between"),
    [
        (24, range(0, 24, 4), 10, range(9, 12)),
        (24, range(0, 24, 4), 22, range(21, 24)),
        (400, range(0, 400, 40), 90, range(81, 120)),
        (50, (0, 10, 20), 35, range(21, 50)),
        (50, (0, 10, 20), 4, range(1, 10)),
    ],
)
def test_a_correction_reaches_only_to_the_annotated_frames_around_it(
    frames: int, drawn: range | tuple[int, ...], corrected: int, between: range
) -> None:
    before = fixed_at(frames, 5, (list(drawn), ALL))
    changed = fixed_at(frames, 5, (corrected, 2))
    found = affected(before, before | changed, changed)
    reached = np.flatnonzero(found.any(axis=1))
    assert set(reached) <= set(between)
    assert found[corrected - 1, 2] and found[(corrected + 1) % frames, 2], "its neighbours in time are found again"
    assert not found[:, [0, 4]].any(), "slices that are drawn themselves shield the ones behind them"


def test_a_correction_in_the_apex_leaves_the_annotated_slice_alone() -> None:
    before = fixed_at(25, 9, (0, 4))
    changed = fixed_at(25, 9, (12, 8))
    found = affected(before, before | changed, changed)
    assert not found[:, :5].any(), "nothing travels back over the slice that is drawn"
    assert found[11, 8] and found[13, 8]
