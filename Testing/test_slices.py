"""Samples and losses of the automatic networks: single slices, spoilt masks, crops, and that all of them learn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks.crocnet import CroCNet, CroCNetConfig
from CardiacSegLib.networks.unet import UNet, UNetConfig
from CardiacSegLib.training.loop import Settings, fit
from CardiacSegLib.training.losses import dice_loss
from CardiacSegLib.training.slices import (
    FirstStageLoss,
    SecondStageLoss,
    SliceBatch,
    SliceLoss,
    crop_window,
    cut,
    draw_slice,
    narrowed,
    slice_batches,
    spoilt,
)
from CardiacSegLib.training.sources import read_phantoms
from CardiacSegLib.training.subjects import LabelledVolume, Subject, compact

SIDE = 64


@pytest.fixture(scope="module")
def phantoms() -> list[Subject]:
    return [compact(subject, spacing_mm=3.0, size=96) for subject in read_phantoms(2, seed=0)]


def marked(value: int, labelled: tuple[int, ...]) -> LabelledVolume:
    """A volume whose pixels all have one value, by which it is recognized."""
    labels = np.zeros((4, 40, 40), np.uint8)
    return LabelledVolume(np.full(labels.shape, value, np.uint8), labels, (1.5, 1.5), "ED", labelled)


# Samples --------------------------------------------------------------------------------------------------------------


def test_a_volume_that_is_not_fully_labelled_is_never_drawn() -> None:
    mixed = Subject("mixed", (marked(10, (1, 2)), marked(200, (1, 2, 3)), marked(20, ()), marked(30, (1, 3))))
    rng = np.random.default_rng(0)
    assert {int(draw_slice(mixed, rng)[0].flat[0]) for _ in range(100)} == {200}
    partly = Subject("partly", (marked(10, (1, 3)), marked(20, ())))
    for number in range(20):
        pictures = slice_batches([([partly], 5.0), ([partly, mixed], 1.0)], 4, 24, 0)(number).pictures
        assert pictures.mean(dim=(1, 2, 3)).min() > 0.3


def test_data_without_a_fully_labelled_subject_is_refused_in_a_sentence() -> None:
    with pytest.raises(CardiacSegError, match="LV, MYO and RV labelled"):
        slice_batches([([Subject("partly", (marked(10, (1, 3)),))], 1.0)], 4, 24, 0)


def test_the_same_number_gives_the_same_batch_and_others_give_others(phantoms: list[Subject]) -> None:
    draw, again, other = (slice_batches([(phantoms, 1.0)], 3, SIDE, seed) for seed in (1, 1, 2))
    first = [draw(number) for number in range(5)]
    for batch in reversed(first):
        same = again(batch.number)
        assert torch.equal(same.pictures, batch.pictures) and torch.equal(same.target, batch.target)
        assert not torch.equal(other(batch.number).pictures, batch.pictures)
    assert not torch.equal(first[0].pictures, first[1].pictures)
    for batch in first:
        assert batch.pictures.shape == (3, 1, SIDE, SIDE) and batch.target.shape == (3, SIDE, SIDE)
        assert batch.target.dtype == torch.int64 and set(batch.target.unique().tolist()) <= {0, 1, 2, 3}
        assert batch.pictures.isfinite().all() and batch.pictures.min() > -0.5 and batch.pictures.max() < 1.6


def test_slices_at_the_end_of_a_structure_are_drawn_more_often_than_the_rest() -> None:
    labels = np.zeros((12, 20, 20), np.uint8)
    labels[2:10, 5:15, 5:15] = 1
    pictures = np.zeros(labels.shape, np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None]
    subject = Subject("told apart", (LabelledVolume(pictures, labels, (1.5, 1.5), "ED"),))
    rng = np.random.default_rng(0)
    drawn = np.bincount([int(draw_slice(subject, rng)[0].flat[0]) for _ in range(3000)], minlength=12) / 3000
    ends = [1, 2, 9, 10]
    assert np.allclose(drawn[ends], 0.6 / 12 + 0.4 / 4, atol=0.03)
    assert np.allclose(np.delete(drawn, ends), 0.6 / 12, atol=0.02)


def test_the_heart_is_found_anywhere_near_the_middle_but_mostly_in_the_picture(phantoms: list[Subject]) -> None:
    draw = slice_batches([(phantoms, 1.0)], 8, SIDE, 0)
    centres, shown = [], 0
    for target in torch.cat([draw(number).target for number in range(12)]):
        places = (target > 0).nonzero().float()
        shown += len(places) > 0
        if len(places):
            centres.append(places.mean(dim=0))
    spread = torch.stack(centres).std(dim=0)
    assert shown > 60 and (spread > 5).all() and (spread < 20).all()


def test_a_narrower_field_of_view_keeps_the_heart_and_blackens_or_continues_the_rest() -> None:
    generator = np.random.default_rng(0)
    picture = generator.integers(20, 200, (80, 80)).astype(np.uint8)
    labels = np.zeros((80, 80), np.uint8)
    labels[30:50, 35:60] = 1
    kinds = set()
    for seed in range(60):
        found = narrowed(picture, labels, np.random.default_rng(seed))
        assert found.shape == picture.shape and found.dtype == np.uint8
        if np.array_equal(found, picture):
            kinds.add("whole")
            continue
        # Only a rising change of grey: where one pixel of the heart was brighter than another, it still is.
        before, after = (p[labels > 0].astype(int) for p in (picture, found))
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= 0).all() and np.ptp(after) > 150
        kinds.add("black" if (found[0] == 0).all() else "continued" if (np.diff(found[:2], axis=0) == 0).all() else "")
    assert kinds >= {"whole", "black", "continued"}
    assert np.array_equal(narrowed(picture, 0 * labels, np.random.default_rng(1)), picture)


# Losses ---------------------------------------------------------------------------------------------------------------


def test_the_dice_loss_is_that_of_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.rand(2, 3, 5, 6, generator=generator, dtype=torch.float64)
    wanted = torch.randint(0, 2, (2, 3, 5, 6), generator=generator).double()
    dice = []
    for channel in range(3):
        both = squares = marks = 0.0
        for p, y in zip(found[:, channel].flatten().tolist(), wanted[:, channel].flatten().tolist(), strict=True):
            both, squares, marks = both + p * y, squares + p * p, marks + y * y
        dice.append((2 * both + 1) / (squares + marks + 1))
    assert float(dice_loss(found, wanted)) == pytest.approx(1 - np.mean(dice), rel=1e-12)


def test_what_is_absent_costs_nothing_unless_it_is_found() -> None:
    nothing = torch.zeros(2, 1, 8, 8)
    assert dice_loss(nothing, nothing) == 0
    assert 0 < dice_loss(nothing + 0.1, nothing) < dice_loss(nothing + 0.5, nothing) < 1


class Fixed(nn.Module):
    """Answers with the same logits whatever it sees, and remembers what that was."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, *seen: Tensor) -> Tensor:
        self.seen = seen
        return self.answer


def batch_of(target: Tensor) -> SliceBatch:
    return SliceBatch(torch.zeros(len(target), 1, *target.shape[1:]), target, 0)


def a_target(side: int = 32) -> Tensor:
    target = torch.zeros(2, side, side, dtype=torch.int64)
    target[0, 6:20, 6:20], target[0, 10:16, 10:16], target[1, 4:12, 20:28] = 2, 1, 3
    return target


@pytest.mark.parametrize("loss", [SliceLoss(), FirstStageLoss()])
def test_the_right_answer_costs_nothing_and_a_wrong_one_much(loss: SliceLoss | FirstStageLoss) -> None:
    target = a_target()
    right = 40.0 * F.one_hot(target, 4).movedim(-1, 1) - 20
    assert loss(Fixed(right), batch_of(target), 0.0) < 1e-3
    assert loss(Fixed(right.roll(9, dims=-1)), batch_of(target), 0.0) > 1
    assert loss(Fixed(0 * right), batch_of(target), 0.0) > 0.5


def test_classes_compete_in_the_unet_and_stand_alone_in_the_first_stage() -> None:
    target, logits = a_target(), torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    raised = logits + 3
    assert SliceLoss()(Fixed(raised), batch_of(target), 0.0).item() == pytest.approx(
        SliceLoss()(Fixed(logits), batch_of(target), 0.0).item(), rel=1e-5
    )
    sure = logits.sigmoid()
    wanted = F.one_hot(target, 4).movedim(-1, 1).float()
    plain = -(wanted * sure.log() + (1 - wanted) * (1 - sure).log()).mean() + dice_loss(sure, wanted)
    assert FirstStageLoss()(Fixed(logits), batch_of(target), 0.0).item() == pytest.approx(plain.item(), rel=1e-5)


class Thresholds(nn.Module):
    """A first stage that takes bright pixels for LV; it has weights and normalization, which must not change."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm2d(1)

    def forward(self, pictures: Tensor) -> Tensor:
        found = self.normalize(pictures)
        return torch.cat([0.5 - found, found - 0.5, *2 * [torch.full_like(found, -9)]], dim=1)


def test_the_second_stage_learns_in_a_crop_round_what_a_frozen_first_stage_finds() -> None:
    first = Thresholds()
    target = torch.zeros(4, 96, 96, dtype=torch.int64)
    target[:, 10:30, 60:84] = 1
    before = {k: v.clone() for k, v in first.state_dict().items()}
    loss = SecondStageLoss(first, side=48, seed=0)
    network = Fixed(torch.zeros(4, 3, 48, 48))
    value = loss(network, SliceBatch((target > 0).float()[:, None], target, 3), 0.0)
    pictures, masks = network.seen
    assert value.requires_grad and pictures.shape == (4, 1, 48, 48) and masks.shape == (4, 3, 48, 48)
    assert pictures.sum(dim=(1, 2, 3)).tolist() == [480.0] * 4
    assert not any(p.requires_grad for p in first.parameters())
    assert all(torch.equal(v, before[k]) for k, v in first.state_dict().items())


def test_the_second_stage_is_spoilt_in_the_same_way_by_the_same_number() -> None:
    target = torch.zeros(8, 96, 96, dtype=torch.int64)
    target[:, 30:60, 30:60] = 1
    seen = []
    for number in (1, 1, 2):
        network = Fixed(torch.zeros(8, 3, 48, 48))
        SecondStageLoss(Thresholds(), 48, seed=0)(
            network, SliceBatch((target > 0).float()[:, None], target, number), 0.0
        )
        seen.append(network.seen[1])
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])


def test_about_a_third_of_the_masks_is_spoilt_and_each_in_one_of_five_ways() -> None:
    masks = torch.zeros(3, 48, 48)
    masks[1, 12:30, 12:30], masks[1, 16:26, 16:26], masks[0, 16:26, 16:26], masks[2, 14:28, 31:40] = 1, 0, 1, 1
    before, kinds = masks.clone(), []
    for seed in range(400):
        found = spoilt(masks, np.random.default_rng(seed))
        assert found.shape == masks.shape and set(found.unique().tolist()) <= {0.0, 1.0}
        lost, won = ((masks - found) > 0).sum(dim=(1, 2)), ((found - masks) > 0).sum(dim=(1, 2))
        rolled = any(torch.equal(masks.roll((y, x), (1, 2)), found) for y in range(-4, 5) for x in range(-4, 5))
        if torch.equal(found, masks):
            kinds.append("clean")
        elif rolled:
            kinds.append("moved")
        elif (lost == 0).all():
            kinds.append("grown")
        elif (won == 0).all() and (found.sum(dim=(1, 2)) == 0).sum() == 1 and (lost > 0).sum() == 1:
            kinds.append("missing")
        else:
            assert (won == 0).all()
            kinds.append("shrunk or with a hole")
    assert torch.equal(masks, before)
    assert 0.55 < kinds.count("clean") / 400 < 0.75
    assert all(kinds.count(kind) > 10 for kind in ("moved", "grown", "missing", "shrunk or with a hole"))


def test_nothing_found_can_be_spoilt_too() -> None:
    for seed in range(60):
        assert not spoilt(torch.zeros(3, 24, 24), np.random.default_rng(seed)).any()


@pytest.mark.parametrize("size", [(64, 64), (96, 70)])
def test_crops_lie_inside_the_picture_and_round_the_masks(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    for seed in range(100):
        masks = torch.zeros(3, *size)
        top, left = generator.integers(size[0]), generator.integers(size[1])
        masks[generator.integers(3), top : top + 20, left : left + 20] = 1
        window = crop_window(masks, 64, np.random.default_rng(seed))
        for part, whole in zip(window, size, strict=True):
            assert part.start >= 0 and part.stop <= whole and part.stop - part.start == 64
        (piece,) = cut(masks[None], [window])
        assert piece.shape == (3, 64, 64) and piece.sum() > 0.9 * masks.sum()
    empty = crop_window(torch.zeros(3, 200, 200), 64, np.random.default_rng(0))
    assert all(abs((part.start + part.stop) / 2 - 100) < 20 for part in empty)


# Learning -------------------------------------------------------------------------------------------------------------

TINY = CroCNetConfig(width1=8, width2=8)


def learns(network: nn.Module, part: nn.Module, loss, batch: SliceBatch, folder: Path, steps: int = 20) -> None:
    """The loss of one batch falls by a sixth within a few steps."""
    losses = []

    def measured(model: nn.Module, batch: SliceBatch, progress: float) -> Tensor:
        value = loss(model, batch, progress)
        losses.append(value.item())
        return value

    network.to(memory_format=torch.channels_last)
    fit(part, lambda number: batch, measured, Settings(steps=steps, learning_rate=2e-2, warm_up=2), folder)
    assert len(losses) == steps and np.isfinite(losses).all()
    assert losses[-1] < losses[0] * 5 / 6


@pytest.mark.parametrize(
    "config",
    [UNetConfig(width=8), UNetConfig(width=8, position=1.0, padding="reflect")],
    ids=["plain", "position, reflected"],
)
def test_a_few_steps_lower_the_loss_of_the_unet(config: UNetConfig, phantoms: list[Subject], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet(config)
    learns(network, network, SliceLoss(), slice_batches([(phantoms, 1.0)], 4, SIDE, 0)(0), tmp_path)


def test_a_few_steps_lower_the_loss_of_the_first_stage(phantoms: list[Subject], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = CroCNet(dataclasses.replace(TINY, refine=""))
    learns(network, network, FirstStageLoss(), slice_batches([(phantoms, 1.0)], 4, SIDE, 0)(0), tmp_path)


@pytest.mark.parametrize("refine", ["coupled", "uncoupled", "single"])
def test_a_few_steps_lower_the_loss_of_the_specialists(refine: str, phantoms: list[Subject], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = CroCNet(dataclasses.replace(TINY, refine=refine))
    first = {k: v.clone() for k, v in network.first.state_dict().items()}
    batch = slice_batches([(phantoms, 1.0)], 4, SIDE, 0)(0)
    learns(network, network.second, SecondStageLoss(network.first, 64, seed=0), batch, tmp_path)
    assert all(torch.equal(v, first[k]) for k, v in network.first.state_dict().items())
