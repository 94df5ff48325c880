"""One state machine for all buttons of the panel: text, whether it can be pressed, and the reason as tooltip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .cine import Status


@dataclass(frozen=True)
class Control:
    """What a button shows: its text, whether it can be pressed, and what it does or why it cannot be pressed."""

    text: str
    enabled: bool
    tooltip: str


@dataclass(frozen=True)
class Situation:
    """Everything that decides about the buttons.

    cine: one is open. running: slices are being found. missing: why nothing can be found, e.g. no PyTorch.
    fixed: some slice is a person's. status: of the slice in view. found, empty: some slice was found, is empty. run:
    there was a complete run. changed: a person has changed something since it. undo: there is a run to undo. automatic:
    the chosen method needs no annotation. missing_memory: why the memory network cannot propagate, if so.
    found_in_frame: some slice of the frame in view was found. dicom: the cine is DICOM; missing_dicom: why none can be
    written, if so. report: one was written.
    """

    cine: bool = False
    running: bool = False
    missing: str = ""
    fixed: bool = False
    status: Status | None = None
    found: bool = False
    empty: bool = False
    run: bool = False
    changed: bool = False
    undo: bool = False
    automatic: bool = False
    missing_memory: str = ""
    found_in_frame: bool = False
    dicom: bool = False
    missing_dicom: str = ""
    report: bool = False


def controls(now: Situation, _: Callable[[str], str] = str) -> dict[str, Control]:
    """Button -> what it shows; _ translates the texts."""
    return {
        "segment": _segment(now, _),
        "propagate": _propagate(now, _),
        "undo": _with_reasons(
            _("Undo run"),
            _("Take back the last run, with what was edited since it began."),
            *_needs_cine(now, _),
            (now.running, _("A run is going on; cancel it first.")),
            (not now.undo, _("There is no run to undo.")),
        ),
        "next": _with_reasons(
            _("Next to check"),
            _("Go to the prediction that deserves a look first (Shift+N)."),
            *_needs_cine(now, _),
            (not now.found, _("Nothing was found yet; press Segment first.")),
        ),
        "review": _with_reasons(
            _("Accept slice"),
            _("Mark this slice's mask as reviewed; no run will change it (Shift+A)."),
            *_needs_slice(now, _),
            (now.status is Status.EMPTY, _("This slice is empty; find or annotate it first.")),
            (now.status is Status.REVIEWED, _("This slice is reviewed already.")),
        ),
        "release": _with_reasons(
            _("Release slice"),
            _("Hand this slice back: the next run may change its mask."),
            *_needs_slice(now, _),
            (now.status in (Status.EMPTY, Status.PREDICTED), _("This slice is not fixed by a person.")),
        ),
        "copy": _with_reasons(
            _("Copy previous slice"),
            _("Start this slice from the mask of the slice beside it in the same frame (Shift+C)."),
            *_needs_slice(now, _),
        ),
        "nothing": _with_reasons(
            _("Nothing here"),
            _(
                "Say that no structure is in this slice, as above the base or below the apex; its mask is cleared "
                "(Shift+E)."
            ),
            *_needs_slice(now, _),
        ),
        "acceptFrame": _with_reasons(
            _("Accept frame"),
            _("Mark all slices of this frame that were found as reviewed (Shift+F)."),
            *_needs_cine(now, _),
            (not now.found_in_frame, _("No slice of this frame waits to be reviewed.")),
        ),
        **_outputs(now, _),
    }


def _outputs(now: Situation, _: Callable[[str], str]) -> dict[str, Control]:
    needs_masks = (
        *_needs_cine(now, _),
        (now.running, _("A run is going on; wait for it or cancel it.")),
        (not now.fixed and not now.found, _("There is nothing to export yet; annotate a slice first.")),
    )
    return {
        "export": _with_reasons(
            _("Export"), _("Write the chosen files into the folder, all of them or none."), *needs_masks
        ),
        "report": _with_reasons(
            _("Report..."),
            _("Choose a folder for the report: a page and a PDF to sign, and measures.json with all their numbers."),
            *needs_masks,
        ),
        "openReport": _with_reasons(
            _("Open page"),
            _("Show the page of the last report in the browser."),
            *_needs_cine(now, _),
            (not now.report, _("No report was written yet.")),
        ),
        "dicom": _with_reasons(
            _("DICOM SEG and SR (.dcm)"),
            _("A segmentation for each frame, and the measures as a structured report."),
            *_needs_cine(now, _),
            (not now.dicom, _("This cine was not read from DICOM, and a DICOM mask must name the images it lies on.")),
            (bool(now.missing_dicom), now.missing_dicom),
        ),
    }


def _segment(now: Situation, _: Callable[[str], str]) -> Control:
    if now.running:
        return Control(_("Cancel"), True, _("Stop; the slices found so far stay."))
    return _with_reasons(
        _("Segment"),
        _("Find all slices of all frames that are not annotated, corrected or reviewed."),
        *_needs_cine(now, _),
        (bool(now.missing), now.missing),
        (
            not now.automatic and not now.fixed,
            _("No slice is annotated; paint the structures into one mid-ventricular slice first."),
        ),
    )


def _propagate(now: Situation, _: Callable[[str], str]) -> Control:
    return _with_reasons(
        _("Propagate the correction"),
        _("The memory network finds again what the corrections since the last run can change."),
        *_needs_cine(now, _),
        (now.running, _("A run is going on; wait for it or cancel it.")),
        (bool(now.missing_memory), now.missing_memory),
        (not now.run, _("Nothing was found yet; press Segment first.")),
        (not now.changed and not now.empty, _("Nothing was corrected since the last run.")),
    )


def _needs_cine(now: Situation, _: Callable[[str], str]) -> list[tuple[bool, str]]:
    return [(not now.cine, _("Choose or load a cine first."))]


def _needs_slice(now: Situation, _: Callable[[str], str]) -> list[tuple[bool, str]]:
    return [*_needs_cine(now, _), (now.status is None, _("Show a slice of the cine first."))]


def _with_reasons(text: str, tooltip: str, *reasons: tuple[bool, str]) -> Control:
    """A button that can be pressed unless one of the reasons holds; the first that does is the tooltip."""
    reason = next((sentence for holds, sentence in reasons if holds), None)
    return Control(text, reason is None, reason or tooltip)
