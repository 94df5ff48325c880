"""The 4D CNN and its 3D twin, and the engine that slides them through space and time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from operator import length_hint

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from CardiacSegLib.cine import Cine, Segmentation, Status, empty_segmentation
from CardiacSegLib.engines.windows import HOUNSFIELD, Field, Run, WindowEngine, bell, starts, windows_in_time
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks.cnn4d import CNN4D, SIZES_3D, SIZES_4D, CNN4DConfig
from CardiacSegLib.training.recipes import find_recipe, start_from

TINY = dataclasses.replace(SIZES_4D["sax"], blocks=(1, 1, 1), seen=(4, 4, 16, 16))
TINY_3D = dataclasses.replace(SIZES_3D["sax"], blocks=(1, 1, 1, 1), seen=(4, 4, 16, 16))


def network(config: CNN4DConfig) -> CNN4D:
    torch.manual_seed(0)
    return CNN4D(config).eval()


def cine_of(shape: tuple[int, ...], spacing: tuple[float, float, float], modality: str = "MR") -> Cine:
    frames = np.random.default_rng(0).integers(-200, 900, shape).astype(np.int16)
    return Cine(frames, np.diag([*spacing, 1.0]), np.arange(shape[0]) * 40.0, modality=modality, name="the test cine")


# The network ----------------------------------------------------------------------------------------------------------


def test_the_paper_s_crop_goes_through_the_sizes_and_channels_of_its_table() -> None:
    config = dataclasses.replace(SIZES_4D["ct"], classes=3)
    with torch.device("meta"):
        net, crop = CNN4D(config), torch.empty(1, 16, 64, 96, 96)
    seen = {}
    for name in ("stem", "encoder.0", "down.0", "encoder.1", "down.1", "encoder.2", "decoder.1", "decoder.0"):
        part = net.get_submodule(name)
        part.register_forward_hook(lambda _, __, out, name=name: seen.update({name: tuple(out.shape)}))
    with torch.no_grad():
        assert net(crop).shape == (1, 16, 3, 64, 96, 96)
    level0, level1, level2 = (1, 16, 8, 64, 96, 96), (1, 8, 16, 32, 48, 48), (1, 4, 32, 16, 24, 24)
    assert [seen[n] for n in ("stem", "encoder.0", "decoder.0")] == [level0] * 3
    assert [seen[n] for n in ("down.0", "encoder.1", "decoder.1")] == [level1] * 3
    assert [seen[n] for n in ("down.1", "encoder.2")] == [level2] * 2
    assert [len(blocks) for blocks in net.encoder] == [1, 2, 4]
    # 862,624 of the convolutions and norms of the table, and the three biases of the last layer.
    assert sum(p.numel() for p in net.parameters()) == 862_627


def test_the_twin_has_one_level_more_and_no_tap_in_time() -> None:
    twin, whole = network(SIZES_3D["sax"]), network(SIZES_4D["sax"])
    assert len(twin.encoder) == len(whole.encoder) + 1
    assert all(p.shape[1] == 1 for p in twin.parameters() if p.ndim == 6)


@pytest.mark.parametrize("size", ["sax", "ct"])
@pytest.mark.parametrize("sizes", [SIZES_4D, SIZES_3D])
def test_any_number_of_frames_slices_rows_and_columns_comes_out_as_it_went_in(
    sizes: dict[str, CNN4DConfig], size: str
) -> None:
    net = network(dataclasses.replace(sizes[size], blocks=(1,) * len(sizes[size].blocks)))
    for shape in ((1, 5, 3, 13, 18), (2, 1, 1, 7, 9)):
        with torch.no_grad():
            assert net(torch.randn(shape)).shape == (*shape[:2], 4, *shape[2:])


def test_short_axis_slices_are_never_strided() -> None:
    assert all(stride[1] == 1 for config in (SIZES_4D["sax"], SIZES_3D["sax"]) for stride in config.strides)


def reach(config: CNN4DConfig) -> Tensor:
    """Which frames of the output change with frame 3 of 7."""
    net, pictures = network(config), torch.randn(1, 7, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    changed = pictures.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        return (net(pictures) - net(changed)).abs().amax(dim=(0, 2, 3, 4, 5)) > 1e-4


def test_the_4d_network_sees_neighbouring_frames_and_the_twin_each_frame_alone() -> None:
    assert reach(TINY).all()
    assert reach(TINY_3D).tolist() == [False, False, False, True, False, False, False]


def test_in_half_precision_it_finds_nearly_the_same() -> None:
    net, pictures = network(TINY), torch.rand(1, 4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        full = net(pictures).softmax(2)
        with torch.autocast("cpu", torch.bfloat16):
            half = net(pictures).float().softmax(2)
    assert (full - half).abs().max() < 0.1


def test_a_training_can_start_from_the_twin_and_sees_what_the_twin_s_first_levels_see() -> None:
    twin, whole = network(TINY_3D), network(TINY)
    start_from(whole, twin.state_dict())
    pictures = torch.randn(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(whole.stem(pictures[:, :, None]), twin.stem(pictures[:, :, None]), atol=1e-5)
    assert whole.encoder[2][0].conv1.weight[:, [0, 2]].abs().max() == 0
    assert torch.equal(whole.encoder[2][0].conv1.weight[:, 1], twin.encoder[2][0].conv1.weight[:, 0])


def test_each_network_and_size_has_a_recipe_for_its_own_network() -> None:
    for name, sizes in (("cnn4d", SIZES_4D), ("cnn3d", SIZES_3D)):
        for size, config in sizes.items():
            recipe = find_recipe(name, size)
            assert recipe.network().config == config
            assert recipe.spacing_mm == config.spacing_mm


# The windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [4, 5, 8, 9, 16, 25, 30])
@pytest.mark.parametrize("start", [0, 3])
def test_windows_go_round_the_cycle_and_each_frame_is_in_two_of_them(frames: int, start: int) -> None:
    windows = windows_in_time(frames, 8, start)
    for window in windows:
        assert len(window) == 8
        assert all((b - a) % frames == 1 % frames for a, b in pairwise(window))
    counts = np.bincount(np.concatenate(windows), minlength=frames)
    assert counts.min() >= 2 and len(windows) == -(-frames // 4)


def test_the_first_windows_are_those_that_see_the_frame_wanted_first() -> None:
    windows = windows_in_time(25, 8, start=10)
    seen = [10 in window for window in windows]
    assert seen[:2] == [True, True] and seen == sorted(seen, reverse=True)


def test_where_there_is_no_motion_to_see_each_frame_is_a_still() -> None:
    assert windows_in_time(1, 8) == [[0] * 8]
    assert windows_in_time(3, 8, start=1) == [[1] * 8, [2] * 8, [0] * 8]


def test_the_twin_s_windows_are_single_frames_from_the_wanted_one_on() -> None:
    assert windows_in_time(5, 1, start=3) == [[3], [4], [0], [1], [2]]


@pytest.mark.parametrize(("size", "length"), [(5, 8), (8, 8), (9, 8), (33, 8), (180, 64), (7, 3)])
def test_windows_in_space_cover_everything_and_share_half_of_their_length(size: int, length: int) -> None:
    places = starts(size, length)
    assert places[0] == 0 and places[-1] == max(size - length, 0)
    steps = np.diff(places)
    assert (steps > 0).all() and (steps <= max(length // 2, 1)).all()


def test_the_weights_are_those_of_monai() -> None:
    from monai.data.utils import compute_importance_map

    for shape in ((4, 8, 6), (12, 16, 9)):
        expected = compute_importance_map(shape, mode="gaussian", sigma_scale=0.125)
        assert torch.allclose(bell(shape), expected, atol=1e-6)


class Oracle(nn.Module):
    """Stands for a network: its answer depends on the picture and on the place in the window."""

    def __init__(self, config: CNN4DConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, pictures: Tensor) -> Tensor:
        ramps = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in pictures.shape[1:]), indexing="ij")
        return torch.stack([pictures[0], ramps[0], ramps[1] - ramps[2], ramps[3] * pictures[0]], dim=1)[None]


def sums_of(config: CNN4DConfig, cine: Cine) -> list[Tensor]:
    """Normalised probabilities (classes, Z, H, W) of each frame, as the engine blends them."""
    engine = WindowEngine("cnn4d", Oracle(config), torch.device("cpu"))
    run = Run(engine, cine, np.ones(cine.shape[:2], bool), (0, 0))
    for frames in run.times:
        pictures = torch.stack([run.field.frame(t) for t in frames])
        for place in run.places:
            run.look(pictures, frames, place)
    return [run.sums[t] / run.sums[t].sum(dim=0) for t in range(len(cine.frames))]


@pytest.fixture
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "CardiacSegLib.engines.windows.autocast", lambda device: torch.autocast("cpu", torch.bfloat16, enabled=False)
    )


@pytest.mark.usefixtures("full_precision")
def test_in_space_windows_are_blended_as_monai_blends_them() -> None:
    from monai.inferers import sliding_window_inference

    config = dataclasses.replace(TINY_3D, seen=(1, 4, 8, 6))
    cine = cine_of((2, 6, 20, 15), (2.0, 2.0, 8.0))
    oracle, field = Oracle(config), Field(cine, Oracle(config))
    for frame, found in enumerate(sums_of(config, cine)):
        expected = sliding_window_inference(
            field.frame(frame)[None, None], (4, 8, 6), 1, lambda x: oracle(x).softmax(2)[:, 0], 0.5, mode="gaussian"
        )
        assert torch.allclose(found, expected[0], atol=1e-5)


@pytest.mark.usefixtures("full_precision")
def test_in_time_each_frame_is_the_weighted_mean_of_all_windows_that_see_it() -> None:
    config = dataclasses.replace(TINY, seen=(4, 5, 16, 16))
    cine = cine_of((7, 5, 12, 10), (2.0, 2.0, 8.0))
    oracle, field = Oracle(config), Field(cine, Oracle(config))
    pictures = torch.stack([field.frame(t) for t in range(7)])
    weights = bell((4, 5, 12, 10))
    for frame, found in enumerate(sums_of(config, cine)):
        total, norm = torch.zeros(4, 5, 12, 10), torch.zeros(5, 12, 10)
        for window in windows_in_time(7, 4):
            answer = oracle(pictures[window][None])[0].softmax(dim=1)
            for place in (k for k, t in enumerate(window) if t == frame):
                total += answer[place] * weights[place]
                norm += weights[place]
        assert torch.allclose(found, total / norm, atol=1e-5)


# The engine -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["cnn4d", "cnn3d"])
def engine(request: pytest.FixtureRequest) -> WindowEngine:
    return WindowEngine(request.param, network(TINY if request.param == "cnn4d" else TINY_3D), torch.device("cpu"))


def test_every_slice_of_every_frame_comes_out_once_on_the_cine_s_own_grid(engine: WindowEngine) -> None:
    cine = cine_of((6, 5, 31, 27), (1.4, 1.7, 9.0))
    found = list(engine.segment(cine))
    assert sorted((p.frame, p.slice) for p in found) == [(t, z) for t in range(6) for z in range(5)]
    assert all(p.labels.shape == (31, 27) and p.labels.dtype == np.uint8 and p.labels.max() <= 3 for p in found)
    assert all(0.25 <= p.confidence <= 1 for p in found)


def test_slices_that_a_person_made_are_left_alone_and_do_not_change_the_others(engine: WindowEngine) -> None:
    cine = cine_of((6, 4, 24, 24), (2.0, 2.0, 9.0))
    annotation = empty_segmentation(cine)
    annotation.status[2] = Status.REVIEWED
    annotation.status[4, 1] = Status.CORRECTED
    annotation.labels[4, 1, 5:9, 5:9] = 1
    free = {(p.frame, p.slice): p.labels for p in engine.segment(cine)}
    found = {(p.frame, p.slice): p.labels for p in engine.segment(cine, annotation)}
    assert set(free) - set(found) == {(2, 0), (2, 1), (2, 2), (2, 3), (4, 1)}
    assert all(np.array_equal(free[place], labels) for place, labels in found.items())


def test_the_wanted_slice_comes_first_and_the_hint_counts_down(engine: WindowEngine) -> None:
    cine = cine_of((9, 4, 24, 24), (2.0, 2.0, 9.0))
    run = engine.segment(cine, start=(5, 2))
    assert length_hint(run) == 36
    first = next(run)
    assert (first.frame, first.slice) == (5, 2) and length_hint(run) == 35
    run.close()
    assert next(run, None) is None


def test_a_run_keeps_less_than_two_windows_of_frames_however_long_the_cine() -> None:
    engine = WindowEngine("cnn4d", network(TINY), torch.device("cpu"))
    for frames in (12, 30):
        cine = cine_of((frames, 2, 16, 16), (2.0, 2.0, 9.0))
        run = Run(engine, cine, np.ones(cine.shape[:2], bool), (0, 0))
        assert max(len(run.sums) for _ in run.predictions()) < 2 * 4


def test_once_the_first_slice_is_there_the_others_are_spread_evenly_over_the_windows() -> None:
    engine = WindowEngine("cnn4d", network(TINY), torch.device("cpu"))
    looks = []
    cine = cine_of((12, 2, 40, 40), (2.0, 2.0, 9.0))
    run = Run(engine, cine, np.ones(cine.shape[:2], bool), (0, 0))
    look: Callable[..., None] = run.look
    run.look = lambda *arguments: (looks.append(1), look(*arguments))[1]
    found, gaps = run.predictions(), []
    next(found)
    for _ in found:
        gaps.append(len(looks))
    assert len(run.places) == 16 and max(np.diff(gaps)) == 16 / 4


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_single_image_and_two_phases_are_segmented_too(engine: WindowEngine, frames: int) -> None:
    cine = cine_of((frames, 3, 20, 20), (2.0, 2.0, 9.0))
    assert len(list(engine.segment(cine))) == 3 * frames


def test_what_another_frame_shows_plays_a_part_for_the_4d_network_only(engine: WindowEngine) -> None:
    cine = cine_of((8, 3, 20, 20), (2.0, 2.0, 9.0))
    frames = cine.frames.copy()
    # Within the range of the cine, so that the intensities are scaled alike.
    frames[4] = frames[4, :, ::-1]
    other = dataclasses.replace(cine, frames=frames)
    pairs = zip(engine.segment(cine), engine.segment(other), strict=True)
    changed = {a.frame for a, b in pairs if a.confidence != b.confidence}
    assert changed > {4} if engine.name == "cnn4d" else changed == {4}


def beating_spot(row: int, column: int, frames: int = 4) -> Cine:
    """A wide picture, 400 x 320 mm, of noise with one spot that changes."""
    cine = cine_of((frames, 2, 200, 160), (2.0, 2.0, 9.0))
    cine.frames[:] = cine.frames[:1]
    cine.frames[1::2, :, row - 8 : row + 8, column - 8 : column + 8] += 500
    return cine


@pytest.mark.parametrize(("row", "column"), [(100, 80), (80, 100), (130, 60)])
def test_of_a_wide_picture_224_mm_round_what_moves_are_seen(row: int, column: int) -> None:
    view = Field(beating_spot(row, column), network(TINY)).view
    (top, bottom), (left, right) = view.rows, view.columns
    assert (bottom - top, right - left) == (112, 112) and view.size == (112, 112)
    assert top >= 0 and bottom <= 200 and left >= 0 and right <= 160
    assert top + 20 < row < bottom - 20 and left + 20 < column < right - 20


def test_where_nothing_moves_the_middle_is_seen_and_a_small_picture_as_a_whole() -> None:
    view = Field(beating_spot(40, 40, frames=1), network(TINY)).view
    assert (view.rows, view.columns) == ((44, 156), (24, 136))
    small = Field(cine_of((3, 2, 50, 60), (1.5, 1.25, 9.0)), network(TINY)).view
    assert (small.rows, small.columns) == ((0, 50), (0, 60)) and small.size == (31, 45)


def test_outside_of_what_is_seen_nothing_is_found(engine: WindowEngine) -> None:
    cine = dataclasses.replace(beating_spot(100, 80), frames=beating_spot(100, 80).frames[:2], times=np.arange(2.0))
    view = Field(cine, engine.network).view
    outside = np.ones((200, 160), bool)
    outside[slice(*view.rows), slice(*view.columns)] = False
    assert outside.any() and not any(p.labels[outside].any() for p in engine.segment(cine))


# CT -------------------------------------------------------------------------------------------------------------------


def ct_engine() -> WindowEngine:
    config = dataclasses.replace(SIZES_4D["ct"], blocks=(1, 1, 1), seen=(4, 8, 16, 16))
    return WindowEngine("cnn4d", network(config), torch.device("cpu"))


def test_ct_is_resampled_to_isotropic_millimetres_and_scaled_by_fixed_hounsfield_units() -> None:
    cine = cine_of((2, 6, 40, 48), (0.5, 0.5, 2.0), "CT")
    for value, seen in ((-1024, -1.0), (0, 0.0), (512, 0.5), (3000, 1.0)):
        cine.frames[:] = value
        picture = Field(cine, ct_engine().network).frame(1)
        assert picture.shape == (12, 20, 24)
        assert torch.allclose(picture, torch.tensor(seen), atol=1e-6)
    assert HOUNSFIELD == (-1024, 1024)


def test_ct_masks_come_back_on_the_grid_of_the_file() -> None:
    cine = cine_of((5, 6, 40, 48), (0.5, 0.5, 2.0), "CT")
    found = list(ct_engine().segment(cine))
    assert len(found) == 30 and all(p.labels.shape == (40, 48) for p in found)


def test_a_place_in_ct_survives_the_way_to_the_network_and_back() -> None:
    cine = cine_of((1, 12, 60, 60), (0.7, 0.7, 2.0), "CT")
    inside = np.zeros(cine.shape[1:], bool)
    inside[3:9, 20:44, 14:40] = True
    field = Field(cine, ct_engine().network)
    cine.frames[0] = np.where(inside, 1000, -1000)
    seen = (field.frame(0) + 1) / 2
    chances = torch.stack([1 - seen, seen, *torch.zeros(2, *seen.shape)])
    labels, _ = field.labels(chances)
    both = ((labels == 1) & inside).sum()
    assert 2 * both / ((labels == 1).sum() + inside.sum()) > 0.97


def test_mr_is_refused_by_weights_for_ct() -> None:
    with pytest.raises(CardiacSegError, match=r"the test cine is MR.*Hounsfield"):
        ct_engine().segment(cine_of((2, 3, 9, 9), (1.0, 1.0, 2.0)))


def test_an_annotation_of_another_grid_is_refused(engine: WindowEngine) -> None:
    cine = cine_of((2, 3, 9, 9), (2.0, 2.0, 8.0))
    other = Segmentation(np.zeros((2, 3, 9, 8), np.uint8), np.zeros((2, 3), np.uint8), np.eye(4))
    with pytest.raises(CardiacSegError, match="grid"):
        engine.segment(cine, other)
