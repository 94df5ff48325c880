"""The section Results: numbers, table and curve within a second of an edit, the AHA segments when the reader pauses."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CardiacSegLib import mrml, words
from CardiacSegLib.writers.bullseye import PANELS

from .pictures import BullseyePicture, CurvePicture
from .second_view import SecondView

NUMBERS_MS = 300
PAUSE_MS = 900
"""So long after the last edit the walls are measured, a slice at a time between other events."""
CAP = 17


class ResultsSection:
    """What is measured in the study; the panel says when something has changed."""

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui, self.session = panel, panel.ui, panel.session
        self.curve, self.bullseye, self.views = CurvePicture(), BullseyePicture(), SecondView(panel)
        self.table = self._results = self._job = self._overlay = None
        for frame, picture in ((self.ui.curveFrame, self.curve), (self.ui.bullseyeFrame, self.bullseye)):
            layout = qt.QVBoxLayout(frame)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.addWidget(picture)
        for key, title, _scale, _style in PANELS:
            self.ui.bullseyeCombo.addItem(_(title), key)
        self._timers = {
            "numbers": self._timer(NUMBERS_MS, self.showNumbers),
            "pause": self._timer(PAUSE_MS, self._measureSegments),
            "step": self._timer(0, self._step),
        }
        self._facts = (self.ui.edSpin, self.ui.esSpin, self.ui.heightSpin, self.ui.weightSpin, self.ui.insertionSpin)
        for spin, kind in zip(self._facts, ("int", "int", "double", "double", "int"), strict=True):
            spin.connect(f"valueChanged({kind})", self.onFacts)
        self.ui.bullseyeCombo.connect("currentIndexChanged(int)", self._showBullseye)
        self.ui.segmentsCheckBox.connect("toggled(bool)", self.showOverlay)
        self.clear()

    def _timer(self, milliseconds: int, slot: Any) -> Any:
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", slot)
        return timer

    @property
    def busy(self) -> bool:
        """Whether numbers are still to follow the last edit."""
        return self._timers["numbers"].isActive()

    @property
    def measuring(self) -> bool:
        """Whether the segments are still to follow the last edit."""
        return self._job is not None or self._timers["pause"].isActive()

    def open(self, study: Any) -> None:
        """Show what a person has told of this study."""
        for spin in self._facts[:2]:
            spin.setMaximum(study.cine.shape[0] - 1)
        for spin, value in zip(self._facts, study.facts, strict=True):
            blocked = spin.blockSignals(True)
            spin.setValue(spin.minimum if value is None else value)
            spin.blockSignals(blocked)
        self.views.refresh()

    def changed(self) -> None:
        """Something was edited: numbers follow soon, several edits in a row together; the walls when it is quiet."""
        if not self.busy:
            self._timers["numbers"].start()
        self._job = None
        self._timers["step"].stop()
        self._timers["pause"].start()

    def clear(self) -> None:
        """There is no study."""
        for timer in self._timers.values():
            timer.stop()
        self._removeOverlay()
        self.views.clear()
        self._job = self._results = self.table = None
        self.ui.resultsTable.setMRMLTableNode(None)
        self._showText("")
        self._showSegments()

    def onFacts(self, value: float = 0.0) -> None:
        """ED and ES, height and weight, insertion as the user fixed them; the lowest value means none."""
        if self.session.study is not None:
            self.session.study.facts = [None if spin.value == spin.minimum else spin.value for spin in self._facts]
            self.panel.onEdited()

    def showNumbers(self) -> None:
        """Numbers, tables and curve follow the masks."""
        self.views.refresh()
        study, results = self.session.study, self.session.results()
        self.views.say(results.second.remark)
        self.panel.showPlace()
        if not study.status.any() and mrml.result_node(study, "measures") is None:
            return
        self._results = results
        mrml.update_results(study, results.measures, results.curves, results.times)
        self.ui.resultsTable.setMRMLTableNode(mrml.result_node(study, "measures"))
        mrml.show_curve(slicer.app.applicationLogic(), study)
        self._showText(words.describe_measures(results.measures, _))
        self.curve.showResults(results, study.structures)
        for spin, frame in ((self.ui.edSpin, results.measures.ed_frame), (self.ui.esSpin, results.measures.es_frame)):
            spin.setSpecialValueText(_("found: {frame}").format(frame="-" if frame is None else frame))

    def _showText(self, text: str) -> None:
        self.ui.efLabel.setText(text)
        for widget in (self.ui.efLabel, self.ui.resultsTable, self.ui.curveFrame):
            widget.setVisible(bool(text))

    # The segments

    def _measureSegments(self) -> None:
        """The reader pauses: measure, unless a run goes on, after which there is another pause."""
        if self._results is None or self.session.running:
            return
        self._job = self.session.segments(self._results.measures)
        self._timers["step"].start()

    def _step(self) -> None:
        """Measure the wall in one slice, and let the application work before the next."""
        table = next(self._job)
        if table is None:
            self._timers["step"].start()
            return
        self._job, self.table = None, table
        self._showSegments()
        self.showOverlay()

    def _showSegments(self) -> None:
        table, ui = self.table, self.ui
        for widget in (ui.bullseyeCombo, ui.bullseyeFrame, ui.insertionLabel, ui.insertionSpin, ui.segmentsCheckBox):
            widget.setVisible(table is not None)
        known = table is not None and table.insertion_deg is not None
        self.panel.write(ui.segmentsLabel, " ".join(table.remarks) if table is not None else "")
        ui.segmentsCheckBox.setEnabled(known)
        text = _("found: {degrees:.0f}\N{DEGREE SIGN}").format(degrees=table.insertion_deg % 360) if known else ""
        ui.insertionSpin.setSpecialValueText(text or _("not found"))
        self._showBullseye()

    def _showBullseye(self, index: int = 0) -> None:
        key, _title, scale, style = next(one for one in PANELS if one[0] == self.ui.bullseyeCombo.currentData)
        segments = self.table.segments if self.table is not None else ()
        rows = [(one.number, getattr(one, key)) for one in segments if one.number != CAP]
        self.bullseye.showValues(rows, scale, style)

    def showOverlay(self, checked: bool = False) -> None:
        """Lay the segments of the shown frame over the slices, or take them away."""
        study = self.session.study
        wanted = self.ui.segmentsCheckBox.checked and self.table is not None and self.table.insertion_deg is not None
        if study is None or not wanted or slicer.app.layoutManager() is None:
            self._removeOverlay()
            return
        if self._overlay is None:
            composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
            self._overlay = mrml.SegmentOverlay(slicer.mrmlScene, composite)
        self._overlay.show(self.session.segment_map(self.table, study.frame), study.cine.affine)
        self._drawAgain()

    def _removeOverlay(self) -> None:
        if self._overlay is not None:
            self._overlay.remove()
            self._overlay = None
            self._drawAgain()

    def _drawAgain(self) -> None:
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().sliceWidget("Red").sliceView().scheduleRender()
