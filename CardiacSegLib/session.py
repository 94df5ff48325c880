"""One reader's work on one study: runs of the worker, corrections, undo, and what each button may do now.

Knows neither Qt nor MRML: the study is anything that behaves like `mrml.Study`, the engine like `worker.WorkerEngine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .anatomy import LV
from .atomic import complete_folder
from .choices import MEMORY, Choices
from .cine import Segmentation, Status
from .controls import Control, Situation, controls
from .corrections import memory_for
from .errors import CardiacSegError
from .measures import Measures, measure
from .measures.aha import SegmentTable, segment_labels
from .measures.study import study_segments
from .measures.wall import Memo, measure_slice
from .outputs import PAGE, Output, write_study_report
from .review import review_order
from .second_view import ALONE, SecondView, second_view
from .weights import WeightsCard, find_weights
from .writers.results import known_curves

Place = tuple[int, int]
Translate = Callable[[str], str]

_MEMORY_CHOSEN = Choices({}, {})
_UNDO_DEPTH = 3
"""Runs that can be undone; a snapshot of a large cine takes some ten MB."""


@dataclass(frozen=True)
class Results:
    """The numbers of a study as it stands: measures, volumes (T,) in ml by structure, NaN where nothing is known.

    second: what another long-axis view adds to them.
    """

    measures: Measures
    curves: dict[str, np.ndarray]
    times: np.ndarray | None
    second: SecondView = ALONE


class Session:
    """The state behind the panel.

    engine_for: makes a WorkerEngine for (name, weights, device); _: translates texts. Call `poll` while `running`.
    """

    def __init__(self, engine_for: Callable[[str, str, str], Any], _: Translate = str) -> None:
        self.study: Any = None
        self.second: Any = None
        self.log: list[str] = []
        self._engine_for, self._ = engine_for, _
        self._engines: dict[bool, tuple[tuple[str, str, str], Any]] = {}
        self._engine: Any = None
        self._run: Any = None
        self._method, self._whole, self._card, self._wrote = "", False, None, False
        self._began_with: Segmentation | None = None
        self._before: Any = None
        self._volumes_before: np.ndarray | None = None
        self._undo: list[Any] = []
        self._visited: list[Place] = []
        self._changed_at: tuple[int, bool] = (-1, False)
        self._walls: Memo = {}
        self.report = ""

    # The study

    def open(self, study: Any) -> None:
        """Work on a study; what went on with another one ends."""
        self.close_study()
        self.study = study

    def close_study(self) -> None:
        """Let go of the study: a run is cancelled; the worker stays warm."""
        if self.running:
            self._run.cancel()
        self.measure_with(None)
        if self.study is not None:
            self.study.close()
        self.study = self._run = self._began_with = self._before = None
        self._undo, self._visited, self._changed_at, self._walls, self.report = [], [], (-1, False), {}, ""

    def measure_with(self, second: Any) -> None:
        """Take another long-axis study into the numbers, too, or none; what was taken before is let go of."""
        if self.second is not None:
            self.second.close()
        self.second = second

    def close(self) -> None:
        """End everything, the worker's process too."""
        self.close_study()
        for _, engine in self._engines.values():
            engine.close()
        self._engines, self._engine = {}, None

    # Runs

    @property
    def running(self) -> bool:
        """Whether slices are being found."""
        return self._run is not None

    @property
    def warming(self) -> bool:
        """Whether a worker is loading its network; `device_name` follows."""
        return self._engine is not None and self._engine.alive and not self._engine.device_name

    @property
    def device_name(self) -> str:
        """What the worker computes on, in words; empty until it is known."""
        return self._engine.device_name if self._engine is not None else ""

    def warm(self, name: str, weights: str, device: str) -> None:
        """Start the worker in advance; what is wrong with it is said when a run is asked for."""
        if not self.running:
            with suppress(CardiacSegError):
                self._engine_of(name, weights, device).warm()

    def segment(self, name: str, weights: str, device: str, start: Place) -> None:
        """Begin to find every slice that is not a person's, the ones near start (frame, slice) first."""
        self._begin((name, weights, device), start, name)

    def propagate(self, weights: str, device: str, start: Place) -> None:
        """Begin to find again what the corrections since the last run can change, and what is still empty.

        It is the memory network that does it, whichever method found the slices: after a run of its own from the
        annotation of that run, after an automatic one from all that stands (`corrections`).
        """
        self._begin((MEMORY, weights, device), start, self.study.last_method, again=True)

    def cancel(self) -> None:
        """Stop the run; what it has found stays."""
        if self.running:
            self._run.cancel()

    def poll(self) -> list[Place]:
        """Take what the worker has found into the study; returns the slices written. Never waits."""
        if not self.running:
            return []
        written = self.study.apply(self._run.poll())
        if written and not self._wrote:
            self._begin_to_write()
        state = self._run.state.name
        if state in ("DONE", "CANCELLED", "FAILED"):
            self._finish(state)
        return written

    def progress(self) -> tuple[int, int, str]:
        """Found, to be found (0 while unknown), and what goes on in words."""
        _ = self._
        if not self.running:
            return 0, 1, ""
        state, found, total = self._run.state.name, self._run.found, self._run.total or 0
        if state == "STARTING":
            return 0, 0, _("Starting the worker ...")
        if state == "LOADING" or not total:
            return 0, 0, _("Loading the network ...")
        left = self._run.seconds_left
        text = _("{found} of {total} slices").format(found=found, total=total)
        if left is not None:
            text += ", " + _("{seconds:.0f} s left").format(seconds=max(left, 1))
        return found, total, text

    def undo(self) -> None:
        """Take back the last run, with what was edited since it began."""
        self.study.restore(self._undo.pop())
        self._visited = []
        self._tell(self._("The last run was undone."))

    # Corrections

    def next_to_check(self) -> Place | None:
        """The prediction that deserves a look first and was not shown yet; begins anew when all were shown."""
        order = review_order(self.study.read(), self.study.confidence)
        if not order:
            return None
        if all(place in self._visited for place in order):
            self._visited = []
        place = next(place for place in order if place not in self._visited)
        self._visited.append(place)
        return place

    def copy_neighbour(self, frame: int, z: int) -> None:
        """Start a slice from the mask beside it in the same frame: the one before, or after where that is empty."""
        self.study.notice_edits()
        labels = self.study.read().labels[frame]
        sources = [n for n in (z - 1, z + 1) if 0 <= n < len(labels) and labels[n].any()]
        if not sources:
            raise CardiacSegError(
                self._("The slices beside slice {slice} are empty; annotate one of them first.").format(slice=z)
            )
        old = Status(self.study.status[frame, z])
        new = Status.ANNOTATED if old in (Status.EMPTY, Status.ANNOTATED) else Status.CORRECTED
        self.study.set_slice(frame, z, labels[sources[0]], new)

    def mark_empty(self, frame: int, z: int) -> None:
        """Say that nothing is in this slice; the engine learns from that too."""
        self.study.notice_edits()
        nothing = np.zeros(self.study.cine.shape[2:], np.uint8)
        old = Status(self.study.status[frame, z])
        new = Status.ANNOTATED if old in (Status.EMPTY, Status.ANNOTATED) else Status.CORRECTED
        self.study.set_slice(frame, z, nothing, new)

    def mark_reviewed(self, frame: int, z: int) -> None:
        """Accept a slice's mask as it is."""
        self.study.notice_edits()
        self.study.set_status(frame, z, Status.REVIEWED)

    def accept_frame(self, frame: int) -> None:
        """Accept the masks of all slices of a frame that an engine found; a person's own stay what they are."""
        self.study.notice_edits()
        for z in np.flatnonzero(self.study.status[frame] == Status.PREDICTED):
            self.study.set_status(frame, int(z), Status.REVIEWED)

    def release(self, frame: int, z: int) -> None:
        """Hand a slice back to the engine: the next run may change it."""
        self.study.notice_edits()
        self.study.set_status(frame, z, Status.PREDICTED)

    # Numbers

    def results(self) -> Results:
        """Measure the study as it stands; frames that a run has not finished do not count."""
        study = self.study
        study.notice_edits()
        segmentation = study.read()
        times = study.cine.times if study.cine.times_known else None
        phases, second = (study.phase("ed"), study.phase("es")), self._second_view()
        measures = measure(segmentation, study.patient, times, *phases, second.segmentation, second.phases)
        return Results(measures, known_curves(segmentation, second.segmentation), times, second)

    def segments(self, measures: Measures) -> Iterator[SegmentTable | None]:
        """The AHA segments of the study as it stands: None after each slice, so that others can go on, then the table.

        Slices whose masks are as they were are not measured again.
        """
        segmentation = self.study.read()
        for frame in {measures.ed_frame, measures.es_frame} - {None}:
            for z in range(segmentation.labels.shape[1]):
                measure_slice(segmentation, frame, z, self._walls)
                yield None
        yield study_segments(segmentation, measures, self.study.insertion_deg, self._walls)

    def segment_map(self, table: SegmentTable, frame: int) -> np.ndarray:
        """The numbers of the AHA segments in a frame, (Z, Y, X) uint8."""
        labels = self.study.read_frame(frame)[None]
        part = Segmentation(labels, np.zeros(labels.shape[:2], np.uint8), self.study.cine.affine)
        return segment_labels(part, table)[0]

    # What is written

    def output(self, files: Path | Sequence[Path] | None) -> Output:
        """The study as it stands, to be written. files: of a DICOM cine; without them it counts as none."""
        study = self.study
        study.notice_edits()
        second = self._second_view()
        cine = replace(study.cine, patient=study.patient, sources=study.cine.sources if files else ())
        phases = study.phase("ed"), study.phase("es")
        return Output(
            cine, study.read(), files or (), study.weights, *phases, study.insertion_deg,
            second=second.segmentation, second_phases=second.phases,
        )  # fmt: skip

    def write_report(self, folder: str | Path, files: Path | Sequence[Path] | None, with_patient: bool) -> None:
        """Write the report into a folder, as `cardiacseg report` does, all of it or nothing."""
        with complete_folder(folder) as partial:
            write_study_report(partial, self.output(files), with_patient)
        self.report = str(Path(folder) / PAGE)
        self._tell(self._("The report was written: {file}").format(file=self.report))

    # What can be done

    def controls(self, place: Place, chosen: Choices = _MEMORY_CHOSEN, missing_dicom: str = "") -> dict[str, Control]:
        """Button -> what it shows, for the slice (frame, slice) in view, the chosen method, and what DICOM lacks."""
        return controls(self.situation(place, chosen, missing_dicom), self._)

    def situation(self, place: Place, chosen: Choices = _MEMORY_CHOSEN, missing_dicom: str = "") -> Situation:
        """Everything that decides about the buttons."""
        if self.study is None:
            return Situation()
        status = self.study.status
        return Situation(
            cine=True,
            running=self.running,
            missing=chosen.missing,
            fixed=bool((status >= Status.ANNOTATED).any()),
            status=Status(status[place]) if self._inside(place) else None,
            found=bool((status == Status.PREDICTED).any()),
            empty=bool((status == Status.EMPTY).any()),
            run=bool(self.study.last_method),
            changed=self._changed(),
            undo=bool(self._undo),
            automatic=chosen.method != MEMORY,
            missing_memory=chosen.missing_memory,
            found_in_frame=bool((status[place[0]] == Status.PREDICTED).any()),
            dicom=bool(self.study.cine.sources),
            missing_dicom=missing_dicom,
            report=bool(self.report),
        )

    # Inside

    def _second_view(self) -> SecondView:
        return ALONE if self.second is None else second_view(self.study, self.second, self._)

    def _inside(self, place: Place) -> bool:
        return all(0 <= index < size for index, size in zip(place, self.study.status.shape, strict=True))

    def _engine_of(self, *key: str) -> Any:
        """The engine of a name, weights and device. An automatic one and the memory network live side by side."""
        role = key[0] == MEMORY
        known, engine = self._engines.get(role, (None, None))
        if known != key:
            if engine is not None:
                engine.close()
            engine = self._engine_for(*key)
            self._engines[role] = key, engine
        self._engine = engine
        return engine

    def _begin(self, key: tuple[str, str, str], start: Place, method: str, again: bool = False) -> None:
        if self.running:
            raise CardiacSegError(self._("A run is going on; cancel it first."))
        engine = self._engine_of(*key)
        self._before, self._method, self._card = self.study.snapshot(), method, _card(key)
        self._whole, self._wrote = not again, False
        self._began_with = annotation = self.study.read()
        self._volumes_before = self._lv_volumes() if self.study.last_method else None
        previous = None
        if again and method == MEMORY:
            previous = self.study.last_run
        elif again:
            annotation = memory_for(annotation, self.study.changed_since_run())
        self._run = engine.begin(self.study.cine, annotation, start=start, previous=previous)

    def _finish(self, state: str) -> None:
        """The run is over: remember what it started from, and say what it has changed."""
        run, self._run = self._run, None
        if run.found:
            self._undo = [*self._undo[1 - _UNDO_DEPTH :], self._before]
        if state == "DONE":
            self.study.remember_run(self._began_with, self._method)
            if run.found and self._whole:  # nothing is left of what others found
                self.study.weights = tuple(filter(None, (self._card,)))
        self._visited = []
        self._tell(self._summary(state, run.found))
        self._before = self._began_with = None
        if state == "FAILED":
            raise CardiacSegError(run.error)

    def _begin_to_write(self) -> None:
        """Note with the masks what finds them, since the scene may be saved before the run is over."""
        self._wrote = True
        self.study.begin_run(self._method)
        others = (card for card in self.study.weights if card != self._card)
        self.study.weights = (*others, *filter(None, (self._card,)))

    def _summary(self, state: str, found: int) -> str:
        """What a run did, in one line with numbers."""
        _ = self._
        now, before = self.study.read(), self._began_with
        changed = (now.labels != before.labels).any(axis=(2, 3)) & ~now.fixed
        words = {"DONE": _("Done"), "CANCELLED": _("Cancelled"), "FAILED": _("Stopped by a failure")}[state]
        text = _("{what}: {found} slices found, {slices} changed in {frames} frames").format(
            what=words, found=found, slices=int(changed.sum()), frames=int(changed.any(axis=1).sum())
        )
        volumes = self._lv_volumes()
        if volumes is not None and self._volumes_before is not None:
            difference = np.abs(volumes - self._volumes_before)
            if np.isfinite(difference).any():
                frame = int(np.nanargmax(difference))
                text += "; " + _("LV volume by up to {ml:.1f} ml (frame {frame})").format(
                    ml=difference[frame], frame=frame
                )
        measures = self.results().measures
        if measures.lv_ef_area_length_percent is not None:
            ef, method = measures.lv_ef_area_length_percent, measures.volume_method
            return text + "; " + _("EF {ef:.1f} % by {method}.").format(ef=ef, method=method)
        ef = measures.lv_ef_percent
        return text + ("." if ef is None else "; " + _("EF {ef:.1f} %.").format(ef=ef))

    def _lv_volumes(self) -> np.ndarray | None:
        name = next((s.name for s in self.study.structures if s.value == LV.value), None)
        return known_curves(self.study.read()).get(name)

    def _changed(self) -> bool:
        """Whether a person fixed, released or changed slices since the last complete run."""
        version, changed = self._changed_at
        if not self.study.last_method:
            return False
        if version != self.study.version:
            if self.study.last_method == MEMORY:
                last, now = self.study.last_run, self.study.read()
                changed = (last.fixed != now.fixed).any() or (last.labels[now.fixed] != now.labels[now.fixed]).any()
            else:
                changed = self.study.changed_since_run().any()
            self._changed_at = (self.study.version, bool(changed))
        return bool(changed)

    def _tell(self, sentence: str) -> None:
        self.log.append(sentence)


def _card(key: tuple[str, str, str]) -> WeightsCard | None:
    """The card of an engine's weights, without the place of its file; None where it has none."""
    with suppress(CardiacSegError):
        return replace(find_weights(key[1] or None, key[0]), path=None)
    return None
