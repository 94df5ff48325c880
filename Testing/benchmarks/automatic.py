"""Accuracy, cost and speed of the automatic methods, and how the memory network goes on from them.

    python Testing/benchmarks/automatic.py [--weights NAME ...] [--memory NAME] [--tables NAME ...] [--write]

On ED and ES of the fifteen validation subjects, whole stacks on their own grid; on the ten validation cines; and on a
phantom for the speed. A CroCNet is measured with its first stage alone too. With --write the tables go into
docs/results.md and the figures onto the cards of the weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from CardiacSegLib.cine import Engine, Segmentation, Status, empty_segmentation
from CardiacSegLib.engines import load_engine
from CardiacSegLib.engines.slicewise import CroCNetEngine
from CardiacSegLib.measures.agreement import agreement
from CardiacSegLib.measures.smoothness import label_change, surface_motion
from CardiacSegLib.networks import crocnet, unet
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.weights import WeightsCard, installed, write_card
from Testing.benchmarks.accuracy import STRUCTURES, ejection_fraction
from Testing.benchmarks.common import (
    ROOT,
    WHOLE_CYCLES,
    Case,
    cards_of,
    table,
    validation_cases,
    validation_pairs,
    write_section,
)

Row = dict[str, object]
"""A row of agreement's."""


def run(engine: Engine, case: Case, annotation: Segmentation | None = None) -> Segmentation:
    """All that the engine finds in the case's cine, with what was annotated."""
    found = empty_segmentation(case.cine)
    if annotation is not None:
        found.labels[:], found.status[:] = annotation.labels, annotation.status
    for prediction in engine.segment(case.cine, annotation):
        found.labels[prediction.frame, prediction.slice] = prediction.labels
        found.status[prediction.frame, prediction.slice] = Status.PREDICTED
    return found


def engines_of(cards: Sequence[WeightsCard]) -> dict[str, Engine]:
    """Engines by the name of their weights; a CroCNet's first stage is one of its own."""
    engines: dict[str, Engine] = {}
    for card in cards:
        engine = engines[card.name] = load_engine(card.network, card.path, "cpu")
        if isinstance(engine, CroCNetEngine) and engine.network.config.refine == "coupled":
            first = crocnet.CroCNet(dataclasses.replace(engine.network.config, refine=""))
            first.load_state_dict({"first." + k: v for k, v in engine.network.first.state_dict().items()})
            engines[f"{card.name}, stage 1 alone"] = CroCNetEngine("crocnet", first, engine.device)
    return engines


def mean(rows: Sequence[Row], metric: str, **chosen: object) -> float:
    """The mean of a metric over the rows that have it and are as chosen."""
    wanted = [r for r in rows if all(r[key] == value for key, value in chosen.items())]
    return float(np.mean([r[metric] for r in wanted if r[metric] is not None] or [np.nan]))


# Accuracy on ED and ES ------------------------------------------------------------------------------------------------

VOLUMES = ("weights", "LV ED / ES", "MYO ED / ES", "RV ED / ES", "mean", "worst LV", "HD mm LV / MYO / RV", "HD95 mm")


def compared(engine: Engine, cases: Sequence[Case]) -> list[Row]:
    """Agreement at ED and ES of every case, whole structures."""
    rows = []
    for case in cases:
        found = agreement(run(engine, case), case.expert, (case.ed, case.es))
        phases = {case.ed: "ED", case.es: "ES"}
        rows += [row | {"phase": phases[row["frame"]]} for row in found if row["region"] == "all"]
    return rows


def volume_row(name: str, rows: Sequence[Row]) -> list[str]:
    dice = [
        " / ".join(f"{mean(rows, 'dice', structure=s, phase=phase):.3f}" for phase in ("ED", "ES")) for s in STRUCTURES
    ]
    worst = min(row["dice"] for row in rows if row["structure"] == "LV")
    away = [" / ".join(f"{mean(rows, metric, structure=s):.1f}" for s in STRUCTURES) for metric in ("hd_mm", "hd95_mm")]
    return [name, *dice, f"{mean(rows, 'dice'):.3f}", f"{worst:.3f}", *away]


def card_figures(rows: Sequence[Row], what: str) -> dict[str, object]:
    """What a card tells."""
    told = {f"dice_{s.lower()}": mean(rows, "dice", structure=s) for s in STRUCTURES}
    told |= {"dice_mean": mean(rows, "dice"), "hd95_mm": mean(rows, "hd95_mm")}
    return {"validation": what, **{key: round(value, 3) for key, value in told.items()}}


# Accuracy on cines ----------------------------------------------------------------------------------------------------

CINES = ("method", *STRUCTURES, "mean", "EF error", "EF bias", "label change √ml", "surface motion mm")


def cine_row(name: str, cases: Sequence[Case], found: Sequence[Segmentation], phases: Sequence[str]) -> list[str]:
    """Dice at the phases named, EF against the expert's and both measures of smoothness."""
    rows = []
    for case, segmentation in zip(cases, found, strict=True):
        frames = tuple({"ED": case.ed, "ES": case.es}[phase] for phase in phases)
        rows += [r for r in agreement(segmentation, case.expert, frames) if r["region"] == "all"]
    pairs = [(s.labels, case.expert.labels, case) for case, s in zip(cases, found, strict=True)]
    ef = np.array([ejection_fraction(labels, case) - ejection_fraction(expert, case) for labels, expert, case in pairs])
    dice = [f"{mean(rows, 'dice', structure=s):.3f}" for s in STRUCTURES]
    motion = [surface_motion(s) for s in found]
    return [
        name,
        *dice,
        f"{mean(rows, 'dice'):.3f}",
        f"{np.abs(ef).mean():.1f}",
        f"{ef.mean():+.1f} ± {ef.std():.1f}",
        f"{np.mean([label_change(s) for s in found]):.2f}",
        f"{np.mean([m for m in motion if m is not None] or [np.nan]):.2f}",
    ]


def handed_on(case: Case, found: Segmentation) -> Segmentation:
    """What was found at ED as an annotation, for the memory network to go on from."""
    annotation = empty_segmentation(case.cine)
    annotation.labels[case.ed], annotation.status[case.ed] = found.labels[case.ed], Status.REVIEWED
    return annotation


def cine_tables(engines: dict[str, Engine], memory: str, cases: Sequence[Case]) -> dict[str, str]:
    """The automatic methods at ED and ES, and at ES beside the memory network that goes on from their ED."""
    carry = load_engine("cstm", memory, "cpu")
    from_expert = [run(carry, case, case.annotated()) for case in cases]
    alone, together = [], [cine_row(f"expert's ED, then {memory}", cases, from_expert, ("ES",))]
    for name, engine in engines.items():
        found = [run(engine, case) for case in cases]
        alone.append(cine_row(name, cases, found, ("ED", "ES")))
        together.append(cine_row(name, cases, found, ("ES",)))
        after = [run(carry, case, handed_on(case, f)) for case, f in zip(cases, found, strict=True)]
        together.append(cine_row(f"{name}'s ED, then {memory}", cases, after, ("ES",)))
        print(*together[-1], sep=" | ", file=sys.stderr, flush=True)
    return {"automatic-cines": table(CINES, alone), "automatic-memory": table(CINES, together)}


# Cost and speed -------------------------------------------------------------------------------------------------------


def flops(compute: Callable[[], Tensor]) -> float:
    """Floating-point operations in units of 10^9, two for a multiplication with its addition."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        compute()
    return counter.get_total_flops() / 1e9


def millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f}"


def cost_table() -> str:
    """Parameters and operations for one slice of 256 x 256; CroCNet's second stage sees a crop of 128 x 128."""
    picture, crop, masks = torch.zeros(1, 1, 256, 256), torch.zeros(1, 1, 128, 128), torch.zeros(1, 3, 128, 128)
    rows = []
    for name, size in (("U-Net of the study (table 3)", "paper"), ("U-Net as shipped", "small")):
        network = unet.UNet(unet.SIZES[size]).eval()
        rows.append([name, millions(network), f"{flops(lambda n=network: n(picture)):.1f}"])
    titles = {"full": "coupled specialists", "uncoupled": "uncoupled specialists", "single": "single network"}
    for size, title in titles.items():
        network = crocnet.CroCNet(crocnet.SIZES[size]).eval()
        first, second = flops(lambda n=network: n(picture)), flops(lambda n=network: n(crop, masks))
        if size == "full":
            rows.append(["CroCNet, stage 1", millions(network.first), f"{first:.1f}"])
        rows.append([f"CroCNet, stage 2, {title}", millions(network.second), f"{second:.1f}"])
        if size == "full":
            rows.append(["CroCNet, both stages", millions(network), f"{first + second:.1f}"])
    return table(("network", "parameters, millions", "GFLOP a slice"), rows)


def speed_table(engines: dict[str, Engine], repeats: int) -> str:
    """Seconds for a phantom of 10 slices x 25 frames of 256 x 256, best of the repeats."""
    heart = beating_heart(7, frames=25, slices=10, size=256, spacing=(1.4, 1.4, 8.0))
    rows = []
    for name, engine in engines.items():
        spent = []
        for _ in range(repeats):
            began, first = time.perf_counter(), 0.0
            for _ in engine.segment(heart.cine):
                first = first or time.perf_counter() - began
            spent.append((time.perf_counter() - began, first))
        seconds, first = min(spent)
        rows.append([name, f"{seconds:.1f}", f"{1000 * seconds / 250:.0f}", f"{1000 * first:.0f}"])
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    return table(("10 slices x 25 frames of 256 x 256", "s", "ms a slice", "first slice ms"), rows)


def tell_card(card: WeightsCard, figures: dict[str, object]) -> None:
    entry = json.loads(card.path.with_suffix(".json").read_text(encoding="utf-8"))
    entry["figures"] = figures
    write_card(card.path, entry)


TABLES = ("volumes", "cost", "cines", "speed")


def tables(
    wanted: Sequence[str], cards: Sequence[WeightsCard], memory: str, repeats: int, write: bool
) -> dict[str, str]:
    """The tables wanted by the name of their section; figures go onto the cards if written."""
    engines, networks = engines_of(cards), {card.name: card.network for card in cards}
    whole = {name for name, network in networks.items() if network in WHOLE_CYCLES}
    found = {}
    if "volumes" in wanted:
        pairs, cines = validation_pairs(), validation_cases()
        rows = {name: compared(engine, pairs) for name, engine in engines.items() if name not in whole}
        found["automatic-volumes"] = table(VOLUMES, [volume_row(name, r) for name, r in rows.items()])
        for card in cards if write else ():
            what, cases = ("cines", cines) if card.name in whole else ("subjects", pairs)
            measured = compared(engines[card.name], cines) if card.name in whole else rows[card.name]
            tell_card(card, card_figures(measured, f"ED and ES of {len(cases)} ACDC {what}, never trained on"))
    if "cost" in wanted:
        found["automatic-cost"] = cost_table()
    if "cines" in wanted:
        found |= cine_tables(engines, memory, validation_cases())
    if "speed" in wanted:
        found["automatic-speed"] = speed_table(engines, repeats)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="*", default=[c.name for c in installed() if c.network != "cstm"])
    parser.add_argument("--memory", default="cstm-small", help="weights of the memory network")
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=TABLES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="of the speed")
    parser.add_argument("--write", action="store_true", help="write docs/results.md and the cards")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cards = cards_of(arguments.weights)
    found = tables(arguments.tables, cards, arguments.memory, arguments.repeats, arguments.write)
    for name, text in found.items():
        print(f"\n{name}\n{text}")
        if arguments.write:
            write_section(ROOT / "docs" / "results.md", name, text)


if __name__ == "__main__":
    main()
