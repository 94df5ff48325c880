"""A folder of results is a study that its report and its exports go on with."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_images import NAME, write_dicom
from typer.testing import CliRunner

from CardiacSegLib.cine import Cine, Segmentation, Status
from CardiacSegLib.cli import app
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.readers import read_annotation, read_cine
from CardiacSegLib.study_folder import StudyFolder, read_study_folder, write_record
from CardiacSegLib.weights import WeightsCard
from CardiacSegLib.writers.images import write_cine, write_segmentation

WEIGHTS = WeightsCard("some-weights", "cstm", "small", ("phantom",), "CC0", "none", 0, sha256="ab" * 32)


@pytest.fixture(scope="module")
def phantom():
    return beating_heart(5, frames=4, slices=7, size=64, spacing=(2.4, 2.4, 9.0))


def study_of(cine: Cine, labels: np.ndarray, folder: Path, source: Path) -> Segmentation:
    """Write masks and record as the commands do: frame 0 annotated, the rest predicted."""
    status = np.full(cine.shape[:2], Status.PREDICTED, np.uint8)
    status[0] = Status.ANNOTATED
    masks = Segmentation(labels, status, cine.affine)
    folder.mkdir(parents=True, exist_ok=True)
    write_segmentation(masks, folder / "segmentation.nii.gz", cine)
    write_record(folder, StudyFolder(cine, masks, source, WEIGHTS, ed=0, es=2))
    return masks


@pytest.fixture
def nifti(phantom, tmp_path: Path) -> tuple[Path, Segmentation]:
    """A study of a NIfTI cine: results in one folder, the cine in another."""
    (tmp_path / "images").mkdir()
    write_cine(phantom.cine, tmp_path / "images" / "cine.nii.gz")
    cine = read_cine(tmp_path / "images" / "cine.nii.gz")
    masks = study_of(cine, phantom.truth.labels, tmp_path / "results", tmp_path / "images" / "cine.nii.gz")
    return tmp_path / "results", masks


@pytest.fixture
def dicom(phantom, tmp_path: Path) -> Path:
    """A study of a DICOM cine."""
    source = write_dicom(phantom.cine, tmp_path / "scan")
    cine = read_cine(source)
    labels = phantom.truth.labels if np.allclose(cine.affine, phantom.cine.affine) else phantom.truth.labels[:, ::-1]
    study_of(cine, np.ascontiguousarray(labels), tmp_path / "results", source)
    return tmp_path / "results"


def run(*arguments: object) -> str:
    """Run the command line; returns what it printed, or fails."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: object) -> str:
    """The one sentence of a command that must end in an error."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 1, done.output
    return done.output


def seconds_of_children() -> float:
    """What processes that this one started and that have ended have computed."""
    times = os.times()
    return times.children_user + times.children_system


class TestTheRecord:
    def test_masks_status_weights_and_phases_come_back(self, nifti):
        folder, masks = nifti
        study = read_study_folder(folder)
        assert (study.segmentation.labels == masks.labels).all()
        assert (study.segmentation.status == masks.status).all()
        assert (study.weights, study.ed, study.es) == (WEIGHTS, 0, 2)

    def test_a_mask_that_was_changed_since_is_corrected(self, nifti):
        folder, masks = nifti
        labels = masks.labels.copy()
        labels[1, 3, :4, :4] = 1
        write_segmentation(dataclasses.replace(masks, labels=labels), folder / "segmentation.nii.gz")
        status = read_study_folder(folder).segmentation.status
        assert status[1, 3] == Status.CORRECTED
        assert (status == Status.CORRECTED).sum() == 1

    def test_height_and_weight_that_were_given_are_kept(self, nifti):
        folder, _ = nifti
        study = read_study_folder(folder)
        patient = dataclasses.replace(study.cine.patient, height_cm=181.0, weight_kg=77.0)
        write_record(folder, dataclasses.replace(study, cine=dataclasses.replace(study.cine, patient=patient)))
        assert read_study_folder(folder).cine.patient == patient

    @pytest.mark.usefixtures("nifti")
    def test_study_and_cine_can_be_moved_together(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        for name in ("images", "results"):
            shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
        assert read_study_folder(tmp_path / "elsewhere" / "results").cine.shape == (4, 7, 64, 64)
        assert str(tmp_path) not in (tmp_path / "elsewhere" / "results" / "study.json").read_text()

    def test_a_cine_that_was_moved_away_can_be_given(self, nifti, tmp_path):
        folder, _ = nifti
        shutil.move(tmp_path / "images" / "cine.nii.gz", tmp_path / "moved.nii.gz")
        with pytest.raises(CardiacSegError, match=r"no longer at .*cine\.nii\.gz; say where it is with --cine"):
            read_study_folder(folder)
        assert read_study_folder(folder, tmp_path / "moved.nii.gz").source == tmp_path / "moved.nii.gz"

    def test_another_cine_is_refused(self, nifti, tmp_path):
        folder, _ = nifti
        other = beating_heart(6, frames=3, slices=7, size=64, spacing=(2.4, 2.4, 9.0)).cine
        write_cine(other, tmp_path / "other.nii.gz")
        with pytest.raises(CardiacSegError, match="was made of one of"):
            read_study_folder(folder, tmp_path / "other.nii.gz")

    def test_a_folder_that_is_no_study_and_a_damaged_record_are_named(self, nifti, tmp_path):
        with pytest.raises(CardiacSegError, match=r"is not a study: it has no study\.json"):
            read_study_folder(tmp_path)
        folder, _ = nifti
        for text in ("{", "[]", '{"schema_version": 99}'):
            (folder / "study.json").write_text(text)
            with pytest.raises(CardiacSegError, match=r"study\.json (cannot be read|was written by another version)"):
                read_study_folder(folder)


class TestReport:
    def test_it_writes_page_pdf_and_measures(self, nifti, tmp_path):
        folder, _ = nifti
        printed = run("report", folder, "--output", tmp_path / "report")
        assert "report.html" in printed
        assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
            "measures.json", "report.html", "report.pdf",
        ]  # fmt: skip
        data = json.loads((tmp_path / "report" / "measures.json").read_text())
        assert (data["ed_frame"], data["es_frame"]) == (0, 2)
        assert data["masks"]["count"]["annotated"] == 7
        assert data["weights"]["name"] == WEIGHTS.name
        assert data["patient"] == {"file": "cine.nii.gz"}

    def test_of_a_dicom_cine_it_names_the_patient_unless_told_not_to(self, dicom, tmp_path):
        printed = run("report", dicom, "--output", tmp_path / "report")
        data = json.loads((tmp_path / "report" / "measures.json").read_text())
        assert data["patient"]["patient_id"] == "P-4711"
        assert {row["sex"] for row in data["norms"]} == {"F"}
        printed += run("report", dicom, "--output", tmp_path / "anonymous", "--without-patient")
        page = (tmp_path / "anonymous" / "report.html").read_text()
        assert not any(word in page + printed for word in (*NAME.split("^"), "4711", "19610430"))

    @pytest.mark.skipif(os.name == "nt", reason="the time of a process is measured by a module of Unix")
    def test_that_of_the_bundled_cine_takes_less_than_ten_seconds_of_one_core(self, tmp_path):
        sample = Path(__file__).resolve().parents[1] / "Resources" / "SampleData"
        cine = read_cine(sample / "cine.nii.gz")
        drawn = read_annotation(sample / "annotation.nii.gz", cine, frame=18).labels[18]
        study_of(cine, np.repeat(drawn[None], len(cine.frames), axis=0), tmp_path / "study", sample / "cine.nii.gz")
        before = seconds_of_children()
        command = [sys.executable, "-m", "CardiacSegLib.cli", "report", tmp_path / "study", "-o", tmp_path / "report"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert seconds_of_children() - before < 10

    def test_what_is_no_study_is_one_sentence_and_nothing_is_written(self, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "is not a study" in refused("report", tmp_path / "empty", "--output", tmp_path / "report")
        assert not (tmp_path / "report").exists()


class TestExport:
    def test_every_format_is_written(self, dicom, tmp_path):
        kinds = ("dicom", "nii.gz", "seq.nrrd", "seg.nrrd", "stl", "obj", "csv")
        pytest.importorskip("highdicom", reason="highdicom, the extra 'dicom', is not installed")
        pytest.importorskip("vtkmodules", reason="VTK is not installed")
        run("export", dicom, "--output", tmp_path / "out", *(part for kind in kinds for part in ("--format", kind)))
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        frames = [f"{t:02d}" for t in range(4)]
        surfaces = [f"frame{t}_{s}.{e}" for t in frames for s in ("LV", "MYO", "RV") for e in ("obj", "stl")]
        assert names == sorted(
            [*surfaces, *(f"frame{t}.seg.nrrd" for t in frames), *(f"seg_frame{t}.dcm" for t in frames),
             "measures_sr.dcm", "segmentation.nii.gz", "segmentation.seq.nrrd", "volumes_tidy.csv"]
        )  # fmt: skip
        rows = list(csv.DictReader((tmp_path / "out" / "volumes_tidy.csv").open(newline="")))
        assert len(rows) == 4 * 3

    def test_dicom_says_which_program_and_weights_and_where_ed_is(self, dicom, tmp_path):
        pytest.importorskip("highdicom", reason="highdicom, the extra 'dicom', is not installed")
        printed = run("export", dicom, "--output", tmp_path / "out", "--format", "dicom")
        data = pydicom.dcmread(tmp_path / "out" / "seg_frame00.dcm")
        parameters = data.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
        assert WEIGHTS.sha256 in str(parameters)
        assert "ED" in data.ContentDescription
        assert re.search(r"Exported 5 files", printed)
        assert not any(word in printed for word in NAME.split("^"))

    def test_dicom_of_a_nifti_cine_is_refused_with_the_reason_and_nothing_is_left(self, nifti, tmp_path):
        folder, _ = nifti
        told = refused("export", folder, "--output", tmp_path / "out", "--format", "csv", "--format", "dicom")
        assert "was not read from DICOM" in " ".join(told.split())
        assert not (tmp_path / "out").exists()
