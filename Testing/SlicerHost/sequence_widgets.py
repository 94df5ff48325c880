"""Stand-ins for the widgets that step and play a sequence browser node."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property

from .ctk_widgets import value_property
from .mrml_widgets import qMRMLWidget


class _BrowserWidget(qMRMLWidget):
    """A widget that shows a sequence browser node."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._browser: Any = None

    def setMRMLSequenceBrowserNode(self, node: Any) -> None:
        if node is self._browser:
            return
        self._unobserve()
        self._browser = node
        if node is not None:
            self._observe(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self._update())
        self._update()

    def _update(self) -> None:
        raise NotImplementedError


class qMRMLSequenceBrowserSeekWidget(_BrowserWidget):
    """A slider over the items of a sequence, with the value of the item."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._label = QtWidgets.QLabel()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._label)
        self._slider.valueChanged.connect(self.setSelectedItemNumber)
        self._update()

    def slider(self) -> QtWidgets.QSlider:
        return self._slider

    def setSelectedItemNumber(self, number: int) -> None:
        if self._browser is not None and 0 <= number < self._browser.GetNumberOfItems():
            self._browser.SetSelectedItemNumber(number)

    def _update(self) -> None:
        count = self._browser.GetNumberOfItems() if self._browser is not None else 0
        self.enabled = count > 0
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, max(count - 1, 0))
        if count:
            self._slider.setValue(max(self._browser.GetSelectedItemNumber(), 0))
            unit = self._browser.GetMasterSequenceNode().GetIndexUnit() or ""
            self._label.text = f"{self._browser.GetFormattedIndexValue(self._browser.GetSelectedItemNumber())}{unit}"
        self._slider.blockSignals(blocked)


class qMRMLSequenceBrowserPlayWidget(_BrowserWidget):
    """First, previous, play, next, last; the frame rate; loop."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._recording = False
        self._shortcuts: dict[str, QtGui.QShortcut] = {}
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        style = self.style()
        icons = QtWidgets.QStyle
        buttons = [
            ("_first", icons.SP_MediaSkipBackward, self.onVcrFirst),
            ("_previous", icons.SP_MediaSeekBackward, self.onVcrPrevious),
            ("_play", icons.SP_MediaPlay, None),
            ("_next", icons.SP_MediaSeekForward, self.onVcrNext),
            ("_last", icons.SP_MediaSkipForward, self.onVcrLast),
        ]
        for name, icon, slot in buttons:
            button = QtWidgets.QPushButton()
            button.icon = style.standardIcon(icon)
            layout.addWidget(button)
            setattr(self, name, button)
            if slot:
                button.clicked.connect(slot)
        self._play.checkable = True
        self._play.toggled.connect(self.setPlaybackEnabled)
        self._rate = QtWidgets.QDoubleSpinBox()
        self._rate.suffix = "fps"
        self._rate.setRange(0.1, 100.0)
        layout.addWidget(self._rate)
        self._rate.valueChanged.connect(self.setPlaybackRateFps)
        self._update()

    RecordingControlsVisible = value_property(bool, "_recording")
    PlayPauseShortcut = Property(str, lambda s: s._shortcut("play"), lambda s, v: s._set_shortcut("play", v))
    PreviousFrameShortcut = Property(
        str, lambda s: s._shortcut("previous"), lambda s, v: s._set_shortcut("previous", v)
    )
    NextFrameShortcut = Property(str, lambda s: s._shortcut("next"), lambda s, v: s._set_shortcut("next", v))

    def _shortcut(self, name: str) -> str:
        return self._shortcuts[name].key.toString() if name in self._shortcuts else ""

    def _set_shortcut(self, name: str, keys: str) -> None:
        slots = {"play": self.onVcrPlayPause, "previous": self.onVcrPrevious, "next": self.onVcrNext}
        if name not in self._shortcuts:
            self._shortcuts[name] = QtGui.QShortcut(self)
            self._shortcuts[name].activated.connect(slots[name])
        self._shortcuts[name].setKey(QtGui.QKeySequence(keys))

    def setPlayPauseShortcut(self, keys: str) -> None:
        self._set_shortcut("play", keys)

    def setPreviousFrameShortcut(self, keys: str) -> None:
        self._set_shortcut("previous", keys)

    def setNextFrameShortcut(self, keys: str) -> None:
        self._set_shortcut("next", keys)

    def setRecordingControlsVisible(self, show: bool) -> None:
        self._recording = show

    def setPlaybackEnabled(self, play: bool) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackActive(play)

    def setPlaybackRateFps(self, rate: float) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackRateFps(rate)

    def setPlaybackLoopEnabled(self, loop: bool) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackLooped(loop)

    def onVcrFirst(self) -> None:
        self._browser.SelectFirstItem()

    def onVcrPrevious(self) -> None:
        self._browser.SelectNextItem(-1)

    def onVcrNext(self) -> None:
        self._browser.SelectNextItem(1)

    def onVcrLast(self) -> None:
        self._browser.SelectLastItem()

    def onVcrPlayPause(self) -> None:
        self.setPlaybackEnabled(not self._browser.GetPlaybackActive())

    def _update(self) -> None:
        self.enabled = self._browser is not None and self._browser.GetNumberOfItems() > 0
        if self._browser is not None:
            for widget, name, value in (
                (self._play, "checked", bool(self._browser.GetPlaybackActive())),
                (self._rate, "value", self._browser.GetPlaybackRateFps()),
            ):
                blocked = widget.blockSignals(True)
                setattr(widget, name, value)
                widget.blockSignals(blocked)
            playing = (
                QtWidgets.QStyle.SP_MediaPause if self._browser.GetPlaybackActive() else QtWidgets.QStyle.SP_MediaPlay
            )
            self._play.icon = self.style().standardIcon(playing)
