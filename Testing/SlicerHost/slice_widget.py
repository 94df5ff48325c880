"""The slice views: trame-slicer's SliceView, rendered off screen and painted into a QWidget that can be grabbed."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from trame_slicer.views import AbstractView, IViewFactory, SliceView, ViewLayoutDefinition
from trame_slicer.views.render_scheduler import ScheduledRenderStrategy
from vtkmodules.util.numpy_support import vtk_to_numpy

from .mrml_widgets import qMRMLWidget

COLORS = {"Red": "#f34a33", "Green": "#6dad4a", "Yellow": "#efd64d"}
ORIENTATIONS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
KEY_SYMBOLS = {
    QtCore.Qt.Key_Escape: "Escape", QtCore.Qt.Key_Return: "Return", QtCore.Qt.Key_Enter: "Return",
    QtCore.Qt.Key_Delete: "Delete", QtCore.Qt.Key_Left: "Left", QtCore.Qt.Key_Right: "Right",
    QtCore.Qt.Key_Up: "Up", QtCore.Qt.Key_Down: "Down", QtCore.Qt.Key_Space: "space", QtCore.Qt.Key_Shift: "Shift_L",
    QtCore.Qt.Key_Control: "Control_L", QtCore.Qt.Key_Plus: "plus", QtCore.Qt.Key_Minus: "minus",
}  # fmt: skip


class _EventLoopRendering(ScheduledRenderStrategy):
    """Renders once for all requests of a turn of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.timer = QtCore.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(0)
        self.paused = 0
        self.waiting = False
        self.after: Any = None
        self.timer.timeout.connect(self._render)

    def schedule_render(self) -> None:
        self.waiting = True
        if not self.paused and not self.timer.isActive():
            self.timer.start()

    def _render(self) -> None:
        if self.abstract_view is not None:
            self.abstract_view.render()

    def did_render(self) -> None:
        self.waiting = False
        self.timer.stop()
        if self.after is not None:
            self.after()


class SliceViewFactory(IViewFactory):
    """Makes the slice views of the application."""

    def can_create_view(self, view: ViewLayoutDefinition) -> bool:
        return view.view_type.value == "vtkMRMLSliceNode"

    def _create_view(self, view: ViewLayoutDefinition, scene: Any, app_logic: Any) -> SliceView:
        vtk.vtkObject.GlobalWarningDisplayOff()  # trame-slicer observes an event that VTK 9.6 no longer sends
        created = SliceView(scene, app_logic, view.singleton_tag, scheduled_render_strategy=_EventLoopRendering())
        vtk.vtkObject.GlobalWarningDisplayOn()
        window = created.render_window()
        window.SetOffScreenRendering(True)
        window.SetMultiSamples(0)  # 4 times as fast in software; the overlay is 2D
        created.set_view_properties(view.properties)
        return created

    def _get_slicer_view(self, view: Any) -> AbstractView:
        return view


class qMRMLSliceView(QtWidgets.QWidget):
    """The picture of a slice; mouse, wheel and keys go to VTK."""

    def __init__(self, view: SliceView, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._pixels: Any = None
        self._image = QtGui.QImage()
        self.setMouseTracking(True)
        self.focusPolicy = QtCore.Qt.StrongFocus
        self.setMinimumSize(64, 64)
        view._scheduled_render.after = self._show

    def renderWindow(self) -> Any:
        return self._view.render_window()

    def interactor(self) -> Any:
        return self._view.interactor()

    def scheduleRender(self) -> None:
        self._view.schedule_render()

    def forceRender(self) -> None:
        self._view.render()

    def mrmlSliceNode(self) -> Any:
        return self._view.get_view_node()

    def _show(self) -> None:
        """Copy VTK's picture; Qt paints it at its next turn."""
        window = self._view.render_window()
        width, height = window.GetSize()
        pixels = vtk.vtkUnsignedCharArray()
        window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 1, pixels)
        self._pixels = vtk_to_numpy(pixels).reshape(height, width, 4)[::-1].copy()
        self._image = QtGui.QImage(self._pixels.data, width, height, 4 * width, QtGui.QImage.Format_RGBX8888)
        self._image.setDevicePixelRatio(self.devicePixelRatioF())
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtCore.Qt.black)
        painter.drawImage(0, 0, self._image)
        painter.end()

    def resizeEvent(self, event: Any) -> None:
        ratio = self.devicePixelRatioF()
        self._view.update_size(round(self.width * ratio), round(self.height * ratio))
        self._view._update_slice_size()  # trame-slicer waits for an event that VTK 9.6 does not send
        self._view.schedule_render()

    def _send(self, event: Any, name: str, position: QtCore.QPoint, symbol: str = "", text: str = "") -> None:
        ratio = self.devicePixelRatioF()
        modifiers = event.modifiers()
        interactor = self._view.interactor()
        interactor.SetEventInformationFlipY(
            round(position.x() * ratio), round(position.y() * ratio),
            bool(modifiers & QtCore.Qt.ControlModifier), bool(modifiers & QtCore.Qt.ShiftModifier),
            text[:1] or "\0", 0, symbol,
        )  # fmt: skip
        interactor.SetAltKey(bool(modifiers & QtCore.Qt.AltModifier))
        interactor.InvokeEvent(name)

    def _button(self, event: Any, what: str) -> None:
        names = {QtCore.Qt.LeftButton: "Left", QtCore.Qt.RightButton: "Right", QtCore.Qt.MiddleButton: "Middle"}
        if event.button() in names:
            self._send(event, f"{names[event.button()]}Button{what}Event", event.pos())

    def mousePressEvent(self, event: Any) -> None:
        self._button(event, "Press")

    def mouseReleaseEvent(self, event: Any) -> None:
        self._button(event, "Release")

    def mouseDoubleClickEvent(self, event: Any) -> None:
        self._button(event, "DoubleClick")

    def mouseMoveEvent(self, event: Any) -> None:
        self._send(event, "MouseMoveEvent", event.pos())

    def wheelEvent(self, event: Any) -> None:
        delta = event.angleDelta().y() or event.angleDelta().x()
        position = self.mapFromGlobal(QtGui.QCursor.pos())
        self._send(event, "MouseWheelForwardEvent" if delta > 0 else "MouseWheelBackwardEvent", position)

    def enterEvent(self, event: Any) -> None:
        self._view.interactor().InvokeEvent("EnterEvent")

    def leaveEvent(self, event: Any) -> None:
        self._view.interactor().InvokeEvent("LeaveEvent")

    def keyPressEvent(self, event: Any) -> None:
        position = self.mapFromGlobal(QtGui.QCursor.pos())
        symbol = KEY_SYMBOLS.get(event.key(), event.text())
        self._send(event, "KeyPressEvent", position, symbol, event.text())
        self._send(event, "CharEvent", position, symbol, event.text())

    def keyReleaseEvent(self, event: Any) -> None:
        symbol = KEY_SYMBOLS.get(event.key(), event.text())
        self._send(event, "KeyReleaseEvent", self.mapFromGlobal(QtGui.QCursor.pos()), symbol, event.text())


class qMRMLSliceControllerWidget(qMRMLWidget):
    """The bar over a slice view: its name, the offset of the slice, fit."""

    def __init__(self, view: SliceView, name: str, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = view
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        label = QtWidgets.QLabel(name[:1])
        label.styleSheet = f"background: {COLORS.get(name, '#888888')}; padding: 2px 6px; color: black;"
        fit = QtWidgets.QToolButton()
        fit.text = "Fit"
        self._offset = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._text = QtWidgets.QLabel()
        for widget, stretch in ((label, 0), (fit, 0), (self._offset, 1), (self._text, 0)):
            layout.addWidget(widget, stretch)
        fit.clicked.connect(self.fitSliceToBackground)
        self._offset.valueChanged.connect(self._moved)
        view.modified.connect(lambda *_: self._update())
        self._update()

    def fitSliceToBackground(self) -> None:
        self._view.fit_view_to_content()

    def setSliceOffsetValue(self, offset: float) -> None:
        self._view.set_slice_value(offset)

    def mrmlSliceNode(self) -> Any:
        return self._view.get_view_node()

    def sliceLogic(self) -> Any:
        return self._view._logic

    def _moved(self, steps: int) -> None:
        self._view.set_slice_value(self._view.get_slice_range()[0] + (steps + 0.5) * self._view.get_slice_step())

    def _update(self) -> None:
        low, high = self._view.get_slice_range()
        step = self._view.get_slice_step() or 1.0
        blocked = self._offset.blockSignals(True)
        self._offset.setRange(0, max(round((high - low) / step) - 1, 0))
        self._offset.setValue(int((self._view.get_slice_value() - low) // step))
        self._offset.blockSignals(blocked)
        self._text.text = f"{self._view.get_slice_value():.1f}mm"


class qMRMLSliceWidget(qMRMLWidget):
    """A slice view with its bar."""

    def __init__(self, view: SliceView, name: str, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.objectName = f"qMRMLSliceWidget{name}"
        self._view = view
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self._controller = qMRMLSliceControllerWidget(view, name)
        self._picture = qMRMLSliceView(view)
        layout.addWidget(self._controller)
        layout.addWidget(self._picture, 1)

    def sliceController(self) -> qMRMLSliceControllerWidget:
        return self._controller

    def sliceView(self) -> qMRMLSliceView:
        return self._picture

    def sliceLogic(self) -> Any:
        return self._view._logic

    def mrmlSliceNode(self) -> Any:
        return self._view.get_view_node()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._view._logic.GetSliceCompositeNode()

    def interactorStyle(self) -> Any:
        return self._view._interactor_observer

    def fitSliceToBackground(self) -> None:
        self._view.fit_view_to_content()

    def setSliceOrientation(self, orientation: str) -> None:
        self._view.set_orientation(orientation)
