"""The plot view: the chart node that a plot view node shows, painted by Qt."""

from __future__ import annotations

import math
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from .mrml_widgets import qMRMLWidget

MARGIN = QtCore.QMargins(64, 32, 16, 48)


class qMRMLPlotView(QtWidgets.QWidget):
    """The series of a chart node, with axes, title and legend."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._observed: list[tuple[Any, int]] = []
        self.setMinimumSize(120, 80)
        self.destroyed.connect(lambda *_, o=self._observed: [each.RemoveObserver(tag) for each, tag in o])

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self._observe()

    def fitToContent(self) -> None:
        self.update()

    def _observe(self, *_: Any) -> None:
        """Follow the view node, the chart, its series and their tables, whichever they are now."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()
        chart = self._chart()
        series = self._series()
        for observed in [self._node, chart, *series, *(s.GetTableNode() for s in series)]:
            if observed is not None:
                self._observed.append((observed, observed.AddObserver(vtk.vtkCommand.ModifiedEvent, self._changed)))
        self.update()

    def _changed(self, *_: Any) -> None:
        QtCore.QTimer.singleShot(0, self._observe)

    def _chart(self) -> Any:
        return self._node.GetPlotChartNode() if self._node is not None else None

    def _series(self) -> list:
        chart = self._chart()
        if chart is None:
            return []
        nodes = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
        return [n for n in nodes if n is not None]

    def _points(self, series: Any) -> list[tuple[float, float]]:
        table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
        y = table.GetColumnByName(series.GetYColumnName() or "") if table is not None else None
        if y is None:
            return []
        x = table.GetColumnByName(series.GetXColumnName() or "") if series.IsXColumnRequired() else None
        count = y.GetNumberOfValues()
        numbers = [
            (x.GetVariantValue(i).ToDouble() if x else float(i), y.GetVariantValue(i).ToDouble()) for i in range(count)
        ]
        return [(a, b) for a, b in numbers if a == a and b == b]

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtCore.Qt.white)
        curves = [(s, p) for s in self._series() if (p := self._points(s))]
        if curves:
            painter.setRenderHint(QtGui.QPainter.Antialiasing)
            self._paint(painter, curves)
        painter.end()

    def _paint(self, painter: QtGui.QPainter, curves: list) -> None:
        box = self.rect.marginsRemoved(MARGIN)
        xs, ys = zip(*[point for _, points in curves for point in points], strict=True)
        x0, x1, y0, y1 = min(xs), max(xs), min(*ys, 0.0), max(ys) * 1.05
        x0, x1 = (x0 - 0.5, x1 + 0.5) if x0 == x1 else (x0, x1)
        scale_x, scale_y = box.width() / (x1 - x0), box.height() / ((y1 - y0) or 1.0)

        def place(point: tuple[float, float]) -> QtCore.QPointF:
            return QtCore.QPointF(box.left() + (point[0] - x0) * scale_x, box.bottom() - (point[1] - y0) * scale_y)

        self._axes(painter, box, (x0, x1, y0, y1), place)
        for row, (series, points) in enumerate(curves):
            color = QtGui.QColor.fromRgbF(*series.GetColor())
            painter.setPen(QtGui.QPen(color, max(series.GetLineWidth(), 1.0)))
            places = [place(p) for p in points]
            if series.GetLineStyle() != slicer.vtkMRMLPlotSeriesNode.LineStyleNone:
                painter.drawPolyline(QtGui.QPolygonF(places))
            if series.GetMarkerStyle() != slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone:
                painter.setBrush(color)
                for where in places:
                    painter.drawEllipse(where, 3.0, 3.0)
                painter.setBrush(QtCore.Qt.NoBrush)
            if self._chart().GetLegendVisibility():
                painter.drawText(
                    box.right() - 150, box.top() + 16 + 16 * row, 150, 16, QtCore.Qt.AlignRight, series.GetName()
                )

    def _axes(self, painter: QtGui.QPainter, box: QtCore.QRect, limits: tuple, place: Any) -> None:
        chart = self._chart()
        x0, x1, y0, y1 = limits
        painter.setPen(QtCore.Qt.black)
        painter.drawRect(box)
        for x in _ticks(x0, x1):
            left = int(place((x, y0)).x()) - 40
            painter.drawText(left, box.bottom() + 4, 80, 16, QtCore.Qt.AlignHCenter, f"{x:g}")
        for y in _ticks(y0, y1):
            top = int(place((x0, y)).y()) - 8
            painter.drawText(box.left() - 64, top, 60, 16, QtCore.Qt.AlignRight, f"{y:g}")
        title = chart.GetTitle() if chart.GetTitleVisibility() else ""
        painter.drawText(box.left(), 8, box.width(), 20, QtCore.Qt.AlignHCenter, title or "")
        painter.drawText(
            box.left(), box.bottom() + 24, box.width(), 20, QtCore.Qt.AlignHCenter, chart.GetXAxisTitle() or ""
        )
        painter.drawText(4, 8, 300, 20, QtCore.Qt.AlignLeft, chart.GetYAxisTitle() or "")


def _ticks(low: float, high: float) -> list[float]:
    """At most eleven round numbers from low to high."""
    rough = max((high - low) / 10, 1e-9)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(i * step, 9) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


class qMRMLPlotWidget(qMRMLWidget):
    """A plot view; it needs a scene and a view node."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._picture = qMRMLPlotView()
        layout.addWidget(self._picture)
        self._node: Any = None
        self.mrmlSceneChanged.connect(self._picture.setMRMLScene)

    def plotView(self) -> qMRMLPlotView:
        return self._picture

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self._picture.setMRMLPlotViewNode(node)
