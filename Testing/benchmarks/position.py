"""The study of image position on ACDC: its networks, its protocol as far as a CPU allows, and their Dice.

Murase, Suganuma, Okatani: How can CNNs use image position for segmentation?, arXiv 2005.03463.
As there: whole slices resized to a square whatever their spacing, each brought to mean 0 and variance 1; cross-entropy,
Adam at 1e-3, batches of 20, no augmentation. Less than there: 128 x 128 pixels for 256 x 256; a U-Net of width 16 and a
small CNN of width 32 for 64; STEPS steps, about eight epochs, for 100 epochs, and, so that chance plays a smaller part
in the end of so short a training, its learning rate falls along half a cosine; one training of each network.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from CardiacSegLib.networks.precision import autocast
from CardiacSegLib.networks.unet import UNet, UNetConfig
from CardiacSegLib.training.sources import read_acdc
from CardiacSegLib.training.subjects import Subject
from Testing.benchmarks.common import ACDC, ROOT, VALIDATION
from Testing.benchmarks.degradation import degraded, scaled, shifted

FOLDER = ROOT / "results" / "robustness"
SIDE = 128
BATCH = 20
STEPS = 600

NETWORKS: dict[str, UNetConfig] = {
    "U-Net, no position": UNetConfig(16),
    "U-Net, λ = 1": UNetConfig(16, 1.0),
    "U-Net, λ = 10": UNetConfig(16, 10.0),
    "U-Net, λ = 256": UNetConfig(16, 256.0),
    "U-Net, reflected, no position": UNetConfig(16, padding="reflect"),
    "U-Net, reflected, λ = 256": UNetConfig(16, 256.0, "reflect"),
    "small CNN, no position": UNetConfig(32, levels=0),
    "small CNN, λ = 256": UNetConfig(32, 256.0, levels=0),
}

STUDY = {
    "U-Net, no position": "0.850 ± 0.013",
    "U-Net, λ = 1": "0.858 ± 0.010",
    "U-Net, λ = 10": "0.856 ± 0.004",
    "U-Net, λ = 256": "0.835 ± 0.016",
    "small CNN, no position": "< 0.1",
    "small CNN, λ = 256": "about 0.55",
}
"""What the study reports on undegraded ACDC: table 1, and figure 3 as its text reads it."""


class Volume(NamedTuple):
    """Slices (Z, 128, 128) of one frame, in 0..1, and their labels."""

    pictures: np.ndarray
    labels: np.ndarray


def volumes_of(subjects: Iterable[Subject]) -> list[Volume]:
    """All frames of the subjects, every slice resized to the square."""
    volumes = []
    for subject in subjects:
        for frame in subject.volumes:
            pictures = torch.from_numpy(scaled(frame.image))[None]
            shares = torch.from_numpy(np.stack([frame.labels == v for v in range(4)]).astype(np.float32))
            pictures, shares = (
                F.interpolate(maps.movedim(1, 0), size=(SIDE, SIDE), mode="bilinear", antialias=True)
                for maps in (pictures, shares)
            )
            volumes.append(Volume(pictures[:, 0].numpy(), shares.argmax(dim=1).numpy()))
    return volumes


def training_and_validation() -> tuple[list[Volume], list[Volume]]:
    """ACDC's subjects, those of the validation apart; never a subject in both."""
    subjects = list(read_acdc(ACDC / "training"))
    return (
        volumes_of(s for s in subjects if s.name not in VALIDATION),
        volumes_of(s for s in subjects if s.name in VALIDATION),
    )


def normalized(pictures: np.ndarray) -> Tensor:
    """Slices (Z, H, W) as (Z, 1, H, W), each of mean 0 and variance 1."""
    slices = torch.from_numpy(pictures)[:, None]
    mean = slices.mean(dim=(2, 3), keepdim=True)
    deviation = slices.std(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    return ((slices - mean) / deviation).contiguous(memory_format=torch.channels_last)


def train(config: UNetConfig, volumes: list[Volume], steps: int, seed: int = 0) -> UNet:
    """A network trained by the study's protocol on all slices of the volumes."""
    torch.manual_seed(seed)
    network = UNet(config).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    pictures = torch.cat([normalized(v.pictures) for v in volumes])
    labels = torch.from_numpy(np.concatenate([v.labels for v in volumes]))
    order: list[int] = []
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(len(pictures)).tolist()
        drawn, order = order[:BATCH], order[BATCH:]
        with autocast("cpu"):
            logits = network(pictures[drawn].contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def train_missing(steps: int, folder: Path = FOLDER) -> None:
    """Train the networks that the folder lacks, one after the other, and leave each as soon as it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    volumes, _ = training_and_validation()
    for name, config in NETWORKS.items():
        if weights_file(name, folder).is_file():
            continue
        began, used = time.monotonic(), time.process_time()
        network = train(config, volumes, steps)
        spent, used = time.monotonic() - began, time.process_time() - used
        entry = {"state": network.state_dict(), "steps": steps, "seconds": spent, "processor_seconds": used}
        torch.save(entry, weights_file(name, folder))
        print(f"{name}: {steps} steps in {spent:.0f} s, {used:.0f} s of a core", flush=True)


def weights_file(name: str, folder: Path = FOLDER) -> Path:
    plain = name.lower().replace("λ = ", "").replace(",", "").replace(" ", "-")
    return folder / f"{plain}.pt"


def load(name: str, folder: Path = FOLDER) -> UNet:
    network = UNet(NETWORKS[name]).to(memory_format=torch.channels_last)
    network.load_state_dict(torch.load(weights_file(name, folder), weights_only=True)["state"])
    return network.eval()


@torch.inference_mode()
def dice_of(network: UNet, volumes: list[Volume], kind: str, level: float | None) -> float:
    """Mean Dice over volumes and structures, each volume as a whole, at one level of a degradation (None: at none)."""
    scores = []
    for number, volume in enumerate(volumes):
        pictures, labels = volume
        if level is not None:
            pictures = degraded(pictures, kind, level, np.random.default_rng(number))
            if kind == "shift":
                labels = shifted(labels, round(level * SIDE), "constant")
        with autocast("cpu"):
            found = network(normalized(pictures)).argmax(dim=1).numpy()
        scores += [dice(found == value, labels == value) for value in (1, 2, 3)]
    return float(np.nanmean(scores))


def dice(found: np.ndarray, wanted: np.ndarray) -> float:
    """Dice of two masks; NaN where both are empty."""
    total = found.sum() + wanted.sum()
    return float(2 * (found & wanted).sum() / total) if total else float("nan")
