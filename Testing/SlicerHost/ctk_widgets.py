"""Stand-ins for the widgets of CTK (`ctk`); what they offer is what PythonQt exposes, see exposed.json."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal


def value_property(kind: Any, attribute: str, changed: str = "") -> Property:
    """A Q_PROPERTY kept in an attribute; `changed` names a method that is called after a change."""

    def get(self: Any) -> Any:
        return self.__dict__[attribute]

    def put(self: Any, value: Any) -> None:
        if self.__dict__[attribute] != value:
            self.__dict__[attribute] = value
            if changed:
                getattr(self, changed)()

    return Property(kind, get, put)


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A title that shows and hides what is below it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        parent = arguments[-1] if arguments and isinstance(arguments[-1], QtWidgets.QWidget) else None
        super().__init__(parent)
        self._height = 24
        self._hidden: list[QtWidgets.QWidget] = []
        self.text = text
        self.checkable = True
        self.checked = True
        self.sizePolicy = QtWidgets.QSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.setContentsMargins(0, self._height, 0, 0)
        self.toggled.connect(self._on_toggled)

    def _collapsed(self) -> bool:
        return not self.checked

    def _set_collapsed(self, collapsed: bool) -> None:
        self.checked = not collapsed

    collapsed = Property(bool, _collapsed, _set_collapsed, notify=contentsCollapsed)

    def _on_toggled(self, expanded: bool) -> None:
        children = [c for c in self.children() if isinstance(c, QtWidgets.QWidget)]
        if expanded:
            for child in self._hidden:
                child.show()
            self._hidden = []
        else:
            self._hidden = [c for c in children if not c.isHidden()]
            for child in self._hidden:
                child.hide()
        self.maximumHeight = 16777215 if expanded else self._height
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """A child that comes while collapsed stays out of sight; before it is polished its class is not known yet."""
        if event.type() == QtCore.QEvent.ChildPolished and event.child().isWidgetType() and not self.checked:
            self._hidden.append(event.child())
            event.child().hide()

    def sizeHint(self) -> QtCore.QSize:
        layout = self.layout()
        inner = layout.totalSizeHint() if layout and self.checked else QtCore.QSize(100, self._height)
        return QtCore.QSize(max(inner.width(), 100), max(inner.height(), self._height))

    def minimumSizeHint(self) -> QtCore.QSize:
        layout = self.layout()
        return layout.totalMinimumSize() if layout and self.checked else QtCore.QSize(20, self._height)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < self._height

    def paintEvent(self, event: Any) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, self._height)
        option.text = ""
        painter.drawControl(QtWidgets.QStyle.CE_PushButton, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 6, 12, 12)
        kind = QtWidgets.QStyle.PE_IndicatorArrowDown if self.checked else QtWidgets.QStyle.PE_IndicatorArrowRight
        painter.drawPrimitive(kind, arrow)
        painter.drawText(QtCore.QRect(24, 0, self.width - 28, self._height), QtCore.Qt.AlignVCenter, self.text)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show the same number."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        self._tracking = True
        self._page = 10.0
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._box.setRange(0.0, 99.0)
        self._sync()
        self._slider.valueChanged.connect(self._from_slider)
        self._slider.sliderReleased.connect(self._released)
        self._box.valueChanged.connect(self._from_box)

    def _sync(self) -> None:
        """The slider counts steps of the spin box."""
        step = self._box.singleStep or 1.0
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, round((self._box.maximum - self._box.minimum) / step))
        self._slider.setValue(round((self._box.value - self._box.minimum) / step))
        self._slider.setPageStep(max(1, round(self._page / step)))
        self._slider.blockSignals(blocked)

    def _from_slider(self, steps: int) -> None:
        value = self._box.minimum + steps * self._box.singleStep
        if self._tracking or not self._slider.sliderDown:
            self._box.setValue(value)
        else:
            self.valueIsChanging.emit(value)

    def _released(self) -> None:
        self._from_slider(self._slider.value)

    def _from_box(self, value: float) -> None:
        self._sync()
        self.valueChanged.emit(value)

    def _set(self, name: str, value: Any) -> None:
        setattr(self._box, name, value)
        self._sync()

    value = Property(float, lambda self: self._box.value, lambda self, v: self._box.setValue(v))
    minimum = Property(float, lambda self: self._box.minimum, lambda self, v: self._set("minimum", v))
    maximum = Property(float, lambda self: self._box.maximum, lambda self, v: self._set("maximum", v))
    singleStep = Property(float, lambda self: self._box.singleStep, lambda self, v: self._set("singleStep", v))
    pageStep = value_property(float, "_page", "_sync")
    decimals = Property(int, lambda self: self._box.decimals, lambda self, v: self._set("decimals", v))
    prefix = Property(str, lambda self: self._box.prefix, lambda self, v: self._box.setPrefix(v))
    suffix = Property(str, lambda self: self._box.suffix, lambda self, v: self._box.setSuffix(v))
    tracking = value_property(bool, "_tracking")
    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), lambda self, v: self._box.setVisible(v))

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._box.setVisible(visible)

    def reset(self) -> None:
        self._box.setValue(0.0)


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path, and a button that opens the file dialog."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable = 1, 2, 4, 8, 16, 32, 64

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._label, self._filters, self._name_filters, self._key, self._options = "", 0x407, [], "", 0
        self._history = True
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        self._combo.editable = True
        self._combo.sizePolicy = QtWidgets.QSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Fixed)
        self._browse = QtWidgets.QToolButton()
        self._browse.text = "..."
        layout.addWidget(self._combo, 1)
        layout.addWidget(self._browse)
        self._combo.editTextChanged.connect(self.currentPathChanged.emit)
        self._browse.clicked.connect(lambda: self.browse())

    def _set_path(self, path: str) -> None:
        self._combo.setEditText(path)

    currentPath = Property(str, lambda self: self._combo.currentText, _set_path, user=True)
    label = value_property(str, "_label")
    filters = value_property(int, "_filters")
    options = value_property(int, "_options")
    nameFilters = value_property(list, "_name_filters")
    settingKey = value_property(str, "_key")
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, v: self._browse.setVisible(v)
    )
    showHistoryButton = value_property(bool, "_history")

    def setCurrentPath(self, path: str) -> None:
        self._set_path(path)

    def browse(self) -> None:
        dialog = QtWidgets.QFileDialog
        if not self._filters & self.Files:
            path = dialog.getExistingDirectory(self, self._label or "Select folder", self.currentPath)
        elif self._filters & self.Writable:
            path = dialog.getSaveFileName(self, self._label or "Save", self.currentPath, ";;".join(self._name_filters))
        else:
            path = dialog.getOpenFileName(self, self._label or "Open", self.currentPath, ";;".join(self._name_filters))
        if path:
            self._set_path(path)

    def retrieveHistory(self) -> None:
        self._combo.addItems(list(QtCore.QSettings().value(self._key or self.objectName, []) or []))

    def addCurrentPathToHistory(self) -> None:
        key = self._key or self.objectName
        history = [p for p in list(QtCore.QSettings().value(key, []) or []) if p != self.currentPath]
        QtCore.QSettings().setValue(key, [self.currentPath, *history][:10])


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and opens the folder dialog."""

    directorySelected = Signal(str)
    directoryChanged = Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._directory, self._caption = QtCore.QDir.currentPath(), ""
        self._button = QtWidgets.QPushButton()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._button.text = self._directory
        self._button.clicked.connect(lambda: self.browse())

    def _set_directory(self, path: str) -> None:
        if path != self._directory:
            self._directory = self._button.text = path
            self.directoryChanged.emit(path)

    directory = Property(str, lambda self: self._directory, _set_directory, user=True)
    caption = value_property(str, "_caption")

    def browse(self) -> None:
        path = QtWidgets.QFileDialog.getExistingDirectory(self, self._caption or "Select folder", self._directory)
        if path:
            self.directorySelected.emit(path)
            self._set_directory(path)


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that may be told not to come again."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown, self._dont, self._key = False, False, ""

    dontShowAgainVisible = value_property(bool, "_shown")
    dontShowAgain = value_property(bool, "_dont")
    dontShowAgainSettingsKey = value_property(str, "_key")


WIDGETS = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit, ctkDirectoryButton, ctkMessageBox)


def module() -> ModuleType:
    """The module `ctk`."""
    ctk = ModuleType("ctk", "CTK widgets as PythonQt shows them")
    for widget in WIDGETS:
        setattr(ctk, widget.__name__, widget)
    return ctk
