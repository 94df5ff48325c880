"""How each network is trained: its recipe, what the second stage starts from, and several processes under torchrun."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks.crocnet import SIZES, CroCNet
from CardiacSegLib.training.command import train
from CardiacSegLib.training.loop import CHECKPOINT, Settings, fit
from CardiacSegLib.training.recipes import PICTURE, WIDE, find_recipe, start_from
from CardiacSegLib.training.sources import Licence, read_phantoms
from CardiacSegLib.training.subjects import Subject, compact
from CardiacSegLib.weights import WeightsCard, find_weights, read_weights, save_weights

ROOT = Path(__file__).resolve().parents[1]
ONCE = Settings(steps=1)


@pytest.fixture(scope="module")
def phantom() -> list[Subject]:
    return [compact(subject, spacing_mm=1.5, size=WIDE) for subject in read_phantoms(1, seed=0)]


def of_stage1(folder: Path, licence: str = Licence.CC0.value) -> Path:
    """Weights of a first stage as an earlier training leaves them."""
    torch.manual_seed(9)
    card = WeightsCard("stage1", "crocnet", "stage1", ("none",), licence, "none", seed=9)
    return save_weights(folder / "stage1.safetensors", CroCNet(SIZES["stage1"]), card)


# Recipes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "size"), [("unet", "small"), ("unet", "cnn-position"), ("crocnet", "stage1"), ("crocnet", "full")]
)
def test_the_batches_of_a_recipe_fit_its_loss(network: str, size: str, phantom: list[Subject]) -> None:
    recipe = find_recipe(network, size)
    assert (recipe.spacing_mm, recipe.crop) == (1.5, WIDE)
    torch.manual_seed(0)
    model = recipe.network().to(memory_format=torch.channels_last)
    part, batch = recipe.trained(model), recipe.batches([(phantom, 1.0)], 2, 0)(0)
    assert batch.pictures.shape == (2, 1, PICTURE, PICTURE)
    value = recipe.loss(model, 0)(part, batch, 0.0)
    value.backward()
    learning = {id(p) for p in part.parameters()}
    assert value.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    assert all(p.grad is None for p in model.parameters() if id(p) not in learning)


def test_the_second_stage_is_not_trained_on_a_first_one_that_knows_nothing(tmp_path: Path) -> None:
    for size in ("full", "uncoupled", "single"):
        with pytest.raises(CardiacSegError, match=f"size {size} of crocnet.*stage1.*--start"):
            train("crocnet", ["phantom=1"], tmp_path, size=size, settings=ONCE)
    assert not list(tmp_path.iterdir())


def test_a_trained_second_stage_comes_with_the_first_that_it_started_from(tmp_path: Path) -> None:
    start = of_stage1(tmp_path, Licence.ACDC.value)
    path = train("crocnet", ["phantom=1"], tmp_path / "run", size="single", settings=ONCE, batch=1, start=start)
    card = find_weights(path, "crocnet")
    found, first = read_weights(card), read_weights(find_weights(start, "crocnet"))
    assert all(torch.equal(value, found[name]) for name, value in first.items())
    assert found.keys() - first.keys() == {k for k in CroCNet(SIZES["single"]).state_dict() if k.startswith("second.")}
    assert card.licence == Licence.ACDC.value


def test_weights_of_an_unknown_licence_are_no_start(tmp_path: Path) -> None:
    start = of_stage1(tmp_path, "somebody's")
    with pytest.raises(CardiacSegError, match="stage1 names a licence"):
        train("crocnet", ["phantom=1"], tmp_path / "run", size="stage1", settings=ONCE, start=start)


def test_a_start_gives_what_fits_and_leaves_the_rest_as_it_was() -> None:
    torch.manual_seed(1)
    network = CroCNet(dataclasses.replace(SIZES["single"], width1=4, width2=4))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    given = {k: v + 1 for k, v in CroCNet(dataclasses.replace(SIZES["stage1"], width1=4)).state_dict().items()}
    start_from(network, given | {"second.body.head.bias": torch.zeros(99), "other": torch.zeros(1)})
    for name, value in network.state_dict().items():
        assert torch.equal(value, given[name] if name in given else before[name]), name
    with pytest.raises(CardiacSegError, match="nothing in common"):
        start_from(network, {"other": torch.zeros(1)})


# Several processes ----------------------------------------------------------------------------------------------------

LINE = textwrap.dedent(
    '''
    """A small training, in double precision and without autocast, whose batches depend on their number alone."""
    import torch
    from torch import nn

    def line(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def points(number):
        generator = torch.Generator().manual_seed(number)
        inputs = torch.randn(6, 4, generator=generator, dtype=torch.float64)
        return inputs, inputs.sum(dim=1, keepdim=True)

    def square_error(network, batch, progress):
        with torch.autocast("cpu", enabled=False):
            return (network(batch[0]) - batch[1]).square().mean()
    '''
)

SCRIPT = LINE + textwrap.dedent(
    """
    import os
    import sys
    from pathlib import Path
    from torch import distributed
    from CardiacSegLib.training.loop import Settings, fit, leave

    class StoppedError(Exception):
        pass

    def until(last):
        def batches(number):
            if number >= last:
                raise StoppedError
            return points(number)
        return batches

    folder = Path(sys.argv[1])
    settings = Settings(steps=12, learning_rate=0.05, warm_up=2, save_every_s=0.0)
    # The processes begin with different weights: what counts are those of the first.
    rank = int(os.environ["RANK"])
    whole = fit(line(rank), points, square_error, settings, folder / "whole")
    try:
        fit(line(0), until(10), square_error, settings, folder / "parts")
    except StoppedError:
        distributed.barrier()
    resumed = fit(line(7), points, square_error, settings, folder / "parts", resume=True)
    torch.save({"whole": whole.state_dict(), "resumed": resumed.state_dict()}, folder / f"{rank}.pt")
    leave()
    """
)


@pytest.fixture(scope="module")
def by_two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes on the CPU have left their weights."""
    folder = tmp_path_factory.mktemp("torchrun")
    for part in ("whole", "parts"):
        (folder / part).mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, folder],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder


def left_by(folder: Path, rank: int) -> dict[str, dict[str, Tensor]]:
    return torch.load(folder / f"{rank}.pt", weights_only=True)


def test_two_processes_end_with_the_same_weights(by_two_processes: Path) -> None:
    saved = torch.load(by_two_processes / "whole" / CHECKPOINT, weights_only=True)
    first, second = (left_by(by_two_processes, rank)["whole"] for rank in (0, 1))
    assert saved["step"] == 12
    for name, value in first.items():
        assert torch.equal(value, saved["averaged"][name]), name
        assert torch.allclose(value, second[name], rtol=1e-9, atol=1e-12), name


def test_two_processes_learn_what_one_learns_from_their_batches_together(
    by_two_processes: Path, tmp_path: Path
) -> None:
    alone: dict = {}
    exec(LINE, alone)

    def together(number: int) -> tuple[Tensor, Tensor]:
        parts = [alone["points"](2 * number + rank) for rank in (0, 1)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    settings = Settings(steps=12, learning_rate=0.05, warm_up=2)
    network: nn.Module = fit(alone["line"](0), together, alone["square_error"], settings, tmp_path)
    for name, value in left_by(by_two_processes, 0)["whole"].items():
        assert torch.allclose(value, network.state_dict()[name], rtol=1e-9, atol=1e-12), name
        assert not torch.allclose(value, alone["line"](0).state_dict()[name], atol=1e-3), name


def test_two_processes_that_were_stopped_go_on_as_if_they_had_not_been(by_two_processes: Path) -> None:
    for rank in (0, 1):
        left = left_by(by_two_processes, rank)
        for name, value in left["whole"].items():
            assert torch.allclose(value, left["resumed"][name], rtol=1e-9, atol=1e-12), name
