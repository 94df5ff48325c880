"""Automatic engines on whole cines: what they yield and in which order, the native grid, and CroCNet's crop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import length_hint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from CardiacSegLib.cine import Cine, Segmentation, Status, empty_segmentation
from CardiacSegLib.engines import AUTOMATIC, load_engine
from CardiacSegLib.engines.slicewise import CroCNetEngine, SlicewiseEngine, heart_box
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks import crocnet, unet
from CardiacSegLib.weights import WeightsCard, save_weights

CPU = torch.device("cpu")
SPACING = 1.5


def by_brightness(pictures: Tensor) -> Tensor:
    """Logits (B, 4, H, W) of a network that knows structures by their grey: 0, 1/3, 2/3 and 1."""
    greys = torch.arange(4).view(1, 4, 1, 1) / 3
    return 40 - 400 * (pictures - greys).abs()


def by_half(pictures: Tensor) -> Tensor:
    """Logits of a network that takes what is brighter than a half for RV, and is the less sure the nearer to that."""
    return 4 * torch.cat([0.5 - pictures, torch.full_like(pictures.repeat(1, 2, 1, 1), -9), pictures - 0.5], dim=1)


class Greys(nn.Module):
    """Finds structures by their grey, with the face of a U-Net; it remembers the sizes that it was given."""

    def __init__(self, find: Callable[[Tensor], Tensor] = by_brightness) -> None:
        super().__init__()
        self.find = find
        self.config = SimpleNamespace(spacing_mm=SPACING, stride=16)
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, pictures: Tensor) -> Tensor:
        self.sizes.append(tuple(pictures.shape[-2:]))
        return self.find(pictures)


class TwoStages(nn.Module):
    """The face of CroCNet: stage 1 by grey; stage 2 is given, and what it was given is remembered."""

    def __init__(self, second: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.config = SimpleNamespace(spacing_mm=SPACING, stride=32, margin=15, window=64)
        self.second = second
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, pictures: Tensor, masks: Tensor | None = None) -> Tensor:
        if masks is None:
            return by_brightness(pictures)
        self.seen.append((pictures, masks))
        return self.second(pictures, masks)


def hearts(frames: int = 3, slices: int = 2, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Labels (T, Z, Y, X) of a round LV in its wall with an RV beside it, a little lower in every frame."""
    y, x = np.mgrid[: size[0], : size[1]]
    labels = np.zeros((frames, slices, *size), np.uint8)
    for t in range(frames):
        away = np.hypot(y - size[0] // 2 - 2 * t, x - size[1] // 2)
        labels[t, :, (away < 18) & (x < size[1] // 2 - 8)] = 3
        labels[t, :, away < 14] = 2
        labels[t, :, away < 9] = 1
    return labels


def cine_of(labels: np.ndarray, spacing: tuple[float, float, float] = (SPACING, SPACING, 8.0)) -> Cine:
    affine = np.diag([*spacing, 1.0])
    return Cine(labels.astype(np.int16) * 300, affine, 40.0 * np.arange(len(labels)))


def found_by(engine: SlicewiseEngine, cine: Cine) -> np.ndarray:
    labels = np.full(cine.shape, 9, np.uint8)
    for prediction in engine.segment(cine):
        labels[prediction.frame, prediction.slice] = prediction.labels
    return labels


def places(engine: SlicewiseEngine, *args, **kwargs) -> list[tuple[int, int]]:
    return [(p.frame, p.slice) for p in engine.segment(*args, **kwargs)]


# What every automatic engine does -------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [Greys, lambda: TwoStages(lambda p, m: 40 * m - 20)], ids=["unet", "crocnet"])
@pytest.mark.parametrize("size", [(96, 128), (100, 95), (61, 150)])
def test_what_is_found_lies_on_the_pixels_of_the_cine(network: Callable[[], nn.Module], size: tuple[int, int]) -> None:
    labels, made = hearts(size=size), network()
    engine = (SlicewiseEngine if isinstance(made, Greys) else CroCNetEngine)("grey", made, CPU)
    assert np.array_equal(found_by(engine, cine_of(labels)), labels)


@pytest.mark.parametrize("spacing", [(1.25, 1.75, 8.0), (0.8, 0.8, 10.0), (2.1, 1.9, 5.0)])
def test_other_pixel_sizes_are_brought_to_the_networks_and_back(spacing: tuple[float, float, float]) -> None:
    network = Greys(by_half)
    labels = 3 * (hearts(frames=1, size=(120, 140)) > 0).astype(np.uint8)
    cine = cine_of(labels, spacing)
    found = found_by(SlicewiseEngine("grey", network, CPU), cine)
    both, total = ((found == 3) & (labels == 3)).sum(), (found == 3).sum() + (labels == 3).sum()
    assert 2 * both > 0.96 * total and set(np.unique(found)) == {0, 3}
    assert np.abs(np.argwhere(found == 3).mean(axis=0) - np.argwhere(labels == 3).mean(axis=0)).max() < 0.2
    for size, pixels, mm in zip(network.sizes[0], cine.shape[2:], (spacing[1], spacing[0]), strict=True):
        assert size % 16 == 0 and 0 <= size - pixels * mm / SPACING < 17


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (4, 1), (3, 6)], ids=["2D", "3D", "2D + t", "4D"])
def test_single_slices_stacks_and_cines_are_all_found_whole(shape: tuple[int, int]) -> None:
    labels = hearts(*shape)
    found = list(SlicewiseEngine("grey", Greys(), CPU).segment(cine_of(labels)))
    assert sorted((p.frame, p.slice) for p in found) == [(t, z) for t in range(shape[0]) for z in range(shape[1])]
    assert all(np.array_equal(p.labels, labels[p.frame, p.slice]) for p in found)
    assert all(p.labels.dtype == np.uint8 and 0 <= p.confidence <= 1 for p in found)


def test_frames_and_slices_near_the_start_come_first() -> None:
    engine, cine = SlicewiseEngine("grey", Greys(), CPU), cine_of(hearts(5, 3))
    assert places(engine, cine)[:4] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    order = places(engine, cine, start=(3, 2))
    assert order[:3] == [(3, 2), (3, 1), (3, 0)]
    assert [abs(frame - 3) for frame, _ in order] == sorted(abs(frame - 3) for frame, _ in order)
    assert sorted(order) == sorted(places(engine, cine))


def test_slices_that_a_person_fixed_are_left_out() -> None:
    engine, cine = SlicewiseEngine("grey", Greys(), CPU), cine_of(hearts(3, 4))
    annotation = empty_segmentation(cine)
    annotation.status[1] = Status.REVIEWED
    annotation.status[2, 1], annotation.status[2, 3] = Status.ANNOTATED, Status.CORRECTED
    annotation.status[0, 2] = Status.PREDICTED
    run = engine.segment(cine, annotation)
    assert length_hint(run) == 6
    assert [(p.frame, p.slice) for p in run] == [(0, 0), (0, 1), (0, 2), (0, 3), (2, 0), (2, 2)]
    annotation.status[:] = Status.ANNOTATED
    assert places(engine, cine, annotation) == []


def test_what_a_person_drew_does_not_change_what_is_found_elsewhere() -> None:
    engine, cine = SlicewiseEngine("grey", Greys(), CPU), cine_of(hearts(2, 3))
    annotation = empty_segmentation(cine)
    annotation.labels[0, 0, :40] = 3
    annotation.status[0, 0] = Status.ANNOTATED
    free = {(p.frame, p.slice): p.labels for p in engine.segment(cine)}
    for p in engine.segment(cine, annotation):
        assert np.array_equal(p.labels, free[p.frame, p.slice])


def test_how_many_slices_are_left_is_known_and_a_closed_run_computes_no_more() -> None:
    network = Greys()
    run = SlicewiseEngine("grey", network, CPU).segment(cine_of(hearts(6, 2)))
    assert length_hint(run) == 12
    next(run), next(run), next(run)
    assert length_hint(run) == 9
    done = len(network.sizes)
    run.close()
    assert list(run) == [] and len(network.sizes) == done < 6


def test_wrong_grids_and_places_are_refused_in_a_sentence() -> None:
    engine, cine = SlicewiseEngine("grey", Greys(), CPU), cine_of(hearts(2, 2))
    other = Segmentation(np.zeros((2, 3, 96, 128), np.uint8), np.zeros((2, 3), np.uint8), cine.affine)
    with pytest.raises(CardiacSegError, match="annotation has the shape"):
        engine.segment(cine, other)
    with pytest.raises(CardiacSegError, match="no frame 2 with a slice 0"):
        engine.segment(cine, start=(2, 0))


def test_stray_spots_are_left_out_and_the_largest_piece_of_each_structure_stays() -> None:
    labels = hearts(1, 3)
    dirty = labels.copy()
    dirty[0, 1, 4:10, 4:10] = 1
    dirty[0, 2, 80:84, 100:120] = 3
    dirty[0, 0, 34:37, 63:66] = 3
    found = found_by(SlicewiseEngine("grey", Greys(), CPU), cine_of(dirty))
    assert np.array_equal(found[0, 1:], labels[0, 1:])
    assert (found[0, 0, 34:37, 63:66] != 3).all()


def test_a_run_does_not_change_the_cine() -> None:
    cine = cine_of(hearts())
    before = cine.frames.copy()
    found_by(CroCNetEngine("grey", TwoStages(lambda p, m: 40 * m - 20), CPU), cine)
    assert np.array_equal(cine.frames, before)


@pytest.mark.parametrize("name", ["unet", "crocnet"])
def test_every_automatic_engine_is_loaded_by_name_and_runs(name: str, tmp_path: Path) -> None:
    assert name in AUTOMATIC
    torch.manual_seed(0)
    network = unet.UNet(unet.SIZES["small"]) if name == "unet" else crocnet.CroCNet(crocnet.SIZES["stage1"])
    size = "small" if name == "unet" else "stage1"
    card = WeightsCard("raw", name, size, ("none",), "CC0 1.0", "none", seed=0)
    engine = load_engine(name, save_weights(tmp_path / "raw.safetensors", network, card), "cpu")
    found = list(engine.segment(cine_of(hearts(2, 2, (64, 64)))))
    assert engine.name == name and len(found) == 4 and all(p.labels.shape == (64, 64) for p in found)


# The crop between CroCNet's stages ------------------------------------------------------------------------------------


def brute_box(heart: np.ndarray, margin: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what lies within the margin of a heart pixel, along rows and columns."""
    _, rows, columns = np.nonzero(heart)
    height, width = heart.shape[1:]
    near_rows = [r for r in range(height) if np.abs(rows - r).min() <= margin]
    near_columns = [c for c in range(width) if np.abs(columns - c).min() <= margin]
    return near_rows[0], near_rows[-1] + 1, near_columns[0], near_columns[-1] + 1


@pytest.mark.parametrize("seed", range(12))
def test_the_crop_is_the_heart_with_15_pixels_on_every_side_clipped_at_the_border(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heart = np.zeros((3, 96, 128), bool)
    for _ in range(3):
        z, top, left = rng.integers(3), rng.integers(90), rng.integers(120)
        heart[z, top : top + rng.integers(1, 40), left : left + rng.integers(1, 40)] = True
    rows, columns = heart_box(heart, 15, 1)
    assert (rows.start, rows.stop, columns.start, columns.stop) == brute_box(heart, 15)


@pytest.mark.parametrize("seed", range(12))
def test_the_crop_grows_inside_the_picture_to_the_next_multiple_of_the_networks_stride(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heart = np.zeros((1, 96, 160), bool)
    heart[0, rng.integers(96), rng.integers(160)] = heart[0, rng.integers(96), rng.integers(160)] = True
    exact = heart_box(heart, 15, 1)
    for part, whole, size in zip(heart_box(heart, 15, 32), exact, (96, 160), strict=True):
        assert 0 <= part.start <= whole.start and whole.stop <= part.stop <= size
        assert (part.stop - part.start) == -(-(whole.stop - whole.start) // 32) * 32


def test_without_a_heart_there_is_no_crop_and_nothing_is_found() -> None:
    assert heart_box(np.zeros((2, 64, 64), bool), 15, 32) is None
    labels = np.zeros((1, 2, 64, 64), np.uint8)
    network = TwoStages(lambda p, m: 40 * m - 20)
    assert np.array_equal(found_by(CroCNetEngine("grey", network, CPU), cine_of(labels)), labels)
    assert network.seen == []


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_heart_at_the_border_of_the_picture_is_found_whole(corner: tuple[int, int]) -> None:
    labels = np.roll(hearts(1, 2, (96, 128))[..., 30:66, 46:80], 0, axis=-1)
    whole = np.zeros((1, 2, 128, 160), np.uint8)
    top, left = (0 if corner[0] == 0 else 128 - 36), (0 if corner[1] == 0 else 160 - 34)
    whole[..., top : top + 36, left : left + 34] = labels
    assert np.array_equal(
        found_by(CroCNetEngine("grey", TwoStages(lambda p, m: 40 * m - 20), CPU), cine_of(whole)), whole
    )


def test_the_specialists_see_the_picture_and_the_masks_of_the_largest_piece_in_one_crop_for_all_slices() -> None:
    labels = hearts(1, 3, (128, 128))
    dirty = labels.copy()
    dirty[0, 1, 5:15, 5:20] = dirty[0, 1, 85:91, 36:42] = 2  # one outside the crop, one inside
    network = TwoStages(lambda p, m: 40 * m - 20)
    found_by(CroCNetEngine("grey", network, CPU), cine_of(dirty))
    (pictures, masks), *more = network.seen
    assert more == [] and pictures.shape == (3, 1, 64, 64) and masks.shape == (3, 3, 64, 64)
    rows, columns = heart_box(labels[0] > 0, 15, 32)
    for value in (1, 2, 3):
        assert torch.equal(masks[:, value - 1].bool(), torch.from_numpy(labels[0][:, rows, columns] == value))
    assert torch.allclose(pictures[:, 0], torch.from_numpy(dirty[0][:, rows, columns] / 3).float(), atol=1e-4)


def test_what_the_specialists_find_is_pasted_back_where_it_was_cut_out() -> None:
    shifted = np.roll(hearts(1, 2, (128, 128)), (-30, 25), axis=(2, 3))

    def only_myocardium(pictures: Tensor, masks: Tensor) -> Tensor:
        return 40 * masks * torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1) - 20

    found = found_by(CroCNetEngine("grey", TwoStages(only_myocardium), CPU), cine_of(shifted))
    assert np.array_equal(found, np.where(shifted == 2, 2, 0))


def test_specialists_may_find_what_the_first_stage_missed_and_take_away_what_it_made_up() -> None:
    labels = hearts(1, 1, (128, 128))
    wanted = np.roll(labels, 3, axis=3)
    rows, columns = heart_box(labels[0] > 0, 15, 32)
    answer = torch.from_numpy(np.stack([wanted[0][:, rows, columns] == v for v in (1, 2, 3)], axis=1)).float()
    network = TwoStages(lambda p, m: 40 * answer - 20)
    assert np.array_equal(found_by(CroCNetEngine("grey", network, CPU), cine_of(labels)), wanted)


def test_a_first_stage_that_is_sure_is_heard_where_the_specialists_are_in_doubt() -> None:
    labels = hearts(1, 2, (128, 128))
    network = TwoStages(lambda p, m: 0 * m - 0.5)
    assert np.array_equal(found_by(CroCNetEngine("grey", network, CPU), cine_of(labels)), labels)


class Looks(TwoStages):
    """A first stage that is in doubt about the RV in pictures of other sizes than its own; it remembers all sizes."""

    def __init__(self, window: int) -> None:
        super().__init__(None)
        self.config.window, self.sizes = window, []

    def forward(self, pictures: Tensor, masks: Tensor | None = None) -> Tensor:
        self.sizes.append(tuple(pictures.shape[-2:]))
        found = by_brightness(pictures)
        if self.sizes[-1] != (self.config.window, self.config.window):
            in_doubt = torch.tensor([0.2, 0.0, 0.0, 0.0]).view(1, 4, 1, 1)
            found = torch.where(found[:, 3:] > 0, in_doubt, found)
        return found


def test_in_a_large_picture_the_first_stage_looks_again_in_a_window_round_the_heart() -> None:
    network, labels = Looks(64), hearts(1, 2, (128, 128))
    found = found_by(CroCNetEngine("grey", network, CPU), cine_of(labels))
    assert network.sizes == [(128, 128), (64, 64)]
    assert np.array_equal(found, labels)


def test_a_small_picture_is_continued_to_the_size_that_the_first_stage_knows_and_seen_once() -> None:
    network, labels = Looks(160), hearts(1, 2, (96, 128))
    found = found_by(CroCNetEngine("grey", network, CPU), cine_of(labels))
    assert network.sizes == [(160, 160)]
    assert np.array_equal(found, labels)


def test_the_first_stage_alone_is_an_engine_too() -> None:
    network = TwoStages(None)
    labels = hearts(2, 2)
    assert np.array_equal(found_by(CroCNetEngine("grey", network, CPU), cine_of(labels)), labels)


def test_the_whole_network_runs_on_real_proportions() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(crocnet.SIZES["full"], width1=4, width2=4)
    engine = CroCNetEngine("crocnet", crocnet.CroCNet(config), CPU)
    found = list(engine.segment(cine_of(hearts(1, 7, (100, 95)), (1.7, 1.7, 10.0))))
    assert len(found) == 7 and all(p.labels.shape == (100, 95) and 0 < p.confidence <= 1 for p in found)
