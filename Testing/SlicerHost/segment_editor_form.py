"""What is seen of the segment editor: selectors, segment table, tools, brush size; segment_editor.py does the work."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets
from PySide6.QtCore import Property
from trame_slicer.segmentation import (
    SegmentationEffectDraw,
    SegmentationEffectErase,
    SegmentationEffectPaint,
    SegmentationEffectScissors,
    SegmentationEffectThreshold,
)

from .ctk_widgets import ctkSliderWidget, value_property
from .mrml_widgets import qMRMLNodeComboBox, qMRMLWidget

EFFECTS = {
    "Threshold": SegmentationEffectThreshold,
    "Paint": SegmentationEffectPaint,
    "Draw": SegmentationEffectDraw,
    "Erase": SegmentationEffectErase,
    "Scissors": SegmentationEffectScissors,
}


class SegmentEditorForm(qMRMLWidget):
    """The controls, tied to the slots of the editor that derives from this."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._active: Any = None
        self._unordered, self._columns = True, 2
        self._order: list[str] = []
        self._build()

    def _build(self) -> None:
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._node_row, self._volume_row = qMRMLNodeComboBox(), qMRMLNodeComboBox()
        for box, kind in ((self._node_row, "vtkMRMLSegmentationNode"), (self._volume_row, "vtkMRMLScalarVolumeNode")):
            box.nodeTypes = [kind]
            box.noneEnabled = True
            layout.addWidget(box)
        self._node_row.currentNodeChanged.connect(lambda node: self._updating or self.setSegmentationNode(node))
        self._volume_row.currentNodeChanged.connect(lambda node: self._updating or self.setSourceVolumeNode(node))
        self._table = QtWidgets.QTableWidget(0, 2)
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setColumnWidth(0, 28)
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SingleSelection)
        self._table.verticalHeader().setDefaultSectionSize(22)
        self._table.setMinimumHeight(96)  # three segments
        self._table.setMaximumHeight(140)
        self._table.itemSelectionChanged.connect(self._on_row)
        self._table.itemChanged.connect(self._on_renamed)
        layout.addLayout(self._segment_buttons())
        layout.addWidget(self._table)
        layout.addLayout(self._effect_buttons())
        self._size = ctkSliderWidget()
        self._size.prefix, self._size.suffix = "Brush ", "%"
        self._size.minimum, self._size.maximum, self._size.value = 0.5, 30.0, 3.0
        self._size.valueChanged.connect(self._on_size)
        self._apply = QtWidgets.QPushButton("Apply")
        self._apply.clicked.connect(lambda: self._on_apply())
        layout.addWidget(self._size)
        layout.addWidget(self._apply)
        self._show_options()

    def _segment_buttons(self) -> QtWidgets.QLayout:
        row = QtWidgets.QHBoxLayout()
        self._add, self._remove = QtWidgets.QPushButton("Add"), QtWidgets.QPushButton("Remove")
        self._switch = QtWidgets.QToolButton()
        self._switch.text = "→"
        self._add.clicked.connect(self._on_add)
        self._remove.clicked.connect(self._on_remove)
        for button in (self._add, self._remove, self._switch):
            row.addWidget(button)
        return row

    def _effect_buttons(self) -> QtWidgets.QLayout:
        grid = QtWidgets.QGridLayout()
        self._buttons: dict[str, QtWidgets.QToolButton] = {}
        for name in EFFECTS:
            button = QtWidgets.QToolButton()
            button.text = button.toolTip = name
            button.objectName = name
            button.checkable = True
            button.clicked.connect(lambda checked, name=name: self.setActiveEffectByName(name if checked else ""))
            self._buttons[name] = button
        self._undo, self._redo = QtWidgets.QToolButton(), QtWidgets.QToolButton()
        self._undo.text, self._redo.text = "Undo", "Redo"
        self._undo.clicked.connect(self.undo)
        self._redo.clicked.connect(self.redo)
        for place, button in enumerate((*self._buttons.values(), self._undo, self._redo)):
            grid.addWidget(button, place // 4, place % 4)
        return grid

    segmentationNodeSelectorVisible = Property(
        bool, lambda s: not s._node_row.isHidden(), lambda s, v: s._node_row.setVisible(v)
    )
    sourceVolumeNodeSelectorVisible = Property(
        bool, lambda s: not s._volume_row.isHidden(), lambda s, v: s._volume_row.setVisible(v)
    )
    switchToSegmentationsButtonVisible = Property(
        bool, lambda s: not s._switch.isHidden(), lambda s, v: s._switch.setVisible(v)
    )
    unorderedEffectsVisible = value_property(bool, "_unordered", "_show_effects")
    effectColumnCount = value_property(int, "_columns")

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:
        self._node_row.setVisible(visible)

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:
        self._volume_row.setVisible(visible)

    def setSwitchToSegmentationsButtonVisible(self, visible: bool) -> None:
        self._switch.setVisible(visible)

    def setEffectNameOrder(self, names: Any) -> None:
        self._order = list(names)
        self._show_effects()

    def _show_effects(self) -> None:
        for name, button in self._buttons.items():
            button.setVisible(self._unordered or name in self._order)

    def effectNameOrder(self) -> tuple:
        return tuple(self._order)

    def availableEffectNames(self) -> tuple:
        return tuple(EFFECTS)

    def _show_options(self) -> None:
        name = self._active.name if self._active else ""
        for each, button in self._buttons.items():
            button.checked = each == name
        self._size.setVisible(name in ("Paint", "Erase"))
        self._apply.setVisible(name == "Threshold")
