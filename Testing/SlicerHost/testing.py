"""The pytest fixture `host`: the stand-in application with an empty scene, and hands to work it with.

A test that asks for `host` runs inside the application's event loop. It fails on an exception in a slot or an observer,
on a message box that nobody answered, and on nodes, threads and processes that it leaves behind.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WAIT = 10.0


class Host:
    """Works the application as a user does: clicks, types, drags; and looks at it."""

    def __init__(self) -> None:
        from . import application

        os.environ.setdefault("LP_NUM_THREADS", "0")  # pictures are drawn in this thread, whose time can be measured
        self.app = application.start()
        self.application = application
        self.window = self.app._window
        self.messages: list[str] = []
        self.unanswered: list[str] = []
        self.errors: list[str] = []
        self._answers: list[str] = []
        self._paths: list[str] = []
        self._watch = _DialogWatch(self)
        self._loaded: list[Any] = []
        self.scene.Clear(0)
        self._before = self._present()

    def _present(self) -> dict[str, set]:
        """The nodes, threads and child processes that there are; a closed scene keeps its singletons, as in Slicer."""
        every = [self.scene.GetNthNode(i) for i in range(self.scene.GetNumberOfNodes())]
        nodes = {n.GetID() for n in every if not n.GetSingletonTag() and not _always_there(n)}
        listed = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        processes = {each for path in listed for each in path.read_text().split()}
        return {"nodes": nodes, "threads": set(threading.enumerate()), "processes": processes}

    def left_behind(self, seconds: float = 2.0) -> dict[str, set]:
        """What has come since the beginning and does not go within some seconds; empty when all is clean."""
        end = time.monotonic() + seconds
        while True:
            present = self._present()
            left = {kind: present[kind] - self._before[kind] for kind in present if present[kind] - self._before[kind]}
            if not left or time.monotonic() > end:
                return left
            self.settle(0.05)

    @property
    def scene(self) -> Any:
        return self.app.mrmlScene()

    def load(self, path: str | Path) -> Any:
        """Load a scripted module by its file, show its panel; gives the panel's Python object."""
        module = self.application.load_module(path)
        self._loaded.append(module)
        self.app.startupCompleted.emit()
        self.app.disconnect("startupCompleted()")
        self.window.resize(1360, 900)
        self.window.show()
        self.window._select(module.name)
        self.settle()
        return module.widgetRepresentation().self()

    def settle(self, seconds: float = 0.0) -> None:
        """Let the event loop work until nothing is left to do, for at least these seconds."""
        end = time.monotonic() + max(seconds, 0.02)
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.002)

    def wait(self, condition: Callable[[], Any], seconds: float = WAIT) -> Any:
        """Wait until the condition holds and give its value; fails after some seconds."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s in vain")
            self.settle()
        return value

    def click(self, widget: Any, position: Any = None) -> None:
        """Click with the left button on the middle of a widget, or on a point of it."""
        import qt
        from PySide6.QtTest import QTest

        assert widget.isVisible(), f"{widget.objectName} is not to be seen"
        assert widget.isEnabled(), f"{widget.objectName} is disabled: {widget.toolTip}"
        point = position or _clickable(widget)
        QTest.mouseClick(widget, qt.Qt.LeftButton, qt.Qt.NoModifier, point)
        self.settle()

    def type(self, widget: Any, text: str) -> None:
        """Type a text; a line or box has what was in it replaced."""
        from PySide6.QtTest import QTest

        widget.setFocus()
        if hasattr(widget, "selectAll"):
            widget.selectAll()
        QTest.keyClicks(widget, text)
        self.settle()

    def key(self, name: str, widget: Any = None) -> None:
        """Press a key such as "Escape", "Ctrl+Z" or "n" in a widget, or in the main window."""
        import qt
        from PySide6.QtTest import QTest

        QTest.keySequence(widget or self.window, qt.QKeySequence(name))
        self.settle()

    def slice_view(self, name: str = "Red") -> Any:
        return self.app.layoutManager().sliceWidget(name).sliceView()

    def pixel_of(self, position: Any, name: str = "Red") -> Any:
        """The point of a slice view that shows this position (RAS, mm)."""
        import qt
        import vtk

        to_view = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.slice_view(name).mrmlSliceNode().GetXYToRAS(), to_view)
        x, y = to_view.MultiplyPoint((*position, 1.0))[:2]
        return qt.QPoint(round(x), self.slice_view(name).height - 1 - round(y))

    def drag(self, points: list, name: str = "Red", button: Any = None) -> None:
        """Drag with the mouse in a slice view through points (pixels, or positions in mm as three numbers)."""
        import qt
        from PySide6.QtTest import QTest

        view = self.slice_view(name)
        pixels = [self.pixel_of(p, name) if isinstance(p, (tuple, list)) and len(p) == 3 else p for p in points]
        button = button or qt.Qt.LeftButton
        QTest.mouseMove(view, pixels[0])
        self.settle()
        QTest.mousePress(view, button, qt.Qt.NoModifier, pixels[0])
        for pixel in pixels[1:]:
            move = qt.QMouseEvent(
                qt.QEvent.MouseMove, qt.QPointF(pixel), qt.QPointF(view.mapToGlobal(pixel)), qt.Qt.NoButton, button,
                qt.Qt.NoModifier,
            )  # fmt: skip
            qt.QApplication.sendEvent(view, move)
        QTest.mouseRelease(view, button, qt.Qt.NoModifier, pixels[-1])
        self.settle()

    def wheel(self, steps: int, name: str = "Red") -> None:
        """Turn the mouse wheel over the middle of a slice view, forward for positive steps."""
        import qt

        view = self.slice_view(name)
        middle = view.rect.center()
        for _ in range(abs(steps)):
            event = qt.QWheelEvent(
                qt.QPointF(middle), qt.QPointF(view.mapToGlobal(middle)), qt.QPoint(),
                qt.QPoint(0, 120 if steps > 0 else -120), qt.Qt.NoButton, qt.Qt.NoModifier, qt.Qt.NoScrollPhase, False,
            )  # fmt: skip
            qt.QApplication.sendEvent(view, event)
        self.settle()

    def answer(self, *buttons: str) -> None:
        """The next dialogs are answered by these buttons, one each, by their text."""
        self._answers += buttons

    def choose(self, *paths: str | Path) -> None:
        """The next file dialogs give these paths, one each; "" is a dialog that was cancelled."""
        self._paths += [str(path) for path in paths]

    def _chosen_path(self, *arguments: Any) -> str:
        if not self._paths:
            self.unanswered.append(f"file dialog {arguments[1:2]}")
        return self._paths.pop(0) if self._paths else ""

    def picture(self, widget: Any = None, path: str | Path | None = None) -> Any:
        """A picture (height, width, 3) of the whole window, or of a widget; saved where a path is given."""
        import numpy
        import qt

        self.settle()
        image = (widget or self.window).grab().toImage().convertToFormat(qt.QImage.Format_RGB888)
        if path is not None:
            image.save(str(path))
        pixels = numpy.frombuffer(image.constBits(), numpy.uint8).reshape(image.height(), image.bytesPerLine())
        return pixels[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()

    def expect_error(self, text: str) -> None:
        """An exception with this text reached the event loop, and was meant to: it does not fail the test."""
        expected = [e for e in self.errors if text in e]
        assert expected, f"no exception with {text!r} but: {self.errors}"
        self.errors.remove(expected[0])

    def save_scene(self, path: str | Path) -> None:
        assert self.scene.WriteToMRB(str(path), None), f"{path} was not written"

    def load_scene(self, path: str | Path) -> None:
        import slicer

        slicer.util.loadScene(str(path))
        self.settle()

    def end(self) -> None:
        """Destroy the panels and empty the scene, as when Slicer ends."""
        self._answers.clear()
        self._paths.clear()
        for module in self._loaded:
            module._destroy_panel()
        self._loaded.clear()
        self.window._selected = ""
        self.scene.Clear(0)
        self.settle()
        self._watch.end()


def _always_there(node: Any) -> bool:
    """Whether the slice views made this node for themselves (the slice's model, the brush, and how these are shown), or
    it is the subject hierarchy, which MRML makes again whenever a closing scene loses it.
    """
    if node.IsA("vtkMRMLSubjectHierarchyNode"):
        return True
    shown = node.GetDisplayableNode() if hasattr(node, "GetDisplayableNode") else None
    node = shown or node
    return node.IsA("vtkMRMLModelNode") and bool(node.GetHideFromEditors()) and not node.GetSaveWithScene()


def _clickable(widget: Any) -> Any:
    """Where a user would click: the box of a check box, the title of a collapsible button, the middle of others."""
    import ctk
    import qt

    if isinstance(widget, (qt.QCheckBox, qt.QRadioButton)):
        return qt.QPoint(8, widget.height // 2)
    if isinstance(widget, ctk.ctkCollapsibleButton):
        return qt.QPoint(30, 10)
    return widget.rect.center()


def _DialogWatch(host: Host) -> Any:
    """An event filter that answers each dialog, or closes it and notes that nobody answered."""
    import qt

    class Watch(qt.QObject):
        def eventFilter(self, target: Any, event: Any) -> bool:
            if event.type() == qt.QEvent.Show and isinstance(target, qt.QDialog) and target.modal:
                qt.QTimer.singleShot(0, lambda: self.answer(target))
            return False

        def answer(self, dialog: Any) -> None:
            offered = dialog.findChildren(qt.QPushButton)
            if isinstance(dialog, qt.QProgressDialog) or not offered:
                return  # it closes itself
            text = dialog.text if isinstance(dialog, qt.QMessageBox) else dialog.windowTitle
            host.messages.append(text)
            wanted = host._answers.pop(0) if host._answers else None
            buttons = [b for b in offered if b.text.replace("&", "") == wanted]
            if buttons:
                buttons[0].click()
            else:
                host.unanswered.append(f"{text!r} (answer: {wanted})")
                dialog.reject()

        def end(self) -> None:
            host.app.removeEventFilter(self)

    watch = Watch()
    host.app.installEventFilter(watch)
    return watch


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """The application with an empty scene; its panels are destroyed and its scene is emptied after the test."""
    if sys.platform.startswith("linux"):
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
        os.environ.pop("DISPLAY", None)
    for package in ("PySide6", "slicer", "trame_slicer"):
        pytest.importorskip(package, reason=f"{package} is not installed; python3 run.py test installs it")
    made = Host()
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        monkeypatch.setattr(made.application.qt.QFileDialog, name, staticmethod(made._chosen_path))
    yield made
    made.end()
    assert not made.unanswered, f"messages left unanswered: {made.unanswered}"
    assert not (left := made.left_behind()), f"left behind: {left}"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run the tests that use `host` inside app.exec(), where deleteLater and timers work as in Slicer."""
    host = pyfuncitem.funcargs.get("host")
    if not isinstance(host, Host):
        return None
    import qt

    outcome: list[BaseException] = []

    def body() -> None:
        try:
            names = pyfuncitem._fixtureinfo.argnames
            pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
        except BaseException as error:
            outcome.append(error)
        finally:
            host.app.quit()

    before, sys.excepthook = (
        sys.excepthook,
        lambda *error: host.errors.append("".join(traceback.format_exception(*error))),
    )
    try:
        qt.QTimer.singleShot(0, body)
        host.app.exec()
    finally:
        sys.excepthook = before
    if outcome:
        raise outcome[0]
    assert not host.errors, "exceptions in slots or observers:\n" + "\n".join(host.errors)
    return True
