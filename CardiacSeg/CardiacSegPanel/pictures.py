"""What the panel paints itself: the strip of frames and slices, the volume curve and the bullseye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from CardiacSegLib import strip
from CardiacSegLib.anatomy import LV
from CardiacSegLib.measures.volumes import AREA_LENGTH
from CardiacSegLib.pictures import Curves, Field, bullseye_radius, draw_bullseye, draw_curves

_BACKGROUND, _MARK = "#22252a", "#ffffff"
_NOTHING, _EDGE = "#ffffff", "#3c3c3c"


class StatusStrip(qt.QWidget):
    """All slices of all frames in the color of their status, that in view with a frame; a click goes to another."""

    def __init__(self, onChosen: Any) -> None:
        qt.QWidget.__init__(self)
        self.status, self.place, self.onChosen = None, (0, -1), onChosen
        self.setMinimumHeight(90)

    def showStatus(self, status: Any, place: tuple[int, int]) -> None:
        """status: (T, Z) of Status, or None; place: the frame and slice in view."""
        self.status, self.place = status, place
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter, size = qt.QPainter(self), (self.width, self.height)
        painter.fillRect(qt.QRect(0, 0, *size), qt.QColor(_BACKGROUND))
        if self.status is not None:
            for box, color in strip.cells(self.status, size):
                painter.fillRect(qt.QRect(*box), qt.QColor(color))
            if self.place[1] >= 0:
                painter.setPen(qt.QPen(qt.QColor(_MARK), 2))
                painter.drawRect(qt.QRect(*strip.cell(self.status.shape, size, *self.place)))
        painter.end()

    def mousePressEvent(self, event: Any) -> None:
        if self.status is not None:
            point = event.pos()
            self.onChosen(*strip.place_at(self.status.shape, (self.width, self.height), point.x(), point.y()))


class CurvePicture(qt.QWidget):
    """The volumes over the heart cycle with ED and ES; it follows every edit."""

    def __init__(self) -> None:
        qt.QWidget.__init__(self)
        self.results, self.structures = None, ()
        self.setMinimumHeight(130)

    def showResults(self, results: Any, structures: Sequence[Any] = ()) -> None:
        """results: session.Results, or None."""
        self.results, self.structures = results, structures
        self.update()

    def drawn(self) -> Curves | None:
        """What is painted, in pixels; None where there is nothing."""
        if self.results is None:
            return None
        measures, size = self.results.measures, (self.width, self.height)
        phases = {"ED": measures.ed_frame, "ES": measures.es_frame}
        return draw_curves(self.results.curves, self.structures, self.results.times, phases, size)

    def paintEvent(self, event: Any) -> None:
        painter, drawn = qt.QPainter(self), self.drawn()
        if drawn is not None:
            painter.setRenderHint(qt.QPainter.Antialiasing)
            self._paintAxes(painter, drawn)
            for color, pieces in drawn.lines.values():
                for piece in pieces:
                    painter.strokePath(_path(piece), qt.QPen(_color(color), 2))
                    for x, y in piece:
                        painter.fillRect(qt.QRectF(x - 2, y - 2, 4, 4), _color(color))
        painter.end()

    def _paintAxes(self, painter: Any, drawn: Curves) -> None:
        ink = self.palette.color(qt.QPalette.WindowText)
        faint = qt.QColor(ink)
        faint.setAlpha(60)
        left, top, width, height = drawn.box
        for name, (color, pieces) in drawn.lines.items():
            x, y = pieces[-1][-1]
            painter.setPen(_color(color))
            short = LV.name if name == AREA_LENGTH else name  # the line above tells how
            painter.drawText(qt.QRect(int(x) + 6, int(y) - 8, 40, 16), qt.Qt.AlignLeft | qt.Qt.AlignVCenter, short)
        painter.setPen(ink)
        painter.drawText(qt.QRect(0, 0, left, top), qt.Qt.AlignLeft, "ml")
        painter.drawText(qt.QRect(0, top + height + 2, left - 8, 16), qt.Qt.AlignLeft, drawn.x_unit)
        for y, text in drawn.y_marks:
            painter.fillRect(qt.QRectF(left, y, width, 1), faint)
            painter.drawText(qt.QRect(0, int(y) - 8, left - 4, 16), qt.Qt.AlignRight | qt.Qt.AlignVCenter, text)
        for place, text in drawn.x_marks:
            painter.drawText(qt.QRect(int(place) - 30, top + height + 2, 60, 16), qt.Qt.AlignHCenter, text)
        for place, name in drawn.phases:
            painter.fillRect(qt.QRectF(place, top, 1, height), ink)
            painter.drawText(qt.QRect(int(place) - 15, 0, 30, top), qt.Qt.AlignHCenter, name)


class BullseyePicture(qt.QWidget):
    """One value of the AHA segments; those without data are hatched."""

    def __init__(self) -> None:
        qt.QWidget.__init__(self)
        self.rows, self._scale, self._numbers = [], (0.0, 1.0), "{}"  # QWidget has a style already
        self.setMinimumHeight(220)

    def showValues(self, rows: list[tuple[int, float | None]], scale: tuple[float, float], style: str) -> None:
        """rows: segment numbers with their values; scale, style: as in writers.bullseye.PANELS."""
        self.rows, self._scale, self._numbers = rows, scale, style
        self.update()

    def fields(self) -> list[Field]:
        """What is painted, in pixels."""
        return draw_bullseye(self.rows, self._scale, self._numbers, (self.width, self.height))

    def paintEvent(self, event: Any) -> None:
        painter = qt.QPainter(self)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        for field in self.fields():
            path = _path(field.outline)
            path.closeSubpath()
            painter.fillPath(path, qt.QBrush(_color(field.color)))
            if field.value is None:
                painter.fillPath(path, qt.QBrush(qt.QColor(_EDGE), qt.Qt.BDiagPattern))
            painter.strokePath(path, qt.QPen(qt.QColor(_EDGE), 1))
            painter.setPen(_color(field.ink))
            x, y = field.middle
            painter.drawText(qt.QRect(int(x) - 24, int(y) - 9, 48, 18), qt.Qt.AlignCenter, field.text)
        if self.rows:
            self._paintSides(painter)
        painter.end()

    def _paintSides(self, painter: Any) -> None:
        painter.setPen(self.palette.color(qt.QPalette.WindowText))
        radius, x, y = bullseye_radius((self.width, self.height)), self.width / 2, self.height / 2
        left, right, top, bottom = (int(v) for v in (x - radius - 64, x + radius + 4, y - radius - 16, y + radius))
        for place, flag, word in (
            (qt.QRect(int(x) - 30, top, 60, 16), qt.Qt.AlignCenter, _("anterior")),
            (qt.QRect(int(x) - 30, bottom, 60, 16), qt.Qt.AlignCenter, _("inferior")),
            (qt.QRect(left, int(y) - 8, 60, 16), qt.Qt.AlignRight, _("septal")),
            (qt.QRect(right, int(y) - 8, 60, 16), qt.Qt.AlignLeft, _("lateral")),
        ):
            painter.drawText(place, flag, word)


def _color(color: tuple[float, float, float]) -> Any:
    return qt.QColor.fromRgbF(*color)


def _path(points: Sequence[tuple[float, float]]) -> Any:
    path = qt.QPainterPath()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    return path
