"""A study: the segmentation sequence beside an image sequence, with the status of every slice of every frame.

Slicer's own rules for sequences can lose or invent masks; all that guards against them is here:
- every frame has its item, with the same segment IDs, before anything is painted, and missing items are ignored, so
  that stepping through the frames never copies a mask;
- item and proxy share one vtkSegmentation, so editing is saving. Unticking "Save changes" would then make Slicer clear
  the item while copying it onto itself; the box is ticked again before Slicer reacts;
- a proxy that is edited hands its attributes to the item, so what is kept per frame is written to both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import slicer
import vtk

from ..anatomy import STRUCTURES, Structure
from ..cine import Cine, Patient, Segmentation, SlicePrediction, Status
from ..weights import WeightsCard
from . import memo
from .cines import browser_of, patient_of, set_patient
from .labels import read_labels, structures_of, write_labels
from .origin import study_uid_of
from .scenes import make_masks, take_over, unfinished
from .segments import Segments

Place = tuple[int, int]
Snapshot = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, str | None]]

IMAGE, SECOND_VIEW = "CardiacSeg.image", "CardiacSeg.secondView"
"""Roles of the nodes that the masks refer to: their image, and the masks of another long-axis view."""
_PHASES = {"ed": "CardiacSeg.ED", "es": "CardiacSeg.ES"}
_INSERTION = "CardiacSeg.InsertionDegrees"
_BEFORE_SLICER = 100.0
"""Priority of the guard's observer: the sequences logic observes browsers with 0."""


class Study:
    """Masks and status of one cine in a scene; made by `open_study`, to be closed when it is no longer shown.

    version: grows with every change of masks or status. remarks: what was missing or mended in a saved scene. on_edit:
    called after the masks or segments of the shown frame changed by other hands; it should soon lead to `notice_edits`.
    on_step: called when another frame is shown. Labels and status that this class hands out are copies.
    """

    def __init__(self, cine: Cine, image: slicer.vtkMRMLSequenceNode, masks: slicer.vtkMRMLSequenceNode) -> None:
        self.cine, self.image, self.masks = cine, image, masks
        self.browser = browser_of(image.GetScene(), image)
        self.segmentation = self.browser.GetProxyNode(masks)
        self.on_edit: Callable[[], None] | None = None
        self.on_step: Callable[[], None] | None = None
        self.version, self.remarks = 0, ()
        self._writing = False
        self._edited: set[int] = set()
        self._shown = self.frame
        self._segments = Segments([self._item(frame).GetSegmentation() for frame in range(cine.shape[0])])
        self._labels = np.stack([self.read_frame(frame) for frame in range(cine.shape[0])])
        self._load_memos()
        self._observers = self._observe()

    # What is shown

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return self.browser.GetSelectedItemNumber()

    @frame.setter
    def frame(self, frame: int) -> None:
        self.browser.SetSelectedItemNumber(int(np.clip(frame, 0, len(self._labels) - 1)))

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode:
        """The image of the shown frame."""
        return self.browser.GetProxyNode(self.image)

    @property
    def nodes(self) -> tuple[slicer.vtkMRMLNode, ...]:
        """The nodes without which there is no study."""
        return self.image, self.masks, self.browser, self.segmentation, self.volume

    def show_contrast(self) -> None:
        """Set window and level to the heart's surroundings; what a person has set is left as it is."""
        display = self.volume.GetDisplayNode()
        if not display.GetAutoWindowLevel():
            return
        rows, columns = (slice(size // 4, size - size // 4) for size in self.cine.shape[2:])
        low, high = np.percentile(self.cine.frames[::4, :, rows, columns], (1, 99.5))
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(float(low), float(max(high, low + 1)))

    def show_overlay(self, opacity: float, outline_only: bool) -> None:
        """Opacity 0..1 of the masks in the slice views, filled or as outlines."""
        display = self.segmentation.GetDisplayNode()
        display.SetVisibility2DFill(not outline_only)
        display.SetOpacity2DFill(0.5 * opacity)
        display.SetOpacity2DOutline(opacity)

    # What is known

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The segments as structures, those of the user's own among them."""
        return structures_of(self._item(0).GetSegmentation())

    def read(self) -> Segmentation:
        """All frames' masks and status."""
        return Segmentation(self._labels.copy(), self._status.copy(), self.cine.affine, self.structures)

    @property
    def status(self) -> np.ndarray:
        """(T, Z) uint8 of Status."""
        return self._status.copy()

    @property
    def confidence(self) -> np.ndarray:
        """(T, Z) float, 0..1, of the slices that an engine found; 1 for all others."""
        return self._confidence.copy()

    @property
    def last_run(self) -> Segmentation | None:
        """The annotation that the last complete run started from; None before the first."""
        return memo.unpack_run(self.masks.GetAttribute(memo.LAST_RUN), self.read())

    def begin_run(self, method: str) -> None:
        """Slices of a run are written from now on; until it is complete, a saved scene says that it is not."""
        self.masks.SetAttribute(memo.UNFINISHED, method)

    def remember_run(self, annotation: Segmentation, method: str) -> None:
        """A run of a method is complete; annotation: what it started from."""
        sums = self._checksums()
        changed = (self._labels != annotation.labels).any(axis=(2, 3)) | ~annotation.fixed
        for frame, z in np.argwhere((self._status >= Status.ANNOTATED) & changed):
            sums[frame][z] = ""  # a person changed it while the run went on
        self.masks.SetAttribute(memo.LAST_RUN, memo.pack_run(annotation, method, sums))
        self.masks.SetAttribute(memo.UNFINISHED, None)
        self.version += 1

    @property
    def weights(self) -> tuple[WeightsCard, ...]:
        """The cards of the weights that found the slices: of the last whole run, then of what was found since."""
        return memo.read_weights(self.masks.GetAttribute(memo.WEIGHTS))

    @weights.setter
    def weights(self, cards: tuple[WeightsCard, ...]) -> None:
        self.masks.SetAttribute(memo.WEIGHTS, memo.pack_weights(cards))

    @property
    def last_method(self) -> str:
        """The method of the last complete run; empty before the first."""
        text = self.masks.GetAttribute(memo.LAST_RUN)
        return memo.read_run(text)["method"] if text else ""

    def changed_since_run(self) -> np.ndarray:
        """(T, Z) bool: slices whose masks a person changed, or that were released, since the last complete run."""
        entry = memo.read_run(self.masks.GetAttribute(memo.LAST_RUN))
        released = (np.array(entry["status"]) >= Status.ANNOTATED) & (self._status < Status.ANNOTATED)
        return (np.array(entry["checksums"]) != np.array(self._checksums())) | released

    @property
    def patient(self) -> Patient:
        """The patient's facts that the measures need."""
        return patient_of(self.image)

    @patient.setter
    def patient(self, patient: Patient) -> None:
        set_patient(self.image, patient)

    @property
    def study_uid(self) -> str:
        """Which examination the cine is of: the DICOM Study Instance UID, empty where it is not known."""
        return study_uid_of(self.image)

    def phase(self, name: str) -> int | None:
        """The frame that the user fixed as "ed" or "es", or None."""
        text = self.masks.GetAttribute(_PHASES[name])
        return int(text) if text else None

    def set_phase(self, name: str, frame: int | None) -> None:
        """Fix the frame of "ed" or "es"; None lets it be found."""
        self.masks.SetAttribute(_PHASES[name], None if frame is None else str(frame))

    @property
    def insertion_deg(self) -> float | None:
        """The anterior RV insertion that the user fixed, as in measures.aha.SegmentTable, or None."""
        text = self.masks.GetAttribute(_INSERTION)
        return float(text) if text else None

    @property
    def facts(self) -> tuple[float | None, ...]:
        """What a person tells the measures: frames of ED and ES, height in cm, weight in kg, insertion_deg; None where
        not told.
        """
        patient = self.patient
        return self.phase("ed"), self.phase("es"), patient.height_cm, patient.weight_kg, self.insertion_deg

    @facts.setter
    def facts(self, facts: tuple[float | None, ...]) -> None:
        ed, es, height, weight, insertion = facts
        self.set_phase("ed", ed)
        self.set_phase("es", es)
        self.masks.SetAttribute(_INSERTION, None if insertion is None else f"{insertion:g}")
        self.patient = dataclasses.replace(self.patient, height_cm=height, weight_kg=weight)

    # What a person does

    def notice_edits(self) -> list[Place]:
        """Take up what was painted, renamed or added since; returns the slices whose masks changed.

        A slice is ANNOTATED when a person draws in it first and CORRECTED when what an engine found or what was
        already checked is changed; an annotated slice that is wiped clean is EMPTY again.
        """
        frames, self._edited = sorted(self._edited), set()
        if not frames:
            return []
        drawn = {value: self._frames_with(value) for value in self._segments.values}
        with self._silently():
            self._segments.carry(frames, drawn)
        changed = []
        for frame in frames:
            labels = self.read_frame(frame)
            slices = np.flatnonzero((labels != self._labels[frame]).any(axis=(1, 2)))
            for z in slices:
                self._status[frame, z] = status_after_edit(Status(self._status[frame, z]), bool(labels[z].any()))
                self._confidence[frame, z] = 1
                changed.append((frame, int(z)))
            self._labels[frame] = labels
            if len(slices):
                self._save_memo(frame)
        return changed

    def set_status(self, frame: int, z: int, status: Status) -> None:
        """Say how a slice's mask is to be taken, e.g. REVIEWED, or ANNOTATED for a slice in which nothing is."""
        self._status[frame, z] = status
        self._save_memo(frame)

    def set_slice(self, frame: int, z: int, labels: np.ndarray, status: Status) -> None:
        """Put labels (Y, X) into a slice as a person's work."""
        self._put(frame, {z: labels}, {z: status}, {})

    # What an engine does

    def apply(self, predictions: Iterable[SlicePrediction]) -> list[Place]:
        """Write what an engine found, except into slices that are a person's by now; returns the slices written."""
        self.notice_edits()
        by_frame: dict[int, list[SlicePrediction]] = {}
        for found in predictions:
            if self._status[found.frame, found.slice] < Status.ANNOTATED:
                by_frame.setdefault(found.frame, []).append(found)
        for frame, group in by_frame.items():
            labels = {found.slice: found.labels for found in group}
            status = dict.fromkeys(labels, Status.PREDICTED)
            self._put(frame, labels, status, {found.slice: found.confidence for found in group})
        return [(found.frame, found.slice) for group in by_frame.values() for found in group]

    # Going back

    def snapshot(self) -> Snapshot:
        """All masks and what is known of them, for `restore`."""
        self.notice_edits()
        runs = {name: self.masks.GetAttribute(name) for name in memo.OF_RUNS}
        return self._labels.copy(), self._status.copy(), self._confidence.copy(), runs

    def restore(self, snapshot: Snapshot) -> None:
        """Put back everything as it was when the snapshot was taken."""
        self.notice_edits()
        labels, status, confidence, runs = snapshot
        for frame in range(len(labels)):
            slices = np.flatnonzero((labels[frame] != self._labels[frame]).any(axis=(1, 2)))
            self._status[frame], self._confidence[frame] = status[frame], confidence[frame]
            self._put(frame, {int(z): labels[frame, z] for z in slices}, {}, {})
        for name, text in runs.items():
            self.masks.SetAttribute(name, text)
        self.version += 1

    def close(self) -> None:
        """Stop observing the scene; the nodes stay."""
        for node, tag in self._observers:
            node.RemoveObserver(tag)
        self._observers = []
        self.on_edit = self.on_step = None

    # Inside

    def read_frame(self, frame: int) -> np.ndarray:
        """The labels (Z, Y, X) of a frame as they stand in the scene."""
        return read_labels(self._item(frame).GetSegmentation(), self.cine.shape[1:])

    def _checksums(self) -> list[list[str]]:
        return [[memo.checksum(mask) for mask in frame] for frame in self._labels]

    def _item(self, frame: int) -> slicer.vtkMRMLSegmentationNode:
        return self.masks.GetNthDataNode(frame)

    def _frames_with(self, value: int) -> set[int]:
        return set(np.flatnonzero((self._labels == value).any(axis=(1, 2, 3))).tolist())

    def _put(
        self, frame: int, labels: dict[int, np.ndarray], status: dict[int, Status], confidence: dict[int, float]
    ) -> None:
        """Write slices of one frame together; a label map is written as a whole."""
        for z, mask in labels.items():
            self._labels[frame, z] = mask
            self._confidence[frame, z] = confidence.get(z, 1.0)
        for z, value in status.items():
            self._status[frame, z] = value
        if labels:
            with self._silently():
                write_labels(self._item(frame).GetSegmentation(), self._labels[frame], self.cine.affine)
        self._save_memo(frame)

    def _save_memo(self, frame: int) -> None:
        """Keep what is known of a frame's slices with its item, and with the proxy, which would overwrite it."""
        texts = memo.texts_of(self._status[frame], self._confidence[frame], self._labels[frame])
        nodes = [self._item(frame)] + ([self.segmentation] if frame == self.frame else [])
        with self._silently():
            for node in nodes:
                for name, text in texts.items():
                    node.SetAttribute(name, text)
        self.masks.Modified()
        self.version += 1

    def _load_memos(self) -> None:
        """Status and confidence from the items; a slice that changed while nobody looked is a person's work."""
        shape = self.cine.shape[:2]
        self._status, self._confidence = np.zeros(shape, np.uint8), np.ones(shape)
        for frame in range(shape[0]):
            item = self._item(frame)
            texts = {name: item.GetAttribute(name) for name in memo.NAMES}
            status, confidence, same = memo.read_texts(texts, self._labels[frame])
            for z in np.flatnonzero(~same):
                status[z] = status_after_edit(Status(status[z]), bool(self._labels[frame, z].any()))
            self._status[frame], self._confidence[frame] = status, confidence
            if not same.all():
                self._save_memo(frame)

    def _observe(self) -> list[tuple[vtk.vtkObject, int]]:
        events = slicer.vtkSegmentation
        edits = (
            events.SourceRepresentationModified, events.RepresentationModified, events.SegmentAdded,
            events.SegmentRemoved, events.SegmentModified,
        )  # fmt: skip
        observers = [(self.segmentation, self.segmentation.AddObserver(event, self._on_edit)) for event in edits]
        guard = self.browser.AddObserver(vtk.vtkCommand.ModifiedEvent, self._guard, _BEFORE_SLICER)
        step = self.browser.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_browser, -_BEFORE_SLICER)
        return [*observers, (self.browser, guard), (self.browser, step)]

    def _guard(self, *_: object) -> None:
        if self.browser.GetProxyNode(self.masks) is not None and not self.browser.GetSaveChanges(self.masks):
            self.browser.SetSaveChanges(self.masks, True)

    def _on_edit(self, *_: object) -> None:
        if not self._writing:
            self._edited.add(self.frame)
            if self.on_edit:
                self.on_edit()

    def _on_browser(self, *_: object) -> None:
        if self.frame != self._shown:
            self._shown = self.frame
            if self.on_step:
                self.on_step()

    def _silently(self) -> _Silence:
        return _Silence(self)


class _Silence:
    """Own writing is no edit."""

    def __init__(self, study: Study) -> None:
        self.study = study

    def __enter__(self) -> None:
        self.before, self.study._writing = self.study._writing, True

    def __exit__(self, *_: object) -> None:
        self.study._writing = self.before


def status_after_edit(status: Status, drawn: bool) -> Status:
    """What a slice becomes when a person changes its mask; drawn: whether anything is left in it."""
    if status in (Status.EMPTY, Status.ANNOTATED):
        return Status.ANNOTATED if drawn else Status.EMPTY
    return Status.CORRECTED


def open_study(cine: Cine, image: slicer.vtkMRMLSequenceNode, structures: tuple[Structure, ...] = STRUCTURES) -> Study:
    """The study of an image sequence, as it was saved with the scene or new with empty masks.

    cine: what `scene_to_cine` read from it. Raises CardiacSegError, and changes nothing, if saved masks do not fit the
    image or are of a newer version.
    """
    masks, remarks = _saved_masks(image), ()
    if masks is None:
        masks = _new_masks(image, structures)
    else:
        remarks = take_over(image, browser_of(image.GetScene(), image).GetProxyNode(image), masks)
    _attach(image, masks)
    study = Study(cine, image, masks)
    study.remarks = (*remarks, *unfinished(study.status, masks.GetAttribute(memo.UNFINISHED)))
    return study


def image_of(masks: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceNode | None:
    """The image sequence that a study's segmentation sequence belongs to; None for any other sequence."""
    return masks.GetNodeReference(IMAGE)


def _saved_masks(image: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceNode | None:
    scene = image.GetScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode")):
        sequence = scene.GetNthNodeByClass(index, "vtkMRMLSequenceNode")
        if image_of(sequence) is image:
            return sequence
    return None


def _new_masks(image: slicer.vtkMRMLSequenceNode, structures: tuple[Structure, ...]) -> slicer.vtkMRMLSequenceNode:
    """A segmentation sequence with an item for every frame, all with the same empty segments."""
    scene = image.GetScene()
    masks = scene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{image.GetName()} masks")
    masks.SetIndexName(image.GetIndexName())
    masks.SetIndexUnit(image.GetIndexUnit())
    masks.SetIndexType(image.GetIndexType())
    masks.SetNodeReferenceID(IMAGE, image.GetID())
    make_masks(image, browser_of(scene, image).GetProxyNode(image), masks, structures)
    return masks


def _attach(image: slicer.vtkMRMLSequenceNode, masks: slicer.vtkMRMLSequenceNode) -> None:
    """Show the masks with the image: a proxy of our own, which keeps its reference image and its display.

    In a loaded scene, item and proxy of the shown frame do not share their vtkSegmentation until the browser changes.
    Until then the first change of an attribute would put the proxy's old masks over new ones in the item.
    """
    scene = image.GetScene()
    browser = browser_of(scene, image)
    segmentation = browser.GetProxyNode(masks)
    if segmentation is None:
        segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", masks.GetName())
        segmentation.CreateDefaultDisplayNodes()
        browser.AddProxyNode(segmentation, masks, False)
        browser.SetMissingItemMode(masks, browser.MissingItemIgnore)
    browser.SetSaveChanges(masks, True)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(browser.GetProxyNode(image))
    browser.Modified()
    _place_beside(scene, browser.GetProxyNode(image), segmentation)


def _place_beside(
    scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLScalarVolumeNode, segmentation: slicer.vtkMRMLSegmentationNode
) -> None:
    """Put the masks under the image's study in the subject hierarchy, where the DICOM export looks for them."""
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    if hierarchy is None:
        return
    image_item, masks_item = hierarchy.GetItemByDataNode(volume), hierarchy.GetItemByDataNode(segmentation)
    if image_item and masks_item:
        hierarchy.SetItemParent(masks_item, hierarchy.GetItemParent(image_item))
