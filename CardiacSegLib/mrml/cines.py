"""Cine ⇄ image sequence with its browser; the patient's voxels are read and never written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..cine import Cine, Patient
from ..errors import CardiacSegError
from ..measures.area_length import lies_along_heart
from ..readers.image import compact, cycle_times
from .space import LPS_TO_RAS, array_of, matrix_of

PATIENT = "CardiacSeg.Patient"
_REMARKS = "CardiacSeg.Remarks"
_MODALITY = "CardiacSeg.Modality"
_FILES = "CardiacSeg.Files"
_SOURCES, _NONE = "CardiacSeg.Sources", "-"
"""By slice the UID of its image, and what stands where a slice was put together from several."""
_VTK_TYPES = {np.dtype(np.int16): vtk.VTK_SHORT, np.dtype(np.float32): vtk.VTK_FLOAT}


def cine_to_scene(scene: slicer.vtkMRMLScene, cine: Cine) -> slicer.vtkMRMLSequenceNode:
    """Put a cine into the scene as a volume sequence with a browser; returns the sequence.

    Frame times become index values in ms; where they are not known the index is the frame number.
    """
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(_plain(cine.name)))
    sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
    sequence.SetIndexName("time" if cine.times_known else "frame")
    sequence.SetIndexUnit("ms" if cine.times_known else "")
    matrix = matrix_of(LPS_TO_RAS @ cine.affine)
    for frame, voxels in enumerate(cine.frames):
        volume = slicer.vtkMRMLScalarVolumeNode()
        volume.SetIJKToRASMatrix(matrix)
        volume.SetAndObserveImageData(_image_of(voxels))
        if cine.sources:
            volume.SetAttribute("DICOM.instanceUIDs", " ".join(filter(None, cine.sources[frame])))
            volume.SetAttribute(_SOURCES, " ".join(uid or _NONE for uid in cine.sources[frame]))
        sequence.SetDataNodeAtValue(volume, f"{cine.times[frame]:.10g}" if cine.times_known else str(frame))
    sequence.SetAttribute(_MODALITY, cine.modality)
    sequence.SetAttribute(_REMARKS, json.dumps(cine.remarks))
    set_patient(sequence, cine.patient)
    browser_of(scene, sequence)
    return sequence


def scene_to_cine(sequence: slicer.vtkMRMLSequenceNode) -> Cine:
    """Read a volume sequence, whichever importer made it.

    The voxels are copied, so nothing that is done with the cine reaches the scene. Raises CardiacSegError if there are
    no items or they are not gray images on one grid.
    """
    name = sequence.GetName()
    count = sequence.GetNumberOfDataNodes()
    items = [sequence.GetNthDataNode(index) for index in range(count)]
    if not count or any(not item.IsA("vtkMRMLScalarVolumeNode") or item.GetImageData() is None for item in items):
        raise CardiacSegError(f"{name} is not a cine; choose a sequence of gray images.")
    affines = [_affine_of(item) for item in items]
    sizes = {item.GetImageData().GetDimensions() for item in items}
    if len(sizes) > 1 or not all(np.allclose(affine, affines[0], atol=1e-3) for affine in affines):
        raise CardiacSegError(f"The frames of {name} lie in different places; choose a sequence of one stack.")
    if any(item.GetImageData().GetNumberOfScalarComponents() != 1 for item in items):
        raise CardiacSegError(f"{name} holds color images; choose a sequence of gray images.")
    times, reason = _times_of(sequence)
    times, known, remarks = cycle_times(times, count, reason)
    own = tuple(json.loads(sequence.GetAttribute(_REMARKS) or "[]"))
    return Cine(
        compact(np.stack([_voxels_of(item) for item in items])),
        affines[0],
        times,
        modality=sequence.GetAttribute(_MODALITY) or "MR",
        times_known=known,
        patient=patient_of(sequence),
        sources=_sources_of(items),
        remarks=own or remarks,
        name=name,
    )


def is_long_axis(sequence: slicer.vtkMRMLSequenceNode) -> bool:
    """Whether an image sequence is of one slice along the heart, by where its first image lies in the patient."""
    first = sequence.GetNthDataNode(0)
    if first is None or not first.IsA("vtkMRMLScalarVolumeNode") or first.GetImageData() is None:
        return False
    return first.GetImageData().GetDimensions()[2] == 1 and lies_along_heart(_affine_of(first))


def browser_of(scene: slicer.vtkMRMLScene, sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceBrowserNode:
    """The browser that has the sequence as its master, made where there is none, with an image in the scene.

    Edits of that image are not saved back: as importers leave it, any filter could alter the patient's data.
    """
    browser = _existing_browser(scene, sequence)
    if browser is None:
        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{sequence.GetName()} browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.PlaybackActiveOff()
    if browser.GetProxyNode(sequence) is None:
        volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{sequence.GetName()} image")
        volume.Copy(sequence.GetNthDataNode(0))
        volume.SetName(f"{sequence.GetName()} image")
        volume.CreateDefaultDisplayNodes()
        browser.AddProxyNode(volume, sequence, False)
    protect_image(browser, sequence)
    return browser


def protect_image(browser: slicer.vtkMRMLSequenceBrowserNode, sequence: slicer.vtkMRMLSequenceNode) -> None:
    """Untick "Save changes" for the image; its proxy gets voxels of its own first, so that none are shared."""
    volume = browser.GetProxyNode(sequence)
    if not browser.GetSaveChanges(sequence) or volume is None:
        return
    if volume.GetImageData() is not None:
        own = vtk.vtkImageData()
        own.DeepCopy(volume.GetImageData())
        volume.SetAndObserveImageData(own)
    browser.SetSaveChanges(sequence, False)


def patient_of(sequence: slicer.vtkMRMLSequenceNode) -> Patient:
    """The patient's facts that go with an image sequence."""
    return Patient(**json.loads(sequence.GetAttribute(PATIENT) or "{}"))


def set_patient(sequence: slicer.vtkMRMLSequenceNode, patient: Patient) -> None:
    """Keep the patient's facts with the image sequence; they are saved with the scene."""
    sequence.SetAttribute(PATIENT, json.dumps(vars(patient)))


def set_files(sequence: slicer.vtkMRMLSequenceNode, path: str) -> None:
    """Remember the file or folder that an image sequence was read from."""
    sequence.SetAttribute(_FILES, path)


def files_of(sequence: slicer.vtkMRMLSequenceNode, find: Callable[[str], str] | None) -> Path | tuple[Path, ...] | None:
    """Where the DICOM files of an image sequence lie; None where they are nowhere to be found.

    It is what `set_files` was told, or what `find` gives for each UID of an image, as Slicer's DICOM database does.
    """
    path = sequence.GetAttribute(_FILES)
    if path and Path(path).exists():
        return Path(path)
    uids = uids_of(sequence)
    files = [find(uid) for uid in uids] if find is not None else []
    return tuple(map(Path, files)) if files and all(files) else None


def uids_of(sequence: slicer.vtkMRMLSequenceNode) -> tuple[str, ...]:
    """The SOP Instance UIDs of the images that an image sequence came from, each once."""
    items = [sequence.GetNthDataNode(index) for index in range(sequence.GetNumberOfDataNodes())]
    return tuple(dict.fromkeys(uid for row in _sources_of(items) for uid in row if uid))


def _existing_browser(
    scene: slicer.vtkMRMLScene, sequence: slicer.vtkMRMLSequenceNode
) -> slicer.vtkMRMLSequenceBrowserNode | None:
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(index, "vtkMRMLSequenceBrowserNode")
        if browser.GetMasterSequenceNode() is sequence:
            return browser
    return None


def _times_of(sequence: slicer.vtkMRMLSequenceNode) -> tuple[np.ndarray | None, str]:
    """Frame times in ms as the importer left them, or None and the reason.

    Index in ms or s; the multi-volume importer's labels in an attribute; the image-sequence importer's trigger times,
    one on every item.
    """
    count = sequence.GetNumberOfDataNodes()
    labels = sequence.GetAttribute("MultiVolume.FrameLabels")
    if labels:
        unit = sequence.GetAttribute("MultiVolume.FrameIdentifyingDICOMTagUnits") or "ms"
        return _numbers(labels.split(","), unit)
    triggers = [sequence.GetNthDataNode(index).GetAttribute("DICOM.triggerTime") for index in range(count)]
    if all(triggers):
        return _numbers(triggers, "ms")
    values = [sequence.GetNthIndexValue(index) for index in range(count)]
    return _numbers(values, sequence.GetIndexUnit() or "")


def _numbers(texts: list[str], unit: str) -> tuple[np.ndarray | None, str]:
    factor = {"ms": 1.0, "s": 1000.0, "us": 0.001}.get(unit.strip().lower())
    if factor is None:
        return None, "the sequence counts its frames without a unit of time"
    try:
        return np.array([float(text) for text in texts]) * factor, ""
    except ValueError:
        return None, "the times of the sequence are not numbers"


def _sources_of(items: list[slicer.vtkMRMLScalarVolumeNode]) -> tuple[tuple[str, ...], ...]:
    """SOP instance UIDs by frame and slice, or nothing where the frames do not all name one a slice."""
    texts = [item.GetAttribute(_SOURCES) or item.GetAttribute("DICOM.instanceUIDs") or "" for item in items]
    sources = tuple(tuple("" if uid == _NONE else uid for uid in text.split()) for text in texts)
    slices = items[0].GetImageData().GetDimensions()[2]
    return sources if all(len(row) == slices for row in sources) else ()


def _affine_of(volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return LPS_TO_RAS @ array_of(matrix)


def _voxels_of(volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    image = volume.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def _image_of(voxels: np.ndarray) -> vtk.vtkImageData:
    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=True, array_type=_VTK_TYPES[voxels.dtype])
    image.GetPointData().SetScalars(scalars)
    return image


def _plain(name: str) -> str:
    """A file's name without its endings."""
    for ending in (".nii.gz", ".nii", ".seq.nrrd", ".nrrd", ".zip"):
        if name.lower().endswith(ending):
            return name[: -len(ending)] or name
    return name
