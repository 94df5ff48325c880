"""What the views show: slices in the acquisition plane, known by number; the layout; the editor's node."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from ..cine import Cine
from .cines import browser_of
from .results import result_node
from .space import LPS_TO_RAS, array_of
from .study import Study, image_of

_RIGHT, _DOWN = np.array([-1.0, -0.5, 0.0]), np.array([0.0, -0.3, -1.0])
"""On the screen (RAS): the patient's left and back to the right, feet and back down, as short axes are shown."""
_SAME_PLANE = 0.99  # cosine between the view's and the stack's normal

_EFFECTS = ("Paint", "Draw", "Erase", "Level tracing", "Threshold", "Scissors", "Islands", "Smoothing", "Margin")
_LAYOUT = 1735
_LAYOUT_XML = """<layout type="vertical" split="true">
 <item splitSize="700"><view class="vtkMRMLSliceNode" singletontag="Red">
  <property name="orientation" action="default">Axial</property>
  <property name="viewlabel" action="default">R</property>
  <property name="viewcolor" action="default">#F34A33</property>
 </view></item>
 <item splitSize="300"><view class="vtkMRMLPlotViewNode" singletontag="PlotView1">
  <property name="viewlabel" action="default">P</property>
 </view></item>
</layout>"""


def face_stack(view: slicer.vtkMRMLSliceNode, cine: Cine) -> None:
    """Turn the view to the acquisition plane, rows and columns along the screen, and show the middle slice."""
    axes = LPS_TO_RAS[:3, :3] @ cine.affine[:3, :3] / cine.spacing
    x, y = axes[:, 0], axes[:, 1]
    straight, swapped = (abs(right @ _RIGHT) + abs(down @ _DOWN) for right, down in ((x, y), (y, x)))
    right, down = (y, x) if swapped > straight else (x, y)
    right, down = right * np.sign(right @ _RIGHT or 1), down * np.sign(down @ _DOWN or 1)
    matrix = view.GetSliceToRAS()
    matrix.Identity()
    for row in range(3):
        matrix.SetElement(row, 0, right[row])
        matrix.SetElement(row, 1, -down[row])
        matrix.SetElement(row, 2, np.cross(right, -down)[row])
        matrix.SetElement(row, 3, _centre(cine, cine.shape[1] // 2)[row])
    view.UpdateMatrices()


def slice_in_view(view: slicer.vtkMRMLSliceNode, cine: Cine) -> int | None:
    """The slice of the cine that the view shows; None where it is turned away or beyond the stack."""
    to_ras = array_of(view.GetSliceToRAS())
    normal = np.cross(*(LPS_TO_RAS[:3, :3] @ cine.affine[:3, :2]).T)
    if abs(to_ras[:3, 2] @ normal) < _SAME_PLANE * np.linalg.norm(normal):
        return None
    z = round(float((np.linalg.inv(LPS_TO_RAS @ cine.affine) @ to_ras[:, 3])[2]))
    return z if 0 <= z < cine.shape[1] else None


def show_slice(view: slicer.vtkMRMLSliceNode, cine: Cine, z: int) -> None:
    """Move the view along its normal to a slice of the cine."""
    view.JumpSliceByOffsetting(*_centre(cine, z))


def _centre(cine: Cine, z: int) -> np.ndarray:
    """The middle of a slice in RAS."""
    _, _, rows, columns = cine.shape
    return (LPS_TO_RAS @ cine.affine @ [(columns - 1) / 2, (rows - 1) / 2, z, 1])[:3]


def add_cine_layout(layouts: slicer.vtkMRMLLayoutNode) -> int:
    """Let a layout node know the cine layout, one slice view above a plot; returns its number."""
    if not layouts.IsLayoutDescription(_LAYOUT):
        layouts.AddLayoutDescription(_LAYOUT, _LAYOUT_XML)
    return _LAYOUT


def editor_node(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSegmentEditorNode:
    """The panel's own Segment Editor node, made where there is none; Slicer's Segment Editor keeps its state."""
    node = scene.GetSingletonNode("CardiacSeg", "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag("CardiacSeg")
        node.SetHideFromEditors(True)
        node = scene.AddNode(node)
    return node


def set_up_editor(editor: Any, scene: slicer.vtkMRMLScene) -> Any:
    """Show of a Segment Editor widget what a panel with one study needs; returns the widget."""
    editor.setMaximumNumberOfUndoStates(10)
    editor.setSegmentationNodeSelectorVisible(False)
    editor.setSourceVolumeNodeSelectorVisible(False)
    editor.setSwitchToSegmentationsButtonVisible(False)
    editor.setEffectNameOrder(_EFFECTS)
    editor.unorderedEffectsVisible = False
    editor.setMRMLSegmentEditorNode(editor_node(scene))
    return editor


def show_stack(layouts: Any, study: Study) -> int | None:
    """Show a study in the red slice view above its curve; returns the layout that was replaced, or None.

    layouts: the application's layout manager.
    """
    number, before = add_cine_layout(layouts.layoutLogic().GetLayoutNode()), layouts.layout
    if before != number:
        layouts.setLayout(number)
    _show_masks_of(study)
    red = layouts.sliceWidget("Red")
    red.mrmlSliceCompositeNode().SetBackgroundVolumeID(study.volume.GetID())
    study.show_contrast()
    face_stack(red.mrmlSliceNode(), study.cine)
    red.sliceLogic().FitSliceToAll()
    return None if before == number else before


def _show_masks_of(study: Study) -> None:
    """Show this study's masks and hide those of other cines, which may lie in the same place."""
    scene = study.image.GetScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode")):
        masks = scene.GetNthNodeByClass(index, "vtkMRMLSequenceNode")
        image = image_of(masks)
        proxy = browser_of(scene, image).GetProxyNode(masks) if image is not None else None
        if proxy is not None and proxy.GetDisplayNode() is not None:
            proxy.GetDisplayNode().SetVisibility(masks is study.masks)


def show_curve(application: slicer.vtkMRMLApplicationLogic, study: Study) -> None:
    """Show a study's volume curve in the plot views."""
    chart, selection = result_node(study, "volume curve"), application.GetSelectionNode()
    if chart is not None and selection.GetActivePlotChartID() != chart.GetID():
        selection.SetActivePlotChartID(chart.GetID())
        application.PropagatePlotChartSelection()
