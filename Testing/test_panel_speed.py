"""How quickly the panel answers; the figures are those of Testing/benchmarks/panel.py, on random weights.

The bars are fixed. What other programs take is left out by what the system tells of it, and the best of a few counts;
see `Clock`.
"""

from __future__ import annotations

import time

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import numpy as np
from panel_work import RUN, annotate, segment

from CardiacSegLib.cine import SlicePrediction
from CardiacSegLib.phantom import beating_heart
from Testing.benchmarks import panel as benchmark
from Testing.benchmarks.panel import BARS, Clock, best

FIRST, CANCEL, CORRECTION, RESULTS, BULLSEYE, STANDSTILL, STEP = BARS.values()
TRIES = 3


def test_the_clock_leaves_out_nothing_but_waiting_for_a_processor() -> None:
    clock = Clock()
    time.sleep(0.2)
    clock.lap()
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    clock.lap()
    seconds = clock.seconds()
    assert seconds.own >= 0.39
    assert seconds.own <= seconds.clock


def test_the_first_slice_comes_within_a_second_of_the_click_and_cancel_takes_half_a_second(host, panel) -> None:
    benchmark.open_sample(host, panel)
    assert best(lambda: benchmark.first_slice(host, panel), TRIES).own <= FIRST == 1.0
    assert best(lambda: benchmark.cancel(host, panel), TRIES).own <= CANCEL == 0.5


def test_the_neighbours_of_a_correction_come_within_a_second_and_so_do_the_numbers(host, open_panel, heart) -> None:
    annotate(host, open_panel, heart)
    segment(host, open_panel)
    assert best(lambda: benchmark.correction(host, open_panel, 3, 2), TRIES).own <= CORRECTION == 1.0
    assert best(lambda: benchmark.results(host, open_panel, 3, 2), TRIES).own <= RESULTS == 1.0


def test_the_bullseye_follows_within_two_seconds_and_nobody_waits_for_it(host, panel) -> None:
    heart = beating_heart(3, frames=20, slices=11, size=256, spacing=(1.4, 1.4, 9.0))
    panel.load(lambda: panel.logic.addCine(heart.cine))
    places = np.ndindex(20, 11)
    panel.session.study.apply(SlicePrediction(*place, heart.truth.labels[place]) for place in places)
    panel.showAll()
    host.wait(lambda: not panel.results.busy and not panel.results.measuring, RUN)
    ed = panel.session.results().measures.ed_frame
    followed, standstill = zip(
        *(benchmark.bullseye(host, panel, ed, 5, number + 1) for number in range(TRIES)), strict=True
    )
    assert min(seconds.own for seconds in followed) <= BULLSEYE == 2.0
    assert min(seconds.own for seconds in standstill) <= STANDSTILL == 0.05


def test_stepping_with_masks_shows_at_least_twenty_frames_a_second(host, panel) -> None:
    benchmark.open_large(host, panel)
    assert 1 / best(lambda: benchmark.step(host, panel), TRIES).own >= 20 == 1 / STEP
