"""Stand-ins for the MRML widgets (`slicer.qMRML...`) that a panel may hold; they observe real MRML nodes."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets
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
