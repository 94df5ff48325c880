"""Whether another long-axis study can be measured together with the one that is shown, and why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .cine import Segmentation, Status
from .errors import CardiacSegError
from .measures import measure
from .measures.volumes import Phases

Translate = Callable[[str], str]


@dataclass(frozen=True)
class SecondView:
    """segmentation, phases: as second and second_phases in `measure`; None where the shown view is measured alone.

    remark: why it is, or what nobody but the reader can tell of the two views; empty where there is nothing to say.
    """

    segmentation: Segmentation | None = None
    phases: Phases = (None, None)
    remark: str = ""


ALONE = SecondView()


def second_view(first: Any, second: Any, _: Translate = str) -> SecondView:
    """What a second study adds to the first (both behave like `mrml.Study`).

    It never raises: two views that do not belong together leave the first one alone, and the remark says why.
    """
    second.notice_edits()
    masks, phases = second.read(), (second.phase("ed"), second.phase("es"))
    try:
        _check(first, second, _)
        measure(first.read(), second=masks, second_phases=phases)
    except CardiacSegError as error:
        return SecondView(remark=_("{reason} Measured is this view alone.").format(reason=error))
    remark = ""
    if not first.study_uid or not second.study_uid:
        remark = _("Nothing in the files tells whether both views are of one patient; make sure that they are.")
    return SecondView(masks, phases, remark)


def _check(first: Any, second: Any, _: Translate) -> None:
    """Raise CardiacSegError unless both studies are of one examination, alike in frames, and complete."""
    one, two = first.cine.name, second.cine.name
    if first.study_uid and second.study_uid and first.study_uid != second.study_uid:
        raise CardiacSegError(_("{two} is of another study than {one}.").format(one=one, two=two))
    frames = first.cine.shape[0], second.cine.shape[0]
    if frames[0] != frames[1]:
        text = _("{one} has {first} frames and {two} has {second}, so they cannot be followed together.")
        raise CardiacSegError(text.format(one=one, two=two, first=frames[0], second=frames[1]))
    for study in (first, second):
        status = study.status
        empty = int((status == Status.EMPTY).any(axis=1).sum())
        if not status.any():
            raise CardiacSegError(_("{name} is not segmented yet.").format(name=study.cine.name))
        if empty and (status == Status.PREDICTED).any():
            text = _("{name} is not finished: {empty} of its {frames} frames are not segmented.")
            raise CardiacSegError(text.format(name=study.cine.name, empty=empty, frames=len(status)))
