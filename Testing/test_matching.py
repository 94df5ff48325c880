"""Reading from memory is what the definition says: an oracle in slow float64 loops, for every overlap, border and K."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from CardiacSegLib.networks.matching import patch_grid, read_dense, read_patches, route

C, V = 3, 2


# The oracle -----------------------------------------------------------------------------------------------------------


def corners(size: int, patch: int, step: int) -> list[int]:
    """First pixels of the patches along one side: every step, and one flush with the far border."""
    if size <= patch:
        return [0]
    found = list(range(0, size - patch + 1, step))
    return found if found[-1] == size - patch else [*found, size - patch]


def patches_of(height: int, width: int, patch: int, step: int, scale: int = 1) -> list[list[int]]:
    """Pixel indices of every patch, row by row, on a map `scale` times as large as height x width."""
    return [
        [
            (scale * top + row) * scale * width + scale * left + column
            for row in range(scale * min(patch, height))
            for column in range(scale * min(patch, width))
        ]
        for top in corners(height, patch, step)
        for left in corners(width, patch, step)
    ]


def best_patches(query: Tensor, memory: Tensor, slots: list[int], patches: list[list[int]], k: int) -> list[list]:
    """For each query patch the k (slot, patch) with the smallest distance between mean keys, nearest first."""
    memory = memory.detach()
    means = {(s, n): memory[s, pixels].mean(dim=0) for s in slots for n, pixels in enumerate(patches)}
    chosen = []
    for pixels in patches:
        mean = query.detach()[pixels].mean(dim=0)
        distances = {place: float(((mean - other) ** 2).sum()) for place, other in means.items()}
        chosen.append(sorted(distances, key=distances.__getitem__)[:k])
    return chosen


def attend(pixel: Tensor, keys: Tensor, values: Tensor, k: int | None = None) -> Tensor:
    """Softmax of -|q - m|^2 / sqrt(C) over the keys (or their k nearest), times the values."""
    scores = [-(((pixel - key) ** 2).sum()) / math.sqrt(len(pixel)) for key in keys]
    order = sorted(range(len(scores)), key=lambda i: -scores[i].item())[:k]
    weights = torch.softmax(torch.stack([scores[i] for i in order]), dim=0)
    return sum(weight * values[i] for weight, i in zip(weights, order, strict=True))


def oracle_patches(query: Tensor, key: Tensor, value: Tensor, patches: list[list[int]], chosen: list[list]) -> Tensor:
    """One query (tokens, C): each pixel attends, once for every patch it lies in, to all pixels of that patch's chosen
    patches; the mean of those is the result (tokens, V)."""
    found: list[list[Tensor]] = [[] for _ in query]
    for pixels, best in zip(patches, chosen, strict=True):
        keys = torch.cat([key[slot, patches[number]] for slot, number in best])
        values = torch.cat([value[slot, patches[number]] for slot, number in best])
        for pixel in pixels:
            found[pixel].append(attend(query[pixel], keys, values))
    return torch.stack([sum(f) / len(f) for f in found])


# Helpers --------------------------------------------------------------------------------------------------------------


def draw(batch: int, slots: int, tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Query (B, tokens, C), key (S, tokens, C) and value (S, tokens, V)."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, tokens, c, generator=generator) for n, c in ((batch, C), (slots, C), (slots, V)))


def whole_memory(batch: int, slots: int) -> tuple[Tensor, Tensor]:
    return torch.arange(slots).expand(batch, slots), torch.ones(batch, slots, dtype=torch.bool)


def as_sets(chosen: Tensor, usable: Tensor, patches: int) -> list[set]:
    """What route chose for each query patch of one query, as (slot, patch)."""
    return [
        {divmod(int(c), patches) for c, ok in zip(row, good, strict=True) if ok}
        for row, good in zip(chosen, usable, strict=True)
    ]


MAPS = [(4, 4), (5, 7), (8, 6), (3, 6), (2, 3), (6, 2)]
OVERLAPS = [(patch, step) for patch in (1, 2, 3, 4) for step in range(1, patch + 1)]


# Where patches lie ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), MAPS)
@pytest.mark.parametrize(("patch", "step"), OVERLAPS)
def test_patches_lie_every_step_and_flush_with_the_border(height: int, width: int, patch: int, step: int) -> None:
    for scale in (1, 2):
        grid = patch_grid(height, width, patch, step, scale)
        assert grid.tolist() == patches_of(height, width, patch, step, scale)
        assert set(grid.flatten().tolist()) == set(range(height * width * scale**2))


def test_both_scales_have_the_same_patches_and_the_fine_ones_are_twice_as_wide() -> None:
    coarse, fine = patch_grid(7, 5, 3, 2), patch_grid(7, 5, 3, 2, scale=2)
    assert len(coarse) == len(fine) and fine.shape[1] == 4 * coarse.shape[1]
    for small, large in zip(coarse.tolist(), fine.tolist(), strict=True):
        covered = {(p // 10 // 2) * 5 + p % 10 // 2 for p in large}
        assert covered == set(small)


def test_a_grid_made_while_propagating_serves_a_training_that_follows() -> None:
    with torch.inference_mode():
        patch_grid(11, 13, 3, 2)
    maps = torch.rand(143, requires_grad=True)
    maps[patch_grid(11, 13, 3, 2)].sum().backward()
    assert maps.grad.sum() == patch_grid(11, 13, 3, 2).numel()


# Routing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), MAPS)
@pytest.mark.parametrize("k", [1, 2, 5, 1000])
@pytest.mark.parametrize(("patch", "step"), [(1, 1), (3, 1), (3, 2), (4, 4)])
def test_routing_takes_the_k_patches_with_the_nearest_mean_key(
    height: int, width: int, k: int, patch: int, step: int
) -> None:
    query, key, _ = draw(2, 3, height * width)
    patches = patches_of(height, width, patch, step)
    chosen, usable = route(query, key, *whole_memory(2, 3), patch_grid(height, width, patch, step), k)
    assert chosen.shape == usable.shape == (2, len(patches), min(k, 3 * len(patches))) and usable.all()
    for b in range(2):
        expected = best_patches(query[b].double(), key.double(), [0, 1, 2], patches, k)
        assert as_sets(chosen[b], usable[b], len(patches)) == [set(row) for row in expected]


def test_routing_reads_only_the_slots_that_are_named_and_valid() -> None:
    query, key, _ = draw(3, 5, 36)
    slots = torch.tensor([[4, 1, 2], [3, 0, 0], [2, 2, 2]])
    valid = torch.tensor([[True, True, True], [True, False, False], [False, True, False]])
    patches = patches_of(6, 6, 3, 2)
    for k in (1, 4, 1000):
        chosen, usable = route(query, key, slots, valid, patch_grid(6, 6, 3, 2), k)
        for b, named in enumerate([[4, 1, 2], [3], [2]]):
            expected = best_patches(query[b].double(), key.double(), named, patches, k)
            assert as_sets(chosen[b], usable[b], len(patches)) == [set(row) for row in expected]


# Patch-level reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), MAPS)
@pytest.mark.parametrize(("patch", "step"), OVERLAPS)
def test_patch_reading_is_the_mean_of_softmaxes_inside_the_chosen_patches(
    height: int, width: int, patch: int, step: int
) -> None:
    query, key, value = draw(1, 2, height * width)
    grid, patches = patch_grid(height, width, patch, step), patches_of(height, width, patch, step)
    chosen, usable = route(query, key, *whole_memory(1, 2), grid, 2)
    expected = oracle_patches(
        query[0].double(), key.double(), value.double(), patches,
        best_patches(query[0].double(), key.double(), [0, 1], patches, 2),
    )  # fmt: skip
    torch.testing.assert_close(
        read_patches(query, key, value, grid, chosen, usable)[0], expected.float(), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("k", [1, 3, 17, 18, 1000])
def test_patch_reading_holds_for_every_k_up_to_more_than_there_are(k: int) -> None:
    query, key, value = draw(2, 2, 20, seed=k)
    grid, patches = patch_grid(4, 5, 2, 1), patches_of(4, 5, 2, 1)
    chosen, usable = route(query, key, *whole_memory(2, 2), grid, k)
    read = read_patches(query, key, value, grid, chosen, usable)
    for b in range(2):
        best = best_patches(query[b].double(), key.double(), [0, 1], patches, k)
        expected = oracle_patches(query[b].double(), key.double(), value.double(), patches, best)
        torch.testing.assert_close(read[b], expected.float(), atol=1e-5, rtol=1e-4)


def test_queries_with_fewer_slots_read_only_their_own_even_where_k_exceeds_them() -> None:
    query, key, value = draw(3, 5, 16)
    slots = torch.tensor([[4, 1, 2], [3, 0, 0], [2, 4, 1]])
    valid = torch.tensor([[True, True, True], [True, False, False], [False, True, True]])
    grid, patches = patch_grid(4, 4, 2, 1), patches_of(4, 4, 2, 1)
    for k in (2, 12):
        chosen, usable = route(query, key, slots, valid, grid, k)
        read = read_patches(query, key, value, grid, chosen, usable)
        for b, named in enumerate([[4, 1, 2], [3], [4, 1]]):
            best = best_patches(query[b].double(), key.double(), named, patches, k)
            expected = oracle_patches(query[b].double(), key.double(), value.double(), patches, best)
            torch.testing.assert_close(read[b], expected.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("height", "width", "patch", "step"), [(4, 4, 2, 1), (5, 3, 2, 2), (2, 3, 4, 2), (4, 3, 3, 2)])
def test_routing_of_the_coarse_scale_is_handed_to_patches_of_double_side(
    height: int, width: int, patch: int, step: int
) -> None:
    query4, key4, _ = draw(1, 2, height * width)
    query3, key3, value3 = draw(1, 2, 4 * height * width, seed=1)
    chosen, usable = route(query4, key4, *whole_memory(1, 2), patch_grid(height, width, patch, step), 2)
    read = read_patches(query3, key3, value3, patch_grid(height, width, patch, step, scale=2), chosen, usable)
    best = best_patches(query4[0].double(), key4.double(), [0, 1], patches_of(height, width, patch, step), 2)
    fine = patches_of(height, width, patch, step, scale=2)
    expected = oracle_patches(query3[0].double(), key3.double(), value3.double(), fine, best)
    torch.testing.assert_close(read[0], expected.float(), atol=1e-5, rtol=1e-4)


def test_gradients_reach_queries_keys_and_values_as_in_the_oracle() -> None:
    query, key, value = (t.requires_grad_() for t in draw(1, 3, 20))
    grid, patches = patch_grid(4, 5, 3, 2), patches_of(4, 5, 3, 2)
    weights = torch.randn(20, V, generator=torch.Generator().manual_seed(9))
    chosen, usable = route(query, key, *whole_memory(1, 3), grid, 3)
    (read_patches(query, key, value, grid, chosen, usable)[0] * weights).sum().backward()
    doubles = [t.detach().double().requires_grad_() for t in (query, key, value)]
    best = best_patches(doubles[0][0], doubles[1], [0, 1, 2], patches, 3)
    (oracle_patches(doubles[0][0], doubles[1], doubles[2], patches, best) * weights).sum().backward()
    for ours, theirs in zip((query, key, value), doubles, strict=True):
        assert theirs.grad.abs().max() > 1e-3
        torch.testing.assert_close(ours.grad, theirs.grad.float(), atol=1e-5, rtol=1e-3)


def test_pixels_outside_the_chosen_patches_are_never_touched() -> None:
    query, key, value = draw(1, 6, 36)
    grid = patch_grid(6, 6, 3, 3)
    chosen, usable = route(query, key, *whole_memory(1, 6), grid, 2)
    before = read_patches(query, key, value, grid, chosen, usable)
    touched = torch.zeros(6, 36, dtype=torch.bool)
    for number in chosen.flatten().tolist():
        slot, patch = divmod(number, len(grid))
        touched[slot, grid[patch]] = True
    assert not touched.all()
    key[~touched] = value[~touched] = torch.nan
    torch.testing.assert_close(read_patches(query, key, value, grid, chosen, usable), before, atol=0, rtol=0)


# Dense reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 35, 36, 1000])
def test_dense_reading_is_a_softmax_over_the_k_best_pixels_of_the_valid_slots(k: int) -> None:
    query, key, value = draw(2, 4, 12)
    slots = torch.tensor([[3, 1, 0], [2, 0, 0]])
    valid = torch.tensor([[True, True, True], [True, False, False]])
    read = read_dense(query, key, value, slots, valid, k)
    for b, named in enumerate([[3, 1, 0], [2]]):
        keys, values = key[named].flatten(0, 1).double(), value[named].flatten(0, 1).double()
        expected = torch.stack([attend(pixel, keys, values, k) for pixel in query[b].double()])
        torch.testing.assert_close(read[b], expected.float(), atol=1e-5, rtol=1e-4)


def test_one_patch_as_large_as_the_map_with_all_chosen_equals_dense_reading_of_everything() -> None:
    query, key, value = draw(2, 3, 20)
    grid = patch_grid(4, 5, 5, 5)
    chosen, usable = route(query, key, *whole_memory(2, 3), grid, 3)
    patchwise = read_patches(query, key, value, grid, chosen, usable)
    torch.testing.assert_close(patchwise, read_dense(query, key, value, *whole_memory(2, 3), k=60))


def test_gradients_reach_queries_keys_and_values_of_dense_reading() -> None:
    query, key, value = (t.requires_grad_() for t in draw(1, 2, 12))
    read_dense(query, key, value, *whole_memory(1, 2), k=5).square().sum().backward()
    doubles = [t.detach().double().requires_grad_() for t in (query, key, value)]
    keys, values = doubles[1].flatten(0, 1), doubles[2].flatten(0, 1)
    torch.stack([attend(pixel, keys, values, 5) for pixel in doubles[0][0]]).square().sum().backward()
    for ours, theirs in zip((query, key, value), doubles, strict=True):
        assert theirs.grad.abs().max() > 1e-3
        torch.testing.assert_close(ours.grad, theirs.grad.float(), atol=1e-5, rtol=1e-3)


# Numbers and cost -----------------------------------------------------------------------------------------------------


def both_readings(query: Tensor, key: Tensor, value: Tensor) -> dict[str, Tensor]:
    """Patch-level reading (6 x 6 map, patch 3, step 2, K 4) and dense reading (K 20) of the whole memory."""
    memory = whole_memory(len(query), len(key))
    grid = patch_grid(6, 6, 3, 2)
    return {
        "patch": read_patches(query, key, value, grid, *route(query, key, *memory, grid, 4)),
        "dense": read_dense(query, key, value, *memory, k=20),
    }


def test_large_keys_do_not_overflow_and_the_nearest_pixel_wins() -> None:
    query, key, value = draw(1, 2, 36)
    query[:] = key[:1]
    for kind, read in both_readings(query * 1e6, key * 1e6, value).items():
        torch.testing.assert_close(read[0], value[0], msg=lambda m, kind=kind: f"{kind}: {m}")


def test_keys_with_a_large_common_part_survive_bfloat16_autocast() -> None:
    query, key, value = draw(1, 2, 36)
    exact = both_readings(query + 30, key + 30, value)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = both_readings(query + 30, key + 30, value)
    for kind in exact:
        torch.testing.assert_close(rounded[kind].float(), exact[kind], atol=0.03, rtol=0.03)


def test_reading_does_not_change_the_memory() -> None:
    tensors = draw(2, 3, 36)
    copies = [t.clone() for t in tensors]
    both_readings(*tensors)
    assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))


def flops(kind: str, slots: int) -> int:
    """Multiplications of one reading of a 12 x 12 map from so many memory frames; of patches, the pixel part."""
    query, key, value = draw(1, slots, 144)
    grid, memory = patch_grid(12, 12, 4, 2), whole_memory(1, slots)
    chosen, usable = route(query, key, *memory, grid, 8)
    with FlopCounterMode(display=False) as counter:
        if kind == "patch":
            read_patches(query, key, value, grid, chosen, usable)
        else:
            read_dense(query, key, value, *memory)
    return counter.get_total_flops()


def test_the_cost_of_patch_reading_does_not_grow_with_the_memory_as_the_dense_one_does() -> None:
    assert flops("patch", 1) == flops("patch", 4) == flops("patch", 40) > 0
    assert flops("dense", 40) > 9 * flops("dense", 4)


def test_the_memory_that_patch_reading_allocates_does_not_grow_with_the_memory_frames() -> None:
    largest = []
    for slots in (2, 40):
        query, key, value = draw(1, slots, 144)
        grid = patch_grid(12, 12, 4, 2)
        chosen, usable = route(query, key, *whole_memory(1, slots), grid, 8)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            read_patches(query, key, value, grid, chosen, usable)
        largest.append(max(event.self_cpu_memory_usage for event in profile.events()))
    assert largest[0] == largest[1] > 0
