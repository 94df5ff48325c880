"""The reader's work behind the panel: runs, corrections, undo and buttons, on real MRML with a scripted engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

from scripted_engine import Engine, State

from CardiacSegLib import mrml
from CardiacSegLib.choices import Choices
from CardiacSegLib.cine import Segmentation, Status
from CardiacSegLib.controls import Situation, controls
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.measures import measure, wall
from CardiacSegLib.measures.aha import SegmentTable, segment_labels
from CardiacSegLib.measures.study import measure_study
from CardiacSegLib.phantom import Phantom
from CardiacSegLib.session import Session
from CardiacSegLib.weights import WeightsCard


@pytest.fixture
def engines() -> dict[tuple[str, str, str], Engine]:
    return {}


@pytest.fixture
def session(heart: Phantom, engines, scene) -> Iterator[Session]:
    def engine_for(*key: str) -> Engine:
        engines[key] = Engine(heart.truth)
        return engines[key]

    image = mrml.cine_to_scene(scene, heart.cine)
    session = Session(engine_for)
    session.open(mrml.open_study(mrml.scene_to_cine(image), image))
    session.study.set_slice(0, 1, heart.truth.labels[0, 1], Status.ANNOTATED)
    yield session
    session.close()


CHOICE = ("cstm", "small", "auto")


def segment(session: Session, polls: int | None = None) -> None:
    session.segment(*CHOICE, start=(0, 1))
    finish(session, polls)


def finish(session: Session, polls: int | None = None) -> None:
    while session.running and polls != 0:
        session.poll()
        polls = None if polls is None else polls - 1


def test_a_run_finds_every_slice_that_is_not_a_persons(session: Session, heart: Phantom) -> None:
    segment(session)
    assert (session.study.read().labels == heart.truth.labels).all()
    assert session.study.status[0, 1] == Status.ANNOTATED
    assert (session.study.status == Status.PREDICTED).sum() == 23
    assert not session.running


def test_slices_appear_while_the_run_goes_on_and_progress_is_told(session: Session) -> None:
    segment(session, polls=2)
    assert session.running
    assert (session.study.status == Status.PREDICTED).sum() == 8
    assert session.progress() == (8, 23, "8 of 23 slices, 3 s left")


def test_cancel_keeps_what_was_found(session: Session) -> None:
    segment(session, polls=2)
    session.cancel()
    session.poll()
    assert not session.running
    assert (session.study.status == Status.PREDICTED).sum() == 8
    assert session.log[-1].startswith("Cancelled: 8 slices found")
    assert not session.study.last_method


def test_a_run_that_fails_says_why_and_keeps_what_was_found(session: Session, engines) -> None:
    segment(session, polls=1)
    run = engines[CHOICE].runs[-1]
    run.state, run.error = State.FAILED, "The worker was killed."
    with pytest.raises(CardiacSegError, match="The worker was killed"):
        session.poll()
    assert not session.running
    assert (session.study.status == Status.PREDICTED).sum() == 4
    segment(session)
    assert (session.study.status == Status.EMPTY).sum() == 0


def test_a_correction_is_propagated_from_the_annotation_of_the_last_complete_run(session: Session, engines) -> None:
    segment(session)
    session.study.set_slice(3, 2, np.zeros((64, 64), np.uint8), Status.CORRECTED)
    session.propagate(*CHOICE[1:], start=(3, 2))
    finish(session)
    first, second = engines[CHOICE].runs
    assert first.previous is None
    assert (second.previous.status == first.annotation.status).all()
    assert (second.previous.labels[0, 1] == first.annotation.labels[0, 1]).all()
    assert second.start == (3, 2)
    assert not session.study.read().labels[3, 2].any()


def test_the_same_choice_keeps_the_worker_and_another_ends_it(session: Session, engines) -> None:
    segment(session)
    segment(session)
    assert len(engines) == 1
    session.segment("cstm", "other", "auto", start=(0, 0))
    assert engines[CHOICE].closed
    assert session.running


def test_a_warm_worker_tells_what_it_computes_on_when_it_knows(session: Session, engines) -> None:
    assert not session.warming
    session.warm(*CHOICE)
    assert session.warming
    engines[CHOICE].device_name = "two slow cores"
    assert not session.warming
    assert session.device_name == "two slow cores"


def test_choosing_other_weights_during_a_run_does_not_end_it(session: Session, engines) -> None:
    segment(session, polls=1)
    session.warm("cstm", "other", "auto")
    assert session.running
    assert list(engines) == [CHOICE]


# Automatic methods

AUTOMATIC = ("unet", "any", "auto")
UNET = Choices({}, {}, "unet")


def test_an_automatic_method_needs_no_annotation(session: Session, heart: Phantom) -> None:
    session.study.set_status(0, 1, Status.EMPTY)
    assert not session.controls((0, 0))["segment"].enabled
    assert session.controls((0, 0), UNET)["segment"].enabled
    session.segment(*AUTOMATIC, start=(0, 0))
    finish(session)
    assert (session.study.status == Status.PREDICTED).all()


def test_a_correction_of_an_automatic_result_goes_to_the_memory_network_with_all_that_stands(
    session: Session, engines, heart: Phantom
) -> None:
    session.segment(*AUTOMATIC, start=(0, 0))
    finish(session)
    assert not session.controls((0, 0), UNET)["propagate"].enabled
    session.mark_reviewed(5, 0)  # what is right as it stands is no correction
    assert not session.controls((0, 0), UNET)["propagate"].enabled
    session.study.set_slice(3, 2, np.zeros((64, 64), np.uint8), Status.CORRECTED)
    assert session.controls((0, 0), UNET)["propagate"].enabled
    session.propagate(*CHOICE[1:], start=(3, 2))
    run = engines[CHOICE].runs[-1]
    assert run.previous is None
    asked = {(int(frame), int(z)) for frame, z in np.argwhere(~run.annotation.fixed)}
    assert asked == {(2, 2), (4, 2), (3, 1), (3, 3)}  # a quarter of six frames is one
    kept = run.annotation.fixed & (session.study.status == Status.PREDICTED)
    assert (run.annotation.labels[kept] == heart.truth.labels[kept]).all()
    finish(session)
    assert not engines[AUTOMATIC].closed
    assert not session.controls((0, 0), UNET)["propagate"].enabled
    assert (session.study.status == Status.PREDICTED).sum() == 24 - 3  # annotated, reviewed and corrected stay
    session.study.set_slice(1, 0, np.zeros((64, 64), np.uint8), Status.CORRECTED)
    session.propagate(*CHOICE[1:], start=(1, 0))  # the next correction is one of an automatic result too
    asked = engines[CHOICE].runs[-1].annotation
    assert {(int(t), int(z)) for t, z in np.argwhere(~asked.fixed)} == {(0, 0), (2, 0), (1, 1)}


def test_a_slice_that_is_corrected_while_an_automatic_run_goes_on_is_a_correction(session: Session) -> None:
    session.segment(*AUTOMATIC, start=(0, 0))
    finish(session, polls=2)
    session.study.set_slice(5, 2, np.zeros((64, 64), np.uint8), Status.ANNOTATED)
    finish(session)
    assert {(int(t), int(z)) for t, z in np.argwhere(session.study.changed_since_run())} == {(5, 2)}


def test_a_released_slice_of_an_automatic_result_is_found_again(session: Session, engines) -> None:
    session.segment(*AUTOMATIC, start=(0, 0))
    finish(session)
    session.release(0, 1)
    session.propagate(*CHOICE[1:], start=(0, 1))
    assert not engines[CHOICE].runs[-1].annotation.fixed[0, 1]


def test_a_run_is_undone_with_its_memory(session: Session, heart: Phantom) -> None:
    before = session.study.read()
    segment(session)
    session.undo()
    after = session.study.read()
    assert (after.labels == before.labels).all()
    assert (after.status == before.status).all()
    assert not session.study.last_method
    assert not session.controls((0, 0))["undo"].enabled


def test_closing_the_study_cancels_the_run(session: Session, engines) -> None:
    segment(session, polls=1)
    session.close_study()
    assert engines[CHOICE].runs[-1].state is State.CANCELLED
    assert session.poll() == []
    assert not engines[CHOICE].closed


def test_the_results_are_the_librarys_own(session: Session, heart: Phantom) -> None:
    segment(session)
    results = session.results()
    expected = measure(session.study.read(), heart.cine.patient, session.study.cine.times)
    assert results.measures == expected
    session.study.set_phase("es", 2)
    assert session.results().measures.es_frame == 2


def test_frames_that_a_run_has_not_finished_do_not_count(session: Session) -> None:
    segment(session, polls=3)  # 12 slices: frames 0 to 2 and a part of frame 3
    finished = (session.study.status != Status.EMPTY).all(axis=1)
    assert 0 < finished.sum() < 6
    curve = session.results().curves["LV"]
    assert (np.isfinite(curve) == finished).all()


def test_one_annotated_slice_is_no_volume_and_a_stack_drawn_by_hand_is(session: Session, heart: Phantom) -> None:
    assert not np.isfinite(session.results().curves["LV"]).any()
    for frame, z in ((0, 2), (2, 1), (2, 2)):
        session.study.set_slice(frame, z, heart.truth.labels[frame, z], Status.ANNOTATED)
    assert np.flatnonzero(np.isfinite(session.results().curves["LV"])).tolist() == [0, 2]


def test_next_to_check_goes_round_all_predictions_and_leaves_out_the_accepted(session: Session) -> None:
    assert session.next_to_check() is None
    segment(session)
    places = [session.next_to_check() for _ in range(23)]
    assert len(set(places)) == 23
    assert session.next_to_check() == places[0]
    session.mark_reviewed(*places[1])
    assert session.next_to_check() == places[2]


def test_a_slice_starts_from_its_neighbour(session: Session, heart: Phantom) -> None:
    session.copy_neighbour(0, 2)
    assert (session.study.read().labels[0, 2] == heart.truth.labels[0, 1]).all()
    assert session.study.status[0].tolist() == [0, Status.ANNOTATED, Status.ANNOTATED, 0]
    with pytest.raises(CardiacSegError, match="slice 2 are empty"):
        session.copy_neighbour(4, 2)


def test_nothing_here_is_a_persons_word(session: Session) -> None:
    session.mark_empty(0, 3)
    segment(session)
    assert session.study.status[0, 3] == Status.ANNOTATED
    assert not session.study.read().labels[0, 3].any()
    session.mark_empty(2, 1)
    assert session.study.status[2, 1] == Status.CORRECTED


def test_a_released_slice_is_the_engines_again(session: Session, heart: Phantom) -> None:
    segment(session)
    session.mark_empty(2, 1)
    session.release(2, 1)
    assert session.controls((2, 1))["propagate"].enabled is False  # nothing differs from what the last run knew
    segment(session)
    assert (session.study.read().labels[2, 1] == heart.truth.labels[2, 1]).all()


# Buttons


def test_without_a_cine_every_button_says_what_to_do() -> None:
    for control in controls(Situation()).values():
        assert not control.enabled
        assert control.tooltip == "Choose or load a cine first."


def test_every_disabled_button_gives_its_reason_and_every_enabled_one_its_purpose(session: Session) -> None:
    for state in (Situation(cine=True), session.situation((0, 0)), Situation(cine=True, running=True)):
        for control in controls(state).values():
            assert control.text
            assert control.tooltip.endswith(".")


def test_segment_becomes_cancel_while_a_run_goes_on(session: Session) -> None:
    assert session.controls((0, 1))["segment"].text == "Segment"
    segment(session, polls=1)
    control = session.controls((0, 1))["segment"]
    assert (control.text, control.enabled) == ("Cancel", True)
    assert not session.controls((0, 1))["propagate"].enabled
    assert not session.controls((0, 1))["export"].enabled


@pytest.mark.parametrize(
    ("situation", "button", "reason"),
    [
        (Situation(cine=True), "segment", "No slice is annotated"),
        (Situation(cine=True, fixed=True, missing="PyTorch is not installed."), "segment", "PyTorch is not"),
        (Situation(cine=True, fixed=True), "propagate", "press Segment first"),
        (Situation(cine=True, fixed=True, run=True), "propagate", "Nothing was corrected"),
        (Situation(cine=True, automatic=True, missing="No weights."), "segment", "No weights"),
        (Situation(cine=True, run=True, automatic=True, missing_memory="No memory."), "propagate", "No memory"),
        (Situation(cine=True, status=Status.EMPTY), "review", "This slice is empty"),
        (Situation(cine=True, status=Status.PREDICTED), "release", "not fixed by a person"),
        (Situation(cine=True), "copy", "Show a slice"),
        (Situation(cine=True), "undo", "no run to undo"),
        (Situation(cine=True), "next", "Nothing was found yet"),
        (Situation(cine=True), "export", "nothing to export"),
    ],
)
def test_a_disabled_button_tells_why(situation: Situation, button: str, reason: str) -> None:
    control = controls(situation)[button]
    assert not control.enabled
    assert reason in control.tooltip


def test_a_correction_or_an_empty_slice_enables_propagating(session: Session) -> None:
    segment(session)
    assert not session.controls((0, 0))["propagate"].enabled
    session.mark_reviewed(3, 2)
    assert session.controls((0, 0))["propagate"].enabled


def test_texts_are_translated() -> None:
    assert controls(Situation(), str.upper)["segment"].text == "SEGMENT"


def test_what_a_propagated_correction_changed_is_told_in_ml_with_its_frame(session: Session, heart, engines) -> None:
    segment(session)
    known = engines[CHOICE]
    known.truth = Segmentation(heart.truth.labels.copy(), heart.truth.status, heart.truth.affine)
    known.truth.labels[4, 1, :3, :5] = 1
    known.truth.labels[2, 1, :1, :5] = 1
    session.study.set_slice(3, 2, heart.truth.labels[2, 2], Status.CORRECTED)
    session.propagate(*CHOICE[1:], start=(3, 2))
    finish(session)
    ml = 15 * heart.cine.voxel_ml
    ef = session.results().measures.lv_ef_percent
    assert session.log[-1] == (
        f"Done: 22 slices found, 2 changed in 2 frames; LV volume by up to {ml:.1f} ml (frame 4); EF {ef:.1f} %."
    )


def test_a_whole_frame_is_accepted_and_a_persons_slices_stay_what_they_are(session: Session) -> None:
    segment(session)
    session.study.set_slice(0, 3, np.zeros((64, 64), np.uint8), Status.CORRECTED)
    assert session.controls((0, 1))["acceptFrame"].enabled
    session.accept_frame(0)
    assert session.study.status[0].tolist() == [Status.REVIEWED, Status.ANNOTATED, Status.REVIEWED, Status.CORRECTED]
    assert (session.study.status[1:] == Status.PREDICTED).all()
    control = session.controls((0, 1))["acceptFrame"]
    assert (control.enabled, control.tooltip) == (False, "No slice of this frame waits to be reviewed.")


def table_of(session: Session) -> SegmentTable:
    return list(session.segments(session.results().measures))[-1]


def test_the_segments_are_those_of_the_report(session: Session, heart: Phantom) -> None:
    segment(session)
    session.study.facts = (None, 2, None, None, 30.0)
    cine = session.study.cine
    expected = measure_study(session.study.read(), None, cine.times, None, 2, 30.0).segments
    table = table_of(session)
    assert table == expected
    assert session.output(None).measured().segments == expected
    assert table.insertion_from == "given"


def test_only_slices_that_were_edited_are_measured_again(session: Session, monkeypatch) -> None:
    segment(session)
    table_of(session)
    measured = []
    original = wall._measure_slice
    monkeypatch.setattr(wall, "_measure_slice", lambda *a: measured.append(a) or original(*a))
    table_of(session)
    assert measured == []
    ed = session.results().measures.ed_frame
    mask = session.study.read().labels[ed, 2]
    session.study.set_slice(ed, 2, np.roll(mask, 1, axis=0), Status.CORRECTED)
    again = table_of(session)
    assert len(measured) == 1
    assert again == measure_study(session.study.read(), None, session.study.cine.times).segments


def test_the_numbers_of_the_segment_map_are_those_of_the_shown_frame(session: Session) -> None:
    segment(session)
    table = table_of(session)
    everything = segment_labels(session.study.read(), table)
    assert everything[3].any()
    assert (session.segment_map(table, 3) == everything[3]).all()


def test_the_weights_of_all_that_was_found_are_known_and_a_whole_run_forgets_the_others(
    session: Session, monkeypatch
) -> None:
    cards = {name: WeightsCard(name, "cstm", "small", ("ACDC",), "CC0", "train", 1) for name in ("small", "other")}
    monkeypatch.setattr("CardiacSegLib.session.find_weights", lambda name, network: cards[name])
    segment(session)
    assert session.study.weights == (cards["small"],)
    session.study.set_slice(3, 2, np.zeros((64, 64), np.uint8), Status.CORRECTED)
    session.propagate("other", "auto", start=(3, 2))
    finish(session)
    assert session.study.weights == (cards["small"], cards["other"])
    session.undo()
    assert session.study.weights == (cards["small"],)
    session.segment("cstm", "other", "auto", start=(0, 0))
    finish(session)
    assert session.study.weights == (cards["other"],)


def test_without_its_files_a_dicom_cine_is_written_as_one_that_is_none(session: Session, heart: Phantom) -> None:
    rows = tuple(tuple(f"1.2.{t}.{z}" for z in range(4)) for t in range(6))
    session.study.cine = replace(session.study.cine, sources=rows)
    assert session.output(Path("somewhere")).cine.sources == rows
    assert session.output(None).cine.sources == ()


def test_the_dicom_box_tells_why_it_cannot_be_ticked(session: Session) -> None:
    segment(session)
    control = session.controls((0, 0))["dicom"]
    assert not control.enabled
    assert "not read from DICOM" in control.tooltip
    rows = tuple(tuple(f"1.2.{t}.{z}" for z in range(4)) for t in range(6))
    session.study.cine = replace(session.study.cine, sources=rows)
    assert session.controls((0, 0), missing_dicom="No package.")["dicom"].tooltip == "No package."
    assert session.controls((0, 0))["dicom"].enabled
