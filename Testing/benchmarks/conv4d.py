"""The forms of the 4D convolution at the levels of the paper's network: time, ratio to the naive loop, memory.

    python Testing/benchmarks/conv4d.py [--threads 2] [--repeats 3] [--device cpu] [--write]

All forms of a layer take turns, so that every ratio is of the same minute on the same machine. The naive loop gets its
tensors as PyTorch makes them, the other forms with the channels last, as they lie in the network.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.networks.conv4d import FORMS, Axes, conv4d
from Testing.benchmarks.common import ROOT, table, write_section


class Layer(NamedTuple):
    """A convolution of the paper's network (table 1)."""

    name: str
    inputs: int
    outputs: int
    shape: Axes
    stride: Axes


LAYERS = (
    Layer("init 1 → 8", 1, 8, (16, 64, 96, 96), (1, 1, 1, 1)),
    Layer("level 0: 8 → 8", 8, 8, (16, 64, 96, 96), (1, 1, 1, 1)),
    Layer("down 8 → 16", 8, 16, (16, 64, 96, 96), (2, 2, 2, 2)),
    Layer("level 1: 16 → 16", 16, 16, (8, 32, 48, 48), (1, 1, 1, 1)),
    Layer("down 16 → 32", 16, 32, (8, 32, 48, 48), (2, 2, 2, 2)),
    Layer("level 2: 32 → 32", 32, 32, (4, 16, 24, 24), (1, 1, 1, 1)),
)

NAMES = {
    "naive": "naive loop",
    "rearranged": "rearranged loop",
    "batched": "batched taps",
    "channels": "taps in channels",
    "frames": "a frame at a time",
}


def arguments(layer: Layer, form: str, device: str, gradients: bool) -> tuple[Tensor, Tensor]:
    """Input (1, T, C, Z, Y, X) in the layout of the form, and weight."""
    frames, *space = layer.shape
    generator = torch.Generator().manual_seed(0)
    layout = torch.contiguous_format if form == "naive" else torch.channels_last_3d
    # Filled in place: a copy that is freed again would hide memory that the call takes.
    x = torch.empty(frames, layer.inputs, *space, memory_format=layout).normal_(generator=generator)
    weight = torch.randn(layer.outputs, 3, layer.inputs, 3, 3, 3, generator=generator)
    # The first layer's input is the picture, which needs no gradient.
    wanted = gradients and layer.inputs > 1
    return x.to(device)[None].requires_grad_(wanted), weight.to(device).requires_grad_(gradients)


def once(layer: Layer, form: str, device: str, backward: bool) -> float:
    """Seconds of one call, with its gradients if wanted."""
    x, weight = arguments(layer, form, device, backward)
    synchronize: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    began = time.process_time()
    with torch.set_grad_enabled(backward):
        found = conv4d(x, weight, None, layer.stride, form)
    synchronize()
    spent = time.process_time() - began
    if backward:
        given = torch.ones_like(found)  # in the layout of the form, as in a network
        synchronize()
        began = time.process_time()
        found.backward(given)
        synchronize()
        spent += time.process_time() - began
    return spent


def timed(layer: Layer, device: str, backward: bool, repeats: int) -> dict[str, float]:
    """The best time of every form in seconds; the forms take turns."""
    best = dict.fromkeys(FORMS, float("inf"))
    for _ in range(repeats):
        for form in FORMS:
            best[form] = min(best[form], once(layer, form, device, backward))
    return best


def rows(device: str, repeats: int) -> list[list[str]]:
    """A row for each layer and direction: the naive loop in ms, the others as how many times as fast they are."""
    found = []
    for layer in LAYERS:
        for backward in (False, True):
            best = timed(layer, device, backward, repeats)
            naive = best.pop("naive")
            row = [layer.name, "with gradients" if backward else "forward", f"{naive * 1000:.0f}"]
            found.append(row + [f"{naive / seconds:.2f}" for seconds in best.values()])
            print(" | ".join(found[-1]), file=sys.stderr)
    return found


def peak_mb() -> float:
    """What this process has needed at most; getrusage would count the process that started it, too. Needs Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def memory_of(form: str) -> float:
    """MB that one forward call at level 0 needs over its input, the result included, in this process."""
    once(LAYERS[-1], form, "cpu", False)
    x, weight = arguments(LAYERS[1], form, "cpu", False)
    before = peak_mb()
    with torch.no_grad():
        conv4d(x, weight, form=form)
    return peak_mb() - before


def memory_row(threads: int) -> list[str]:
    """The memory of each form, each in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--memory-of"]
    found = [subprocess.run([*command, form], capture_output=True, text=True, check=True).stdout for form in FORMS]
    return ["level 0: 8 → 8", "forward, MB", *(f"{float(text):.0f}" for text in found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="write docs/results.md")
    parser.add_argument("--memory-of", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory_of(options.memory_of))
        return
    others = [NAMES[form] for form in FORMS if form != "naive"]
    text = table(("layer", "", "naive loop, ms", *others), rows(options.device, options.repeats))
    if options.device == "cpu":
        text += "\n\n" + table(("layer", "", *(NAMES[form] for form in FORMS)), [memory_row(options.threads)])
    text += f"\n\n{options.device}, {options.threads} threads, float32. The network takes the taps in channels, and "
    text += "large inputs without gradients a frame at a time."
    print(text)
    if options.write:
        write_section(ROOT / "docs" / "results.md", "conv4d", text)


if __name__ == "__main__":
    main()
