"""The sections Report and Export: what is written, where, and with which packages."""

from __future__ import annotations

import itertools
from typing import Any

import qt
from slicer.i18n import tr as _

from CardiacSegLib import dependencies, mrml
from CardiacSegLib.errors import CardiacSegError

FORMATS = {
    "exportSequence": "seq.mrb", "exportFrames": "seg.nrrd", "exportNifti": "nii.gz", "exportTable": "csv",
    "exportStl": "stl", "exportObj": "obj", "exportDicom": "dicom",
}  # fmt: skip
"""Name in the parameter node -> format."""


class OutputSection:
    """Writes the report and the chosen files; nothing is installed that was not asked for."""

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui, self.session, self.logic = panel, panel.ui, panel.session, panel.logic
        self.checkPackages()
        slots = {
            "report": self.onReport,
            "openReport": self.onOpenReport,
            "export": lambda: panel.act(self.export),
            "installDicom": self.onInstallDicom,
        }
        for name, slot in slots.items():
            getattr(self.ui, f"{name}Button").connect("clicked()", slot)

    def checkPackages(self) -> None:
        """Find out what the DICOM export lacks."""
        self.missingDicom, self._installable = dependencies.why_no_dicom(_), dependencies.can_install_dicom()

    def show(self, dicom: bool) -> None:
        """dicom: whether the cine came from DICOM."""
        self.ui.installDicomButton.setVisible(dicom and self._installable)

    def onReport(self) -> None:
        """Ask for a folder, and for the packages where they are missing."""
        if folder := qt.QFileDialog.getExistingDirectory(self.panel.parent, _("Folder for the report"), ""):
            self.panel.act(self.writeReport, folder)

    def writeReport(self, folder: str) -> None:
        """Write the page, its PDF and measures.json into a folder."""
        self.logic.installPackages(dependencies.REPORT)
        study = self.session.study
        with_patient = not self.ui.withoutPatientCheckBox.checked
        self.session.write_report(folder, self.logic.filesOf(study.image), with_patient)

    def onOpenReport(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self.session.report))

    def onInstallDicom(self) -> None:
        self.panel.act(self.logic.installPackages, dependencies.DICOM)
        self.checkPackages()
        self.panel.showAll()

    def export(self) -> None:
        """Write the chosen files."""
        node, study, folder = self.panel.parameters, self.session.study, self.ui.folderEdit
        chosen = [getattr(node, name) for name in FORMATS]
        formats = [kind for kind in itertools.compress(FORMATS.values(), chosen) if self._possible(kind)]
        files = self.logic.filesOf(study.image) if "dicom" in formats else None
        if "dicom" in formats and files is None:
            text = _(
                "The DICOM files of {name} are no longer where they were; press Find the study, or load them again."
            )
            raise CardiacSegError(text.format(name=study.cine.name))
        names = mrml.export_study(study, self.session.output(files), folder.currentPath, formats)
        folder.addCurrentPathToHistory()
        self.session.log.append(_("{count} files were exported.").format(count=len(names)))

    def _possible(self, kind: str) -> bool:
        """A tick that a scene or another cine has left at a box that cannot be ticked now does not count."""
        return kind != "dicom" or self.ui.dicomCheckBox.enabled
