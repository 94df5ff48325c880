"""Bullseye, curve, report and exports in the panel: they follow the masks and say what the library says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed (the extra 'panel')")

import numpy as np
import pydicom
import slicer
from dicom_images import NAME, write_dicom
from panel_work import RUN, calm

from CardiacSegLib import dependencies, mrml
from CardiacSegLib.anatomy import RV
from CardiacSegLib.cine import SlicePrediction, Status
from CardiacSegLib.measures.aha import segment_labels
from CardiacSegLib.measures.study import StudyMeasures, measure_study
from CardiacSegLib.phantom import Phantom

NOT_FOUND = "not found"


def fill(panel: Any, labels: np.ndarray) -> None:
    """Put masks into all slices as an engine would."""
    frames, slices = panel.session.study.cine.shape[:2]
    panel.session.study.apply(SlicePrediction(t, z, labels[t, z]) for t in range(frames) for z in range(slices))
    panel.showAll()


def quiet(host, panel: Any) -> None:
    """Wait until numbers and segments have followed the last edit."""
    calm(host, panel)
    host.wait(lambda: not panel.results.measuring, RUN)
    host.settle()


@pytest.fixture
def found(host, open_panel: Any, heart: Phantom) -> Any:
    """The panel with the true masks in all slices, as predictions."""
    fill(open_panel, heart.truth.labels)
    quiet(host, open_panel)
    return open_panel


def measured(panel: Any, insertion: float | None = None) -> StudyMeasures:
    """What the library measures in the masks as they stand in the scene."""
    study = panel.session.study
    return measure_study(
        study.read(), study.patient, study.cine.times, *(study.phase(p) for p in ("ed", "es")), insertion
    )


def shown_color(host, picture: Any, x: float, y: float) -> tuple[float, ...]:
    return tuple(host.picture(picture)[round(y), round(x)] / 255)


def test_the_bullseye_shows_the_segments_of_the_library(host, found) -> None:
    segments = measured(found).segments.segments
    for index, key in enumerate(("ed_mm", "es_mm", "thickening_percent")):
        found.ui.bullseyeCombo.setCurrentIndex(index)
        fields = found.results.bullseye.fields()
        assert [field.value for field in fields] == [getattr(one, key) for one in segments[:16]]
    field = fields[3]
    x, y = np.mean([field.middle, field.outline[0]], axis=0)
    assert shown_color(host, found.results.bullseye, x, y) == pytest.approx(field.color, abs=0.02)


def test_curve_and_bullseye_follow_an_edit(host, found, heart: Phantom) -> None:
    study, frame = found.session.study, 0
    before, table = found.results.curve.drawn().lines["LV"][1], found.results.table
    mask = heart.truth.labels[frame, 2].copy()
    mask[mask == 2] = 1
    study.set_slice(frame, 2, mask, Status.CORRECTED)
    found.onEdited()
    calm(host, found)
    now = found.results.curve.drawn().lines["LV"][1]
    assert now != before
    quiet(host, found)
    assert found.results.table != table
    assert found.results.table == measured(found).segments


def test_an_edit_puts_the_walls_off_until_the_reader_pauses(host, found) -> None:
    table = found.results.table
    for _ in range(4):
        found.session.study.set_slice(0, 1, np.zeros((64, 64), np.uint8), Status.CORRECTED)
        found.onEdited()
        host.settle(0.4)
        assert found.results.measuring
        assert found.results.table is table
    quiet(host, found)
    assert found.results.table == measured(found).segments


def test_without_an_rv_one_sentence_says_so_and_the_angle_gives_segments(host, open_panel, heart, tmp_path) -> None:
    labels = heart.truth.labels.copy()
    labels[labels == RV.value] = 0
    fill(open_panel, labels)
    quiet(host, open_panel)
    ui, results = open_panel.ui, open_panel.results
    assert "no RV beside the LV" in ui.segmentsLabel.text
    assert ui.segmentsLabel.visible
    assert all(field.value is None and field.text == "" for field in results.bullseye.fields())
    assert not ui.segmentsCheckBox.enabled
    assert ui.insertionSpin.text == NOT_FOUND
    ui.insertionSpin.value = 340
    quiet(host, open_panel)
    assert not ui.segmentsLabel.visible
    assert results.table == measured(open_panel, 340.0).segments
    assert any(field.value is not None for field in results.bullseye.fields())
    host.save_scene(tmp_path / "study.mrb")
    host.scene.Clear(0)
    host.load_scene(tmp_path / "study.mrb")
    host.wait(lambda: open_panel.session.study is not None, RUN)
    quiet(host, open_panel)
    assert ui.insertionSpin.value == 340
    ui.insertionSpin.value = ui.insertionSpin.minimum
    quiet(host, open_panel)
    assert ui.insertionSpin.text == NOT_FOUND


def test_the_insertion_that_was_found_is_told_in_degrees(found) -> None:
    degrees = measured(found).segments.insertion_deg
    assert found.ui.insertionSpin.text == f"found: {degrees:.0f}\N{DEGREE SIGN}"


def test_the_segments_lie_over_the_shown_frame_and_go_with_the_tick(host, found) -> None:
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    nodes = host.scene.GetNumberOfNodes()
    found.goTo(0, 2)
    plain = host.picture(host.slice_view())
    host.click(found.ui.segmentsCheckBox)
    colored = host.picture(host.slice_view())
    assert (colored != plain).any(axis=2).mean() > 0.001
    expected = segment_labels(found.session.study.read(), measured(found).segments)
    for frame in (0, 3):
        found.goTo(frame, 2)
        node = host.scene.GetNodeByID(composite.GetLabelVolumeID())
        assert (slicer.util.arrayFromVolume(node) == expected[frame]).all()
        assert expected[frame].any()
    found.goTo(0, 2)
    assert (host.picture(host.slice_view()) == colored).all()
    host.click(found.ui.segmentsCheckBox)
    assert (host.picture(host.slice_view()) == plain).all()
    assert not composite.GetLabelVolumeID()
    assert host.scene.GetNumberOfNodes() == nodes
    host.click(found.ui.segmentsCheckBox)
    host.scene.Clear(0)
    host.settle(0.2)
    assert not composite.GetLabelVolumeID()


def report(host, panel: Any, folder: Path) -> dict:
    """Press Report, choose the folder, and read the numbers of the report."""
    host.choose(folder)
    host.click(panel.ui.reportButton)
    return json.loads((folder / "measures.json").read_text(encoding="utf-8"))


def test_the_report_says_what_the_panel_says_and_can_be_opened(host, found, tmp_path, monkeypatch) -> None:
    opened = []
    monkeypatch.setattr(host.application.qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    found.session.study.set_status(2, 1, Status.REVIEWED)
    found.ui.edSpin.value = 1
    found.ui.heightSpin.value, found.ui.weightSpin.value = 180, 80
    quiet(host, found)
    assert not found.ui.openReportButton.enabled
    data = report(host, found, tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.html", "report.pdf", "measures.json"}
    table = mrml.result_node(found.session.study, "measures").GetTable()
    rows = {table.GetValue(n, 0).ToString(): table.GetValue(n, 1).ToString() for n in range(table.GetNumberOfRows())}
    assert rows["ED frame"] == "1" == str(data["ed_frame"])
    for short, key in (("LV EDV", "lv_edv_ml"), ("LV EF", "lv_ef_percent"), ("LV EDVI", "lv_edvi_ml_per_m2")):
        assert rows[short] == f"{data[key]:.1f}"
    segments = [row["ed_mm"] for row in data["segments"]["rows"]]
    assert segments == [None if s.ed_mm is None else round(s.ed_mm, 3) for s in found.results.table.segments]
    assert data["masks"]["count"] == {"empty": 0, "predicted": 23, "annotated": 0, "corrected": 0, "reviewed": 1}
    assert "report.html" in found.ui.changeLabel.text
    host.click(found.ui.openReportButton)
    assert opened == [str(tmp_path / "report" / "report.html")]


def test_a_choice_of_no_folder_writes_nothing(host, found) -> None:
    host.choose("")
    host.click(found.ui.reportButton)
    assert not found.ui.openReportButton.enabled


def test_packages_for_the_report_are_asked_for_with_their_size_and_a_no_writes_nothing(
    host, found, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(dependencies, "_is_fulfilled", lambda requirement: not requirement.startswith("reportlab"))
    host.choose(tmp_path / "report")
    host.answer("No")
    host.answer("OK")
    host.click(found.ui.reportButton)
    question, sentence = host.messages
    assert "The report needs Python packages" in question
    assert "ReportLab, with what it needs a download of about 3 MB" in question
    assert "Matplotlib" not in question
    assert sentence == "Without reportlab no report can be made; try again and agree to the installation."
    assert not (tmp_path / "report").exists()


def choose_formats(host, panel: Any, *names: str) -> None:
    """Tick just these boxes."""
    for name in ("sequence", "frames", "nifti", "table", "stl", "obj", "dicom"):
        box = getattr(panel.ui, f"{name}CheckBox")
        if box.checked != (name in names):
            host.click(box)


def test_frames_surfaces_and_tables_are_exported_together(host, found, tmp_path: Path) -> None:
    choose_formats(host, found, "frames", "stl", "obj", "table")
    found.ui.folderEdit.setCurrentPath(str(tmp_path / "out"))
    host.click(found.ui.exportButton)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    wanted = {f"heart_frame{t:02d}.seg.nrrd" for t in range(6)} | {"heart_volumes_tidy.csv", "heart_measures.json"}
    wanted |= {f"frame{t:02d}_{s}.{k}" for t in range(6) for s in ("LV", "MYO", "RV") for k in ("stl", "obj")}
    assert names == wanted


def test_dicom_cannot_be_ticked_for_a_cine_that_is_none(host, found) -> None:
    assert not found.ui.dicomCheckBox.enabled
    assert "was not read from DICOM" in found.ui.dicomCheckBox.toolTip
    assert not found.ui.installDicomButton.visible


@pytest.fixture
def dicom(host, panel: Any, heart: Phantom, tmp_path: Path) -> Any:
    """The panel with the heart from DICOM files, and its true masks."""
    folder = write_dicom(heart.cine, tmp_path / "Mustermann")
    panel.load(lambda: panel.logic.loadCine(str(folder)))
    labels = heart.truth.labels
    if not np.allclose(panel.session.study.cine.affine, heart.cine.affine):
        labels = labels[:, ::-1]
    fill(panel, labels)
    quiet(host, panel)
    return panel


def test_masks_and_measures_are_exported_as_dicom_that_names_the_images(host, dicom, tmp_path: Path) -> None:
    assert dicom.session.study.cine.name == "Mustermann"
    choose_formats(host, dicom, "dicom", "nifti", "table")
    dicom.ui.folderEdit.setCurrentPath(str(tmp_path / "out"))
    host.click(dicom.ui.exportButton)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    wanted = {"measures_sr.dcm", *(f"seg_frame{t:02d}.dcm" for t in range(6))}
    assert names == {*wanted, "cine.nii.gz", "cine_volumes_tidy.csv", "cine_measures.json"}
    seg = pydicom.dcmread(tmp_path / "out" / "seg_frame03.dcm")
    labels = dicom.session.study.read().labels[3]
    assert (seg.pixel_array > 0).sum() == (labels > 0).sum()
    named = {
        item.ReferencedSOPInstanceUID for one in seg.ReferencedSeriesSequence for item in one.ReferencedInstanceSequence
    }
    assert named == set(dicom.session.study.cine.sources[3])
    assert pydicom.dcmread(tmp_path / "out" / "measures_sr.dcm").Modality == "SR"


def test_the_report_of_a_dicom_cine_names_the_patient_unless_told_not_to(host, dicom, tmp_path: Path) -> None:
    patient = report(host, dicom, tmp_path / "with")["patient"]
    assert patient["patient_name"] == NAME.replace("^", " ")
    host.click(dicom.ui.withoutPatientCheckBox)
    assert report(host, dicom, tmp_path / "without")["patient"] is None
    page = (tmp_path / "without" / "report.html").read_text(encoding="utf-8")
    assert not any(word in page for word in (*NAME.split("^"), "P-4711"))


def test_dicom_files_are_found_through_the_database_where_the_folder_is_gone(
    host, dicom, tmp_path, monkeypatch
) -> None:
    moved = (tmp_path / "Mustermann").rename(tmp_path / "moved")
    files = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): str(path) for path in moved.iterdir()}
    image = dicom.session.study.image
    assert dicom.logic.filesOf(image) is None
    database = type("Database", (), {"fileForInstance": lambda self, uid: files.get(uid, "")})
    monkeypatch.setattr(slicer, "dicomDatabase", database(), raising=False)
    source = dicom.session.output(dicom.logic.filesOf(image)).dicom()
    sources = dicom.session.study.cine.sources
    assert [[str(header.SOPInstanceUID) for header in row] for row in source.headers] == [list(row) for row in sources]


def test_what_the_dicom_export_lacks_is_told_and_only_offered_where_it_can_be_had(host, dicom, monkeypatch) -> None:
    def lack(*names: str) -> Any:
        monkeypatch.setattr(dependencies, "_is_fulfilled", lambda requirement: not requirement.startswith(names))
        dicom.output.checkPackages()
        dicom.showAll()
        return dicom.ui.dicomCheckBox

    box = lack("pydicom", "highdicom")
    assert not box.enabled
    assert "needs pydicom 3" in box.toolTip
    assert not dicom.ui.installDicomButton.visible
    box = lack("highdicom")
    assert not box.enabled
    assert "press Install for DICOM" in box.toolTip
    host.answer("No")
    host.answer("OK")
    host.click(dicom.ui.installDicomButton)
    assert "highdicom, with what it needs a download of about 4 MB" in host.messages[0]
    assert "no DICOM can be written" in host.messages[1]
    assert lack("nothing at all").enabled
    assert not dicom.ui.installDicomButton.visible


def test_a_tick_for_dicom_does_not_count_for_a_cine_that_is_none(host, found, tmp_path: Path) -> None:
    found.parameters.exportDicom = True
    choose_formats(host, found, "nifti", "dicom")
    found.ui.folderEdit.setCurrentPath(str(tmp_path / "out"))
    host.click(found.ui.exportButton)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["heart.nii.gz"]


def test_shift_f_accepts_what_was_found_in_the_frame(host, found) -> None:
    found.goTo(4, 1)
    host.key("Shift+F")
    status = found.session.study.status
    assert (status[4] == Status.REVIEWED).all()
    assert (np.delete(status, 4, axis=0) == Status.PREDICTED).all()
    assert not found.ui.acceptFrameButton.enabled
    found.goTo(5, 1)
    host.click(found.ui.acceptFrameButton)
    assert (found.session.study.status[5] == Status.REVIEWED).all()
