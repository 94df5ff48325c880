"""The section Cine: loads files and studies, says what was found in them, and takes another series of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from CardiacSegLib import mrml, words

_FILE_ENDINGS = (".zip", ".dcm", ".ima")
FILES = "NIfTI, NRRD, MetaImage, zip, DICOM (*.nii *.nii.gz *.nrrd *.mha *.mhd *.zip *.dcm)"


class CineSection:
    """Turns paths into the cine to work on. Of a study with many series it takes the stack and offers the others."""

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui, self.logic = panel, panel.ui, panel.logic
        self._origin: mrml.Origin | None = None
        self.ui.loadFileButton.connect("clicked()", self.onFile)
        self.ui.loadFolderButton.connect("clicked()", self.onFolder)
        self.ui.seriesCombo.connect("currentIndexChanged(int)", self.onSeries)
        self.ui.locateButton.connect("clicked()", self.onLocate)
        self.clear()

    def onFile(self) -> None:
        self._load(qt.QFileDialog.getOpenFileName(self.panel.parent, _("Load a cine"), "", FILES))

    def onFolder(self) -> None:
        self._load(qt.QFileDialog.getExistingDirectory(self.panel.parent, _("Load a folder of DICOM files"), ""))

    def onSeries(self, index: int = 0) -> None:
        """Load the series that was chosen, or go back to it where it is in the scene."""
        origin, series = self._origin, self.ui.seriesCombo.currentData
        if origin is not None and series and series != origin.series:
            self._load(origin.path, series)
            self._offer()  # what was chosen before, where it could not be loaded
            self._showGone()

    def onLocate(self) -> None:
        """Ask where the study is now: for a file where it was one, else for a folder."""
        title = _("Where is the study now?")
        if Path(self._origin.path).suffix.lower() in _FILE_ENDINGS:
            path = qt.QFileDialog.getOpenFileName(self.panel.parent, title, "", FILES)
        else:
            path = qt.QFileDialog.getExistingDirectory(self.panel.parent, title, "")
        if path:
            self.panel.act(self.locate, path)

    def locate(self, path: str) -> None:
        """Go on with the study at its new place, if it is the same."""
        study = self.panel.session.study
        self.logic.moveStudy(study.image, study.cine, path)
        self.show(study)

    def _load(self, path: str, series: str = "") -> None:
        """Load what the user chose, if anything."""
        if path:
            self.panel.load(lambda: self._loaded(path, series))

    def _loaded(self, path: str, series: str) -> Any:
        study = self.logic.studyAt(path)
        if study is not None and not series and not study.stack_series:
            self.panel.parameters.cine = None
            self._origin = mrml.Origin(path, "", mrml.origin_in(study).choices)
            self._offer()
        return self.logic.loadCine(path, series, study)

    def show(self, study: Any) -> None:
        """Say what the cine of a study is and what is odd about it; the other series are offered."""
        self._origin = mrml.origin_of(study.image)
        remarks = (*study.cine.remarks, *study.remarks)
        self.panel.write(self.ui.foundLabel, words.describe_cine(study.cine))
        self.panel.write(self.ui.remarkLabel, " ".join(remarks))
        listing = list(self._origin.choices.values()) if self._origin is not None else []
        found = [_("The study holds:"), *(f"- {each}" for each in listing)] if listing else []
        self.ui.foundLabel.setToolTip("\n".join([*found, *remarks]))
        self._offer()
        self._showGone()

    def clear(self) -> None:
        """No cine is open."""
        self._origin = None
        for label in (self.ui.foundLabel, self.ui.remarkLabel):
            self.panel.write(label, "")
        self._offer()
        self._showGone()

    def _showGone(self) -> None:
        """Say that the study has left its place, and let the user say where it is."""
        gone = self._origin is not None and self.panel.session.study is not None and self._origin.gone
        text = _("The study was moved; its other series, and what reports and DICOM need of it, are missing.")
        self.panel.write(self.ui.goneLabel, text if gone else "")
        self.ui.goneLabel.setToolTip(self._origin.path if gone else "")  # a long name would widen the panel
        self.ui.locateButton.setVisible(gone)

    def _offer(self) -> None:
        """The series of the study, where there are several."""
        origin = self._origin
        choices = origin.choices if origin is not None else {}
        chosen = origin.series if origin is not None else ""
        offered = {"": _("Choose a series of the study")} if choices and chosen not in choices else {}
        self.panel.offer(self.ui.seriesCombo, {**offered, **choices}, chosen)
        self.ui.seriesCombo.setVisible(bool(choices))
