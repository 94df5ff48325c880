"""CroCNet: its two stages, what the specialists share, the paper's ablations, and how their answers become one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from CardiacSegLib.networks.crocnet import (
    SIZES,
    CroCNet,
    CroCNetConfig,
    Specialists,
    first_masks,
    fuse,
)


def of(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def specialists(refine: str) -> Specialists:
    """Specialists with normalization as after training, in double precision so that what differs is no rounding."""
    torch.manual_seed(0)
    network = Specialists(4, refine).double()
    network(of(1, 2, 1, 64, 64).double(), of(2, 2, 3, 64, 64).double().gt(0).double())
    return network.eval()


def answers(network: nn.Module, masks: Tensor) -> Tensor:
    with torch.no_grad():
        return network(of(3, 1, 1, 64, 64).double(), masks)[0]


def masks_of(seed: int) -> Tensor:
    return of(seed, 1, 3, 64, 64).gt(0.5).double()


def test_the_first_stage_has_four_outputs_and_the_second_one_for_each_structure() -> None:
    network = CroCNet(CroCNetConfig(width1=8, width2=4)).eval()
    with torch.no_grad():
        for height, width in ((64, 96), (32, 160)):
            pictures = of(0, 2, 1, height, width)
            first = network(pictures)
            assert first.shape == (2, 4, height, width)
            assert network(pictures, first_masks(first)).shape == (2, 3, height, width)


@pytest.mark.parametrize(("stage", "widths"), [("first", [32, 64, 128, 256, 512]), ("second", [16, 32, 64, 128, 256])])
def test_the_channels_double_four_times_as_in_the_paper(stage: str, widths: list[int]) -> None:
    part = getattr(CroCNet(SIZES["full"]), stage)
    body = part if stage == "first" else part.body
    with torch.no_grad():
        bottom, levels = body.encoder(torch.zeros(3, widths[0], 32, 32))
    assert [m.shape[1] for m in (*levels, bottom)] == widths
    assert [m.shape[2] for m in (*levels, bottom)] == [32, 16, 8, 4, 2]


def test_specialists_share_everything_but_the_coupling() -> None:
    coupled, uncoupled = (Specialists(4, refine).state_dict() for refine in ("coupled", "uncoupled"))
    assert coupled.keys() > uncoupled.keys()
    assert all(".couple." in name for name in coupled.keys() - uncoupled.keys())
    assert not any(".couple." in name for name in uncoupled)
    assert {name.split(".couple.")[1][0] for name in coupled if ".couple." in name} == set("01234")


def test_uncoupled_specialists_answer_alike_to_the_same_mask_and_know_only_their_own() -> None:
    network, masks = specialists("uncoupled"), masks_of(4)
    before = answers(network, masks)
    same = answers(network, masks[:, [2, 2, 2]])
    assert torch.allclose(same[0], same[1]) and torch.allclose(same[0], before[2])
    masks[:, 1] = 0
    after = answers(network, masks)
    assert torch.equal(after[[0, 2]], before[[0, 2]]) and not torch.allclose(after[1], before[1])


def test_coupled_specialists_are_not_alike_and_know_the_others_masks() -> None:
    network, masks = specialists("coupled"), masks_of(4)
    before, same = answers(network, masks), answers(network, masks[:, [2, 2, 2]])
    assert not torch.allclose(same[0], same[1], atol=1e-6)
    masks[:, 1] = 0
    changed = (answers(network, masks) - before).abs().amax(dim=(1, 2))
    assert (changed > 1e-9).all()  # in double precision; an untrained network passes little on


def test_a_single_network_sees_all_masks_and_finds_all_structures() -> None:
    network = specialists("single")
    before = answers(network, masks_of(4))
    assert network.body.stem[0].in_channels == 4 and network.body.head.out_channels == 3
    for structure in range(3):
        masks = masks_of(4)
        masks[:, structure] = 0
        assert ((answers(network, masks) - before).abs().amax(dim=(1, 2)) > 1e-6).all()


@pytest.mark.parametrize("refine", ["coupled", "uncoupled", "single", ""])
def test_the_ablations_of_the_paper_differ_by_one_argument(refine: str) -> None:
    full = SIZES["full"]
    assert dataclasses.replace(full, refine=refine) in SIZES.values()
    network = CroCNet(dataclasses.replace(full, refine=refine))
    first = CroCNet(full).first.state_dict()
    assert {k: v.shape for k, v in network.first.state_dict().items()} == {k: v.shape for k, v in first.items()}
    assert (network.second is None) == (refine == "")


@pytest.mark.parametrize("refine", ["coupled", "uncoupled", "single"])
def test_no_layer_is_without_effect(refine: str) -> None:
    torch.manual_seed(0)
    network = CroCNet(CroCNetConfig(refine, width1=8, width2=4))
    pictures = of(5, 2, 1, 64, 64)
    first = network(pictures)
    second = network(pictures, first_masks(first))
    (first.square().mean() + second.square().mean()).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_black_and_bright_pictures_stay_finite_in_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = CroCNet(CroCNetConfig(width1=8, width2=8)).to(dtype).eval()
    with torch.no_grad():
        for brightness in (0.0, 1.0, 50.0):
            pictures = torch.full((1, 1, 64, 64), brightness, dtype=dtype)
            first = network(pictures)
            assert first.isfinite().all()
            for masks in (first_masks(first), torch.zeros(1, 3, 64, 64, dtype=dtype)):
                assert network(pictures, masks).isfinite().all()


def test_masks_of_the_first_stage_are_those_of_the_largest_output() -> None:
    logits = of(6, 2, 4, 8, 8)
    masks, winner = first_masks(logits), logits.argmax(dim=1)
    assert torch.equal(masks, torch.stack([(winner == value).float() for value in (1, 2, 3)], dim=1))


def test_the_surest_specialist_wins_if_it_is_sure_by_more_than_a_half() -> None:
    logits = 3 * of(7, 2, 3, 16, 16)
    sure = logits.double().sigmoid()
    wanted = torch.cat([torch.full_like(sure[:, :1], 0.5), sure], dim=1).argmax(dim=1)
    found = fuse(logits)
    assert torch.equal(found.argmax(dim=1), wanted) and wanted.unique().tolist() == [0, 1, 2, 3]
    assert found.shape == (2, 4, 16, 16) and torch.allclose(found.sum(dim=1), torch.ones(()))


def test_specialists_that_are_all_certain_are_still_told_apart() -> None:
    logits = torch.tensor([30.0, 20.0, 40.0]).view(1, 3, 1, 1)
    assert fuse(logits).argmax(dim=1).item() == 3
    assert fuse(-logits).argmax(dim=1).item() == 0


def test_resampling_what_the_specialists_mean_does_not_move_a_border() -> None:
    logits = torch.full((1, 3, 1, 64), -20.0)
    logits[:, 0, :, 32:] = 20.0
    fine = nn.functional.interpolate(fuse(logits), scale_factor=(1, 8), mode="bilinear", align_corners=False)
    assert (fine.argmax(dim=1) == 1).sum() == 32 * 8
