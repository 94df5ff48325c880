"""DICOM SR: every measure with its number, unit and confirmed code, on the images it was read from; and valid."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys

import dicom_files
import pydicom
import pytest

pytest.importorskip("highdicom", reason="highdicom, the extra 'dicom', is not installed")

from dicom_images import NAME, write_dicom
from long_axis_heart import long_axis_heart
from pydicom.uid import EnhancedMRImageStorage

from CardiacSegLib import __version__
from CardiacSegLib.anatomy import LV, MYO, RV
from CardiacSegLib.cine import Cine
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.measures import Measures, measure
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.readers import read_cine
from CardiacSegLib.weights import WeightsCard
from CardiacSegLib.writers.dicom_sources import DicomSource, read_source
from CardiacSegLib.writers.dicom_sr import write_dicom_sr

WEIGHTS = WeightsCard("some-weights", "cstm", "small", ("phantom",), "CC0", "none", 0, sha256="ab" * 32)


@dataclasses.dataclass(frozen=True)
class Study:
    """A cine that was read from DICOM files, their headers, and its measures."""

    cine: Cine
    source: DicomSource
    measures: Measures


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    phantom = beating_heart(3, frames=4, slices=6, size=64, spacing=(2.8, 2.8, 10.0))
    folder = write_dicom(phantom.cine, tmp_path_factory.mktemp("dicom") / "images")
    cine = read_cine(folder)
    return Study(cine, read_source(folder, cine), measure(phantom.truth, cine.patient, cine.times))


@pytest.fixture(scope="module")
def report(study, tmp_path_factory: pytest.TempPathFactory) -> pydicom.Dataset:
    path = tmp_path_factory.mktemp("sr") / "measures.dcm"
    write_dicom_sr(path, study.measures.to_dict(), study.cine, study.source, WEIGHTS)
    return pydicom.dcmread(path)


def groups(report: pydicom.Dataset) -> dict[str, list[pydicom.Dataset]]:
    """Tracking identifier of each measurement group -> its content items, read with pydicom alone."""
    measurements = next(i for i in report.ContentSequence if code(i.ConceptNameCodeSequence) == "126010")
    found = {}
    for group in measurements.ContentSequence:
        name = next(i.TextValue for i in group.ContentSequence if code(i.ConceptNameCodeSequence) == "112039")
        found[str(name)] = list(group.ContentSequence)
    return found


def code(sequence) -> str:
    return str(sequence[0].CodeValue)


def numbers(report: pydicom.Dataset) -> dict[tuple[str, str, str], float]:
    """(structure, code, unit) -> value."""
    return {
        (name, code(i.ConceptNameCodeSequence), code(i.MeasuredValueSequence[0].MeasurementUnitsCodeSequence)): float(
            i.MeasuredValueSequence[0].NumericValue
        )
        for name, items in groups(report).items()
        for i in items
        if i.ValueType == "NUM"
    }


def test_every_known_measure_is_there_with_its_code_unit_and_value(study, report):
    m = study.measures.to_dict()
    assert numbers(report) == {
        ("LV", "8821-1", "ml"): m["lv_edv_ml"],
        ("LV", "8823-7", "ml"): m["lv_esv_ml"],
        ("LV", "90096001", "ml"): m["lv_sv_ml"],
        ("LV", "8811-2", "%"): m["lv_ef_percent"],
        ("LV", "8821-1", "ml/m2"): m["lv_edvi_ml_per_m2"],
        ("LV", "8823-7", "ml/m2"): m["lv_esvi_ml_per_m2"],
        ("LV", "277381004", "ml/m2"): m["lv_svi_ml_per_m2"],
        ("LV", "8867-4", "/min"): m["heart_rate_bpm"],
        ("LV", "82799009", "l/min"): m["cardiac_output_l_per_min"],
        ("LV", "54993008", "l/min/m2"): m["cardiac_index_l_per_min_per_m2"],
        ("LV", "8277-6", "m2"): m["bsa_mosteller_m2"],
        ("MYO", "18087-7", "g"): m["lv_mass_g"],
        ("MYO", "18087-7", "g/m2"): m["lv_massi_g_per_m2"],
        ("RV", "8822-9", "ml"): m["rv_edv_ml"],
        ("RV", "8824-5", "ml"): m["rv_esv_ml"],
        ("RV", "429483009", "ml"): m["rv_sv_ml"],
        ("RV", "8818-7", "%"): m["rv_ef_percent"],
        ("RV", "8822-9", "ml/m2"): m["rv_edvi_ml_per_m2"],
        ("RV", "8824-5", "ml/m2"): m["rv_esvi_ml_per_m2"],
        ("RV", "429619008", "ml/m2"): m["rv_svi_ml_per_m2"],
    }


def test_the_codes_are_those_of_the_standard(report):
    """pydicom holds the context groups of PS3.16 as tables; each code and meaning must stand in them."""
    from pydicom.sr._concepts_dict import concepts

    known = {
        (scheme, value, meaning)
        for scheme, table in concepts.items()
        for entries in table.values()
        for value, (meaning, _) in entries.items()
    }
    for items in groups(report).values():
        for item in items:
            concept = item.ConceptNameCodeSequence[0]
            assert (concept.CodingSchemeDesignator, concept.CodeValue, concept.CodeMeaning) in known


def test_values_by_body_surface_area_say_that_they_are_indexed(report):
    for items in groups(report).values():
        for item in (i for i in items if i.ValueType == "NUM"):
            unit = code(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence)
            derived = [
                code(part.ConceptCodeSequence)
                for part in item.get("ContentSequence", [])
                if code(part.ConceptNameCodeSequence) == "121401"
            ]
            volume_or_mass = item.ConceptNameCodeSequence[0].CodingSchemeDesignator == "LN"
            assert derived == (["121425"] if unit in ("ml/m2", "g/m2") and volume_or_mass else [])


def test_each_volume_refers_to_the_images_of_its_frame_and_all_are_in_the_evidence(study, report):
    evidence = {
        str(image.ReferencedSOPInstanceUID)
        for reference in report.CurrentRequestedProcedureEvidenceSequence
        for series in reference.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    ed, es = (study.cine.sources[frame] for frame in (study.measures.ed_frame, study.measures.es_frame))
    said = {
        code(item.ConceptNameCodeSequence): sorted(
            str(part.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for part in item.get("ContentSequence", [])
            if part.ValueType == "IMAGE"
        )
        for item in groups(report)["LV"]
        if item.ValueType == "NUM"
    }
    assert said["8821-1"] == sorted(ed)
    assert said["8823-7"] == sorted(es)
    assert said["8811-2"] == sorted((*ed, *es))
    assert said["8867-4"] == []
    assert evidence == {*ed, *es}


def test_the_groups_name_the_structure_the_program_and_its_weights_and_the_conventions(report):
    for structure, items in zip((LV, MYO, RV), groups(report).values(), strict=True):
        said = {code(i.ConceptNameCodeSequence): i for i in items if i.ValueType in ("CODE", "TEXT")}
        assert code(said["363698007"].ConceptCodeSequence) == structure.code.value
        assert said["111001"].TextValue == "CardiacSeg cstm"
        assert said["111003"].TextValue == __version__
        assert "Papillary muscles" in said["121106"].TextValue
        parameters = [i.TextValue for i in items if code(i.ConceptNameCodeSequence) == "111002"]
        assert {f"weights={WEIGHTS.name}", f"sha256={WEIGHTS.sha256}", f"licence={WEIGHTS.licence}"} == set(parameters)


def test_it_is_an_unverified_report_of_the_patients_study(study, report):
    image = study.source.first
    assert (report.Modality, report.CompletionFlag, report.VerificationFlag) == ("SR", "COMPLETE", "UNVERIFIED")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.StudyInstanceUID, report.PatientID) == (image.StudyInstanceUID, image.PatientID)
    assert report.SeriesInstanceUID != image.SeriesInstanceUID


def test_what_is_not_known_is_left_out_and_ct_has_its_own_codes(study, tmp_path):
    cine = dataclasses.replace(study.cine, modality="CT")
    measures = {"ed_frame": 0, "es_frame": None, "lv_edv_ml": 120.0, "lv_ef_percent": 55.0, "rv_edv_ml": None}
    write_dicom_sr(tmp_path / "measures.dcm", measures, cine, study.source)
    report = pydicom.dcmread(tmp_path / "measures.dcm")
    assert numbers(report) == {("LV", "8821-1", "ml"): 120.0, ("LV", "8810-4", "%"): 55.0}


def test_volumes_by_area_and_length_say_their_method_and_are_no_disc_summation(tmp_path):
    cine, truth, _ = long_axis_heart(2, 4, frames=4, size=64, mm=3.0)
    folder = write_dicom(cine, tmp_path / "images")
    images, measures = read_cine(folder), measure(truth, times=cine.times)
    write_dicom_sr(tmp_path / "sr.dcm", measures.to_dict(), images, read_source(folder, images), WEIGHTS)
    written = pydicom.dcmread(tmp_path / "sr.dcm")
    assert numbers(written) == {
        ("LV", "8821-1", "ml"): round(measures.lv_edv_area_length_ml, 3),
        ("LV", "8823-7", "ml"): round(measures.lv_esv_area_length_ml, 3),
        ("LV", "90096001", "ml"): round(measures.lv_sv_area_length_ml, 3),
        ("LV", "8811-2", "%"): round(measures.lv_ef_area_length_percent, 3),
    }
    items = groups(written)["LV"]
    methods = [
        code(part.ConceptCodeSequence)
        for item in items
        if item.ValueType == "NUM"
        for part in item.ContentSequence
        if part.ValueType == "CODE" and code(part.ConceptNameCodeSequence) == "370129005"
    ]
    assert methods == ["125205"] * 4
    assert not any("disc summation" in str(item.get("TextValue", "")) for item in items)


def test_the_validator_finds_no_error(study, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    path = tmp_path / "measures.dcm"
    write_dicom_sr(path, study.measures.to_dict(), study.cine, study.source, WEIGHTS)
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if line.startswith(("Error", "Abort"))] == []


def test_of_a_multi_frame_image_the_whole_image_is_named(tmp_path):
    path = dicom_files.save(dicom_files.enhanced(dicom_files.Scan()), tmp_path / "images" / "all.dcm")
    cine = read_cine(path.parent)
    measures = {"ed_frame": 0, "es_frame": 2, "lv_edv_ml": 120.0, "lv_esv_ml": 50.0}
    write_dicom_sr(tmp_path / "measures.dcm", measures, cine, read_source(path.parent, cine), WEIGHTS)
    report = pydicom.dcmread(tmp_path / "measures.dcm")
    images = {
        (
            str(part.ReferencedSOPSequence[0].ReferencedSOPClassUID),
            str(part.ReferencedSOPSequence[0].ReferencedSOPInstanceUID),
        )
        for item in groups(report)["LV"]
        for part in item.get("ContentSequence", [])
        if part.ValueType == "IMAGE"
    }
    assert images == {(str(EnhancedMRImageStorage), cine.sources[0][0])}


def test_without_highdicom_it_is_said_how_to_get_it(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(CardiacSegError, match=r"needs the package highdicom; install it with 'cardiacseg\[dicom\]'"):
        write_dicom_sr(tmp_path / "measures.dcm", study.measures.to_dict(), study.cine, study.source)


def test_nothing_measured_is_refused_and_nothing_is_written(study, tmp_path):
    with pytest.raises(CardiacSegError, match="no measures yet"):
        write_dicom_sr(tmp_path / "measures.dcm", Measures().to_dict(), study.cine, study.source)
    assert list(tmp_path.iterdir()) == []


def test_nothing_printed_names_the_patient(study, tmp_path, capfd, caplog):
    caplog.set_level("DEBUG")
    write_dicom_sr(tmp_path / "measures.dcm", study.measures.to_dict(), study.cine, study.source, WEIGHTS)
    told = " ".join([*capfd.readouterr(), caplog.text])
    assert not any(word in told for word in NAME.split("^"))
