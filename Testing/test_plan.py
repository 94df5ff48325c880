"""What the order of work promises: nothing reads what is not yet found, memory is bounded, a correction stays local.

An annotation is written here as one array (T, Z): how many structures each slice shows, NOT_DRAWN where nobody drew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from CardiacSegLib.engines.memory_bank import MemoryBank
from CardiacSegLib.engines.plan import Place, Plan, affected
from CardiacSegLib.networks.matching import Memory

MOST_READ = 7
SIDES = 2
NOT_DRAWN = -1
ALL = slice(None)


def drawn_at(frames: int, slices: int, *places: tuple[object, object], structures: int = 3) -> np.ndarray:
    """These places are drawn and show so many structures; a slice(None) stands for all."""
    shown = np.full((frames, slices), NOT_DRAWN)
    for place in places:
        shown[place] = structures
    return shown


def also(shown: np.ndarray, *places: tuple[object, object], structures: int) -> np.ndarray:
    """The annotation with these places drawn, or drawn anew, so that they show so many structures."""
    shown = shown.copy()
    for place in places:
        shown[place] = structures
    return shown


def random_annotation(seed: int) -> np.ndarray:
    """Any number of drawn slices, at least one, with any number of structures, on a cine of any shape."""
    rng = np.random.default_rng(seed)
    fixed = rng.random((rng.integers(1, 30), rng.integers(1, 12))) < rng.choice([0.01, 0.1, 0.4, 0.9])
    fixed[rng.integers(fixed.shape[0]), rng.integers(fixed.shape[1])] = True
    return np.where(fixed, rng.integers(0, rng.integers(1, 5), fixed.shape), NOT_DRAWN)


ANNOTATIONS: dict[str, np.ndarray] = {
    "one mid slice of the first frame": drawn_at(25, 10, (0, 4)),
    "the whole first frame": drawn_at(25, 10, (0, ALL)),
    "the whole first and a systolic frame": drawn_at(25, 10, (0, ALL), (9, ALL)),
    "one slice of a late frame at the apex": drawn_at(30, 8, (22, 7)),
    "base and apex": drawn_at(20, 9, (0, 0), (0, 8)),
    "base and apex of different frames": drawn_at(20, 9, (3, 0), (11, 8)),
    "frames scattered over the slices": drawn_at(24, 7, (1, 1), (5, 1), (23, 3), (10, 6), (11, 6)),
    "a slice drawn in all frames": drawn_at(15, 5, (ALL, 2)),
    "all but one place": also(drawn_at(12, 6, (ALL, ALL)), (7, 3), structures=NOT_DRAWN),
    "everything": drawn_at(6, 3, (ALL, ALL)),
    "two frames": drawn_at(2, 4, (1, 2)),
    "one frame": drawn_at(1, 6, (0, 3)),
    "one slice": drawn_at(25, 1, (4, 0)),
    "one slice of two frames": drawn_at(2, 1, (0, 0)),
    "a mid slice, and a base that is empty in systole": also(drawn_at(25, 10, (0, 4)), (9, 0), structures=0),
    "a stack whose apex shows less": also(drawn_at(25, 8, (0, ALL)), (0, 6), (0, 7), structures=2),
    "a stack that shows less towards the middle": np.where(
        np.arange(20)[:, None] % 7 == 3, [3, 2, 1, 0, 1, 2, 3], NOT_DRAWN
    ),
} | {f"random {seed}": random_annotation(seed) for seed in range(36)}


@pytest.fixture(params=ANNOTATIONS)
def shown(request: pytest.FixtureRequest) -> np.ndarray:
    return ANNOTATIONS[request.param]


def plan_of(shown: np.ndarray) -> Plan:
    return Plan(shown != NOT_DRAWN, shown)


def starts(shown: np.ndarray) -> list[Place | None]:
    """No start, the corners, and some places in between, drawn ones included."""
    frames, slices = shown.shape
    rng = np.random.default_rng(frames * 100 + slices)
    return [
        None,
        (0, 0),
        (frames - 1, slices - 1),
        *((int(rng.integers(frames)), int(rng.integers(slices))) for _ in "abc"),
    ]


def places(where: np.ndarray) -> Iterator[Place]:
    return ((int(t), int(z)) for t, z in np.argwhere(where))


def to_find(shown: np.ndarray) -> list[Place]:
    return list(places(shown == NOT_DRAWN))


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


def test_every_slice_that_is_not_fixed_is_found_exactly_once(shown: np.ndarray) -> None:
    for start in starts(shown):
        found = [place for group in plan_of(shown).groups(start) for place in group]
        assert sorted(found) == to_find(shown)


def test_nothing_is_read_before_it_is_known(shown: np.ndarray) -> None:
    plan = plan_of(shown)
    for start in starts(shown):
        known = set(places(shown != NOT_DRAWN))
        for group in plan.groups(start):
            for place in group:
                reads = plan.memory_of(place)
                assert reads, f"{place} is found from nothing"
                assert known.issuperset(reads), f"{place} reads {set(reads) - known} too early"
            known.update(group)


def test_a_place_reads_at_most_seven_others_and_none_twice(shown: np.ndarray) -> None:
    plan = plan_of(shown)
    for place in to_find(shown):
        reads = plan.memory_of(place)
        assert len(reads) == len(set(reads)) <= MOST_READ


def test_what_a_place_reads_does_not_depend_on_where_work_starts(shown: np.ndarray) -> None:
    expected = {place: plan_of(shown).memory_of(place) for place in to_find(shown)}
    for start in starts(shown):
        plan = plan_of(shown)
        assert {place: plan.memory_of(place) for group in plan.groups(start) for place in group} == expected


def test_a_plan_leaves_the_arrays_that_it_is_given_alone(shown: np.ndarray) -> None:
    arrays = shown != NOT_DRAWN, shown
    copies = [array.copy() for array in arrays]
    list(Plan(*arrays).groups((0, 0)))
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_plan_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is fixed"):
        plan_of(drawn_at(5, 3))


def test_every_place_is_found_from_a_person_s_mask_in_the_end(shown: np.ndarray) -> None:
    plan = plan_of(shown)
    missing = to_find(shown)
    for place in missing[:: max(1, len(missing) // 8)]:
        assert any(shown[need] != NOT_DRAWN for need in needs(plan, place))


# Time and stack -------------------------------------------------------------------------------------------------------


def rounds(shown: np.ndarray) -> dict[Place, int]:
    """In which group each place is found."""
    return {place: index for index, group in enumerate(plan_of(shown).groups()) for place in group}


def test_the_cycle_is_closed_so_the_last_frame_is_next_to_the_first() -> None:
    shown = drawn_at(25, 10, (0, ALL))
    plan, found = plan_of(shown), rounds(shown)
    assert set(found.values()) == {0}, "every frame is found straight from the drawn one, on either side of it"
    assert plan.memory_of((24, 4))[0] == plan.memory_of((1, 4))[0] == (0, 4)
    plan = plan_of(drawn_at(25, 1, (20, 0), (3, 0), (10, 0)))
    assert set(plan.memory_of((24, 0))) == set(plan.memory_of((1, 0))) == {(20, 0), (3, 0)}


def test_nothing_is_handed_on_from_frame_to_frame(shown: np.ndarray) -> None:
    plan, roots = plan_of(shown), roots_of(shown)
    for frame, z in to_find(shown):
        anchors = {t for n in {z, *roots} for t in np.flatnonzero(shown[:, n] != NOT_DRAWN)}
        assert {t for t, n in plan.memory_of((frame, z)) if n == z} <= anchors


@pytest.mark.parametrize("first", [1, 7, 24])
def test_turning_the_cycle_turns_the_plan(first: int) -> None:
    shown = also(drawn_at(25, 6, (0, 2), (9, 2)), (14, 4), structures=1)
    straight, turned = plan_of(shown), plan_of(np.roll(shown, first, axis=0))
    for t, z in to_find(shown):
        away = {(min((frame - t) % 25, (t - frame) % 25), n) for frame, n in straight.memory_of((t, z))}
        t = (t + first) % 25
        assert {(min((frame - t) % 25, (t - frame) % 25), n) for frame, n in turned.memory_of((t, z))} == away


def test_work_goes_from_the_annotated_slice_towards_base_and_apex() -> None:
    found = rounds(drawn_at(25, 9, (0, 4)))
    first = [min(step for (_, slice_), step in found.items() if slice_ == z) for z in range(9)]
    assert first == sorted(first[:5], reverse=True) + sorted(first[5:])
    assert len(set(first[:5])) == 5 and first[5:] == first[3::-1], "both ways at once"


def test_a_slice_without_annotation_is_read_from_its_neighbour_at_the_same_phase() -> None:
    plan = plan_of(drawn_at(8, 5, (0, 2)))
    for frame in range(8):
        assert (frame, 2) in plan.memory_of((frame, 3)) and (frame, 3) in plan.memory_of((frame, 4))


def test_a_slice_between_two_annotated_ones_is_read_from_both() -> None:
    plan = plan_of(drawn_at(8, 3, (0, 0), (0, 2)))
    assert {z for _, z in plan.memory_of((0, 1))} == {0, 2}


def test_the_annotated_frames_around_a_frame_are_always_in_its_memory() -> None:
    plan = plan_of(drawn_at(400, 4, (0, ALL), (130, ALL), (200, 2)))
    for frame in range(1, 130):
        assert {(0, 2), (130, 2)} <= set(plan.memory_of((frame, 2)))
    for frame in range(201, 400):
        assert {(200, 2), (0, 2)} <= set(plan.memory_of((frame, 2)))


# Roots: the slices that show the most structures ----------------------------------------------------------------------


def roots_of(shown: np.ndarray) -> np.ndarray:
    """From the definition: slices in which some frame shows as many structures as any place at all."""
    return np.flatnonzero([any(count == shown.max() for count in shown[:, z]) for z in range(shown.shape[1])])


def test_a_root_learns_from_its_own_frames_and_from_what_persons_drew_beside_it(shown: np.ndarray) -> None:
    plan, roots = plan_of(shown), set(roots_of(shown))
    for frame, z in to_find(shown):
        if z in roots:
            others = [place for place in plan.memory_of((frame, z)) if place[1] != z]
            assert all(shown[place] != NOT_DRAWN and abs(place[1] - z) == 1 for place in others)


def test_every_other_slice_learns_from_its_neighbours_towards_the_nearest_root(shown: np.ndarray) -> None:
    plan, roots = plan_of(shown), roots_of(shown)
    away = np.abs(np.arange(shown.shape[1])[:, None] - roots).min(axis=1)
    for frame, z in to_find(shown):
        nearer = {n for n in (z - 1, z + 1) if 0 <= n < len(away) and away[n] < away[z]}
        assert nearer <= {n for _, n in plan.memory_of((frame, z))}
        assert nearer or z in roots


def test_the_drawn_masks_of_a_slice_around_a_frame_reach_it_also_where_it_is_no_root(shown: np.ndarray) -> None:
    plan, frames = plan_of(shown), len(shown)
    missing = to_find(shown)
    for frame, z in missing[:: max(1, len(missing) // 8)]:
        own = [t for t in range(frames) if shown[t, z] != NOT_DRAWN]
        if own:
            around = {
                min(own, key=lambda t, frame=frame: (frame - t) % frames),
                min(own, key=lambda t, frame=frame: (t - frame) % frames),
            }
            assert {(t, z) for t in around} <= needs(plan, (frame, z))


@pytest.mark.parametrize("structures", [0, 1, 2])
def test_a_base_corrected_in_systole_goes_on_learning_from_the_slices_below(structures: int) -> None:
    """Where structures have left the base, its mask says nothing about the frames in which they are there."""
    plan = plan_of(also(drawn_at(8, 6, (0, 3)), (4, 0), structures=structures))
    for frame in {*range(8)} - {4}:
        assert (frame, 1) in plan.memory_of((frame, 0)), "the slice below at the same phase"
    for frame in (3, 5):
        assert (4, 0) in plan.memory_of((frame, 0)), "the correction counts in the frames around it"
    assert (4, 0) in plan.memory_of((4, 1)), "and in the slice below"


@pytest.mark.parametrize("frame", [0, 4])
def test_a_base_corrected_with_all_its_structures_becomes_a_root(frame: int) -> None:
    plan = plan_of(also(drawn_at(8, 6, (0, 3)), (frame, 0), structures=3))
    found = {place for t in {*range(8)} - {frame} for place in plan.memory_of((t, 0))}
    assert {z for _, z in found} == {0}
    assert {z for _, z in plan.memory_of((2, 1))} == {0, 1}, "the slice beside it learns from it, not from further away"
    assert {z for _, z in plan.memory_of((2, 2))} == {2, 3}


def test_a_stack_whose_apex_shows_less_carries_the_others_through_time_alone() -> None:
    plan = plan_of(also(drawn_at(8, 6, (0, slice(5))), (0, 5), structures=2))
    assert (3, 4) in plan.memory_of((3, 5))
    for z in range(5):
        assert {t for t, n in plan.memory_of((3, z)) if n != z} <= {0}, "only the drawn masks of the neighbours"


def test_without_knowing_what_is_drawn_all_drawn_slices_count_alike(shown: np.ndarray) -> None:
    fixed = shown != NOT_DRAWN
    plan, alike = Plan(fixed), plan_of(np.where(fixed, 2, NOT_DRAWN))
    for place in to_find(shown):
        assert plan.memory_of(place) == alike.memory_of(place)


def test_what_is_drawn_counts_in_fixed_slices_only(shown: np.ndarray) -> None:
    fixed = shown != NOT_DRAWN
    plan, other = plan_of(shown), Plan(fixed, np.where(fixed, shown, 9))
    for place in to_find(shown):
        assert other.memory_of(place) == plan.memory_of(place)


# Start ----------------------------------------------------------------------------------------------------------------


def test_what_the_start_needs_comes_first_and_no_slice_but_those_between_it_and_the_nearest_roots(
    shown: np.ndarray,
) -> None:
    plan = plan_of(shown)
    for start in starts(shown):
        if start is None or shown[start] != NOT_DRAWN:
            continue
        order = [place for group in plan.groups(start) for place in group]
        before = order[: order.index(start)]
        required = needs(plan, start)
        assert {p for p in required if shown[p] == NOT_DRAWN} <= set(before)
        away = np.abs(roots_of(shown) - start[1])
        nearest = roots_of(shown)[away == away.min()]
        between = {z for root in nearest for z in range(min(root, start[1]), max(root, start[1]) + 1)}
        assert {z for _, z in before} <= between


def test_the_start_waits_for_nothing_but_what_it_needs(shown: np.ndarray) -> None:
    plan = plan_of(shown)
    for start in starts(shown):
        if start is not None and shown[start] == NOT_DRAWN:
            groups = list(plan.groups(start))
            before = {place for group in groups[: groups.index([start])] for place in group}
            assert before == {p for p in needs(plan, start) if shown[p] == NOT_DRAWN} - {start}


def test_after_the_start_come_the_frames_around_it_nearest_first() -> None:
    order = [t for group in plan_of(drawn_at(20, 6, (0, ALL))).groups((18, 3)) for t, z in group if z == 3]
    away = [min((t - 18) % 20, (18 - t) % 20) for t in order]
    assert away == sorted(away) and away[0] == 0 and len(away) == 19


def test_after_the_slice_of_the_start_the_nearest_slices_follow() -> None:
    order = [z for group in plan_of(drawn_at(10, 9, (0, ALL))).groups((3, 5)) for _, z in group]
    away = [abs(z - 5) for z in dict.fromkeys(order)]
    assert away == sorted(away) and away[0] == 0


# Memory ---------------------------------------------------------------------------------------------------------------


def bank_of(
    shown: np.ndarray, start: Place | None = None, batch: int = 8
) -> tuple[MemoryBank, list[list[Place]], Plan]:
    plan = plan_of(shown)
    steps = [group[i : i + batch] for group in plan.groups(start) for i in range(0, len(group), batch)]
    reads = {place: plan.memory_of(place) for step in steps for place in step}
    return MemoryBank(steps, reads, SIDES), steps, plan


def encoded(place: Place) -> list[Memory]:
    """The sides of a slice in memory, which can be told from each other and from those of all others."""
    values = [1000.0 * place[0] + place[1] + side / 2 for side in range(SIDES)]
    return [Memory(*(torch.full((3, 2), value + part / 8) for part in range(4))) for value in values]


def test_the_memory_holds_what_is_read_as_long_as_it_is_read_and_not_longer(shown: np.ndarray) -> None:
    for start in starts(shown)[:3]:
        bank, steps, plan = bank_of(shown, start)
        most = 0
        for step in steps:
            reads = [plan.memory_of(place) for place in step]
            for place in {p for row in reads for p in row}:
                assert shown[place] != NOT_DRAWN or place in bank.slots, f"{place} was forgotten"
                if bank.wants(place):
                    bank.store(place, *encoded(place))
            most = max(most, len(bank.slots))
            check_table(bank, reads)
            bank.release(reads)
            for place in step:
                if bank.wants(place):
                    bank.store(place, *encoded(place))
            most = max(most, len(bank.slots))
        assert not bank.slots and len(bank.free) == bank.capacity
        assert most <= bank.capacity <= most + 8, "no more slots than needed, but for those of one step"


def check_table(bank: MemoryBank, reads: list[list[Place]]) -> None:
    """Each valid entry of the table leads to what was stored for its place; the others are padding."""
    slots, valid = bank.table(reads, torch.device("cpu"))
    assert valid.sum(dim=1).tolist() == [len(row) for row in reads] * SIDES
    stored = bank.memory.value3[slots][..., 0, 0]
    rows = [(row, side) for side in range(SIDES) for row in reads]
    for (row, side), values, used in zip(rows, stored, valid, strict=True):
        assert values[used].tolist() == [encoded(place)[side].value3[0, 0].item() for place in row]


@pytest.mark.parametrize(
    "annotate",
    [
        lambda frames: drawn_at(frames, 10, (0, ALL)),
        lambda frames: drawn_at(frames, 10, (0, 4)),
        lambda frames: drawn_at(frames, 10, (0, ALL), (frames // 3, ALL)),
        lambda frames: drawn_at(frames, 10, (0, 2), (frames // 2, 7)),
        lambda frames: also(drawn_at(frames, 10, (0, 4)), (frames // 3, 0), (frames // 3, 1), structures=0),
    ],
    ids=["whole stack", "one mid slice", "end-diastole and end-systole", "two slices of two frames", "emptied base"],
)
def test_the_memory_does_not_grow_from_25_to_400_frames(annotate: Callable[[int], np.ndarray]) -> None:
    short, long, longest = (bank_of(annotate(frames))[0].capacity for frames in (25, 150, 400))
    assert max(long, longest) <= 1.15 * short + 1, "the gaps grow with the cine instead"


@pytest.mark.parametrize("frames", [25, 400])
def test_a_start_needs_hardly_more_memory_than_the_plain_order(frames: int) -> None:
    shown = drawn_at(frames, 10, (0, 4))
    assert bank_of(shown, start=(frames // 2, 9))[0].capacity <= bank_of(shown)[0].capacity + len(shown[0])


def test_nothing_to_find_needs_no_memory() -> None:
    assert bank_of(drawn_at(5, 3, (ALL, ALL)))[0].capacity == 0


def test_a_long_cine_is_planned_in_less_than_a_second() -> None:
    before, after = drawn_at(400, 10, (0, ALL)), drawn_at(400, 10, (0, ALL), (130, 5))
    began = time.process_time()
    bank_of(after, start=(200, 5))
    affected(plan_of(before), plan_of(after), before != after)
    assert time.process_time() - began < 1


# Corrections ----------------------------------------------------------------------------------------------------------


def results(shown: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """A stand-in for the pictures: what is found is a fingerprint of the place, of what it reads and in which order."""
    plan = plan_of(shown)
    found = np.where(shown != NOT_DRAWN, masks, 0)
    for group in plan.groups():
        for place in group:
            found[place] = hash((place, tuple((p, int(found[p])) for p in plan.memory_of(place))))
    return found


def random_correction(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An annotation before and after, and what changed: places drawn, drawn anew or given up."""
    rng = np.random.default_rng([7, seed])
    before = random_annotation(seed)
    fixed = before != NOT_DRAWN
    drawn = (rng.random(before.shape) < 0.04) & ~fixed
    edited = (rng.random(before.shape) < 0.1) & fixed
    given_up = (rng.random(before.shape) < 0.1) & fixed & ~edited & (seed % 3 == 0)
    after = np.where(drawn | edited, rng.integers(0, rng.integers(1, 5), before.shape), before)
    after[given_up] = NOT_DRAWN
    if (after == NOT_DRAWN).all():
        after, given_up = before, np.zeros_like(fixed)
    return before, after, drawn | edited | given_up


@pytest.mark.parametrize("seed", range(80))
def test_affected_is_exactly_what_comes_out_differently(seed: int) -> None:
    before, after, changed = random_correction(seed)
    masks = np.random.default_rng(seed).integers(1, 2**60, before.shape)
    differs = results(before, masks) != results(after, masks + changed)
    expected = differs & (after == NOT_DRAWN)
    np.testing.assert_array_equal(affected(plan_of(before), plan_of(after), changed), expected)


def test_without_a_change_nothing_is_affected(shown: np.ndarray) -> None:
    assert not affected(plan_of(shown), plan_of(shown), np.zeros(shown.shape, bool)).any()


def test_a_slice_that_a_person_drew_is_never_affected(shown: np.ndarray) -> None:
    found = affected(plan_of(shown), plan_of(shown), shown != NOT_DRAWN)
    assert not found[shown != NOT_DRAWN].any() and found[shown == NOT_DRAWN].all()


def test_the_change_given_to_affected_is_left_alone() -> None:
    before, after, changed = random_correction(3)
    copy = changed.copy()
    affected(plan_of(before), plan_of(after), changed)
    np.testing.assert_array_equal(changed, copy)


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
@pytest.mark.parametrize("structures", [0, 3])
def test_a_correction_reaches_only_to_the_annotated_frames_around_it(
    frames: int, drawn: range | tuple[int, ...], corrected: int, between: range, structures: int
) -> None:
    before = drawn_at(frames, 5, (list(drawn), ALL))
    after = also(before, (corrected, 2), structures=structures)
    found = affected(plan_of(before), plan_of(after), before != after)
    reached = np.flatnonzero(found.any(axis=1))
    assert set(reached) <= set(between)
    assert found[corrected - 1, 2] and found[(corrected + 1) % frames, 2], "its neighbours in time are found again"
    assert not found[:, [0, 4]].any(), "slices that are drawn themselves shield the ones behind them"


@pytest.mark.parametrize("structures", [0, 3])
def test_a_correction_in_the_apex_leaves_the_annotated_slice_alone(structures: int) -> None:
    before = drawn_at(25, 9, (0, 4))
    after = also(before, (12, 8), structures=structures)
    found = affected(plan_of(before), plan_of(after), before != after)
    assert not found[:, :5].any(), "nothing travels back over the slice that is drawn"
    assert found[11, 8] and found[13, 8]


def test_a_base_emptied_in_systole_changes_nothing_beyond_the_slice_below() -> None:
    before = drawn_at(25, 9, (0, 4))
    after = also(before, (9, 0), structures=0)
    found = affected(plan_of(before), plan_of(after), before != after)
    assert set(np.flatnonzero(found.any(axis=0))) == {0, 1}


def test_a_mask_that_loses_its_structures_is_a_root_no_more_and_learns_from_its_neighbours() -> None:
    before = drawn_at(8, 5, (0, ALL))
    after = also(before, (0, 2), structures=1)
    found = affected(plan_of(before), plan_of(after), before != after)
    assert found[1:, 1:4].all() and not found[:, [0, 4]].any()
    assert {n for _, n in plan_of(after).memory_of((4, 2))} == {1, 2, 3}
