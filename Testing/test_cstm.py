"""What the memory network promises, whatever its weights: shapes, objects, batches, empty masks, ImageNet's weights."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.networks.cstm import CSTM, SIZES, aggregate
from CardiacSegLib.training.command import load_imagenet


def network(size: str, **changes: object) -> CSTM:
    """A network with random weights, always the same, in eval mode."""
    torch.manual_seed(0)
    return CSTM(dataclasses.replace(SIZES[size], **changes)).eval()


@pytest.fixture(scope="module")
def small() -> CSTM:
    return network("small")


@pytest.fixture(scope="module")
def base() -> CSTM:
    return network("base")


@pytest.fixture(autouse=True)
def without_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


def sample(batch: int, frames: int, objects: int, given: int = 1, side: int = 64) -> tuple[Tensor, Tensor]:
    """Pictures (B, F, 1, H, W) and disjoint masks (B, G, O, H, W): vertical stripes."""
    generator = torch.Generator().manual_seed(batch + 10 * frames)
    pictures = torch.rand(batch, frames, 1, side, side, generator=generator)
    masks = torch.zeros(batch, given, objects, side, side)
    for o in range(objects):
        masks[:, :, o, 10:50, 5 + 10 * o : 13 + 10 * o] = 1
    return pictures, masks


# Shapes and objects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("objects", "given"), [(1, 1), (2, 2), (5, 1)])
def test_any_number_of_objects_is_carried_from_any_number_of_given_frames(
    size: str, objects: int, given: int, request: pytest.FixtureRequest
) -> None:
    logits = request.getfixturevalue(size)(*sample(2, 3, objects, given))
    assert logits.shape == (2, 3 - given, 1 + objects, 64, 64) and logits.isfinite().all()


@pytest.mark.parametrize("matching", ["patch", "dense"])
def test_pictures_need_not_be_square(matching: str) -> None:
    logits = network("small", matching=matching)(torch.rand(1, 2, 1, 40, 72), torch.rand(1, 1, 2, 40, 72).round())
    assert logits.shape == (1, 1, 3, 40, 72) and logits.isfinite().all()


@pytest.mark.parametrize("matching", ["patch", "dense"])
def test_objects_in_another_order_come_out_in_that_order(matching: str) -> None:
    pictures, masks = sample(1, 3, 3)
    order = [2, 0, 1]
    model = network("small", matching=matching)
    straight, permuted = model(pictures, masks), model(pictures, masks[:, :, order])
    assert not torch.allclose(straight[:, :, 1], straight[:, :, 2], atol=1e-4)
    torch.testing.assert_close(permuted[:, :, 1:], straight[:, :, 1:][:, :, order], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(permuted[:, :, 0], straight[:, :, 0], atol=1e-4, rtol=1e-3)


def test_no_object_is_legal_memory(small: CSTM, base: CSTM) -> None:
    pictures, masks = sample(1, 3, 2)
    for model in (small, base):
        for empty in (torch.zeros_like(masks), masks * torch.tensor([0.0, 1.0])[:, None, None]):
            assert model(pictures, empty).isfinite().all()


# Soft aggregation -----------------------------------------------------------------------------------------------------


def test_aggregation_gives_background_the_product_of_what_the_objects_leave() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    p = logits.double().sigmoid()
    shares = torch.cat([(1 - p).prod(dim=1, keepdim=True), p], dim=1)
    odds = shares / (1 - shares)
    found = aggregate(logits).softmax(dim=1)
    torch.testing.assert_close(found, (odds / odds.sum(dim=1, keepdim=True)).float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 4, 5))


def test_aggregation_of_certain_objects_stays_finite_and_certain() -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, -80.0]])[:, :, None, None]
    found = aggregate(logits).softmax(dim=1)
    assert found.isfinite().all()
    assert found.argmax(dim=1).flatten().tolist() == [1, 0] and (found.amax(dim=1) > 0.99).all()


# Samples, frames and the memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("matching", ["patch", "dense"])
def test_a_batch_gives_what_its_samples_give_alone(matching: str) -> None:
    model = network("small", matching=matching)
    pictures, masks = sample(3, 3, 2)
    together = model(pictures, masks)
    for b in range(3):
        alone = model(pictures[b : b + 1], masks[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], alone, atol=1e-4, rtol=1e-3)


def test_a_predicted_frame_joins_the_memory_of_later_frames_but_not_of_earlier_ones(small: CSTM) -> None:
    pictures, masks = sample(1, 4, 2)
    before = small(pictures, masks)
    changed = pictures.clone()
    changed[:, 2] = 1 - changed[:, 2]
    after = small(changed, masks)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 2], after[:, 2], atol=1e-5)


def test_the_given_masks_decide_what_is_found(small: CSTM) -> None:
    pictures, masks = sample(1, 2, 1)
    assert not torch.allclose(small(pictures, masks), small(pictures, masks.roll(20, dims=-1)), atol=1e-4)


def test_dense_and_patch_matching_share_their_weights_and_differ_in_one_argument() -> None:
    patch, dense = network("small", matching="patch"), network("small", matching="dense")
    dense.load_state_dict(patch.state_dict())
    inputs = sample(1, 3, 2)
    found, other = patch(*inputs), dense(*inputs)
    assert found.shape == other.shape and other.isfinite().all()
    assert not torch.allclose(found, other, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_gradients_reach_every_parameter(size: str) -> None:
    model = network(size).train()
    model(*sample(2, 3, 2)).square().mean().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not without


@pytest.mark.parametrize("size", SIZES)
def test_bfloat16_autocast_agrees_roughly(size: str, request: pytest.FixtureRequest) -> None:
    model, inputs = request.getfixturevalue(size), sample(1, 3, 2)
    exact = model(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(*inputs).float()
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).abs().mean() < 0.15 * exact.std()


# ImageNet's weights ---------------------------------------------------------------------------------------------------

BLOCKS = {"resnet18": (2, 2, 2), "resnet50": (3, 4, 6)}
"""Residual blocks in layer1, layer2 and layer3, as in torchvision; layer4 and fc play no part here."""


def standard_state(kind: str) -> dict[str, Tensor]:
    """A random state dict with the names and shapes of torchvision's ResNet, with one tensor each of layer4 and fc."""
    generator = torch.Generator().manual_seed(len(kind))
    state: dict[str, Tensor] = {}

    def add(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        scale = (2 / (inputs * kernel**2)) ** 0.5
        state[f"{conv}.weight"] = scale * torch.randn(outputs, inputs, kernel, kernel, generator=generator)
        for name in ("weight", "running_var"):
            state[f"{norm}.{name}"] = 0.5 + torch.rand(outputs, generator=generator)
        for name in ("bias", "running_mean"):
            state[f"{norm}.{name}"] = 0.1 * torch.randn(outputs, generator=generator)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("conv1", "bn1", 64, 3, 7)
    inputs, expansion = 64, 4 if kind == "resnet50" else 1
    for layer, (width, count) in enumerate(zip((64, 128, 256), BLOCKS[kind], strict=True), start=1):
        for block in range(count):
            at = f"layer{layer}.{block}"
            shapes = [(width, inputs, 3), (width, width, 3)]
            if kind == "resnet50":
                shapes = [(width, inputs, 1), (width, width, 3), (4 * width, width, 1)]
            for i, (outputs, ins, kernel) in enumerate(shapes, start=1):
                add(f"{at}.conv{i}", f"{at}.bn{i}", outputs, ins, kernel)
            if block == 0 and inputs != expansion * width:
                add(f"{at}.downsample.0", f"{at}.downsample.1", expansion * width, inputs, 1)
            inputs = expansion * width
    return state | {"layer4.0.conv1.weight": torch.zeros(512, inputs, 1, 1), "fc.bias": torch.zeros(1000)}


def standard_resnet(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The features of layer1, layer2 and layer3 of the ResNet with this state dict (He et al.; stride in the 3x3)."""

    def convolve(conv: str, norm: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return F.batch_norm(x, *(state[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")))

    x = F.max_pool2d(convolve("conv1", "bn1", x, 2).relu(), 3, stride=2, padding=1)
    features = []
    for layer in (1, 2, 3):
        for block in range(sum(f"layer{layer}.{b}.conv1.weight" in state for b in range(9))):
            at, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            bottleneck = f"{at}.conv3.weight" in state
            y = convolve(f"{at}.conv1", f"{at}.bn1", x, 1 if bottleneck else stride).relu()
            y = convolve(f"{at}.conv2", f"{at}.bn2", y, stride if bottleneck else 1)
            if bottleneck:
                y = convolve(f"{at}.conv3", f"{at}.bn3", y.relu())
            if f"{at}.downsample.0.weight" in state:
                x = convolve(f"{at}.downsample.0", f"{at}.downsample.1", x, stride)
            x = (x + y).relu()
        features.append(x)
    return features


@pytest.fixture(scope="module")
def states() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return standard_state("resnet50"), standard_state("resnet18")


def save_safetensors(path: Path, state: dict[str, Tensor]) -> Path:
    save_file(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def save_pth(path: Path, state: dict[str, Tensor]) -> Path:
    """As old downloads are: a pickle without num_batches_tracked."""
    torch.save({k: v for k, v in state.items() if "num_batches" not in k}, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


@pytest.mark.parametrize("save", [save_safetensors, save_pth])
def test_gray_pictures_pass_base_as_they_pass_the_rgb_resnets_whose_weights_it_took(
    save: Callable[[Path, dict[str, Tensor]], Path],
    states: tuple[dict[str, Tensor], dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    model = network("base")
    load_imagenet(model, save(tmp_path / "resnet50", states[0]), save(tmp_path / "resnet18", states[1]))
    gray = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(1, model.value_encoder.conv1.in_channels - 1, 64, 64)
    inputs = (gray, torch.cat([gray, masks], dim=1))
    for trunk, x, state in zip((model.key_encoder, model.value_encoder), inputs, states, strict=True):
        for found, expected in zip(trunk(x), standard_resnet(state, gray.expand(-1, 3, -1, -1)), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_masks_change_the_values_also_with_imagenets_weights(
    states: tuple[dict[str, Tensor], dict[str, Tensor]], tmp_path: Path
) -> None:
    model = network("base")
    load_imagenet(model, *(save_safetensors(tmp_path / str(i), s) for i, s in enumerate(states)))
    pictures, masks = sample(1, 2, 1)
    assert not torch.allclose(model(pictures, masks), model(pictures, masks.roll(20, dims=-1)), atol=1e-4)


class Malicious:
    """Opening this pickle makes a folder, as it could do anything else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def write_malicious(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state | {"extra": Malicious(path.with_name("harm"))}, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def write_bare_pickle(path: Path, state: dict[str, Tensor]) -> Path:
    path.with_suffix(".pth").write_bytes(pickle.dumps(Malicious(path.with_name("harm")), protocol=2))
    return path.with_suffix(".pth")


def write_torn(path: Path, state: dict[str, Tensor]) -> Path:
    whole = save_safetensors(path, state).read_bytes()
    path.with_suffix(".safetensors").write_bytes(whole[: len(whole) // 2])
    return path.with_suffix(".safetensors")


def write_empty(path: Path, state: dict[str, Tensor]) -> Path:
    path.with_suffix(".pth").write_bytes(b"")
    return path.with_suffix(".pth")


def write_nothing(path: Path, state: dict[str, Tensor]) -> Path:
    return path.with_suffix(".safetensors")


def write_list(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(list(state.values())[:2], path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def write_other_resnet(path: Path, state: dict[str, Tensor]) -> Path:
    return save_safetensors(path, standard_state("resnet18"))


def write_without_a_layer(path: Path, state: dict[str, Tensor]) -> Path:
    return save_safetensors(path, {k: v for k, v in state.items() if not k.startswith("layer3.5")})


@pytest.mark.parametrize(
    "spoil",
    [
        write_malicious,
        write_bare_pickle,
        write_torn,
        write_empty,
        write_nothing,
        write_list,
        write_other_resnet,
        write_without_a_layer,
    ],
)
def test_a_file_that_is_not_the_resnet_is_refused_by_name_and_never_run(
    spoil: Callable[[Path, dict[str, Tensor]], Path],
    states: tuple[dict[str, Tensor], dict[str, Tensor]],
    base: CSTM,
    tmp_path: Path,
) -> None:
    wrong = spoil(tmp_path / "resnet50", states[0])
    with pytest.raises(CardiacSegError, match=wrong.name):
        load_imagenet(base, wrong, save_safetensors(tmp_path / "resnet18", states[1]))
    assert not (tmp_path / "harm").exists()
