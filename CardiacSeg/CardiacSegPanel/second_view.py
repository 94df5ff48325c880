"""The choice of a second long-axis view, for volumes by area and length of both."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from CardiacSegLib import mrml
from CardiacSegLib.errors import CardiacSegError


class SecondView:
    """Offers the other long-axis views of the scene where the shown one is long-axis, and keeps the chosen one open."""

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui, self.session = panel, panel.ui, panel.session
        self._problem = ""
        self.ui.secondCombo.connect("currentIndexChanged(int)", self.onChosen)
        self.clear()

    def clear(self) -> None:
        """There is no study."""
        self._problem = ""
        for widget in (self.ui.secondLabel, self.ui.secondCombo, self.ui.secondRemarkLabel):
            widget.setVisible(False)

    def onChosen(self, index: int = 0) -> None:
        """Measure with the chosen view, or with none."""
        mrml.choose_view(self.session.study, self.ui.secondCombo.currentData)
        self._open()
        self.panel.onEdited()

    def onNodeRemoved(self, node: Any) -> None:
        """Let go of the view whose node goes; if its masks are still there then, it comes back with the numbers."""
        second = self.session.second
        held = second is not None and any(node is own for own in second.nodes)
        if held:
            self.session.measure_with(None)
        if held or node.IsA("vtkMRMLSequenceNode"):
            self.panel.onEdited()

    def refresh(self) -> None:
        """Follow the scene: which views there are, and whether the chosen one is open."""
        study, second = self.session.study, self.session.second
        views, chosen = mrml.other_views(study), mrml.chosen_view(study)
        self.panel.offer(self.ui.secondCombo, {"": _("none"), **views}, chosen)
        for widget in (self.ui.secondLabel, self.ui.secondCombo):
            widget.setVisible(bool(views))
        if chosen != (second.masks.GetID() if second is not None else ""):
            self._open()

    def say(self, remark: str) -> None:
        """Say why the view does not count, or what to mind."""
        self.panel.write(self.ui.secondRemarkLabel, self._problem or remark)

    def _open(self) -> None:
        second, self._problem = None, ""
        try:
            second = mrml.open_chosen_view(self.session.study)
        except CardiacSegError as error:
            self._problem = str(error)
        self.session.measure_with(second)
        if second is not None:
            second.on_edit = self.panel.onEdited
