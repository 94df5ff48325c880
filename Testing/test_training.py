"""Training: its samples, losses, loop and resume, and the weights files that it leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from CardiacSegLib import weights
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks.cstm import CSTM, SIZES
from CardiacSegLib.training.augmentation import Augmentation
from CardiacSegLib.training.command import train
from CardiacSegLib.training.loop import CHECKPOINT, Report, Settings, State, fit
from CardiacSegLib.training.losses import MaskLoss, dice_scores
from CardiacSegLib.training.memory import MemoryBatch, MemoryLoss, memory_batches
from CardiacSegLib.training.samples import MAX_DISTANCE, draw_row, objects_of, through_stack, through_time
from CardiacSegLib.training.sources import read_phantoms
from CardiacSegLib.training.subjects import LabelledVolume, Subject, compact
from CardiacSegLib.weights import WeightsCard, find_weights, load_weights, read_card, save_weights

SLICES = 12


def told_apart(labelled: tuple[tuple[int, ...], ...] = ((1, 2, 3), (1, 2, 3))) -> Subject:
    """Pixels that say where they come from: 100 * volume + slice; masks that hold 1, 2 and 3, labelled or not."""
    labels = np.zeros((SLICES, 8, 8), np.uint8)
    labels[:, 1:5, 1:4], labels[:, 1:5, 5:8], labels[:, 5:7, 1:6] = 1, 2, 3
    volumes = []
    for number, (phase, named) in enumerate(zip(("ED", "ES"), labelled, strict=True)):
        pictures = np.zeros(labels.shape, np.uint8) + (100 * number + np.arange(SLICES, dtype=np.uint8))[:, None, None]
        volumes.append(LabelledVolume(pictures, labels, (1.4, 1.4), phase, named))
    return Subject("told apart", tuple(volumes))


def origin(pictures: Iterable[np.ndarray]) -> list[tuple[int, int]]:
    """(volume, slice) of each picture of told_apart."""
    return [divmod(int(p.flat[0]), 100) for p in pictures]


@pytest.fixture(scope="module")
def phantoms() -> list[Subject]:
    return [compact(subject, spacing_mm=2.2, size=68) for subject in read_phantoms(2, seed=0)]


# Samples --------------------------------------------------------------------------------------------------------------


def test_samples_through_time_go_to_another_phase_of_the_same_slice_and_back() -> None:
    subject, rng = told_apart(), np.random.default_rng(0)
    rows = [origin(volume.image[z] for volume, z in through_time(subject, rng, 3)) for _ in range(100)]
    assert all(a == c and a[0] != b[0] and a[1] == b[1] for a, b, c in rows)
    assert {row[0][0] for row in rows} == {0, 1} and {row[0][1] for row in rows} == set(range(SLICES))


def test_samples_through_the_stack_are_in_order_along_z_and_at_most_five_slices_away() -> None:
    subject, rng = told_apart(), np.random.default_rng(0)
    rows = [origin(volume.image[z] for volume, z in through_stack(subject, rng, 3)) for _ in range(300)]
    for row in rows:
        assert len({volume for volume, _ in row}) == 1
        first, second, third = (z for _, z in row)
        assert first <= second <= third or first >= second >= third
    assert max(abs(row[2][1] - row[0][1]) for row in rows) == MAX_DISTANCE == 5
    assert {np.sign(row[2][1] - row[0][1]) for row in rows} >= {-1, 1}


def test_samples_are_three_frames_of_one_subject_through_time_stack_or_both() -> None:
    subject, rng = told_apart(), np.random.default_rng(0)
    rows = [origin(draw_row(subject, rng).pictures) for _ in range(300)]
    time = [r for r in rows if r[0] == r[2] and r[0][0] != r[1][0] and r[0][1] == r[1][1]]
    stack = [r for r in rows if len({volume for volume, _ in r}) == 1 and abs(r[2][1] - r[0][1]) > 2]
    assert all(len(r) == 3 and max(abs(r[i][1] - r[0][1]) for i in (1, 2)) <= MAX_DISTANCE for r in rows)
    assert 110 < len(time) < 200 and len(stack) > 40


@pytest.mark.parametrize("labelled", [((1, 2), (1,)), ((1,), (1, 2, 3)), ((2, 3), (2, 3))])
def test_a_structure_that_one_of_the_frames_does_not_label_is_never_a_target(
    labelled: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    subject, rng = told_apart(labelled), np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        row = draw_row(subject, rng)
        known = set.intersection(*(set(labelled[volume]) for volume, _ in origin(row.pictures)))
        assert set(row.values) <= known
        target = objects_of(row, 3, rng)
        assert set(np.unique(row.labels[target > 0])) <= known
        seen |= set(row.values)
    assert seen == set().union(*labelled)


def test_objects_are_whole_structures_in_any_order_and_at_most_as_many_as_asked_for() -> None:
    row, rng = draw_row(told_apart(), np.random.default_rng(0)), np.random.default_rng(1)
    firsts = set()
    for count in (1, 2, 3) * 10:
        target = objects_of(row, count, rng)
        assert set(np.unique(target)) == set(range(count + 1))
        for value in range(1, count + 1):
            (source,) = np.unique(row.labels[target == value])
            assert np.array_equal(target == value, row.labels == source)
        firsts.add(int(row.labels[target == 1][0]))
    assert firsts == {1, 2, 3}


def test_an_object_that_leaves_the_picture_stays_an_object_with_nothing_in_it() -> None:
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[0, 2:6, 2:6] = 1
    subject = Subject("leaves", (LabelledVolume(labels * 50, labels, (1.4, 1.4), "ED", (1,)),))
    rng = np.random.default_rng(0)
    rows = [draw_row(subject, rng) for _ in range(30)]
    assert all(row.values == (1,) and row.labels[0].any() for row in rows)
    assert any(not row.labels[1].any() for row in rows)


# Augmentation and batches ---------------------------------------------------------------------------------------------


def test_augmented_targets_stay_on_their_pictures() -> None:
    labels = np.zeros((3, 60, 60), np.uint8)
    labels[:, 20:40, 24:44] = 1
    augment, rng = Augmentation(size=40), np.random.default_rng(0)
    for _ in range(20):
        pictures, target = augment(labels * 200 + 20, labels, rng)
        assert pictures.shape == (3, 1, 40, 40) and target.shape == (3, 40, 40)
        assert set(target.unique().tolist()) <= {0, 1} and pictures.isfinite().all()
        inside = pictures[:, 0][target == 1]
        assert inside.median() > pictures[:, 0][target == 0].median() + 0.1


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(phantoms: list[Subject]) -> None:
    def draw(seed: int) -> list[MemoryBatch]:
        return [*map(memory_batches([(phantoms, 1.0)], 2, 40, seed), range(6))]

    first, again, other = draw(1), draw(1), draw(2)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.pictures, b.pictures) and torch.equal(a.target, b.target)
        assert (a.given, a.objects) == (b.given, b.objects)
    assert not any(torch.equal(a.pictures, b.pictures) for a, b in zip(first, other, strict=True))
    for b in first:
        count = max(3, b.given + 1)
        assert b.pictures.shape == (2, count, 1, 40, 40) and b.target.shape == (2, count, 40, 40)
    assert {b.objects for b in first} <= {2, 3} and {b.given for b in first} <= {1, 2, 3}


@pytest.mark.parametrize("given", [2, 3])
def test_samples_with_more_given_frames_are_slices_side_by_side_and_the_other_phase_of_the_last(given: int) -> None:
    subject, rng = told_apart(), np.random.default_rng(0)
    for _ in range(100):
        *beside, own, wanted = origin(draw_row(subject, rng, given).pictures)
        assert len(beside) == given - 1 and own[0] != wanted[0] and own[1] == wanted[1]
        assert all(b[0] == own[0] and abs(b[1] - own[1]) <= 1 for b in beside)
        assert len(set(beside)) == given - 1


def test_sources_are_drawn_by_their_shares() -> None:
    bright, dark = (
        Subject(n, (LabelledVolume(np.full((2, 40, 40), v, np.uint8), np.ones((2, 40, 40), np.uint8), (1, 1), "ED"),))
        for n, v in (("bright", 255), ("dark", 10))
    )
    batches = map(memory_batches([([bright], 3.0), ([dark], 1.0)], 20, 24, 0), range(8))
    means = torch.cat([b.pictures.mean(dim=(1, 2, 3, 4)) for b in batches])
    assert 0.6 < (means > 0.35).float().mean() < 0.9


# Losses ---------------------------------------------------------------------------------------------------------------


def test_the_loss_turns_from_all_pixels_to_the_hardest_three_in_ten() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 20, 20, generator=generator)
    target = torch.randint(0, 3, (2, 20, 20), generator=generator)
    chances = logits.double().softmax(dim=1).gather(1, target[:, None]).flatten()
    pixels = sorted((-chances.log()).tolist(), reverse=True)
    loss = MaskLoss()

    def mean_of(share: float) -> float:
        return float(np.mean(pixels[: int(len(pixels) * share)]))

    for progress, share in ((0.05, 1.0), (0.3, 0.65), (0.5, 0.3), (0.9, 0.3)):
        change = float(loss(logits, target, progress) - loss(logits, target, 0.0))
        assert change == pytest.approx(mean_of(share) - mean_of(1.0), abs=1e-3)


def test_a_perfect_mask_costs_nothing_and_a_wrong_one_much() -> None:
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    target[:, 5:12, 5:12], target[:, 14:18, 3:9] = 1, 2
    logits = 40.0 * F.one_hot(target, 3).movedim(-1, 1)
    assert MaskLoss()(logits, target, 1.0) < 1e-3
    assert MaskLoss()(logits.roll(9, dims=-1), target, 1.0) > 1


def test_dice_scores_are_those_of_the_definition_and_nothing_where_there_is_nothing() -> None:
    target = torch.zeros(1, 10, 10, dtype=torch.int64)
    target[:, 0:4, 0:5] = 1
    found = torch.zeros_like(target)
    found[:, 2:6, 0:5] = 1
    scores = dice_scores(F.one_hot(found, 3).movedim(-1, 1).float(), target)
    assert scores[0] == pytest.approx(2 * 10 / 40) and scores[1].isnan()


def test_only_frames_that_had_to_be_found_count(phantoms: list[Subject]) -> None:
    class Oracle(nn.Module):
        """Knows the last frames, whatever the given ones are."""

        def __init__(self, target: Tensor, objects: int, given: int) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))
            self.answer = 40.0 * F.one_hot(target[:, given:], objects + 1).movedim(-1, 2)

        def forward(self, pictures: Tensor, masks: Tensor) -> Tensor:
            self.masks = masks
            return self.answer

    for batch in map(memory_batches([(phantoms, 1.0)], 2, 40, 5), range(4)):
        network = Oracle(batch.target, batch.objects, batch.given)
        # All objects may be missing from all found frames, which costs a constant; the pixels cost nothing.
        assert MemoryLoss()(network, batch, 0.0) < 1
        assert network.masks.shape == (2, batch.given, batch.objects, 40, 40)
        for o in range(batch.objects):
            assert torch.equal(network.masks[:, :, o].bool(), batch.target[:, : batch.given] == o + 1)


# The loop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "steps", "rate"), [("small", 16, 1e-3), ("base", 8, 1e-4)])
def test_a_few_steps_on_a_few_hearts_lower_the_loss(
    size: str, steps: int, rate: float, phantoms: list[Subject], tmp_path: Path
) -> None:
    batches = [*map(memory_batches([(phantoms, 1.0)], 2, 48, 0, max_objects=2), range(2))]
    torch.manual_seed(0)
    network, loss, losses = CSTM(SIZES[size]), MemoryLoss(), []

    def measured(network: nn.Module, batch: MemoryBatch, progress: float) -> Tensor:
        # Over all pixels: the hardest alone would make the loss rise while the network gets better.
        value = loss(network, batch, 0.0)
        losses.append(value.item())
        return value

    with torch.no_grad():
        untrained = [loss(network, batch, 0.0).item() for batch in batches]
    settings = Settings(steps=steps, learning_rate=rate, warm_up=4)
    fit(network, lambda number: batches[number % 2], measured, settings, tmp_path)
    assert len(losses) == steps and np.isfinite(losses).all()
    assert all(last < 0.7 * first for first, last in zip(untrained, losses[-2:], strict=True))


def line(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def points(number: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
    return inputs, inputs.sum(dim=1, keepdim=True)


def square_error(network: nn.Module, batch: Any, progress: float) -> Tensor:
    return (network(batch[0]).float() - batch[1]).square().mean()


class StoppedError(Exception):
    """What stops a training from outside."""


def until(last: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Batches of a training that is stopped after so many steps."""

    def batches(number: int) -> tuple[Tensor, Tensor]:
        if number == last:
            raise StoppedError
        return points(number)

    return batches


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    settings = Settings(steps=12, learning_rate=0.01, warm_up=4, save_every_s=0.0)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = fit(line(0), points, square_error, settings, tmp_path / "whole")
    with pytest.raises(StoppedError):
        fit(line(0), until(5), square_error, settings, tmp_path / "parts")
    resumed = fit(line(1), points, square_error, settings, tmp_path / "parts", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_without_resume_an_old_checkpoint_plays_no_part(tmp_path: Path) -> None:
    settings = Settings(steps=3, learning_rate=0.01)
    first = fit(line(0), points, square_error, settings, tmp_path)
    again = fit(line(0), points, square_error, settings, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_the_clock_goes_on_where_it_was_when_a_training_is_resumed(tmp_path: Path) -> None:
    fit(line(0), points, square_error, Settings(steps=3), tmp_path)
    saved = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert saved["step"] == 3 and 0 < saved["seconds"] < 60
    torch.save(saved | {"seconds": 120.0}, tmp_path / CHECKPOINT)
    steps = []

    def counted(network: nn.Module, batch: Any, progress: float) -> Tensor:
        steps.append(progress)
        return square_error(network, batch, progress)

    fit(line(0), points, counted, Settings(steps=100, minutes=2.0), tmp_path, resume=True)
    assert not steps
    with pytest.raises(StoppedError):
        fit(line(0), until(6), counted, Settings(steps=100, minutes=4.0), tmp_path, resume=True)
    assert len(steps) == 3 and all(0.5 <= progress < 0.6 for progress in steps)


def test_the_learning_rate_follows_the_schedule_of_its_name(tmp_path: Path) -> None:
    def rates(schedule: str) -> list[float]:
        state = State(line(0), Settings(steps=10, learning_rate=0.5, warm_up=1, schedule=schedule))
        return [state.learning_rate(progress) for progress in (0.0, 0.5, 1.0)]

    assert rates("poly") == pytest.approx([0.5, 0.5 * 0.5**0.9, 0.0])
    assert rates("cosine") == pytest.approx([0.5, 0.5 * 0.505, 0.005])


def test_training_reports_how_far_it_is_and_ends_after_its_steps(tmp_path: Path) -> None:
    reports: list[Report] = []
    fit(line(0), points, square_error, Settings(steps=40), tmp_path, reports.append)
    assert [r.step for r in reports] == [20, 40]
    assert reports[0].progress == pytest.approx(0.5, abs=0.05) and reports[0].loss > 0
    assert not list(tmp_path.glob("*.partial"))


# Weights --------------------------------------------------------------------------------------------------------------

CARD = WeightsCard("tiny", "cstm", "small", ("phantom (2 subjects)",), "CC0 1.0", "cardiacseg train cstm", seed=7)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, CSTM]:
    torch.manual_seed(0)
    network = CSTM(SIZES["small"])
    return save_weights(tmp_path / "tiny.safetensors", network, CARD), network


def test_weights_come_back_in_half_precision_with_their_card(saved: tuple[Path, CSTM]) -> None:
    path, network = saved
    card = find_weights(path, "cstm")
    assert dataclasses.replace(card, path=None, sha256="", parameters=0) == CARD
    assert card.parameters == sum(p.numel() for p in network.parameters())
    loaded = CSTM(SIZES["small"])
    load_weights(loaded, card)
    for (name, a), b in zip(network.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert b.dtype == a.dtype and torch.equal(a.half().float() if a.is_floating_point() else a, b), name


def test_installed_weights_are_found_by_name_or_as_the_default(
    saved: tuple[Path, CSTM], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "WEIGHTS_FOLDER", saved[0].parent)
    assert find_weights("tiny", "cstm").path == find_weights(None, "cstm").path == saved[0]
    with pytest.raises(CardiacSegError, match=r"'huge' are not installed.*tiny"):
        find_weights("huge", "cstm")


def test_the_shortest_name_is_the_default(saved: tuple[Path, CSTM], monkeypatch: pytest.MonkeyPatch) -> None:
    path, network = saved
    save_weights(path.with_name("tiny-cc0.safetensors"), network, dataclasses.replace(read_card(path), name="tiny-cc0"))
    monkeypatch.setattr(weights, "WEIGHTS_FOLDER", path.parent)
    assert [card.name for card in weights.installed()] == ["tiny", "tiny-cc0"]
    assert find_weights(None, "cstm").name == "tiny"


def test_changed_weights_are_refused_and_not_loaded(saved: tuple[Path, CSTM]) -> None:
    path, network = saved
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(CardiacSegError, match=r"tiny\.safetensors differ from their card"):
        load_weights(network, find_weights(path, "cstm"))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "harm"),)

    path = tmp_path / f"evil{suffix}"
    path.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(CardiacSegError, match=rf"evil\{suffix}.*safetensors"):
        find_weights(path, "cstm")
    assert not (tmp_path / "harm").exists()


def test_weights_of_another_network_are_refused(saved: tuple[Path, CSTM]) -> None:
    with pytest.raises(CardiacSegError, match="network cstm, not unet"):
        find_weights(saved[0], "unet")


def test_weights_of_another_size_do_not_fit_and_it_is_said(saved: tuple[Path, CSTM]) -> None:
    with pytest.raises(CardiacSegError, match="do not fit"):
        load_weights(CSTM(dataclasses.replace(SIZES["small"], key4=32)), find_weights(saved[0], "cstm"))


@pytest.mark.parametrize("spoil", ["missing", "torn", "foreign"])
def test_weights_without_a_readable_card_are_refused_by_name(saved: tuple[Path, CSTM], spoil: str) -> None:
    card = saved[0].with_suffix(".json")
    if spoil == "missing":
        card.unlink()
    else:
        card.write_text(card.read_text()[:40] if spoil == "torn" else json.dumps({"name": "x", "data": []}))
    with pytest.raises(CardiacSegError, match=r"tiny\.json"):
        find_weights(saved[0], "cstm")


# The command ----------------------------------------------------------------------------------------------------------


def test_train_leaves_weights_with_a_card_that_says_how_they_were_made(tmp_path: Path) -> None:
    path = train(
        "cstm", ["phantom=1"], tmp_path, settings=Settings(steps=1), batch=1, seed=3, name="first", command="as typed"
    )
    card = find_weights(path, "cstm")
    assert (card.name, card.size, card.seed, card.command) == ("first", "small", 3, "as typed")
    assert card.data == ("phantom (1 subjects)",) and card.licence.startswith("CC0")
    assert card.budget.startswith("1 steps in 0 minutes on CPU")
    load_weights(CSTM(SIZES["small"]), card)
    assert (tmp_path / CHECKPOINT).is_file() and list(tmp_path.glob("phantom-*.npz"))


@pytest.mark.parametrize(
    ("network", "size", "data", "message"),
    [
        ("vnet", "small", "phantom=1", "'vnet' is not known; choose one of cstm, unet"),
        ("cstm", "huge", "phantom=1", "'huge' is not known; choose one of base, small"),
        ("cstm", "small", "acdc=nowhere", "nowhere does not exist"),
    ],
)
def test_wrong_arguments_of_train_are_refused_in_a_sentence(
    tmp_path: Path, network: str, size: str, data: str, message: str
) -> None:
    with pytest.raises(CardiacSegError, match=message):
        train(network, [data], tmp_path, size=size)
