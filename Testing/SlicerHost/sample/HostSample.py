"""A small scripted module that uses each part of the host; test_host.py drives it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class HostSample(ScriptedLoadableModule):
    """The module."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Host sample")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Testing")]


class Color(Enum):
    """Shown in a combo box."""

    RED = "red"
    BLUE = "blue"

    def label(self) -> str:
        return self.value


@parameterNodeWrapper
class HostSampleParameterNode:
    """One parameter of each kind."""

    volume: slicer.vtkMRMLScalarVolumeNode
    opacity: Annotated[float, WithinRange(0, 1)] = 0.5
    outline: bool = True
    color: Color = Color.BLUE
    comment: str = "none"
    count: Annotated[int, WithinRange(1, 9)] = 3


class HostSampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._parameterNode = None
        self._tag = None
        self.clicks = 0

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/HostSample.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = HostSampleLogic()
        self.ui.runButton.connect("clicked(bool)", self.onRun)
        self.ui.failButton.clicked.connect(self.onFail)
        for event in (slicer.mrmlScene.EndCloseEvent, slicer.mrmlScene.EndImportEvent):
            self.addObserver(slicer.mrmlScene, event, self.onSceneChanged)
        self.initialize()

    def initialize(self) -> None:
        node = slicer.mrmlScene.GetSingletonNode("HostSampleEditor", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag("HostSampleEditor")
            node = slicer.mrmlScene.AddNode(node)
        self.ui.editor.setMRMLSegmentEditorNode(node)
        self._parameterNode = HostSampleParameterNode(self.logic.getParameterNode())
        self._tag = self._parameterNode.connectGui(self.ui)
        self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self.onModified()

    def onModified(self, caller=None, event=None) -> None:
        ready = self._parameterNode.volume is not None
        self.ui.runButton.enabled = ready
        self.ui.runButton.toolTip = _("Make a segmentation") if ready else _("Choose a volume")

    def onSceneChanged(self, caller, event) -> None:
        self._parameterNode.disconnectGui(self._tag)
        self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self.initialize()

    def onRun(self) -> None:
        self.clicks += 1
        volume = self._parameterNode.volume
        segmentation = self.logic.makeSegmentation(volume)
        self.ui.editor.setSegmentationNode(segmentation)
        self.ui.editor.setSourceVolumeNode(volume)
        slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)

    def onFail(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("It failed.")):
            raise ValueError("on purpose")

    def cleanup(self) -> None:
        self.removeObservers()
        self._parameterNode.disconnectGui(self._tag)

    def exit(self) -> None:
        self.ui.editor.setActiveEffect(None)


class HostSampleLogic(ScriptedLoadableModuleLogic):
    """What the panel does."""

    def makeSegmentation(self, volume):
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Sample segmentation")
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for name in ("A", "B"):
            segmentation.GetSegmentation().AddEmptySegment(name, name)
        return segmentation


class HostSampleTest(ScriptedLoadableModuleTest):
    """The self test."""

    def test_parameters(self) -> None:
        parameters = HostSampleParameterNode(HostSampleLogic().getParameterNode())
        parameters.count = 4
        self.assertEqual(parameters.count, 4)
        self.delayDisplay(_("Test passed"), 10)
        qt.QTimer.singleShot(0, lambda: None)
