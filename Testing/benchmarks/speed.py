"""Speed and memory of the propagation: time per stage, peak memory, patch against dense matching, 25 to 400 frames.

    python Testing/benchmarks/speed.py [--weights NAME] [--threads 2] [--write]

One run on a phantom of 10 slices, so that every ratio is of the same minute on the same machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.cine import Cine, Segmentation, Status, empty_segmentation
from CardiacSegLib.engines import PropagationEngine, load_engine
from CardiacSegLib.engines.propagation import Run
from CardiacSegLib.phantom import beating_heart
from Testing.benchmarks.common import ROOT, table, write_section

STAGES = {
    "picture": "cut and resample pictures",
    "encode_key": "key encoder",
    "encode_value": "value encoder",
    "read": "memory read",
    "decode": "decoder",
    "finish": "labels on the native grid",
}


class Stopwatch:
    """Adds up the time spent in methods of objects while it is watching them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, owner: object, method: str) -> None:
        original = getattr(owner, method)

        def timed(*args, **kwargs):
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[method] += time.perf_counter() - began

        setattr(owner, method, timed)


def annotated(cine: Cine, truth: np.ndarray, slices: range) -> Segmentation:
    blank = empty_segmentation(cine)
    for z in slices:
        blank.labels[0, z] = truth[z]
        blank.status[0, z] = Status.ANNOTATED
    return blank


def phantom(frames: int) -> tuple[Cine, np.ndarray]:
    """A cine with 10 slices: the phantom's 25 frames, again and again if more are wanted, and its ED mask."""
    heart = beating_heart(7, frames=25, slices=10, size=192)
    repeats = -(-frames // 25)
    pictures = np.tile(heart.cine.frames, (repeats, 1, 1, 1))[:frames]
    cine = dataclasses.replace(heart.cine, frames=pictures, times=np.arange(frames) * 40.0, sources=())
    return cine, heart.truth.labels[0]


def run(engine: PropagationEngine, cine: Cine, annotation: Segmentation) -> tuple[float, float, int, Stopwatch]:
    """Seconds, seconds to the first slice, memory slots, and the time of each stage."""
    watch = Stopwatch()
    began = time.perf_counter()
    job = Run(engine, cine, annotation, None, None)
    originals = {name: getattr(engine.network, name) for name in ("encode_key", "encode_value", "read", "decode")}
    for name in originals:
        watch.watch(engine.network, name)
    watch.watch(job.view, "picture")
    watch.watch(job, "finish")
    first = 0.0
    for _ in job.predictions():
        first = first or time.perf_counter() - began
    seconds = time.perf_counter() - began
    for name in originals:
        delattr(engine.network, name)
    return seconds, first, job.bank.capacity, watch


def with_matching(engine: PropagationEngine, matching: str) -> PropagationEngine:
    engine.network.config = dataclasses.replace(engine.network.config, matching=matching)
    return engine


def peak_mb() -> float:
    """Peak resident memory of this process so far in MB (of 10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure_memory(weights: str, threads: int, frames: int) -> float:
    """Peak resident memory of a process of its own that propagates one cine."""
    command = [sys.executable, __file__, "--weights", weights, "--threads", str(threads), "--memory-of", str(frames)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="cstm-small")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write docs/results.md")
    parser.add_argument("--memory-of", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    engine = load_engine("cstm", arguments.weights, "cpu")
    if arguments.memory_of:
        cine, truth = phantom(arguments.memory_of)
        run(engine, cine, annotated(cine, truth, range(10)))
        print(peak_mb() - (cine.frames.nbytes + 2 * cine.frames.size) / 1e6)
        return
    parts = {"speed": speed_rows(engine, arguments.repeats), "stages": stage_rows(engine)}
    parts["length"] = length_rows(engine, arguments.weights, arguments.threads)
    for name, text in parts.items():
        print(f"\n{name} ({arguments.threads} threads)\n{text}")
        if arguments.write:
            write_section(ROOT / "docs" / "results.md", name, text)


def speed_rows(engine: PropagationEngine, repeats: int) -> str:
    cine, truth = phantom(25)
    rows = []
    for what, slices in (("ED stack annotated", range(10)), ("one slice annotated", range(5, 6))):
        best = {}
        for matching in ("patch", "dense"):
            runs = [run(with_matching(engine, matching), cine, annotated(cine, truth, slices)) for _ in range(repeats)]
            best[matching] = min(runs, key=lambda r: r[0])
        seconds, first, slots, watch = best["patch"]
        found = 250 - len(slices)
        dense = best["dense"]
        rows.append(
            [
                what,
                f"{seconds:.1f}",
                f"{seconds / found * 1000:.1f}",
                f"{first * 1000:.0f}",
                str(slots),
                f"{dense[0] / seconds:.2f}",
                f"{dense[3].seconds['read'] / watch.seconds['read']:.2f}",
            ]
        )
    with_matching(engine, "patch")
    header = ("10 slices x 25 frames", "s", "ms a slice", "first slice ms", "slots", "dense : patch, all", "read alone")
    return table(header, rows)


def stage_rows(engine: PropagationEngine) -> str:
    cine, truth = phantom(25)
    seconds, _, _, watch = run(engine, cine, annotated(cine, truth, range(10)))
    spent = {text: watch.seconds[method] for method, text in STAGES.items()}
    spent["the rest"] = seconds - sum(spent.values())
    rows = [[text, f"{s:.2f}", f"{100 * s / seconds:.0f} %"] for text, s in spent.items()]
    return table(("stage", "s", "share"), rows)


def length_rows(engine: PropagationEngine, weights: str, threads: int) -> str:
    rows = []
    for frames in (25, 100, 400):
        cine, truth = phantom(frames)
        seconds, _, slots, _ = run(engine, cine, annotated(cine, truth, range(10)))
        per_slice = seconds / (10 * (frames - 1)) * 1000
        rows.append([str(frames), f"{per_slice:.1f}", str(slots), f"{measure_memory(weights, threads, frames):.0f}"])
    return table(("frames", "ms a slice", "memory slots", "peak MB without the cine and its masks"), rows)


if __name__ == "__main__":
    main()
