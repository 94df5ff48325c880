"""Stand-in for qMRMLSegmentEditorWidget on trame-slicer's effects: a segment table, tools, brush size, undo.

The history is Slicer's own vtkSegmentationHistory: it belongs to the vtkSegmentation and is empty in another frame.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property
from trame_slicer.segmentation import BrushDiameterMode

from .ctk_widgets import value_property
from .mrml_widgets import qMRMLNodeComboBox
from .segment_editor_form import EFFECTS, SegmentEditorForm


class qSlicerSegmentEditorAbstractEffect(QtCore.QObject):
    """A tool by its name; its parameters are kept in the segment editor node as Slicer keeps them."""

    def __init__(self, name: str, widget: qMRMLSegmentEditorWidget) -> None:
        super().__init__(widget)
        self._name = name
        self._widget = widget

    name = Property(str, lambda self: self._name)

    def parameter(self, name: str) -> str:
        node = self._widget.mrmlSegmentEditorNode()
        return node.GetAttribute(f"{self._name}.{name}") or node.GetAttribute(name) or ""

    def setParameter(self, name: str, value: Any) -> None:
        self._widget.mrmlSegmentEditorNode().SetAttribute(f"{self._name}.{name}", str(value))
        self._widget._apply_parameters()

    def setCommonParameter(self, name: str, value: Any) -> None:
        self._widget.mrmlSegmentEditorNode().SetAttribute(name, str(value))
        self._widget._apply_parameters()


class qMRMLSegmentEditorWidget(SegmentEditorForm):
    """Edits a segmentation node on a source volume, as the segment editor node says."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._segmentation: Any = None
        self._volume: Any = None
        self._read_only = False
        self._states = 10
        self._auto_show, self._jump = True, False
        self._terminology, self._terminology_key = "", "Segmentations/DefaultTerminologyEntry"
        self._last_effect = ""
        self._effects = {name: qSlicerSegmentEditorAbstractEffect(name, self) for name in EFFECTS}
        self._history = slicer.vtkSegmentationHistory()
        self._keys: list[QtGui.QShortcut] = []
        self._updating = False

    @property
    def _editor(self) -> Any:
        return slicer.app._core.segmentation_editor

    undoEnabled = Property(bool, lambda s: not s._undo.isHidden(), lambda s, v: s.setUndoEnabled(v))
    maximumNumberOfUndoStates = Property(int, lambda s: s._states, lambda s, v: s.setMaximumNumberOfUndoStates(v))
    readOnly = value_property(bool, "_read_only", "_refresh")
    autoShowSourceVolumeNode = value_property(bool, "_auto_show")
    jumpToSelectedSegmentEnabled = value_property(bool, "_jump")
    defaultTerminologyEntry = value_property(str, "_terminology")
    defaultTerminologyEntrySettingsKey = value_property(str, "_terminology_key")

    def setUndoEnabled(self, enabled: bool) -> None:
        self._undo.setVisible(enabled)
        self._redo.setVisible(enabled)

    def setMaximumNumberOfUndoStates(self, states: int) -> None:
        self._states = states
        self._history.SetMaximumNumberOfStates(states)

    def setReadOnly(self, read_only: bool) -> None:
        self.readOnly = read_only

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._node_row.setMRMLScene(scene)
        self._volume_row.setMRMLScene(scene)
        if scene is not None:
            self._observe_scene(scene)
        self.updateWidgetFromMRML()

    def _observe_scene(self, scene: Any) -> None:
        tag = scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, lambda *_: self.setSegmentationNode(None))
        self.destroyed.connect(lambda *_: scene.RemoveObserver(tag))

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if node is not self._node:
            self._node = node
            self._watch()
            self.updateWidgetFromMRML()

    def _watch(self) -> None:
        self._unobserve()
        if self._node is not None:
            self._observe(self._node, vtk.vtkCommand.ModifiedEvent, lambda *_: self.updateWidgetFromMRML())
        if self._segmentation is not None:
            node_class, segmentation_class = slicer.vtkMRMLSegmentationNode, slicer.vtkSegmentation
            self._observe(self._segmentation, node_class.SegmentationChangedEvent, lambda *_: self._on_exchanged())
            events = (
                segmentation_class.SegmentAdded,
                segmentation_class.SegmentRemoved,
                segmentation_class.SegmentModified,
            )
            for event in events:
                self._observe(self._segmentation, event, lambda *_: self._refresh())

    def updateWidgetFromMRML(self) -> None:
        """Take over what the segment editor node names."""
        if self._node is None or self._updating:
            return
        if self._node.GetSegmentationNode() is not self._segmentation:
            self._take_segmentation(self._node.GetSegmentationNode())
        if self._node.GetSourceVolumeNode() is not self._volume:
            self._take_volume(self._node.GetSourceVolumeNode())
        self._apply_parameters()
        if (self._node.GetActiveEffectName() or "") != (self._active.name if self._active else ""):
            self.setActiveEffectByName(self._node.GetActiveEffectName() or "")
        self._refresh()

    def segmentationNode(self) -> Any:
        return self._segmentation

    def segmentationNodeID(self) -> str:
        return self._segmentation.GetID() if self._segmentation is not None else ""

    def setSegmentationNode(self, node: Any) -> None:
        if self._node is None:
            return
        self._node.SetAndObserveSegmentationNode(node)
        self.updateWidgetFromMRML()

    def setSegmentationNodeID(self, node_id: str) -> None:
        self.setSegmentationNode(self._scene.GetNodeByID(node_id))

    def sourceVolumeNode(self) -> Any:
        return self._volume

    def sourceVolumeNodeID(self) -> str:
        return self._volume.GetID() if self._volume is not None else ""

    def setSourceVolumeNode(self, node: Any) -> None:
        if self._node is None:
            return
        self._node.SetAndObserveSourceVolumeNode(node)
        self.updateWidgetFromMRML()

    def setSourceVolumeNodeID(self, node_id: str) -> None:
        self.setSourceVolumeNode(self._scene.GetNodeByID(node_id))

    def _take_segmentation(self, node: Any) -> None:
        self.setActiveEffect(None)
        self._segmentation = node
        self._history.SetSegmentation(node.GetSegmentation() if node is not None else None)
        self._watch()
        self._update_selector(self._node_row, node)
        self._attach()
        ids = node.GetSegmentation().GetSegmentIDs() if node is not None else ()
        if ids and self._node.GetSelectedSegmentID() not in ids:
            self._node.SetSelectedSegmentID(ids[0])

    def _take_volume(self, node: Any) -> None:
        self._volume = node
        self._update_selector(self._volume_row, node)
        if node is not None and self._auto_show:
            self.showSourceVolumeInSliceViewers()
        self._attach()

    def setAutoShowSourceVolumeNode(self, show: bool) -> None:
        self.autoShowSourceVolumeNode = show

    def showSourceVolumeInSliceViewers(self, force: bool = False, fit: bool = False) -> None:
        """Show the volume where it is in neither layer."""
        for view in slicer.app._core.view_manager.get_slice_views():
            composite = view._logic.GetSliceCompositeNode()
            if force or self._volume.GetID() not in (
                composite.GetBackgroundVolumeID(),
                composite.GetForegroundVolumeID(),
            ):
                composite.SetBackgroundVolumeID(self._volume.GetID())
                composite.SetForegroundVolumeID(None)
                if fit:
                    view._logic.FitSliceToBackground()

    def _update_selector(self, selector: qMRMLNodeComboBox, node: Any) -> None:
        self._updating = True
        selector.setCurrentNode(node)
        self._updating = False

    def _attach(self) -> None:
        """Hand segmentation and volume to trame-slicer's editor, with Slicer's history before every change."""
        if self._segmentation is None or self._volume is None:
            return
        self._editor.set_active_segmentation(self._segmentation, self._volume)
        modifier = self._editor.active_segment_modifier
        apply = modifier.apply_labelmap

        def apply_with_history(*arguments: Any, **keywords: Any) -> None:
            self._history.SaveState()
            apply(*arguments, **keywords)
            self._refresh()

        modifier.apply_labelmap = apply_with_history

    def _on_exchanged(self) -> None:
        """Another frame: its segmentation has no history yet."""
        self._history.SetSegmentation(self._segmentation.GetSegmentation())
        self._history.RemoveAllStates()
        self._refresh()

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._node.SetSelectedSegmentID(segment_id)
        self._refresh()

    def activeEffect(self) -> Any:
        return self._active

    def effectByName(self, name: str) -> Any:
        return self._effects.get(name)

    def setActiveEffect(self, effect: Any) -> None:
        self.setActiveEffectByName(effect.name if effect is not None else "")

    def setActiveEffectByName(self, name: str) -> None:
        """Activate the tool; without segmentation, volume and segment there is none to activate."""
        ready = self._segmentation is not None and self._volume is not None and self.currentSegmentID()
        name = name if name in EFFECTS and ready and not self._read_only else ""
        if name == (self._active.name if self._active else ""):
            self._show_options()
            return
        self._active = self._effects.get(name)
        if name:
            self._editor.set_active_segment_id(self.currentSegmentID())
            self._editor.set_active_effect_type(EFFECTS[name])
            self._last_effect = name
            self._apply_parameters()
        else:
            self._editor.deactivate_effect()
        if self._node is not None:
            self._node.SetActiveEffectName(name)
        self._show_options()

    def _effect(self, kind: type) -> Any:
        return self._editor.get_effect(kind)

    def _on_size(self, percent: float) -> None:
        for name in ("Paint", "Erase"):
            self._effect(EFFECTS[name]).set_brush_diameter(percent)

    def _apply_parameters(self) -> None:
        """What was written for the tool: the brush in mm or as part of the view, its shape, the threshold."""
        name = self._active.name if self._active is not None and self._node is not None else ""
        parameter = self._active.parameter if name else None
        if name in ("Paint", "Erase"):
            effect, absolute = self._effect(EFFECTS[name]), parameter("BrushDiameterIsRelative") == "0"
            size = parameter("BrushAbsoluteDiameter" if absolute else "BrushRelativeDiameter")
            mode = BrushDiameterMode.Absolute if absolute else BrushDiameterMode.ScreenRelative
            effect.set_brush_diameter(float(size) if size else self._size.value, mode)
            effect.set_use_sphere_brush(parameter("BrushSphere") == "1")
        elif name == "Threshold":
            low, high = self._volume.GetImageData().GetScalarRange()
            limits = parameter("MinimumThreshold") or (low + high) / 2, parameter("MaximumThreshold") or high
            self._effect(EFFECTS[name]).set_threshold_min_max_values((float(limits[0]), float(limits[1])))

    def undo(self) -> None:
        self._history.RestorePreviousState()
        self._refresh()

    def redo(self) -> None:
        self._history.RestoreNextState()
        self._refresh()

    def saveStateForUndo(self) -> None:
        self._history.SaveState()

    def setupViewObservations(self) -> None:
        """The tools observe the views through MRML already."""

    def removeViewObservations(self) -> None:
        self.setActiveEffect(None)

    def installKeyboardShortcuts(self, parent: Any = None) -> None:
        """Slicer's keys: 1 to 9 and 0 tools, ` and ~ segments, z and y undo and redo, Escape and Space the tool."""
        self.uninstallKeyboardShortcuts()
        window = parent or slicer.util.mainWindow()
        slots = {
            "z": self.undo,
            "y": self.redo,
            "`": lambda: self._step_segment(1),
            "~": lambda: self._step_segment(-1),
        }
        slots |= {"Escape": lambda: self.setActiveEffect(None), "Space": self._toggle_effect}
        for number, name in enumerate(EFFECTS, start=1):
            slots[str(number)] = lambda name=name: self.setActiveEffectByName(name)
        for keys, slot in slots.items():
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(keys), window)
            shortcut.activated.connect(slot)
            self._keys.append(shortcut)

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._keys:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._keys.clear()

    def _step_segment(self, step: int) -> None:
        ids = list(self._segmentation.GetSegmentation().GetSegmentIDs()) if self._segmentation is not None else []
        if self.currentSegmentID() in ids:
            self.setCurrentSegmentID(ids[(ids.index(self.currentSegmentID()) + step) % len(ids)])

    def _toggle_effect(self) -> None:
        self.setActiveEffectByName("" if self._active else self._last_effect)

    def _refresh(self) -> None:
        """Show the segments, the chosen one, and whether there is something to undo."""
        if self._updating:
            return
        self._updating = True
        segmentation = self._segmentation.GetSegmentation() if self._segmentation is not None else None
        ids = segmentation.GetSegmentIDs() if segmentation is not None else ()
        self._table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            segment = segmentation.GetSegment(segment_id)
            color, name = QtWidgets.QTableWidgetItem(), QtWidgets.QTableWidgetItem(segment.GetName())
            color.setData(QtCore.Qt.DecorationRole, QtGui.QColor.fromRgbF(*segment.GetColor()))
            color.setFlags(QtCore.Qt.ItemIsEnabled | QtCore.Qt.ItemIsSelectable)
            color.setData(QtCore.Qt.UserRole, segment_id)
            self._table.setItem(row, 0, color)
            self._table.setItem(row, 1, name)
        if self.currentSegmentID() in ids:
            self._table.selectRow(list(ids).index(self.currentSegmentID()))
            if self._editor.active_segment_modifier is not None:
                self._editor.set_active_segment_id(self.currentSegmentID())
        self._undo.enabled = bool(self._history.IsRestorePreviousStateAvailable())
        self._redo.enabled = bool(self._history.IsRestoreNextStateAvailable())
        for button in (*self._buttons.values(), self._add):
            button.enabled = segmentation is not None and self._volume is not None and not self._read_only
        self._updating = False

    def _on_row(self) -> None:
        rows = {i.row() for i in self._table.selectedIndexes()}
        if rows and not self._updating:
            self.setCurrentSegmentID(self._table.item(rows.pop(), 0).data(QtCore.Qt.UserRole))

    def _on_renamed(self, item: Any) -> None:
        if not self._updating and item.column() == 1:
            segment_id = self._table.item(item.row(), 0).data(QtCore.Qt.UserRole)
            self._segmentation.GetSegmentation().GetSegment(segment_id).SetName(item.text())

    def _on_apply(self) -> None:
        self._effect(EFFECTS["Threshold"]).apply()

    def _on_add(self) -> None:
        self.setCurrentSegmentID(self._segmentation.GetSegmentation().AddEmptySegment())

    def _on_remove(self) -> None:
        self._segmentation.GetSegmentation().RemoveSegment(self.currentSegmentID())
