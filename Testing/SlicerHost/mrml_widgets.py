"""Stand-ins for the MRML widgets (`slicer.qMRML...`) that a panel may hold; they observe real MRML nodes."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from .ctk_widgets import value_property


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that is told of the scene."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observed: list[tuple[Any, int]] = []
        self.destroyed.connect(lambda *_, observed=self._observed: [o.RemoveObserver(t) for o, t in observed])

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def _observe(self, observed: Any, event: Any, callback: Any) -> None:
        self._observed.append((observed, observed.AddObserver(event, callback)))

    def _unobserve(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """The nodes of some types, one of them chosen; the last entries make, rename and delete nodes."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    currentNodeRenamed = Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._types: list[str] = []
        self._hide_types: list[str] = []
        self._attributes: list[tuple[str, str, Any]] = []
        self._none, self._add, self._remove, self._edit, self._rename = False, True, True, False, False
        self._hidden, self._children_too, self._select_new, self._none_text, self._base = False, True, True, "None", ""
        self._nodes: list[Any] = []
        self._current: Any = None
        self._requested = ""
        self._scene_tags: list[int] = []
        self._name_tags: list[tuple[Any, int]] = []
        self._combo = QtWidgets.QComboBox()
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._activated)
        self.destroyed.connect(lambda *_, names=self._name_tags: [n.RemoveObserver(t) for n, t in names])
        self.enabled = False

    nodeTypes = Property(list, lambda self: self._types, lambda self, v: self._change("_types", list(v)))
    hideChildNodeTypes = Property(
        list, lambda self: self._hide_types, lambda self, v: self._change("_hide_types", list(v))
    )
    showHidden = value_property(bool, "_hidden", "_refresh")
    showChildNodeTypes = value_property(bool, "_children_too", "_refresh")
    noneEnabled = value_property(bool, "_none", "_refresh")
    addEnabled = value_property(bool, "_add", "_refresh")
    removeEnabled = value_property(bool, "_remove", "_refresh")
    editEnabled = value_property(bool, "_edit", "_refresh")
    renameEnabled = value_property(bool, "_rename", "_refresh")
    noneDisplay = value_property(str, "_none_text", "_refresh")
    baseName = value_property(str, "_base")
    selectNodeUponCreation = value_property(bool, "_select_new")
    currentNodeID = Property(str, lambda self: self._id(), lambda self, v: self.setCurrentNodeID(v))

    def _id(self) -> str:
        return self._current.GetID() or "" if self._current is not None else ""

    def _change(self, attribute: str, value: Any) -> None:
        setattr(self, attribute, value)
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        for tag in self._scene_tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._scene_tags = scene, []
        self.enabled = scene is not None
        if scene is not None:
            scene_class = slicer.vtkMRMLScene
            events = (scene_class.EndBatchProcessEvent, scene_class.EndCloseEvent, scene_class.EndImportEvent)
            self._scene_tags = [scene.AddObserver(e, lambda *_: self._refresh()) for e in events]
            self._scene_tags.append(scene.AddObserver(scene_class.NodeAddedEvent, self._on_added))
            self._scene_tags.append(scene.AddObserver(scene_class.NodeRemovedEvent, self._on_removed))
            self.destroyed.connect(lambda *_, s=scene, tags=self._scene_tags: [s.RemoveObserver(t) for t in tags])
        self._refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_added(self, caller: Any, event: str, node: Any) -> None:
        if self._matches(node):
            self._refresh()
            self.nodeAdded.emit(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removed(self, caller: Any, event: str, node: Any) -> None:
        if node in self._nodes:
            self.nodeAboutToBeRemoved.emit(node)
            self._refresh()

    def _matches(self, node: Any) -> bool:
        kind = next((t for t in self._types if (node.IsA(t) if self._children_too else node.GetClassName() == t)), None)
        if kind is None or (node.GetHideFromEditors() and not self._hidden):
            return False
        if any(node.IsA(t) for t in self._hide_types):
            return False
        for node_type, name, value in self._attributes:
            found = node.GetAttribute(name)
            if node.IsA(node_type) and (found is None or (value is not None and found != str(value))):
                return False
        return True

    def _refresh(self) -> None:
        """Fill the list from the scene and choose again what was chosen; without None, the first node is chosen."""
        if self._scene is None or self._scene.IsBatchProcessing():
            return
        every = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        self._nodes = [n for n in every if self._matches(n)]
        for node, tag in self._name_tags:
            node.RemoveObserver(tag)
        self._name_tags[:] = [(n, n.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_modified)) for n in self._nodes]
        current = self._current if any(n is self._current for n in self._nodes) else None
        requested = [n for n in self._nodes if n.GetID() == self._requested]
        if requested:
            current, self._requested = requested[0], ""
        if current is None and not self._none and self._nodes:
            current = self._nodes[0]
        self._fill(current)
        self._choose(current)

    def _on_modified(self, node: Any, event: str) -> None:
        row = next((r for r in range(self._combo.count) if self._combo.itemData(r) == node.GetID()), -1)
        if row >= 0 and self._combo.itemText(row) != node.GetName():
            self._combo.setItemText(row, node.GetName())

    def _fill(self, current: Any) -> None:
        blocked = self._combo.blockSignals(True)
        self._combo.clear()
        if self._none:
            self._combo.addItem(self._none_text, "")
        for node in self._nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        for action, text in self._actions():
            self._combo.addItem(text, action)
        row = next(
            (r for r in range(self._combo.count) if current is not None and self._combo.itemData(r) == current.GetID()),
            -1,
        )
        self._combo.setCurrentIndex(row if row >= 0 else 0 if self._none else -1)
        self._combo.blockSignals(blocked)

    def _actions(self) -> list[tuple[str, str]]:
        made = [(f"add:{t}", f"Create new {t.removeprefix('vtkMRML').removesuffix('Node')}") for t in self._types]
        actions = made if self._add else []
        if self._rename:
            actions.append(("rename:", "Rename current node"))
        if self._edit:
            actions.append(("edit:", "Edit current node"))
        if self._remove:
            actions.append(("remove:", "Delete current node"))
        return actions

    def _choose(self, node: Any) -> None:
        if node is self._current:
            return
        self._current = node
        overloads = self.currentNodeChanged._signal
        overloads[object].emit(node)
        overloads[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(self._id())

    def _activated(self, row: int) -> None:
        data = self._combo.itemData(row) or ""
        action, _, kind = data.partition(":")
        if ":" not in data:
            node = self._scene.GetNodeByID(data) if data else None
            self._choose(node)
            self.nodeActivated.emit(node)
            return
        self._fill(self._current)
        if action == "add":
            self.nodeAddedByUserAction.emit(self.addNode(kind))
        else:
            {"rename": self.renameCurrentNode, "edit": self.editCurrentNode, "remove": self.removeCurrentNode}[action]()

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            self.setCurrentNodeID(node)
            return
        if node is not None and not any(n is node for n in self._nodes):
            self._requested = node.GetID() or ""  # it is chosen when it comes, at the end of loading for instance
            node = None
        if node is None and not self._none and self._nodes:
            node = self._nodes[0]
        self._fill(node)
        self._choose(node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if self._scene is not None and node_id else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes.append((node_type, name, value))
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes = [a for a in self._attributes if a[:2] != (node_type, name)]
        self._refresh()

    def addNode(self, node_type: str = "") -> Any:
        kind = node_type or self._types[0]
        name = self._scene.GenerateUniqueName(self._base or kind.removeprefix("vtkMRML").removesuffix("Node"))
        node = self._scene.AddNewNodeByClass(kind, name)
        for attribute_type, attribute, value in self._attributes:
            if node.IsA(attribute_type):
                node.SetAttribute(attribute, "" if value is None else str(value))
        self._refresh()
        if self._select_new:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        if self._current is not None:
            self._scene.RemoveNode(self._current)

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self._current)

    def renameCurrentNode(self) -> None:
        name = QtWidgets.QInputDialog.getText(
            self, "Rename", "New name:", QtWidgets.QLineEdit.Normal, self._current.GetName()
        )
        if name:
            self._current.SetName(name)
            self.currentNodeRenamed.emit(name)


class _BrowserWidget(qMRMLWidget):
    """A widget that shows a sequence browser node."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._browser: Any = None

    def setMRMLSequenceBrowserNode(self, node: Any) -> None:
        if node is self._browser:
            return
        self._unobserve()
        self._browser = node
        if node is not None:
            self._observe(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self._update())
        self._update()

    def _update(self) -> None:
        raise NotImplementedError


class qMRMLSequenceBrowserSeekWidget(_BrowserWidget):
    """A slider over the items of a sequence, with the value of the item."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._label = QtWidgets.QLabel()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._label)
        self._slider.valueChanged.connect(self.setSelectedItemNumber)
        self._update()

    def slider(self) -> QtWidgets.QSlider:
        return self._slider

    def setSelectedItemNumber(self, number: int) -> None:
        if self._browser is not None and 0 <= number < self._browser.GetNumberOfItems():
            self._browser.SetSelectedItemNumber(number)

    def _update(self) -> None:
        count = self._browser.GetNumberOfItems() if self._browser is not None else 0
        self.enabled = count > 0
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, max(count - 1, 0))
        if count:
            self._slider.setValue(max(self._browser.GetSelectedItemNumber(), 0))
            unit = self._browser.GetMasterSequenceNode().GetIndexUnit() or ""
            self._label.text = f"{self._browser.GetFormattedIndexValue(self._browser.GetSelectedItemNumber())}{unit}"
        self._slider.blockSignals(blocked)


class qMRMLSequenceBrowserPlayWidget(_BrowserWidget):
    """First, previous, play, next, last; the frame rate; loop."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._recording = False
        self._shortcuts: dict[str, QtGui.QShortcut] = {}
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        style = self.style()
        icons = QtWidgets.QStyle
        buttons = [
            ("_first", icons.SP_MediaSkipBackward, self.onVcrFirst),
            ("_previous", icons.SP_MediaSeekBackward, self.onVcrPrevious),
            ("_play", icons.SP_MediaPlay, None),
            ("_next", icons.SP_MediaSeekForward, self.onVcrNext),
            ("_last", icons.SP_MediaSkipForward, self.onVcrLast),
        ]
        for name, icon, slot in buttons:
            button = QtWidgets.QPushButton()
            button.icon = style.standardIcon(icon)
            layout.addWidget(button)
            setattr(self, name, button)
            if slot:
                button.clicked.connect(slot)
        self._play.checkable = True
        self._play.toggled.connect(self.setPlaybackEnabled)
        self._rate = QtWidgets.QDoubleSpinBox()
        self._rate.suffix = "fps"
        self._rate.setRange(0.1, 100.0)
        layout.addWidget(self._rate)
        self._rate.valueChanged.connect(self.setPlaybackRateFps)
        self._update()

    RecordingControlsVisible = value_property(bool, "_recording")
    PlayPauseShortcut = Property(str, lambda s: s._shortcut("play"), lambda s, v: s._set_shortcut("play", v))
    PreviousFrameShortcut = Property(
        str, lambda s: s._shortcut("previous"), lambda s, v: s._set_shortcut("previous", v)
    )
    NextFrameShortcut = Property(str, lambda s: s._shortcut("next"), lambda s, v: s._set_shortcut("next", v))

    def _shortcut(self, name: str) -> str:
        return self._shortcuts[name].key.toString() if name in self._shortcuts else ""

    def _set_shortcut(self, name: str, keys: str) -> None:
        slots = {"play": self.onVcrPlayPause, "previous": self.onVcrPrevious, "next": self.onVcrNext}
        if name not in self._shortcuts:
            self._shortcuts[name] = QtGui.QShortcut(self)
            self._shortcuts[name].activated.connect(slots[name])
        self._shortcuts[name].setKey(QtGui.QKeySequence(keys))

    def setPlayPauseShortcut(self, keys: str) -> None:
        self._set_shortcut("play", keys)

    def setPreviousFrameShortcut(self, keys: str) -> None:
        self._set_shortcut("previous", keys)

    def setNextFrameShortcut(self, keys: str) -> None:
        self._set_shortcut("next", keys)

    def setRecordingControlsVisible(self, show: bool) -> None:
        self._recording = show

    def setPlaybackEnabled(self, play: bool) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackActive(play)

    def setPlaybackRateFps(self, rate: float) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackRateFps(rate)

    def setPlaybackLoopEnabled(self, loop: bool) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackLooped(loop)

    def onVcrFirst(self) -> None:
        self._browser.SelectFirstItem()

    def onVcrPrevious(self) -> None:
        self._browser.SelectNextItem(-1)

    def onVcrNext(self) -> None:
        self._browser.SelectNextItem(1)

    def onVcrLast(self) -> None:
        self._browser.SelectLastItem()

    def onVcrPlayPause(self) -> None:
        self.setPlaybackEnabled(not self._browser.GetPlaybackActive())

    def _update(self) -> None:
        self.enabled = self._browser is not None and self._browser.GetNumberOfItems() > 0
        if self._browser is not None:
            for widget, name, value in (
                (self._play, "checked", bool(self._browser.GetPlaybackActive())),
                (self._rate, "value", self._browser.GetPlaybackRateFps()),
            ):
                blocked = widget.blockSignals(True)
                setattr(widget, name, value)
                widget.blockSignals(blocked)
            playing = (
                QtWidgets.QStyle.SP_MediaPause if self._browser.GetPlaybackActive() else QtWidgets.QStyle.SP_MediaPlay
            )
            self._play.icon = self.style().standardIcon(playing)


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
        named = (
            orientation == QtCore.Qt.Horizontal
            and self.node is not None
            and self.node.GetUseColumnTitleAsColumnHeader()
        )
        if named or (orientation == QtCore.Qt.Horizontal and self.node is not None):
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
