"""The module CardiacSeg of 3D Slicer: the panel, and what connects it to the library; nothing is computed here."""

# The annotations of the parameter node are read when the class is made, so they are not postponed in this file.
import logging
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import qt
import slicer
import slicer.ScriptedLoadableModule as base
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.util import VTKObservationMixin

# Installed, the library and the resources lie beside this file; in a source checkout they lie in the folder above.
HERE = Path(__file__).resolve().parent
ROOT = HERE if (HERE / "CardiacSegLib").is_dir() else HERE.parent
for folder in (HERE, ROOT):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from CardiacSegPanel.loading import CineSection  # noqa: E402
from CardiacSegPanel.output import OutputSection  # noqa: E402
from CardiacSegPanel.pictures import StatusStrip  # noqa: E402
from CardiacSegPanel.results import ResultsSection  # noqa: E402

from CardiacSegLib import choices, dependencies, mrml, selftest, strip, words  # noqa: E402
from CardiacSegLib.errors import CardiacSegError  # noqa: E402
from CardiacSegLib.readers import is_dicom, read_study  # noqa: E402
from CardiacSegLib.session import Session  # noqa: E402
from CardiacSegLib.worker import WorkerEngine  # noqa: E402

RESOURCES = ROOT / "Resources"
SHORTCUTS = {
    "next": "Shift+N", "review": "Shift+A", "acceptFrame": "Shift+F", "copy": "Shift+C", "nothing": "Shift+E",
}  # fmt: skip
"""With Shift: the Segment Editor and the slice views have taken the digits and most plain letters."""
POLL_MS = 30


class CardiacSeg(base.ScriptedLoadableModule):
    """What Slicer shows of the module before its panel is opened."""

    def __init__(self, parent: Any) -> None:
        base.ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("CardiacSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Cardiac")]
        parent.dependencies = ["Sequences", "Segmentations", "SegmentEditor", "Plots", "Tables"]
        parent.contributors = ["CardiacSeg contributors"]
        parent.helpText = _("Segments cardiac cine and measures ejection fraction. Research use, not a medical device.")
        parent.acknowledgementText = _("The method is CSTM (Ye et al., WACV 2025).")
        parent.icon = qt.QIcon(str(RESOURCES / "Icons" / "CardiacSeg.png"))
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """What needs the other modules: sample data and the terminology of the structures."""
    import SampleData

    for name, annotated in (("CardiacSegCine", False), ("CardiacSegCineAnnotated", True)):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="CardiacSeg",
            sampleName=name,
            uris=(RESOURCES / "SampleData" / "cine.nii.gz").as_uri(),
            fileNames="cine.nii.gz",
            nodeNames=name,
            thumbnailFileName=str(RESOURCES / "Icons" / "CardiacSegSample.png"),
            customDownloader=lambda source, annotated=annotated: CardiacSegLogic().loadSample(annotated),
        )
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(RESOURCES / "CardiacSeg.term.json"))


@parameterNodeWrapper
class CardiacSegParameterNode:
    """What the panel shows; it is saved with the scene. weights (of the memory network) and automaticWeights: a name
    or a path, empty for the default.
    """

    cine: slicer.vtkMRMLSequenceNode
    method: str = choices.MEMORY
    weights: str = ""
    automaticWeights: str = ""
    opacity: Annotated[float, WithinRange(0, 1)] = 0.7
    outlineOnly: bool = False
    exportSequence: bool = True
    exportFrames: bool = False
    exportNifti: bool = True
    exportTable: bool = True
    exportStl: bool = False
    exportObj: bool = False
    exportDicom: bool = False
    withoutPatient: bool = False


class CardiacSegWidget(base.ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: shows the session, and turns clicks into its words."""

    def __init__(self, parent: Any = None) -> None:
        base.ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._parameterNode = self._guiTag = self._image = self._layoutBefore = None
        self._choices, self._packages, self._shortcuts = choices.Choices({}, {}), [], []

    def setup(self) -> None:
        base.ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(str(RESOURCES / "UI" / "CardiacSeg.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = CardiacSegLogic()
        self.session = self.logic.session
        self.strip = StatusStrip(self.goTo)
        frame = qt.QVBoxLayout(self.ui.stripFrame)
        frame.setContentsMargins(0, 0, 0, 0)
        frame.addWidget(self.strip)
        self.ui.playWidget.setRecordingControlsVisible(False)
        self._fillDevices()
        self.editor = mrml.set_up_editor(self.ui.segmentEditor, slicer.mrmlScene)
        self.cine, self.results, self.output = CineSection(self), ResultsSection(self), OutputSection(self)
        self._connect()
        self._observe(slicer.mrmlScene)
        for label in (self.ui.messageLabel, self.ui.changeLabel):
            self.write(label, "")
        self._packages = dependencies.missing_packages()
        self.setParameterNode(self.logic.getParameterNode())
        self.showAll()

    def _observe(self, scene: Any) -> None:
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneChanged)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeRemoved)
        if self._view() is not None:
            self.addObserver(self._view(), vtk.vtkCommand.ModifiedEvent, self.showPlace)

    def _fillDevices(self) -> None:
        for device, text in (("auto", _("Automatic")), ("cpu", _("Processor")), ("cuda", _("NVIDIA graphics card"))):
            self.ui.deviceCombo.addItem(text, device)
        saved = slicer.util.settingsValue("CardiacSeg/Device", "auto")
        self.ui.deviceCombo.setCurrentIndex(max(self.ui.deviceCombo.findData(saved), 0))
        self.ui.legendLabel.setText(strip.legend(_))

    def _connect(self) -> None:
        ui, session = self.ui, self.session
        slots = {
            "segment": self.onSegment,
            "undo": lambda: self.act(session.undo),
            "copy": lambda: self.act(session.copy_neighbour, *self.place()),
            "nothing": lambda: self.act(session.mark_empty, *self.place()),
            "next": lambda: self.goTo(*session.next_to_check()),
            "review": lambda: self.act(session.mark_reviewed, *self.place()),
            "acceptFrame": lambda: self.act(session.accept_frame, self.place()[0]),
            "release": lambda: self.act(session.release, *self.place()),
            "propagate": lambda: self.begin(lambda start: session.propagate(*self.memory(), start)),
            "dicom": lambda: slicer.util.selectModule("DICOM"),
            "sample": lambda: self.load(self.logic.loadSample),
            "weights": self.onChooseWeights,
            "install": self.onInstall,
        }
        for name, slot in slots.items():
            getattr(self.ui, f"{name}Button").connect("clicked()", slot)
        ui.methodCombo.connect("currentIndexChanged(int)", self.onMethod)
        ui.weightsCombo.connect("currentIndexChanged(int)", self.onWeights)
        ui.deviceCombo.connect("currentIndexChanged(int)", self.onDevice)
        self._pollTimer = qt.QTimer()
        self._pollTimer.setInterval(POLL_MS)
        self._pollTimer.connect("timeout()", self.onPoll)

    def cleanup(self) -> None:
        self._letGo()
        self.session.close()
        self.setParameterNode(None)
        self.removeObservers()

    def onReload(self) -> None:
        """The developer's Reload reads the library again too."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("CardiacSegLib", "CardiacSegPanel")]:
            del sys.modules[name]
        base.ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())
        self.editor.setupViewObservations()
        self.editor.installKeyboardShortcuts()
        self.editor.updateWidgetFromMRML()
        for name, keys in SHORTCUTS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(keys), slicer.util.mainWindow())
            shortcut.connect("activated()", getattr(self.ui, f"{name}Button").click)
            self._shortcuts.append(shortcut)
        if self.session.study is not None:
            self._showViews()

    def exit(self) -> None:
        self.editor.setActiveEffect(None)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()
        while self._shortcuts:
            self._shortcuts.pop().deleteLater()
        if self._layoutBefore is not None:
            slicer.app.layoutManager().setLayout(self._layoutBefore)
            self._layoutBefore = None

    def setParameterNode(self, node: Any) -> None:
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
        self._parameterNode = node
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParameters)
            self.onParameters()

    def onSceneStartClose(self, caller: Any = None, event: Any = None) -> None:
        """The scene goes: a run is cancelled, and nothing holds on to its nodes."""
        self._letGo()
        self.setParameterNode(None)

    def onSceneChanged(self, caller: Any = None, event: Any = None) -> None:
        if not slicer.mrmlScene.IsClosing():
            self.editor.setMRMLSegmentEditorNode(mrml.editor_node(slicer.mrmlScene))
            self.setParameterNode(self.logic.getParameterNode())

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: Any, event: Any, node: Any) -> None:
        study = self.session.study
        if study is not None and any(node is own for own in study.nodes):
            self._letGo()
            self._parameterNode.cine = None
        elif study is not None and node.IsA("vtkMRMLNode"):
            self.results.views.onNodeRemoved(node)

    def onParameters(self, caller: Any = None, event: Any = None) -> None:
        """Follow the chosen cine and the display of the masks."""
        node = self._parameterNode
        if node is None or slicer.mrmlScene.IsBatchProcessing() or slicer.mrmlScene.IsImporting():
            return
        if node.cine is not self._image:
            self.openCine(node.cine)
        self._showChoices()
        if self.session.study is not None:
            self.session.study.show_overlay(node.opacity, node.outlineOnly)

    def openCine(self, image: Any) -> None:
        """Work on an image sequence, or on none."""
        if image is not None and mrml.image_of(image) is not None:
            self._parameterNode.cine = mrml.image_of(image)
            return
        self._letGo()
        self._image = image
        if image is not None:
            self.act(self.logic.openCine, image)
        study = self.session.study
        if study is not None:
            study.on_edit, study.on_step = self.onEdited, self.onStep
            self._attach(study.segmentation, study.volume, study.browser)
            self.cine.show(study)
            self.results.open(study)
            study.show_overlay(self._parameterNode.opacity, self._parameterNode.outlineOnly)
            self._showViews()
            self.warm(memory=bool(study.last_method))
        self.showAll()

    def _letGo(self) -> None:
        """Stop working on the cine."""
        self._pollTimer.stop()
        self.editor.setActiveEffect(None)
        self._attach(None, None, None)
        self.results.clear()
        self.session.close_study()
        self._image = None
        self.cine.clear()
        self.showAll()

    def _attach(self, segmentation: Any, volume: Any, browser: Any) -> None:
        """Give the editor and the players their nodes."""
        self.editor.setSegmentationNode(segmentation)
        self.editor.setSourceVolumeNode(volume)
        self.ui.playWidget.setMRMLSequenceBrowserNode(browser)
        self.ui.seekWidget.setMRMLSequenceBrowserNode(browser)

    def _showViews(self) -> None:
        """The slice view turned to the acquisition plane with the curve below it, where Slicer has a main window."""
        if slicer.app.layoutManager() is not None:
            before = mrml.show_stack(slicer.app.layoutManager(), self.session.study)
            self._layoutBefore = before or self._layoutBefore

    def _view(self) -> Any:
        """The slice view's node; None where Slicer has no main window."""
        manager = slicer.app.layoutManager()
        return manager.sliceWidget("Red").mrmlSliceNode() if manager is not None else None

    def place(self) -> tuple[int, int]:
        """Frame and slice in view; slice -1 where the view shows none."""
        study, view = self.session.study, self._view()
        if study is None or view is None:
            return 0, -1
        z = mrml.slice_in_view(view, study.cine)
        return study.frame, -1 if z is None else z

    def goTo(self, frame: int, z: int) -> None:
        """Show a slice of a frame."""
        study = self.session.study
        study.browser.PlaybackActiveOff()
        study.frame = frame
        mrml.show_slice(self._view(), study.cine, z)
        self.showPlace()

    def load(self, load: Any) -> None:
        """Choose the image sequence that a function loads."""
        loaded = []
        self.act(lambda: loaded.append(load()))
        if loaded:
            self._parameterNode.cine = loaded[0]

    @property
    def parameters(self) -> CardiacSegParameterNode:
        """What the panel shows and the scene keeps."""
        return self._parameterNode

    def onEdited(self) -> None:
        """Masks, or what a person tells of the study, have changed."""
        self.results.changed()

    def onStep(self) -> None:
        """Another frame is shown."""
        self.showPlace()
        self.results.showOverlay()

    def act(self, action: Any, *arguments: Any) -> None:
        """Do something and show what came of it.

        What a user can mend is shown as its one sentence, anything else as a failure with its traceback in Details.
        """
        sentence = ""
        with slicer.util.tryWithErrorDisplay(_("That did not work."), waitCursor=True):
            try:
                action(*arguments)
            except CardiacSegError as error:
                sentence = str(error)
        if sentence:
            slicer.util.errorDisplay(sentence)
        self.showAll()

    def choice(self) -> tuple[str, str, str]:
        """Method, weights and device."""
        return self._choices.method, self._choices.chosen, self.ui.deviceCombo.currentData

    def memory(self) -> tuple[str, str]:
        """Weights of the memory network, whichever method is chosen, and device."""
        return self._choices.memory, self.ui.deviceCombo.currentData

    def warm(self, memory: bool = False) -> None:
        """Start the worker that the next click will need."""
        missing = self._choices.missing_memory if memory else self._choices.missing
        if self.session.study is not None and not missing:
            self.session.warm(*((choices.MEMORY, *self.memory()) if memory else self.choice()))
            self._pollTimer.start()

    def onSegment(self) -> None:
        if self.session.running:
            self.session.cancel()
            self.onPoll()
        else:
            self.begin(lambda start: self.session.segment(*self.choice(), start))

    def begin(self, begin: Any) -> None:
        """Begin a run of the session at the slice in view."""
        frame, z = self.place()
        self._note(self.ui.messageLabel, "")
        self.act(begin, (frame, max(z, 0)))
        if self.session.running:
            self._pollTimer.start()

    def onPoll(self) -> None:
        """Take what the worker has found into the scene."""
        before, written = self.session.running, []
        try:
            written = self.session.poll()
        except CardiacSegError as error:
            self._note(self.ui.messageLabel, str(error))
        over = before and not self.session.running
        if over:
            self.warm(memory=True)
        if not self.session.running and not self.session.warming:
            self._pollTimer.stop()
        if written or over:
            self.showAll()
        else:
            self._showProgress()

    def onMethod(self, index: int = 0) -> None:
        self._parameterNode.method = self.ui.methodCombo.currentData
        self.warm()
        self.showPlace()

    def onWeights(self, index: int = 0) -> None:
        self._setWeights(self.ui.weightsCombo.currentData)

    def onChooseWeights(self) -> None:
        pattern = _("Weights") + " (*.safetensors)"
        if path := qt.QFileDialog.getOpenFileName(self.parent, _("Choose weights"), "", pattern):
            self.act(self._setWeights, path)

    def _setWeights(self, weights: str) -> None:
        """Choose weights by name, or from a file with the method that they are for."""
        node = self._parameterNode
        if weights.endswith(".safetensors"):
            node.method = choices.network_of(weights)
        setattr(node, "weights" if node.method == choices.MEMORY else "automaticWeights", weights)
        self.warm()

    def onDevice(self, index: int = 0) -> None:
        qt.QSettings().setValue("CardiacSeg/Device", self.ui.deviceCombo.currentData)
        self.warm()

    def onInstall(self) -> None:
        self.act(self.logic.installPackages)
        self._packages = dependencies.missing_packages()
        self._showChoices()
        self.showAll()

    def _showChoices(self) -> None:
        """The methods and weights to choose from, with the card of the current ones."""
        node, ui = self._parameterNode, self.ui
        self._choices = choices.choices(node.method, node.weights, node.automaticWeights, self._packages, _)
        self.offer(ui.methodCombo, self._choices.methods, self._choices.method)
        self.offer(ui.weightsCombo, self._choices.weights, self._choices.chosen)
        self.write(ui.cardLabel, self._choices.card)
        ui.installButton.setVisible(bool(self._packages))

    def offer(self, combo: Any, offered: dict[str, str], chosen: str) -> None:
        """Fill a box (data -> text) without telling anybody."""
        blocked = combo.blockSignals(True)
        if [(combo.itemData(index), combo.itemText(index)) for index in range(combo.count)] != list(offered.items()):
            combo.clear()
            for data, text in offered.items():
                combo.addItem(text, data)
        combo.setCurrentIndex(combo.findData(chosen))
        combo.blockSignals(blocked)

    def showAll(self) -> None:
        self.showPlace()
        self._showProgress()
        if self.session.study is not None:
            self.onEdited()

    def showPlace(self, caller: Any = None, event: Any = None) -> None:
        """What depends on the frame and slice in view: label, strip and buttons."""
        study, (frame, z) = self.session.study, self.place()
        cine, status = (None, None) if study is None else (study.cine, study.status)
        self.ui.placeLabel.setText(words.describe_place(cine, frame, z, _))
        self.strip.showStatus(status, (frame, z))
        self.output.show(cine is not None and bool(cine.sources))
        controls = self.session.controls((frame, z), self._choices, self.output.missingDicom)
        for name, control in controls.items():
            button = getattr(self.ui, f"{name}CheckBox" if name == "dicom" else f"{name}Button")
            button.setText(control.text)
            button.setEnabled(control.enabled)
            button.setToolTip(control.tooltip)

    def _showProgress(self) -> None:
        found, total, text = self.session.progress()
        bar = self.ui.progressBar
        bar.setVisible(self.session.running)
        bar.setRange(0, total)
        bar.setValue(found)
        bar.setFormat(text)
        self.ui.deviceFoundLabel.setText(self.session.device_name)
        while self.session.log:
            self._note(self.ui.changeLabel, self.session.log.pop(0))

    def _note(self, label: Any, sentence: str) -> None:
        """Say it in the panel, instead of a dialog that stops the work, and in the log."""
        self.write(label, sentence)
        if sentence:
            self.ui.logText.appendPlainText(f"{datetime.now():%H:%M:%S}  {sentence}")
            logging.info("CardiacSeg: %s", sentence)

    def write(self, label: Any, text: str) -> None:
        """Write into a label, which takes no room while there is nothing to say."""
        label.setText(text)
        label.setVisible(bool(text))


class CardiacSegLogic(base.ScriptedLoadableModuleLogic):
    """What the module does without a panel; the work is the library's."""

    def __init__(self) -> None:
        base.ScriptedLoadableModuleLogic.__init__(self)
        self.session = Session(self.engineFor, _)

    def getParameterNode(self) -> CardiacSegParameterNode:
        return CardiacSegParameterNode(super().getParameterNode())

    def engineFor(self, name: str, weights: str, device: str) -> Any:
        """The engine in a process of its own; Slicer's Python is called PythonSlicer."""
        return WorkerEngine(name, weights or None, device, shutil.which("PythonSlicer"))

    def studyAt(self, path: str) -> Any:
        """What a file, folder or zip of DICOM holds; None for an image file."""
        return read_study(path) if is_dicom(path) else None

    def loadCine(self, path: str, series: str = "", study: Any = None) -> Any:
        """Load a file or folder as an image sequence; of a study (as studyAt found it) its stack, or another series."""
        return mrml.load_cine(slicer.mrmlScene, study or self.studyAt(path) or Path(path), series)

    def filesOf(self, image: Any) -> Any:
        """The DICOM files of an image sequence, as the module or Slicer's DICOM database knows them, or None."""
        database = getattr(slicer, "dicomDatabase", None)
        return mrml.files_of(image, database.fileForInstance if database is not None else None)

    def moveStudy(self, image: Any, cine: Any, path: str) -> None:
        """Take the study of an image sequence (cine: as the library sees it) from another path from now on."""
        mrml.move_origin(image, cine, read_study(path))

    def addCine(self, cine: Any) -> Any:
        """Put a Cine of the library into the scene; returns the image sequence."""
        return mrml.cine_to_scene(slicer.mrmlScene, cine)

    def loadSample(self, annotated: bool = False) -> Any:
        """Load the bundled cine; annotated: with the expert's masks of end-diastole."""
        return mrml.load_sample(slicer.mrmlScene, RESOURCES / "SampleData", annotated)

    def installPackages(self, purpose: dependencies.Purpose = dependencies.SEGMENT) -> None:
        """Install what is missing for a purpose, after the user has said yes."""
        torch, packaging = dependencies.optional("PyTorchUtils"), dependencies.optional("slicer.packaging")
        torch = torch and torch.PyTorchUtilsLogic()
        dependencies.ensure_packages(slicer.util.confirmYesNoDisplay, torch, slicer.util, packaging, purpose)

    def openCine(self, image: Any) -> None:
        """Let the session work on an image sequence."""
        self.session.open(mrml.open_study(mrml.scene_to_cine(image), image))


class CardiacSegTest(base.ScriptedLoadableModuleTest):
    """The self test: the library's scenarios on the real panel, with weights that are installed or random ones."""

    def runTest(self, **_keywords: Any) -> None:
        missing = selftest.why_skipped(dependencies.missing_packages())
        self.delayDisplay(missing) if missing else self.test_scenarios()

    def test_scenarios(self) -> None:
        slicer.util.selectModule("CardiacSeg")
        selftest.run(slicer.modules.CardiacSegWidget, slicer.mrmlScene, slicer.app.processEvents)
