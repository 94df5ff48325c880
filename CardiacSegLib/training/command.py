"""From data sets on disk to a weights file with its card: what `cardiacseg train` does."""

from __future__ import annotations

import hashlib
import pickle
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..errors import CardiacSegError
from ..networks.cstm import CSTM
from ..weights import WeightsCard, read_card, read_weights, save_weights
from .loop import CHECKPOINT, Report, Settings, fit, leave, place
from .recipes import Recipe, find_recipe, start_from
from .sources import DATA_SETS, PHANTOMS, Licence, strictest
from .subjects import Subject, compact, load_subjects, save_subjects

BAD_FILE = (OSError, EOFError, KeyError, TypeError, RuntimeError, ValueError, AttributeError, pickle.UnpicklingError)
"""What reading a file raises that is no state dict, is torn, or is a pickle with more than tensors in it."""


@dataclass(frozen=True)
class DataSource:
    """One --data argument: KIND=WHERE[@SHARE], e.g. acdc=training@0.8 or phantom=100 (hearts)."""

    kind: str
    where: str
    share: float | None

    @classmethod
    def parse(cls, text: str) -> DataSource:
        kind, equals, rest = text.partition("=")
        where, _, share = rest.rpartition("@") if "@" in rest else (rest, "", "")
        try:
            parsed = cls(kind, where, float(share) if share else None)
        except ValueError:
            parsed = None
        counted = kind not in PHANTOMS or where.isdecimal()
        if parsed is None or not equals or not where or not counted or kind not in (*DATA_SETS, *PHANTOMS):
            kinds = ", ".join((*DATA_SETS, *PHANTOMS))
            raise CardiacSegError(
                f"'{text}' is not a data source; write KIND=FOLDER[@SHARE] with a kind of {kinds}, or phantom=HEARTS."
            )
        return parsed


def gather(source: DataSource, spacing_mm: float, size: int, seed: int, ct: bool = False) -> list[Subject]:
    """The compact subjects of one source."""
    if source.kind in PHANTOMS:
        subjects = PHANTOMS[source.kind](int(source.where), seed)
    else:
        root = Path(source.where)
        if not root.is_dir():
            raise CardiacSegError(f"The data folder {root} does not exist; give the folder that holds the data set.")
        subjects = DATA_SETS[source.kind].read(root)
    found = [compact(s, spacing_mm, size, ct) for s in subjects]
    if not found:
        raise CardiacSegError(f"No subject of the kind '{source.kind}' was found in {source.where}; check the folder.")
    return found


def train(
    network: str,
    data: Sequence[str],
    output: Path,
    *,
    size: str = "small",
    exclude: Sequence[str] = (),
    settings: Settings | None = None,
    batch: int = 8,
    seed: int = 0,
    resume: bool = False,
    imagenet: tuple[Path, Path] | None = None,
    start: Path | None = None,
    name: str = "",
    command: str = "",
    report: Callable[[Report], None] = lambda _: None,
) -> Path:
    """Train a network and write output / NAME.safetensors with its card; returns the path.

    data: sources as DataSource.parse takes them; exclude: subjects left out; batch: samples per step; imagenet: files
    of a standard ResNet-50 and ResNet-18 for CSTM's size base; start: weights to begin with, as far as they fit.
    Compact subjects are kept in output and used again. The weights inherit the strictest licence of all these.
    """
    settings = settings or Settings()
    recipe = find_recipe(network, size)
    if recipe.needs_start and not start:
        raise CardiacSegError(f"The size {size} of {network} is trained {recipe.needs_start}; give them with --start.")
    sources = [DataSource.parse(text) for text in data]
    output.mkdir(parents=True, exist_ok=True)
    gathered = []
    for source in sources:
        subjects = [s for s in cached(output, source, recipe, seed) if s.name not in exclude]
        if not subjects:
            raise CardiacSegError(f"All subjects of {source.where} are excluded; exclude fewer.")
        gathered.append((subjects, len(subjects) if source.share is None else source.share))
    torch.manual_seed(seed)
    model = recipe.network().to(memory_format=torch.channels_last)
    if imagenet:
        load_imagenet(model, *imagenet)
    licences = [Licence.CC0 if s.kind in PHANTOMS else DATA_SETS[s.kind].licence for s in sources]
    if start:
        started = read_card(start)
        start_from(model, read_weights(started))
        licences.append(licence_of(started))
    part, loss = recipe.trained(model), recipe.loss(model, seed)
    averaged = fit(part, recipe.batches(gathered, batch, seed), loss, settings, output, report, resume)
    part.load_state_dict(averaged.state_dict())
    card = WeightsCard(
        name=name or f"{network}-{size}",
        network=network,
        size=size,
        data=tuple(f"{s.kind} ({len(subjects)} subjects)" for s, (subjects, _) in zip(sources, gathered, strict=True)),
        licence=strictest(licences).value,
        command=command or shlex.join(["cardiacseg", "train", network, "--size", size]),
        seed=seed,
    )
    path = output / f"{card.name}.safetensors"
    if place()[0] == 0:
        save_weights(path, model, replace(card, budget=budget_of(output, settings.device)))
    leave()
    return path


def budget_of(output: Path, device: str) -> str:
    """What the training in this folder took, in words."""
    saved = torch.load(output / CHECKPOINT, map_location="cpu", weights_only=True)
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{saved['step']} steps in {saved['seconds'] / 60:.0f} minutes on {where}"


def licence_of(card: WeightsCard) -> Licence:
    """The licence of weights that a training starts from. Raises CardiacSegError if it is none of the known ones."""
    known = {licence.value: licence for licence in Licence}
    if card.licence not in known:
        raise CardiacSegError(f"The card of {card.name} names a licence that is not known; give weights made here.")
    return known[card.licence]


def cached(output: Path, source: DataSource, recipe: Recipe, seed: int) -> list[Subject]:
    """The compact subjects of a source, from the file in the output folder if an earlier run left it there.

    That file is all that a machine without the data set needs.
    """
    what = f"{source.kind} {source.where} {recipe.crop} {recipe.spacing_mm:g} {seed if source.kind in PHANTOMS else ''}"
    path = output / f"{source.kind}-{hashlib.sha256(what.encode()).hexdigest()[:8]}.npz"
    if not path.is_file():
        save_subjects(path, gather(source, recipe.spacing_mm, recipe.crop, seed, recipe.ct))
    return load_subjects(path)


def load_imagenet(model: CSTM, key: Path, value: Path) -> None:
    """ImageNet weights for both trunks: safetensors, or .pth read with weights_only."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for trunk, path in ((model.key_encoder, key), (model.value_encoder, value)):
        try:
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
            trunk.load_imagenet(state)
        except (*BAD_FILE, SafetensorError) as error:
            raise CardiacSegError(
                f"{path} does not hold the weights of the standard ResNet that this trunk needs; give a ResNet-50 "
                "state dict for the key encoder and a ResNet-18 for the value encoder."
            ) from error
