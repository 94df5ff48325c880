"""The repeated study of image position: its slices, its normalization, and that its training learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from CardiacSegLib.networks.unet import UNetConfig
from CardiacSegLib.training.sources import read_phantoms
from CardiacSegLib.training.subjects import LabelledVolume, Subject
from Testing.benchmarks import position
from Testing.benchmarks.degradation import LEVELS
from Testing.benchmarks.position import SIDE, Volume, dice, dice_of, load, normalized, train, train_missing, volumes_of
from Testing.benchmarks.robustness import curves_of


@pytest.fixture(scope="module")
def phantoms() -> list[Volume]:
    whole = volumes_of(read_phantoms(1, seed=0))[0]
    return [Volume(whole.pictures[2:7], whole.labels[2:7])]


def test_whole_slices_fill_the_square_whatever_their_shape() -> None:
    labels = np.zeros((2, 96, 160), np.uint8)
    labels[1, 24:48, 40:80] = 2
    (volume,) = volumes_of([Subject("one", (LabelledVolume(labels * 100, labels, (1.5, 1.2), "ED"),))])
    assert volume.pictures.shape == volume.labels.shape == (2, SIDE, SIDE)
    wanted = np.zeros((SIDE, SIDE), np.uint8)
    wanted[32:64, 32:64] = 2
    assert np.array_equal(volume.labels[1], wanted) and not volume.labels[0].any()
    assert volume.pictures.min() == 0 and volume.pictures.max() == 1


def test_every_slice_has_mean_0_and_variance_1(phantoms: list[Volume]) -> None:
    slices = normalized(phantoms[0].pictures)
    assert slices.shape[1:] == (1, SIDE, SIDE)
    assert torch.allclose(slices.mean(dim=(1, 2, 3)), torch.zeros(()), atol=1e-4)
    assert torch.allclose(slices.std(dim=(1, 2, 3)), torch.ones(()), atol=1e-3)
    assert normalized(np.zeros((1, 8, 8), np.float32)).isfinite().all()


def test_dice_is_that_of_the_definition() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    one[:2], other[1:3] = True, True
    assert dice(one, other) == pytest.approx(0.5) and dice(one, one) == 1 and np.isnan(dice(~one & one, other & ~other))


def test_a_trained_network_is_kept_and_scored_at_every_level(
    phantoms: list[Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(position, "NETWORKS", {"tiny": UNetConfig(4, 1.0, levels=2)})
    monkeypatch.setattr(position, "training_and_validation", lambda: (phantoms, phantoms))
    train_missing(6, tmp_path)
    (path,) = tmp_path.glob("*.pt")
    written = path.stat().st_mtime_ns
    train_missing(6, tmp_path)
    assert path.stat().st_mtime_ns == written
    network = load("tiny", tmp_path)
    curves = curves_of(lambda kind, level: dice_of(network, phantoms[:1], kind, level))
    assert curves.keys() == LEVELS.keys()
    assert all(len(curve) == 6 and all(0 <= d <= 1 for d in curve) for curve in curves.values())
    assert len({curve[0] for curve in curves.values()}) == 1


def test_training_learns_and_the_same_seed_learns_the_same(phantoms: list[Volume]) -> None:
    config = UNetConfig(4, levels=2)
    short, again, long = (train(config, phantoms, steps) for steps in (2, 2, 100))
    for name, value in short.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    pictures, labels = normalized(phantoms[0].pictures), torch.from_numpy(phantoms[0].labels)
    with torch.no_grad():
        before, after = (torch.nn.functional.cross_entropy(n.train()(pictures), labels) for n in (short, long))
    assert after < 0.8 * before
