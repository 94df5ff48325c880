"""The one training loop: any network, any source of batches, mixed precision, averaged weights, resume."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.precision import autocast

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Settings:
    """How long and how fast to train.

    steps and minutes: whichever comes first ends it (and shapes the cosine of the learning rate); minutes of 0 mean no
    limit. average: decay of the moving average of the weights, which is the result.
    """

    steps: int = 5000
    minutes: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warm_up: int = 100
    average: float = 0.998
    clip: float = 1.0
    device: str = "cpu"
    save_every_s: float = 120.0


@dataclass(frozen=True)
class Report:
    """One line of the log: step, share of the training done, seconds so far, mean loss since the last report."""

    step: int
    progress: float
    seconds: float
    loss: float


def fit(
    network: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any, float], Tensor],
    settings: Settings,
    output: Path,
    report: Callable[[Report], None] = lambda _: None,
    resume: bool = False,
) -> nn.Module:
    """Train the network and return the average of its weights over the last steps.

    loss: of (network, batch, progress). Checkpoints go to output / checkpoint.pt; with resume the training goes on from
    there, its clock included. bfloat16 autocast is used where the device computes it natively.
    """
    state = State(network.to(settings.device), settings)
    checkpoint = output / CHECKPOINT
    if resume and checkpoint.is_file():
        state.load(checkpoint)
    started = saved = time.monotonic()
    spent, losses = state.seconds, []
    for batch in batches:
        state.seconds = spent + time.monotonic() - started
        progress = state.progress()
        if progress >= 1:
            break
        losses.append(step(state, batch, loss, progress))
        if state.step % 20 == 0:
            report(Report(state.step, progress, state.seconds, sum(losses) / len(losses)))
            losses = []
        if time.monotonic() - saved > settings.save_every_s:
            state.save(checkpoint)
            saved = time.monotonic()
    state.save(checkpoint)
    return state.averaged


def steps_done(output: Path) -> int:
    """Steps of the training whose checkpoint lies in the folder; 0 if there is none."""
    path = output / CHECKPOINT
    return torch.load(path, map_location="cpu", weights_only=True)["step"] if path.is_file() else 0


def step(state: State, batch: Any, loss: Callable[[nn.Module, Any, float], Tensor], progress: float) -> float:
    """One optimizer step; returns the loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = state.learning_rate(progress)
    with autocast(state.settings.device):
        value = loss(state.network, batch, progress)
    state.optimizer.zero_grad(set_to_none=True)
    value.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), state.settings.clip)
    state.optimizer.step()
    state.step += 1
    state.update_average()
    return float(value.detach())


class State:
    """All that a training needs to go on: network, averaged network, optimizer, clock."""

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        self.settings = settings
        self.network = network
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step = 0
        self.seconds = 0.0

    def progress(self) -> float:
        by_time = self.seconds / (60 * self.settings.minutes) if self.settings.minutes else 0.0
        return max(self.step / self.settings.steps, by_time)

    def learning_rate(self, progress: float) -> float:
        warm = min(1.0, (self.step + 1) / self.settings.warm_up)
        return self.settings.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    @torch.no_grad()
    def update_average(self) -> None:
        # A young average would remember the random start; it forgets it faster in the first steps.
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        for mean, current in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(current, 1 - decay)
        for mean, current in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
            mean.copy_(current)

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".partial")
        torch.save(
            {
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
            },
            temporary,
        )
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        saved = torch.load(path, map_location=self.settings.device, weights_only=True)
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.seconds = saved["step"], saved["seconds"]
