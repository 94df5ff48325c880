"""The one training loop: any network and batches, mixed precision, averaged weights, resume, several devices."""

from __future__ import annotations

import copy
import gc
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..networks.precision import autocast

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Settings:
    """How long and how fast to train.

    steps and minutes: whichever comes first ends it (and shapes the schedule of the learning rate); minutes of 0 mean
    no limit. schedule: "cosine", or "poly" for (1 - progress) ** 0.9 (Myronenko 2018). average: decay of the moving
    average of the weights, which is the result.
    """

    steps: int = 5000
    minutes: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    schedule: str = "cosine"
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
    batches: Callable[[int], Any],
    loss: Callable[[nn.Module, Any, float], Tensor],
    settings: Settings,
    output: Path,
    report: Callable[[Report], None] = lambda _: None,
    resume: bool = False,
) -> nn.Module:
    """Train the network and return the average of its weights over the last steps.

    batches: of a number, the same batch for the same number, so that a training that was stopped and goes on with
    resume draws what it would have drawn. loss: of (network, batch, progress). Checkpoints go to output /
    checkpoint.pt, the clock with them. bfloat16 autocast is used where the device computes it natively. Started by
    torchrun, each process takes its own batches and the gradients are averaged; the first process writes.
    """
    rank, world = place()
    network = network.to(settings.device)
    # Before the average is made: this gives all processes the weights of the first.
    model = DistributedDataParallel(network, find_unused_parameters=True) if world > 1 else network
    state = State(network, settings)
    checkpoint = output / CHECKPOINT
    if resume and checkpoint.is_file():
        state.load(checkpoint)
    started = saved = time.monotonic()
    spent, losses = state.seconds, []
    while True:
        state.seconds = agreed(spent + time.monotonic() - started, world)
        progress = state.progress()
        if progress >= 1:
            break
        losses.append(step(state, model, batches(state.step * world + rank), loss, progress))
        if state.step % 20 == 0:
            report(Report(state.step, progress, state.seconds, sum(losses) / len(losses)))
            losses = []
        if rank == 0 and time.monotonic() - saved > settings.save_every_s:
            state.save(checkpoint)
            saved = time.monotonic()
    if rank == 0:
        state.save(checkpoint)
    return state.averaged


def place() -> tuple[int, int]:
    """The number of this process and how many there are; torchrun's processes find each other here."""
    if not distributed.is_torchelastic_launched():
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return distributed.get_rank(), distributed.get_world_size()


def leave() -> None:
    """Part from the other processes once all are done; one that ends before may take the others with it."""
    if distributed.is_initialized():
        distributed.barrier()
        # What still holds the group, as the wrapper of a trained network does, would let it outlive the interpreter,
        # which ends the process with an abort.
        gc.collect()
        distributed.destroy_process_group()


def agreed(seconds: float, world: int) -> float:
    """The first process's clock, which all follow: they must stop at the same step."""
    if world == 1:
        return seconds
    clock = [seconds]
    distributed.broadcast_object_list(clock)
    return clock[0]


def step(
    state: State,
    model: nn.Module,
    batch: Any,
    loss: Callable[[nn.Module, Any, float], Tensor],
    progress: float,
) -> float:
    """One optimizer step; returns the loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = state.learning_rate(progress)
    with autocast(state.settings.device):
        value = loss(model, batch, progress)
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
        if self.settings.schedule == "poly":
            return self.settings.learning_rate * (1 - progress) ** 0.9
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
