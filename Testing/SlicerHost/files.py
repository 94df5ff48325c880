"""Loading and saving as `slicer.app.coreIOManager()` does it, for the few kinds of files that the module needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore

READERS = (
    ("SceneFile", (".mrb", ".mrml")),
    ("SequenceFile", (".seq.nrrd", ".seq.nhdr", ".seq.mrb")),
    ("SegmentationFile", (".seg.nrrd",)),
    ("VolumeFile", (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha")),
    ("TableFile", (".csv", ".tsv")),
)
NODES = {
    "SequenceFile": "vtkMRMLSequenceNode",
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "TableFile": "vtkMRMLTableNode",
}


class qSlicerCoreIOManager(QtCore.QObject):
    """Reads and writes nodes with their own storage nodes."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._scene = app._core.scene

    def fileType(self, name: str) -> str:
        """The kind of file by the longest matching ending."""
        matches = [(len(e), kind) for kind, endings in READERS for e in endings if str(name).lower().endswith(e)]
        return max(matches)[1] if matches else "NoFile"

    def registeredFileReaderCount(self, kind: str) -> int:
        return sum(kind == each for each, _ in READERS)

    def fileWriterFileType(self, node: Any, *_: Any) -> str:
        kinds = [kind for kind, class_name in NODES.items() if node.IsA(class_name)]
        return kinds[0] if kinds else "VolumeFile"

    def loadNodes(self, kind: str, properties: dict, loaded: Any = None, messages: Any = None) -> bool:
        """Read properties["fileName"] into the scene; the node goes into the collection `loaded`."""
        path = str(properties["fileName"])
        if not Path(path).exists():
            return False
        if kind == "SceneFile":
            return bool(self._load_scene(path, properties))
        if kind == "VolumeFile":
            node = slicer.modules.volumes.logic().AddArchetypeVolume(
                path, properties.get("name") or Path(path).name.split(".")[0]
            )
        else:
            node = self._load_node(kind, path, properties)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def _load_scene(self, path: str, properties: dict) -> Any:
        if properties.get("clear", True):
            self._scene.Clear(0)
        if path.endswith(".mrb"):
            return self._scene.ReadFromMRB(path, False, None)
        self._scene.SetURL(path)
        return self._scene.Import()

    def _load_node(self, kind: str, path: str, properties: dict) -> Any:
        name = properties.get("name") or Path(path).name.split(".")[0]
        if kind == "SequenceFile":
            node = self._load_sequence(path, name)
            if node is not None and properties.get("show", True):
                browser = self._scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
                browser.SetAndObserveMasterSequenceNodeID(node.GetID())
            return node
        node = self._scene.AddNewNodeByClass(NODES[kind], name)
        storage = node.CreateDefaultStorageNode()
        storage.SetFileName(path)
        if not storage.ReadData(node):
            self._scene.RemoveNode(node)
            return None
        return node

    def _load_sequence(self, path: str, name: str) -> Any:
        volumes = not path.lower().endswith(".seq.mrb")
        storage = slicer.vtkMRMLVolumeSequenceStorageNode() if volumes else slicer.vtkMRMLSequenceStorageNode()
        node = self._scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
        storage = self._scene.AddNode(storage)
        storage.SetFileName(path)
        node.SetAndObserveStorageNodeID(storage.GetID())
        if not storage.ReadData(node):
            self._scene.RemoveNode(node)
            self._scene.RemoveNode(storage)
            return None
        return node

    def saveNodes(self, kind: str, properties: dict, messages: Any = None) -> bool:
        """Write the node properties["nodeID"], or the scene, to properties["fileName"]."""
        path = str(properties["fileName"])
        if kind == "SceneFile" or (path.endswith(".mrb") and not path.endswith(".seq.mrb")):
            return bool(self._scene.WriteToMRB(path, None))
        node = self._scene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None:
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
        storage.SetFileName(path)
        return bool(storage.WriteData(node))
