"""Weights are believed only as far as their card goes: safetensors, the right network, size, version and content."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from CardiacSegLib.engines import ENGINES, SIZES, load_engine
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.selftest import random_weights
from CardiacSegLib.weights import find_weights


@pytest.fixture
def weights(weights: Path, tmp_path: Path) -> Path:
    """A copy of sound weights of the memory network with its card, to be spoilt."""
    for path in (weights, weights.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    return tmp_path / weights.name


def change_card(weights: Path, **changes: object) -> None:
    card = weights.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def replace_content(weights: Path, content: bytes) -> None:
    """Other bytes, of which the card tells the right hash."""
    weights.write_bytes(content)
    change_card(weights, sha256=hashlib.sha256(content).hexdigest())


def refused(weights: Path, name: str = "cstm") -> str:
    with pytest.raises(CardiacSegError) as error:
        load_engine(name, weights, "cpu")
    sentence = str(error.value)
    assert sentence.endswith(".")
    return sentence


def test_sound_weights_are_loaded(weights: Path) -> None:
    assert load_engine("cstm", weights, "cpu").name


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".PT", ".ckpt", ".pkl", ".bin"])
def test_a_pickle_is_refused_with_the_reason_and_never_opened(suffix: str, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / f"w{suffix}").write_bytes(pickle.dumps(Evil()))
    assert "is a pickle, which can run code when it is opened" in refused(tmp_path / f"w{suffix}")
    assert not (tmp_path / "ran").exists()


def test_a_pickle_under_another_name_is_not_opened_either(weights: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    replace_content(weights, pickle.dumps(Evil()))
    assert "is no safetensors file" in refused(weights)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("spoil", ["bit", "shorter", "longer", "empty"])
def test_changed_weights_are_refused(weights: Path, spoil: str) -> None:
    content = bytearray(weights.read_bytes())
    if spoil == "bit":
        content[len(content) // 2] ^= 1
    weights.write_bytes({"shorter": content[:-1], "longer": content + b"0", "empty": b""}.get(spoil, content))
    assert "differ from their card" in refused(weights)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\x02" + bytes(7) + b"[]"])
def test_what_is_no_safetensors_is_refused(weights: Path, content: bytes) -> None:
    replace_content(weights, content)
    assert "is no safetensors file" in refused(weights)


def test_tensors_of_another_network_are_refused(weights: Path) -> None:
    replace_content(weights, save({"some.weight": torch.zeros(3)}))
    assert "do not fit the network cstm small" in refused(weights)


def test_weights_of_another_network_are_named(weights: Path, tmp_path: Path) -> None:
    assert refused(weights, "unet") == "The weights random are for the network cstm, not unet."
    unet = random_weights(tmp_path, "unet")
    assert "are for the network unet, not cstm" in refused(unet)
    change_card(unet, network="cstm")
    assert "do not fit the network cstm small" in refused(unet)


def test_a_size_and_a_version_that_are_not_known_are_named(weights: Path) -> None:
    change_card(weights, size="huge")
    assert "are of the size 'huge', which this version of cstm does not have" in refused(weights)
    change_card(weights, size="small", precision="fp8")
    assert "is the card of another version of CardiacSeg (it tells 'precision')" in refused(weights)


@pytest.mark.parametrize("card", ["", "[]", "{}", "7", "[" * 100_000, '{"data": 5}', "\udcff"])
def test_what_is_no_card_is_refused(weights: Path, card: str) -> None:
    weights.with_suffix(".json").write_text(card, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CardiacSegError, match="lacks a readable card"):
        find_weights(weights, "cstm")


def test_every_engine_tells_its_sizes() -> None:
    assert set(SIZES) == set(ENGINES)
