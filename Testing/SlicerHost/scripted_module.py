"""Stand-in for slicer.ScriptedLoadableModule: the four base classes that a scripted module derives from."""

from __future__ import annotations

import logging
import sys
import unittest
from pathlib import Path
from typing import Any

import qt
import slicer


class ScriptedLoadableModule:
    """What the module is: its title and texts; registered as slicer.modules.<name in lower case>."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.contributors = "", [], []
        parent.dependencies, parent.helpText, parent.acknowledgementText = [], "", ""
        parent.hidden = False

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return ""

    def runTest(self, msec: int = 100, **_: Any) -> None:
        """Run the test class of the module's file."""
        case = getattr(sys.modules[self.moduleName], f"{self.moduleName}Test")()
        case.messageDelay = msec
        case.runTest()


class ScriptedLoadableModuleWidget:
    """The panel; `parent` is the widget that it lives in."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        setattr(slicer.modules, type(self).__name__, self)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """The reload buttons of developers."""
        if self.developerMode:
            box = qt.QGroupBox("Reload && Test")
            box.setLayout(qt.QHBoxLayout())
            for text, slot in (("Reload", self.onReload), ("Reload and Test", self.onReloadAndTest)):
                button = qt.QPushButton(text)
                button.connect("clicked()", slot)
                box.layout().addWidget(button)
            self.layout.addWidget(box)

    def cleanup(self) -> None:
        """Called before the panel goes."""

    def enter(self) -> None:
        """Called when the panel comes into view."""

    def exit(self) -> None:
        """Called when the panel goes out of view."""

    def onReload(self) -> None:
        logging.debug("Reloading %s", self.moduleName)
        getattr(slicer.modules, self.moduleName.lower())._reload()

    def onReloadAndTest(self, *_: Any, **keywords: Any) -> None:
        with slicer.util.tryWithErrorDisplay("Reload and test failed."):
            self.onReload()
            getattr(slicer.modules, f"{self.moduleName}Instance").runTest(**keywords)


class ScriptedLoadableModuleLogic:
    """What the module can do without a panel; its parameter node is a singleton of the scene."""

    def __init__(self, parent: Any = None) -> None:
        self.mrmlScene = slicer.mrmlScene
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's vtkMRMLScriptedModuleNode; made where there is none."""
        return self.createParameterNode() if self._found() is None else self._found()

    def getAllParameterNodes(self) -> list:
        nodes = [self.mrmlScene.GetNthNodeByClass(i, "vtkMRMLScriptedModuleNode") for i in range(self._count())]
        return [n for n in nodes if n.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = self.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(self.mrmlScene.GenerateUniqueName(self.moduleName))
        return self.mrmlScene.AddNode(node)

    def _count(self) -> int:
        return self.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode")

    def _found(self) -> Any:
        if self.isSingletonParameterNode:
            return self.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        return next(iter(self.getAllParameterNodes()), None)


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's self test; runTest is its only entry."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*(arguments or ("runTest",)), **keywords)
        self.messageDelay = 1000

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.util.delayDisplay(message, min(msec or requestedDelay or self.messageDelay, self.messageDelay))

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        """Every method with "test" at the beginning of its name, each with its setUp and tearDown."""
        for name in sorted(dir(type(self))):
            if name.startswith("test"):
                self.setUp()
                try:
                    getattr(self, name)()
                finally:
                    self.tearDown()
