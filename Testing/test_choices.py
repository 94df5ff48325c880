"""The methods and weights that the panel offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from CardiacSegLib import weights as library
from CardiacSegLib.choices import choices, method_names, network_of, why_no_engine
from CardiacSegLib.console import show_weights
from CardiacSegLib.engines import ENGINES
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.weights import WeightsCard, write_card

CARD = {
    "name": "x", "network": "cstm", "size": "small", "data": ("ACDC",), "licence": "CC0", "command": "train", "seed": 1,
}  # fmt: skip


def put(folder: Path, name: str, network: str) -> Path:
    """Weights that are there by their card; what they hold is not read."""
    path = folder / f"{name}.safetensors"
    path.write_bytes(b"")
    write_card(path, CARD | {"name": name, "network": network})
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of installed weights: two of the memory network, one of the U-Net."""
    installed = tmp_path / "Weights"
    installed.mkdir()
    monkeypatch.setattr(library, "WEIGHTS_FOLDER", installed)
    for name, network in (("memory-a", "cstm"), ("memory-b", "cstm"), ("plain", "unet")):
        put(installed, name, network)
    return tmp_path


def test_every_engine_has_a_name_for_the_panel() -> None:
    assert set(ENGINES) <= set(method_names())


def test_the_methods_are_those_whose_weights_are_installed_and_the_memory_network(folder: Path) -> None:
    assert list(choices("cstm", "", "", ()).methods) == ["cstm", "unet"]
    for path in (folder / "Weights").iterdir():
        path.unlink()
    empty = choices("cstm", "", "", ())
    assert (list(empty.methods), empty.weights, empty.chosen) == (["cstm"], {}, "")
    assert empty.missing.startswith("No weights are installed")
    assert empty.card == ""


def test_each_method_offers_its_own_weights_and_remembers_the_choice(folder: Path) -> None:
    memory = choices("cstm", "memory-b", "plain", ())
    assert (list(memory.weights), memory.chosen) == (["memory-a", "memory-b"], "memory-b")
    automatic = choices("unet", "memory-b", "", ())
    assert (list(automatic.weights), automatic.chosen, automatic.memory) == (["plain"], "plain", "memory-b")


def test_weights_that_are_gone_are_replaced_by_the_first_that_are_there(folder: Path) -> None:
    assert choices("cstm", "of another computer", "", ()).chosen == "memory-a"
    assert choices("unet", "gone.safetensors", "gone.safetensors", ()).memory == "memory-a"


def test_an_automatic_method_runs_without_the_memory_network_which_corrections_miss(folder: Path) -> None:
    for path in (folder / "Weights").glob("memory*"):
        path.unlink()
    chosen = choices("unet", "", "", ())
    assert chosen.missing == ""
    assert chosen.missing_memory.startswith("No weights are installed")


def test_a_file_without_its_card_hides_no_other_and_is_named_in_one_line(folder: Path) -> None:
    (folder / "Weights" / "lonely.safetensors").write_bytes(b"x")
    (folder / "Weights" / "broken.safetensors").write_bytes(b"x")
    (folder / "Weights" / "broken.json").write_text("{")
    offered = choices("cstm", "", "", ())
    assert list(offered.weights) == ["memory-a", "memory-b"]
    assert list(offered.methods) == ["cstm", "unet"]
    *card, broken, lonely = offered.card.splitlines()
    assert len(card) == 1
    assert broken.startswith("broken.safetensors lacks a readable card")
    assert lonely.startswith("lonely.safetensors lacks a readable card")


def test_the_list_of_weights_goes_on_after_one_without_a_card_and_says_so_in_one_line(folder: Path, capsys) -> None:
    (folder / "Weights" / "aaa.safetensors").write_bytes(b"x")
    show_weights(library.installed(), library.unreadable())
    shown = capsys.readouterr()
    assert [line for line in shown.out.splitlines() if line and not line.startswith(" ")] == [
        "memory-a: Memory network (CSTM): carries annotated slices over the cine",
        "memory-b: Memory network (CSTM): carries annotated slices over the cine",
        "plain: U-Net with position, automatic",
    ]
    assert shown.out.count("Not measured yet.") == 3
    assert shown.err == "aaa.safetensors lacks a readable card aaa.json beside it; copy both files of the weights.\n"


def test_a_chosen_file_is_offered_for_its_own_method_only(folder: Path) -> None:
    path = str(put(folder, "mine", "unet"))
    assert choices("unet", "", path, ()).chosen == path
    assert path not in choices("cstm", path, "", ()).weights
    assert network_of(path) == "unet"


def test_a_file_without_card_or_for_an_unknown_network_is_refused(folder: Path) -> None:
    with pytest.raises(CardiacSegError, match=r"lonely.safetensors lacks a readable card"):
        network_of(str(folder / "lonely.safetensors"))
    with pytest.raises(CardiacSegError, match="for gpt, which is no method"):
        network_of(str(put(folder, "odd", "gpt")))


def test_why_no_engine_can_run_is_told() -> None:
    card = WeightsCard(**CARD)
    assert why_no_engine(["torch>=2.4"], card).startswith("torch is not installed")
    assert why_no_engine([], None).startswith("No weights are installed")
    assert why_no_engine([], card) == ""
