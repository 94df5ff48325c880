"""Stand-in for the view of a table node."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from .ctk_widgets import value_property


class _TableModel(QtCore.QAbstractTableModel):
    """The cells of a vtkMRMLTableNode."""

    def __init__(self, view: QtWidgets.QTableView) -> None:
        super().__init__(view)
        self.node: Any = None

    def _table(self) -> Any:
        return self.node.GetTable() if self.node is not None else None

    def rowCount(self, parent: Any = None) -> int:
        return self._table().GetNumberOfRows() if self._table() else 0

    def columnCount(self, parent: Any = None) -> int:
        return self._table().GetNumberOfColumns() if self._table() else 0

    def data(self, index: QtCore.QModelIndex, role: int = 0) -> Any:
        if role not in (QtCore.Qt.DisplayRole, QtCore.Qt.EditRole):
            return None
        return self._table().GetValue(index.row(), index.column()).ToString()

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        if role != QtCore.Qt.DisplayRole:
            return None
        if orientation == QtCore.Qt.Horizontal and self.node is not None:
            column = self._table().GetColumn(section)
            return self.node.GetColumnTitle(column.GetName()) or column.GetName()
        return str(section + 1)


class qMRMLTableView(QtWidgets.QTableView):
    """The cells of a table node."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._transposed = False
        self._cells = _TableModel(self)
        self._tag: int | None = None
        self.setModel(self._cells)

    transposed = value_property(bool, "_transposed")

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self) -> Any:
        return self._cells.node

    def setMRMLTableNode(self, node: Any) -> None:
        if self._tag is not None and self._cells.node is not None:
            self._cells.node.RemoveObserver(self._tag)
        self._cells.node = node
        self._tag = (
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._reset()) if node is not None else None
        )
        if node is not None:
            self.destroyed.connect(lambda *_, n=node, tag=self._tag: n.RemoveObserver(tag))
        self._reset()

    def _reset(self) -> None:
        self._cells.beginResetModel()
        self._cells.endResetModel()
