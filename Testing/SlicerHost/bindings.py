"""Which widgets a parameter can be bound to by SlicerParameterName, as in Slicer: exact types only."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer


class Connector:
    """A widget's property tied to a parameter."""

    def __init__(self, widget: Any, parameter: Any, name: str, signal: str) -> None:
        self.widget = widget
        self.parameter = parameter
        self.name = name
        self.signal = signal
        self.slot: Callable | None = None

    def read(self) -> Any:
        return self.parameter.kind(getattr(self.widget, self.name))

    def write(self, value: Any) -> None:
        value = str(value) if isinstance(value, Path) else value
        if getattr(self.widget, self.name) != value:
            setattr(self.widget, self.name, value)

    def attach(self, slot: Callable) -> None:
        self.slot = slot
        self.widget.connect(self.signal, slot)

    def detach(self) -> None:
        self.widget.disconnect(self.signal, self.slot)


class ComboConnector(Connector):
    """A combo box with the choices of a parameter or the members of an Enum; it is filled here."""

    def __init__(self, widget: Any, parameter: Any) -> None:
        super().__init__(widget, parameter, "currentIndex", "currentIndexChanged(int)")
        if issubclass(parameter.kind, enum.Enum):
            self.values = list(parameter.kind)
            texts = [v.label() if hasattr(v, "label") else v.name for v in self.values]
        else:
            choice = next((v for v in parameter.validators if hasattr(v, "choices")), None)
            if choice is None:
                raise ValueError(f"A combo box needs an Enum or a Choice, which {parameter.name} is not")
            self.values = list(choice.choices)
            texts = [str(v) for v in self.values]
        widget.clear()
        widget.addItems(texts)

    def read(self) -> Any:
        return self.values[self.widget.currentIndex]

    def write(self, value: Any) -> None:
        super().write(self.values.index(value))


class NodeConnector(Connector):
    """A node selector; its node types are those of the parameter."""

    def __init__(self, widget: Any, parameter: Any) -> None:
        super().__init__(widget, parameter, "", "currentNodeChanged(vtkMRMLNode*)")
        widget.nodeTypes = [parameter.kind.__name__]

    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        if self.widget.currentNode() is not value:
            self.widget.setCurrentNode(value)


def connect(widget: Any, parameter: Any) -> Connector:
    """The connector for this widget and parameter; raises ValueError where Slicer has none."""
    kind, exact = parameter.kind, type(widget)
    bounds = next((v for v in parameter.validators if hasattr(v, "minimum")), None)
    if exact is slicer.qMRMLNodeComboBox and parameter.is_node:
        return NodeConnector(widget, parameter)
    if exact is qt.QComboBox:
        return ComboConnector(widget, parameter)
    if kind is bool and (exact is qt.QCheckBox or (exact is qt.QPushButton and widget.checkable)):
        return Connector(widget, parameter, "checked", "toggled(bool)")
    if kind is str and exact is qt.QLineEdit:
        return Connector(widget, parameter, "text", "textChanged(QString)")
    if kind in (str, Path) and exact is ctk.ctkPathLineEdit:
        return Connector(widget, parameter, "currentPath", "currentPathChanged(QString)")
    if kind in (str, Path) and exact is ctk.ctkDirectoryButton:
        return Connector(widget, parameter, "directory", "directoryChanged(QString)")
    numeric = {int: (qt.QSlider, qt.QSpinBox), float: (qt.QDoubleSpinBox, ctk.ctkSliderWidget)}
    if exact in numeric.get(kind, ()):
        if exact is qt.QSlider and bounds is None:
            raise ValueError(f"A slider needs a range, which {parameter.name} has not")
        if bounds is not None:
            widget.minimum = max(bounds.minimum, -1e9)
            widget.maximum = min(bounds.maximum, 1e9)
        return Connector(widget, parameter, "value", f"valueChanged({'int' if kind is int else 'double'})")
    raise ValueError(f"{exact.__name__} '{widget.objectName}' cannot show {parameter.name}, a {kind.__name__}")
