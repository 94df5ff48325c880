"""The layout manager on real layout and view nodes: slice views, plots and tables are shown, 3D views are not."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal
from trame_slicer.views import ViewLayoutDefinition, ViewProps, ViewType

from .mrml_widgets import qMRMLWidget
from .plot_widget import qMRMLPlotWidget
from .slice_widget import COLORS, ORIENTATIONS, SliceViewFactory, qMRMLSliceWidget
from .table_view import qMRMLTableView


class qMRMLTableWidget(qMRMLWidget):
    """A table view that shows the table of its view node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._picture = qMRMLTableView()
        layout.addWidget(self._picture)

    def tableView(self) -> qMRMLTableView:
        return self._picture

    def setMRMLTableViewNode(self, node: Any) -> None:
        self._unobserve()
        show = lambda *_: self._picture.setMRMLTableNode(node.GetTableNode())  # noqa: E731
        self._observe(node, vtk.vtkCommand.ModifiedEvent, show)
        show()


class qSlicerLayoutManager(QtCore.QObject):
    """Builds the views that the layout node describes into a widget."""

    layoutChanged = Signal(int)

    def __init__(self, core: Any, viewport: QtWidgets.QWidget) -> None:
        super().__init__(viewport)
        self._core = core
        self._viewport = viewport
        self._slices: dict[str, qMRMLSliceWidget] = {}
        self._plots: dict[str, qMRMLPlotWidget] = {}
        self._tables: dict[str, qMRMLTableWidget] = {}
        self._content: QtWidgets.QWidget | None = None
        self._shown = ("", 0)
        self._factory = SliceViewFactory()
        core.view_manager.register_factory(self._factory)
        for name in ORIENTATIONS:  # before the logic, which takes over nodes that are there; the views would not
            self._slice(name)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(core.app_logic)
        self._logic.SetMRMLScene(core.scene)
        self._node = self._logic.GetLayoutNode()
        self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._rebuild())
        core.scene.AddObserver(slicer.vtkMRMLScene.EndBatchProcessEvent, lambda *_: self._rebuild(force=True))

    layout = Property(int, lambda self: self._node.GetViewArrangement(), lambda self, v: self.setLayout(v))
    threeDViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: len(self._plots))
    tableViewCount = Property(int, lambda self: len(self._tables))

    def setLayout(self, layout: int) -> None:
        self._node.SetViewArrangement(layout)

    def layoutLogic(self) -> Any:
        return self._logic

    def mrmlScene(self) -> Any:
        return self._core.scene

    def mrmlSliceLogics(self) -> Any:
        return self._core.app_logic.GetSliceLogics()

    def sliceViewNames(self) -> tuple:
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._slices.get(name)

    def plotWidget(self, number: int) -> qMRMLPlotWidget | None:
        return list(self._plots.values())[number] if number < len(self._plots) else None

    def tableWidget(self, number: int) -> qMRMLTableWidget | None:
        return list(self._tables.values())[number] if number < len(self._tables) else None

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """There are no 3D views."""

    def _slice(self, name: str) -> qMRMLSliceWidget:
        if name not in self._slices:
            properties = ViewProps(orientation=ORIENTATIONS.get(name, "Axial"), label=name[:1], color=COLORS.get(name))
            definition = ViewLayoutDefinition(name, ViewType.SLICE_VIEW, properties)
            view = self._core.view_manager.create_view(definition)
            self._slices[name] = qMRMLSliceWidget(view, name, self._viewport)
            self._slices[name].hide()
        return self._slices[name]

    def _view_node(self, kind: str, tag: str) -> Any:
        scene = self._core.scene
        node = scene.GetSingletonNode(tag, kind)
        if node is None:
            node = scene.CreateNodeByClass(kind)
            node.UnRegister(None)
            node.SetSingletonTag(tag)
            node.SetLayoutName(tag)
            node = scene.AddNode(node)
        return node

    def _plot(self, tag: str) -> qMRMLPlotWidget:
        if tag not in self._plots:
            self._plots[tag] = qMRMLPlotWidget(self._viewport)
        self._plots[tag].setMRMLScene(self._core.scene)
        self._plots[tag].setMRMLPlotViewNode(self._view_node("vtkMRMLPlotViewNode", tag))
        return self._plots[tag]

    def _table(self, tag: str) -> qMRMLTableWidget:
        if tag not in self._tables:
            self._tables[tag] = qMRMLTableWidget(self._viewport)
        self._tables[tag].setMRMLTableViewNode(self._view_node("vtkMRMLTableViewNode", tag))
        return self._tables[tag]

    def _rebuild(self, force: bool = False) -> None:
        description, arrangement = self._node.GetCurrentLayoutDescription() or "", self._node.GetViewArrangement()
        if self._core.scene.IsBatchProcessing() or not description:
            return
        if (description, arrangement) == self._shown and not force:
            return
        changed = arrangement != self._shown[1]
        self._shown = (description, arrangement)
        for widget in (*self._slices.values(), *self._plots.values(), *self._tables.values()):
            widget.setParent(self._viewport)
            widget.hide()
        if self._content is not None:
            self._content.setParent(None)
            self._content.deleteLater()
        self._visible: list[str] = []
        self._content = self._build(ElementTree.fromstring(description))
        self._viewport.layout().addWidget(self._content)
        self._core.view_manager.set_current_view_ids(self._visible)
        if changed:
            self.layoutChanged.emit(arrangement)

    def _build(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        """The widget of a <layout> or a <view>."""
        if element.tag == "view":
            widget = self._view(element.get("class"), element.get("singletontag"))
            widget.show()
            return widget
        kind = element.get("type", "horizontal")
        vertical = kind == "vertical"
        box = QtWidgets.QTabWidget() if kind == "tab" else QtWidgets.QSplitter()
        if kind != "tab":
            box.orientation = QtCore.Qt.Vertical if vertical else QtCore.Qt.Horizontal
        items = element.findall("item")
        for item in items:
            widget = self._build(item[0])
            if kind == "tab":
                box.addTab(widget, item.get("name") or "")
            else:
                box.addWidget(widget)
        if kind != "tab":
            box.setSizes([int(item.get("splitSize") or 500) for item in items])
        return box

    def _view(self, kind: str, tag: str) -> QtWidgets.QWidget:
        if kind == "vtkMRMLSliceNode":
            self._visible.append(tag)
            return self._slice(tag)
        if kind == "vtkMRMLPlotViewNode":
            return self._plot(tag)
        if kind == "vtkMRMLTableViewNode":
            return self._table(tag)
        label = QtWidgets.QLabel("No 3D view in the host")
        label.styleSheet = "background: #606080; color: white;"
        label.alignment = QtCore.Qt.AlignCenter
        return label
