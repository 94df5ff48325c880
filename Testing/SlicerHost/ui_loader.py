"""A QUiLoader that knows the stand-ins and connects what a .ui file connects; unknown classes are refused by name."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools

PATH_FILTERS = {"Dirs": 1, "Files": 2, "Drives": 4, "NoSymLinks": 8, "Readable": 16, "Writable": 32, "Executable": 64}


def loader_class(widgets: dict[str, type]) -> type:
    """A QUiLoader for Qt's widgets and these; its load takes an open QFile, as Slicer's."""

    class QUiLoader(QtUiTools.QUiLoader):
        def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
            if name not in widgets:
                return super().createWidget(name, parent, object_name)
            try:
                widget = widgets[name](parent)
                widget.setObjectName(object_name)
            except Exception as error:  # Qt swallows it here and fails elsewhere
                self._errors.append(error)
                raise
            return widget

        def load(self, file: QtCore.QFile, parent: Any = None) -> Any:
            tree = ElementTree.fromstring(bytes(file.readAll()))
            known = set(self.availableWidgets()) | set(widgets) | {"Line"}
            missing = sorted({e.get("class") for e in tree.iter("widget")} - known)
            if missing:
                raise RuntimeError(f"{file.fileName()} uses widgets that the host does not have: {', '.join(missing)}")
            connections = _take_connections(tree)
            _resolve_filters(tree)
            content = QtCore.QByteArray(ElementTree.tostring(tree))
            buffer = QtCore.QBuffer(content)
            buffer.open(QtCore.QIODevice.ReadOnly)
            self._errors: list[Exception] = []
            widget = super().load(buffer, parent)
            if self._errors:
                raise self._errors[0]
            for sender, signal, receiver, slot in connections:
                _find(widget, sender).connect(signal, getattr(_find(widget, receiver), slot.split("(")[0]))
            return widget

    return QUiLoader


def _take_connections(tree: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """The connections of the file; they are made in Python, since a Python signal cannot have a C++ signature."""
    found = []
    for group in tree.findall("connections"):
        for each in group.findall("connection"):
            found.append(tuple(each.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot")))
        tree.remove(group)
    return found


def _resolve_filters(tree: ElementTree.Element) -> None:
    for value in tree.iter("set"):
        if (value.text or "").startswith("ctkPathLineEdit::"):
            total = sum(PATH_FILTERS[part.split("::")[1]] for part in value.text.split("|"))
            value.tag, value.text = "number", str(total)


def _find(root: Any, name: str) -> Any:
    waiting = [root]
    while waiting:
        widget = waiting.pop()
        if widget.objectName == name:
            return widget
        waiting += widget.children()
    raise RuntimeError(f"The .ui file connects {name}, which it does not hold")
