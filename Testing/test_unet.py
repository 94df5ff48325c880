"""The U-Net and the small CNN with position: tables 3 and 4, the coordinates, and what padding tells."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from monai.transforms import AddCoordinateChannels
from torch import Tensor, nn

from CardiacSegLib.networks.unet import SIZES, UNet, UNetConfig, with_position

LAMBDAS = (1.0, 10.0, 256.0)


def of(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(config: UNetConfig) -> UNet:
    torch.manual_seed(0)
    return UNet(config).eval()


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("largest", LAMBDAS)
def test_coordinates_are_those_of_monai_from_0_to_lambda_column_first(largest: float) -> None:
    pictures = of(0, 2, 1, 24, 40)
    found = with_position(pictures, largest)
    assert found.shape == (2, 3, 24, 40)
    for picture, own in zip(pictures, found, strict=True):
        expected = AddCoordinateChannels(spatial_dims=(1, 0))(picture.numpy())
        assert torch.equal(own[:1], picture)
        assert torch.allclose(own[1:], largest * (torch.as_tensor(expected[1:]).float() + 0.5), atol=1e-6 * largest)


@pytest.mark.parametrize("largest", LAMBDAS)
def test_the_first_coordinate_is_the_column_and_the_second_the_row(largest: float) -> None:
    _, x, y = with_position(torch.zeros(1, 1, 5, 9), largest)[0]
    assert (
        (x[:, 0] == 0).all() and (x[:, 8] == largest).all() and torch.allclose(x[3, 2], torch.tensor(largest * 2 / 8))
    )
    assert (y[0] == 0).all() and (y[4] == largest).all() and torch.allclose(y[3, 2], torch.tensor(largest * 3 / 4))


TABLE_3 = [
    (1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512), (512, 512),
    (1024, 256), (256, 256), (512, 128), (128, 128), (256, 64), (64, 64), (128, 64), (64, 64),
]  # fmt: skip
"""Input and output channels of conv1_1 to conv9_2; pool4 keeps its 512 channels, which the table prints as 64."""


def normalized_convolutions(pairs: list[tuple[int, int]]) -> int:
    """Parameters of 3x3 convolutions and of their batch normalizations."""
    return sum(9 * a * b + 2 * b for a, b in pairs)


def test_the_unet_is_that_of_table_3() -> None:
    plain = made(UNetConfig(width=64))
    convolutions = [(m.in_channels, m.out_channels) for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert sorted(convolutions) == sorted([*TABLE_3, (64, 4)])
    assert parameters(plain) == normalized_convolutions(TABLE_3) + 64 * 4 + 4
    assert round(parameters(plain) / 1e6, 2) == 13.39
    assert parameters(made(UNetConfig(width=64, position=1.0))) - parameters(plain) == 2 * 64 * 9


def test_the_small_cnn_is_that_of_table_4() -> None:
    plain = made(SIZES["cnn"])
    assert parameters(plain) == normalized_convolutions([(1, 64), (64, 64), (64, 64)]) + 64 * 4 + 4
    assert round(parameters(plain) / 1000) == 75


def test_the_small_cnn_sees_seven_pixels() -> None:
    network, picture = made(dataclasses.replace(SIZES["cnn"], width=8)).double(), of(1, 1, 1, 21, 21).double()
    moved = picture.clone()
    moved[0, 0, 10, 10] += 1
    with torch.no_grad():
        changed = ((network(moved) - network(picture)).abs().amax(dim=(0, 1)) > 0).nonzero()
    assert changed.amin(dim=0).tolist() == [7, 7] and changed.amax(dim=0).tolist() == [13, 13]


@pytest.mark.parametrize("position", [0.0, 10.0])
def test_only_with_position_a_small_cnn_tells_places_apart(position: float) -> None:
    network = made(UNetConfig(levels=0, width=8, position=position))
    with torch.no_grad():
        score = network(torch.ones(1, 1, 24, 24))[0, :, 4:-4, 4:-4]
    assert torch.allclose(score, score[:, :1, :1], atol=1e-5) == (position == 0)


@pytest.mark.parametrize("levels", [0, 4])
@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_only_zero_padding_gives_the_border_of_a_plain_picture_away(levels: int, padding: str) -> None:
    network = made(UNetConfig(levels=levels, width=8, padding=padding))
    with torch.no_grad():
        score = network(torch.ones(1, 1, 64, 64))
    assert torch.allclose(score, score[..., 32:33, 32:33], atol=1e-4) == (padding == "reflect")


def test_every_convolution_is_padded_in_the_same_way() -> None:
    for padding in ("zeros", "reflect"):
        wide = [m for m in made(UNetConfig(width=4, padding=padding)).modules() if isinstance(m, nn.Conv2d)]
        assert {m.padding_mode for m in wide if m.kernel_size == (3, 3)} == {padding}
        assert all(m.padding == (1, 1) for m in wide if m.kernel_size == (3, 3))


@pytest.mark.parametrize("config", [UNetConfig(width=4), UNetConfig(width=4, position=1.0), SIZES["cnn"]])
def test_pictures_of_any_multiple_of_the_stride_come_back_in_their_size(config: UNetConfig) -> None:
    network = made(config)
    with torch.no_grad():
        for sides in ((3, 5), (4, 2)):
            height, width = (max(config.stride, 8) * n for n in sides)
            assert network(of(2, 2, 1, height, width)).shape == (2, 4, height, width)


def test_half_precision_knows_the_same_places() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        exact, half = (with_position(torch.zeros(1, 1, 64, 64, dtype=d), 256.0).float() for d in (torch.float32, dtype))
        assert (exact - half).abs().max() <= 256 * torch.finfo(dtype).eps
