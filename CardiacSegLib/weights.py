"""Which weights there are: safetensors files, each with a card that says what they are, may be used for, and reach."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import atomic_path
from .errors import CardiacSegError

if TYPE_CHECKING:  # the cards can be read where PyTorch is not installed yet
    from torch import Tensor, nn

_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".tar")
WEIGHTS_FOLDER = Path(__file__).resolve().parents[1] / "Resources" / "Weights"


@dataclass(frozen=True)
class WeightsCard:
    """What a set of weights is: network and size, training data, licence, the command and seed that made it, figures.

    figures: what a benchmark measured, e.g. {"es_dice_lv": 0.94}; budget: what the training took; sha256: of the file;
    path: where it lies.
    """

    name: str
    network: str
    size: str
    data: tuple[str, ...]
    licence: str
    command: str
    seed: int
    figures: dict[str, Any] = field(default_factory=dict)
    budget: str = ""
    parameters: int = 0
    sha256: str = ""
    path: Path | None = None


def save_weights(path: Path, network: nn.Module, card: WeightsCard) -> Path:
    """Write the weights in half precision, and the card beside them as NAME.json; returns path."""
    from safetensors.torch import save

    halves = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    content = save({k: v.cpu().contiguous() for k, v in halves.items()})
    entry = asdict(card) | {
        "parameters": sum(p.numel() for p in network.parameters()),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    del entry["path"]
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    write_card(path, entry)
    return path


def write_card(path: Path, entry: dict[str, Any]) -> None:
    """Write the card of a .safetensors file beside it."""
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_card(path: Path) -> WeightsCard:
    """The card beside a .safetensors file. Raises CardiacSegError if it is missing or not a card."""
    card = path.with_suffix(".json")
    try:
        entry = json.loads(card.read_text(encoding="utf-8"))
        unknown = sorted(set(entry) - {field.name for field in fields(WeightsCard)})
        if not unknown:
            return WeightsCard(**(entry | {"data": tuple(entry["data"]), "path": path}))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CardiacSegError(
            f"{path.name} lacks a readable card {card.name} beside it; copy both files of the weights."
        ) from error
    raise CardiacSegError(
        f"{card.name} is the card of another version of CardiacSeg (it tells '{unknown[0]:.40}'); use that version, or "
        "weights of this one."
    )


def installed() -> list[WeightsCard]:
    """The cards of all weights that came with the product, the default of each network first.

    A file without a readable card is passed over: it must not hide the others; `unreadable` tells of it.
    """
    return [card for card in _read_all() if isinstance(card, WeightsCard)]


def unreadable() -> list[str]:
    """A sentence for every file in the folder of installed weights that lacks a readable card."""
    return [str(card) for card in _read_all() if isinstance(card, CardiacSegError)]


def _read_all() -> list[WeightsCard | CardiacSegError]:
    found: list[WeightsCard | CardiacSegError] = []
    for path in sorted(WEIGHTS_FOLDER.glob("*.safetensors"), key=lambda path: path.stem):
        try:
            found.append(read_card(path))
        except CardiacSegError as error:
            found.append(error)
    return found


def find_weights(weights: str | Path | None, network: str) -> WeightsCard:
    """The card of installed weights by name, of a .safetensors file by path, or the network's default for None."""
    if weights is not None and str(weights).lower().endswith(_PICKLES):
        raise CardiacSegError(
            f"{weights} is a pickle, which can run code when it is opened; give weights as a .safetensors file."
        )
    if weights is not None and str(weights).endswith(".safetensors"):
        card = read_card(Path(weights))
    else:
        cards = [c for c in installed() if c.network == network]
        named = [c for c in cards if weights is None or c.name == weights]
        if not named:
            names = ", ".join(c.name for c in cards) or "none"
            raise CardiacSegError(
                f"The weights '{weights or network}' are not installed (installed: {names}); "
                "give one of these names or a .safetensors file."
            )
        card = named[0]
    if card.network != network:
        raise CardiacSegError(f"The weights {card.name} are for the network {card.network}, not {network}.")
    return card


def load_weights(network: nn.Module, card: WeightsCard) -> None:
    """Load the card's file into the network. Raises CardiacSegError if the file was changed or does not fit."""
    state = read_weights(card)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CardiacSegError(f"The weights {card.path} do not fit the network {card.network} {card.size}.") from error


def read_weights(card: WeightsCard) -> dict[str, Tensor]:
    """The tensors of the card's file in single precision. Raises CardiacSegError if the file was changed."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = card.path.read_bytes()
    except OSError as error:
        raise CardiacSegError(
            f"The weights {card.path} cannot be read ({error.strerror}); install them again."
        ) from error
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise CardiacSegError(f"The weights {card.path} differ from their card; install them again.")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise CardiacSegError(f"{card.path} is no safetensors file; install the weights again.") from error
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
