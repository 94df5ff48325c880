"""The stand-in application: `slicer.app`, `slicer.mrmlScene`, `slicer.modules` and the main window.

`start()` puts the modules qt, ctk and what `slicer` lacks in place; it can be done once in a process.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from . import ctk_widgets, i18n, pythonqt

qt = pythonqt.module()
ctk = ctk_widgets.module()
sys.modules.update({"qt": qt, "ctk": ctk})

import slicer  # noqa: E402
import slicer.util  # noqa: E402
from PySide6.QtCore import Property, Signal  # noqa: E402

from . import mrml_widgets, plot_widget, segment_editor, sequence_widgets, table_view, ui_loader  # noqa: E402

MODULE_LOGICS = {
    "sequences": "vtkSlicerSequencesLogic",
    "plots": "vtkSlicerPlotsLogic",
    "tables": "vtkSlicerTablesLogic",
    "texts": "vtkSlicerTextsLogic",
}
MRML_WIDGETS = (
    mrml_widgets.qMRMLWidget,
    mrml_widgets.qMRMLNodeComboBox,
    sequence_widgets.qMRMLSequenceBrowserSeekWidget,
    sequence_widgets.qMRMLSequenceBrowserPlayWidget,
    table_view.qMRMLTableView,
    plot_widget.qMRMLPlotView,
    plot_widget.qMRMLPlotWidget,
    segment_editor.qMRMLSegmentEditorWidget,
)
PANEL_WIDTH = 460


class qSlicerApplication(qt.QApplication):
    """What modules use of `slicer.app`."""

    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)

    def __init__(self, folder: Path) -> None:
        from trame_slicer.core import SlicerApp

        super().__init__(["SlicerHost"])
        self._folder = folder
        qt.QApplication.setApplicationName("Slicer")
        qt.QApplication.setOrganizationName("CardiacSegHost")
        qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
        qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, str(folder / "settings"))
        self._core = SlicerApp()
        for kind in (slicer.vtkMRMLInteractionNode, slicer.vtkMRMLSelectionNode):
            if self._core.scene.GetFirstNodeByClass(kind.__name__) is None:
                self._core.scene.AddNode(kind())
        self._logics = {"colors": self._core.color_logic, "volumes": self._core.volumes_logic}
        self._logics["terminologies"] = self._core.terminologies_logic
        self._logics["segmentations"] = self._core.segmentations_logic
        self._logics["subjecthierarchy"] = self._core.subject_hierarchy_logic
        for name, kind in MODULE_LOGICS.items():
            self._logics[name] = self._core.register_module_logic(getattr(slicer, kind)(), logic_name=name.capitalize())
        self._settings = qt.QSettings()
        self._play = qt.QTimer()
        self._play.interval = 20
        self._play.timeout.connect(self._logics["sequences"].UpdateAllProxyNodes)
        self._give_scene_a_cache()
        self._testing = False

    def _give_scene_a_cache(self) -> None:
        """Without these two, .mrb files cannot be read: they are unpacked into the cache."""
        self._cache = slicer.vtkCacheManager()
        self._cache.SetRemoteCacheDirectory(str(self._folder / "cache"))
        (self._folder / "cache").mkdir(exist_ok=True)
        self._cache.SetMRMLScene(self._core.scene)
        self._data_io = slicer.vtkDataIOManager()
        self._data_io.SetCacheManager(self._cache)
        self._core.scene.SetCacheManager(self._cache)
        self._core.scene.SetDataIOManager(self._data_io)

    temporaryPath = Property(str, lambda self: str(self._folder))
    slicerHome = Property(str, lambda self: str(self._folder))
    majorVersion = Property(int, lambda self: 5)
    minorVersion = Property(int, lambda self: 10)
    applicationVersion = Property(str, lambda self: "5.10.0")

    def mrmlScene(self) -> Any:
        return self._core.scene

    def applicationLogic(self) -> Any:
        return self._core.app_logic

    def layoutManager(self) -> Any:
        return self._layout

    def coreIOManager(self) -> Any:
        return self._io

    def ioManager(self) -> Any:
        return self._io

    def settings(self) -> Any:
        return self._settings

    def userSettings(self) -> Any:
        return self._settings

    def testingEnabled(self) -> bool:
        return self._testing

    def pauseRender(self) -> None:
        self._set_paused(1)

    def resumeRender(self) -> None:
        self._set_paused(-1)

    def _set_paused(self, step: int) -> None:
        for view in self._core.view_manager.get_slice_views():
            rendering = view._scheduled_render
            rendering.paused += step
            if not rendering.paused and rendering.waiting:
                rendering.schedule_render()


class _ModuleSelector(qt.QWidget):
    """The list of modules; here only what selectModule needs."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__()
        self._window = window

    selectedModule = Property(str, lambda self: self._window._selected)

    def selectModule(self, name: str) -> None:
        self._window._select(name)


class MainWindow(qt.QMainWindow):
    """The panel on the left, the views on the right."""

    def __init__(self) -> None:
        super().__init__()
        self.objectName = "qSlicerMainWindow"
        self.windowTitle = "CardiacSeg in the stand-in application (this is not 3D Slicer)"
        self._selected = ""
        self._selector = _ModuleSelector(self)
        splitter = qt.QSplitter()
        self.setCentralWidget(splitter)
        self._panels = qt.QScrollArea()
        self._panels.objectName = "ModulePanel"
        self._panels.widgetResizable = True
        self._panels.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        self._stack = qt.QWidget()
        self._stack.setLayout(qt.QVBoxLayout())
        self._stack.layout().setContentsMargins(0, 0, 0, 0)
        self._panels.setWidget(self._stack)
        self._views = qt.QWidget()
        self._views.objectName = "CentralWidgetLayoutFrame"
        self._views.setLayout(qt.QVBoxLayout())
        self._views.layout().setContentsMargins(0, 0, 0, 0)
        splitter.addWidget(self._panels)
        splitter.addWidget(self._views)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([PANEL_WIDTH, 900])
        self.resize(1360, 900)
        self.statusBar()

    def moduleSelector(self) -> _ModuleSelector:
        return self._selector

    def _select(self, name: str) -> None:
        registered = getattr(slicer.modules, name.lower(), None)
        if not isinstance(registered, ScriptedModule):
            slicer.util.infoDisplay(f"The module {name} does not exist in this stand-in application.")
            return
        if self._selected:
            getattr(slicer.modules, self._selected.lower())._leave()
        self._selected = name
        registered._show(self._stack.layout())


class _ModuleFacts:
    """What a scripted module tells of itself; other attributes cannot be set, as in Slicer."""

    __slots__ = (
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "index",
        "name",
        "path",
        "title",
        "version",
        "widgetRepresentationCreationEnabled",
    )

    def __init__(self, name: str, path: str) -> None:
        self.name = self.title = name
        self.path = path


class _ModulePanel(qt.QWidget):
    """The widget that a scripted module's panel lives in; `self()` is its Python side."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.objectName = f"{name}ModuleWidget"
        self._python: Any = None
        self.setLayout(qt.QVBoxLayout())

    def self(this) -> Any:  # noqa: N805
        return this._python


class ScriptedModule:
    """A loaded scripted module: what `slicer.modules.<name>` is."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.name = path.stem
        self._panel: Any = None
        self._entered = False
        self._load()

    def _load(self) -> None:
        for source in (Path(self.path), *Path(self.path).parent.glob(f"{self.name}*/*.py")):
            check_source(source)
        if str(Path(self.path).parent) not in sys.path:
            sys.path.append(str(Path(self.path).parent))  # as Slicer's factory does
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        self._python = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = self._python
        spec.loader.exec_module(self._python)
        parent = _ModuleFacts(self.name, self.path)
        self._instance = getattr(self._python, self.name)(parent)
        self.title = parent.title
        setattr(slicer.modules, f"{self.name}Instance", self._instance)

    def widgetRepresentation(self) -> Any:
        """The panel; made when first asked for."""
        if self._panel is None:
            self._panel = _ModulePanel(self.name)
            self._widget = getattr(self._python, f"{self.name}Widget")(self._panel)
            self._panel._python = self._widget
            self._widget.setup()
        return self._panel

    def _show(self, layout: Any) -> None:
        panel = self.widgetRepresentation()
        layout.addWidget(panel)
        panel.show()
        if not self._entered:
            self._entered = True
            self._widget.enter()

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._widget.exit()
            self._panel.hide()

    def _destroy_panel(self) -> None:
        """What happens to a panel when Slicer ends or the module is reloaded."""
        if self._panel is not None:
            self._leave()
            self._widget.cleanup()
            self._panel.setParent(None)
            self._panel.deleteLater()
            self._panel = self._widget = None
            delattr(slicer.modules, f"{self.name}Widget")

    def _reload(self) -> None:
        """The developer's Reload button: the file is read again and the panel is made again."""
        entered = self._entered
        self._destroy_panel()
        self._load()
        if entered:
            self._show(slicer.util.mainWindow()._stack.layout())


def check_source(path: Path) -> None:
    """Refuse what runs on PySide6 only: its import, scoped enumerators such as Qt.AlignmentFlag.AlignLeft, `exec`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.name}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
            if any(
                n.split(".")[0] in ("PySide6", "PySide2", "PyQt5", "PyQt6", "SlicerHost", "trame_slicer") for n in names
            ):
                raise ImportError(f"{where}: {', '.join(names)} does not exist in Slicer")
        if isinstance(node, ast.Attribute):
            if node.attr == "exec":
                raise ImportError(f"{where}: exec is called exec_ in PythonQt over Qt 5")
            owner = _resolve(node.value)
            if isinstance(owner, type) and hasattr(owner, "__members__"):
                raise ImportError(f"{where}: {ast.unparse(node)} is Qt 6 only; write it without {owner.__name__}")


def _resolve(node: ast.AST) -> Any:
    """The object that an expression such as qt.Qt.AlignmentFlag names, or None."""
    if isinstance(node, ast.Name):
        return {"qt": qt, "ctk": ctk}.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_resolve(node.value), node.attr, None)
    return None


def start(test: bool = False) -> qSlicerApplication:
    """Start the application with its main window, not shown yet; a second call gives the same one."""
    if getattr(slicer, "app", None) is not None:
        return slicer.app
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    folder = tempfile.TemporaryDirectory(prefix="SlicerHost-")
    slicer.app = qSlicerApplication(Path(folder.name))
    slicer.app._temporary = folder
    slicer.mrmlScene = slicer.app._core.scene
    _add_names()
    slicer.modules = ModuleType("slicer.modules")
    for name, logic in slicer.app._logics.items():
        setattr(slicer.modules, name, SimpleNamespace(name=name, logic=lambda logic=logic: logic))
    from .files import qSlicerCoreIOManager
    from .layout import qSlicerLayoutManager

    slicer.app._window = MainWindow()
    slicer.app._io = qSlicerCoreIOManager(slicer.app)
    slicer.app._layout = qSlicerLayoutManager(slicer.app._core, slicer.app._window._views)
    slicer.app._layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    slicer.app._play.start()
    return slicer.app


def _add_names() -> None:
    """The Python modules of Slicer that slicer-core lacks, and the widgets."""
    for widget in MRML_WIDGETS:
        setattr(slicer, widget.__name__, widget)
    pythonqt.STAND_INS.update(stand_ins())
    slicer.util.pip_install = slicer.util.pip_uninstall = _refuse_to_install
    widgets = {w.__name__: w for w in (*MRML_WIDGETS, *ctk_widgets.WIDGETS)}
    qt.QUiLoader = ui_loader.loader_class(widgets)
    from . import parameter_node, sample_data, scripted_module

    sys.modules.update({
        "slicer.i18n": i18n,
        "slicer.ScriptedLoadableModule": scripted_module,
        "slicer.parameterNodeWrapper": parameter_node,
        "SampleData": sample_data,
    })  # fmt: skip
    slicer.i18n, slicer.ScriptedLoadableModule, slicer.parameterNodeWrapper = i18n, scripted_module, parameter_node


def _refuse_to_install(*_: object, **__: object) -> None:
    raise RuntimeError("The stand-in application installs nothing; python3 run.py setup does.")


def stand_ins() -> tuple[type, ...]:
    """The classes that stand for C++ classes of Slicer and CTK."""
    from . import files, layout, slice_widget

    views = (slice_widget.qMRMLSliceView, slice_widget.qMRMLSliceControllerWidget, slice_widget.qMRMLSliceWidget)
    rest = (layout.qMRMLTableWidget, layout.qSlicerLayoutManager, files.qSlicerCoreIOManager, qSlicerApplication)
    effect = segment_editor.qSlicerSegmentEditorAbstractEffect
    return (*MRML_WIDGETS, *ctk_widgets.WIDGETS, *views, *rest, effect)


def load_module(path: str | Path) -> ScriptedModule:
    """Load a scripted module by its file; it is slicer.modules.<name in lower case> then."""
    loaded = ScriptedModule(Path(path).resolve())
    setattr(slicer.modules, loaded.name.lower(), loaded)
    return loaded
