"""The report: complete in itself, no number on it that is not in measures.json, clear about what nobody has checked."""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_images import NAME, write_dicom
from PIL import Image

from CardiacSegLib import __version__
from CardiacSegLib.anatomy import LV, MYO, RV
from CardiacSegLib.cine import Cine, Segmentation, Status
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.measures.study import measure_study
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.readers import read_cine
from CardiacSegLib.weights import WeightsCard
from CardiacSegLib.writers.dicom_sources import read_source
from CardiacSegLib.writers.report import Pictures, write_report
from CardiacSegLib.writers.report import html as page_of
from CardiacSegLib.writers.report_content import NOTHING, content
from CardiacSegLib.writers.report_data import age_years, report_data
from CardiacSegLib.writers.report_pdf import write_pdf
from CardiacSegLib.writers.tables import write_measures

WEIGHTS = WeightsCard(
    "some-weights", "cstm", "small", ("phantom (24 hearts)",), "CC0 1.0", "none", 0, sha256="0a1b2c3d" * 8
)
NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:\.\d+)?(?![\w])")


@dataclasses.dataclass(frozen=True)
class Study:
    """A cine from DICOM files with its masks, and what it takes to report on it."""

    cine: Cine
    masks: Segmentation
    header: pydicom.Dataset
    measured: dict

    def data(self, with_patient: bool = True) -> dict:
        measured = copy.deepcopy(self.measured)
        return report_data(measured, self.cine, self.masks, WEIGHTS, self.header, with_patient)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    phantom = beating_heart(5, frames=6, slices=9, size=80, spacing=(2.0, 2.0, 8.0), ejection_fraction=55)
    facts = {"StudyDescription": "Cardiac MR", "PatientAge": "064Y", "MagneticFieldStrength": 1.5}
    folder = write_dicom(phantom.cine, tmp_path_factory.mktemp("dicom") / "Mustermann", **facts)
    cine = read_cine(folder)
    labels = phantom.truth.labels if np.allclose(cine.affine, phantom.cine.affine) else phantom.truth.labels[:, ::-1]
    status = np.full(cine.shape[:2], Status.PREDICTED, np.uint8)
    status[0], status[3, 4], status[5, 2:4] = Status.ANNOTATED, Status.CORRECTED, Status.REVIEWED
    masks, header = Segmentation(labels.copy(), status, cine.affine), read_source(folder, cine).first
    measured = measure_study(masks, cine.patient, cine.times, age_years=age_years(header)).to_dict()
    return Study(cine, masks, header, measured)


@pytest.fixture(scope="module")
def report(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, study.data(), study.cine, study.masks)
    return folder


def write_without_pictures(folder: Path, data: dict) -> None:
    """Page and PDF with an empty picture in each place, for what is about words alone."""
    page, dot = content(data), io.BytesIO()
    Image.new("RGB", (4, 4)).save(dot, "PNG")
    pictures = Pictures(*[dot.getvalue()] * 2, [dot.getvalue()] * len(page.captions))
    write_measures(folder / "measures.json", data)
    (folder / "report.html").write_text(page_of(page, pictures), encoding="utf-8")
    write_pdf(folder / "report.pdf", page, pictures)


def visible(folder: Path) -> str:
    """What a reader sees of the page, as text; cells and lines are kept apart."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<(style|title)>.*?</\1>", " ", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "\n", text))


def measures(folder: Path) -> dict:
    return json.loads((folder / "measures.json").read_text(encoding="utf-8"))


def leaves(value: object) -> list:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]


def unexplained(text: str, data: dict) -> list[str]:
    """The numbers in a text that are no value of the data, rounded to the shown decimals, nor part of a text in it."""
    found = leaves(data)
    for words in sorted({leaf for leaf in found if isinstance(leaf, str) and leaf}, key=len, reverse=True):
        text = text.replace(words, " ")
    values = [float(leaf) for leaf in found if isinstance(leaf, int | float) and not isinstance(leaf, bool)]
    shown = {f"{value:.{decimals}f}" for value in values for decimals in range(4)}
    return [token for token in NUMBER.findall(text) if token not in shown]


def pictures(folder: Path) -> list[np.ndarray]:
    """The pictures of the page, RGB, in its order."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    packed = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in packed]


def pdf_text(folder: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed (Debian: poppler-utils)")
    command = ["pdftotext", "-layout", str(folder / "report.pdf"), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_no_number_is_on_the_page_that_is_not_in_the_measures(report):
    text = visible(report)
    assert len(NUMBER.findall(text)) > 100
    assert unexplained(text, measures(report)) == []


def test_that_search_finds_a_number_that_is_not_in_the_measures(report):
    data = measures(report)
    data["lv_ef_percent"] += 0.2
    data["norms"] = []
    assert f"{data['lv_ef_percent'] - 0.2:.1f}" in unexplained(visible(report), data)


def test_the_pdf_says_what_the_page_says(report):
    page, pdf = visible(report), pdf_text(report)
    assert len(NUMBER.findall(pdf)) > 100
    assert set(NUMBER.findall(pdf)) <= set(NUMBER.findall(page))
    for words in (
        "Ejection fraction (%)",
        "Mid wall at ED, mean (mm)",
        "Research use only",
        "Papillary muscles",
        WEIGHTS.name,
    ):
        assert words in page
        assert words in pdf
    assert WEIGHTS.sha256 in re.sub(r"\s", "", pdf) or WEIGHTS.sha256[:32] in pdf


def test_the_main_values_are_there_rounded_to_what_is_shown(report):
    data = measures(report)
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", (report / "report.html").read_text())
    shown = {label: (lv, rv) for label, lv, rv in rows}
    for label, key in (("End-diastolic volume (ml)", "edv_ml"), ("End-systolic volume (ml)", "esv_ml"),
                       ("Stroke volume (ml)", "sv_ml"), ("Ejection fraction (%)", "ef_percent"),
                       ("End-diastolic volume index (ml/m²)", "edvi_ml_per_m2")):  # fmt: skip
        assert shown[label] == (f"{data['lv_' + key]:.1f}", f"{data['rv_' + key]:.1f}")
    assert shown["Mass (g)"] == (f"{data['lv_mass_g']:.1f}", "")


def test_rates_and_times_are_listed_where_they_are_known(study):
    data = study.data()
    data["lv_curve"] |= {"peak_filling_rate_ml_per_s": 243.4, "time_to_smallest_ms": None}
    data["rv_curve"] |= {"peak_filling_rate_ml_per_s": None, "time_to_smallest_ms": None}
    rows = {row[0]: row[1:] for row in content(data).results.rows}
    assert rows["Peak filling rate (ml/s)"] == ("243", NOTHING)
    assert "ED to the smallest volume (ms)" not in rows


def test_every_segment_of_the_wall_is_in_the_table(report):
    rows = re.findall(r"<tr>((?:<td>[^<]*</td>){4})</tr>", (report / "report.html").read_text())
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    truth = measures(report)["segments"]["rows"]
    assert [cell[0] for cell in cells] == [f"{row['number']} {row['name']}" for row in truth]
    known = [(cell, row) for cell, row in zip(cells, truth, strict=True) if row["ed_mm"] is not None]
    assert len(known) >= 12
    for cell, row in known:
        assert cell[1] == f"{row['ed_mm']:.1f}"


def test_patient_and_study_are_named(report):
    text = visible(report)
    for words in ("Mustermann Erika", "P-4711", "1961-04-30", "64 years", "2026-03-12", "Cardiac MR", "A-99", "1.5 T"):
        assert words in text


def test_without_patient_nothing_tells_who_it_is(study, tmp_path):
    data = study.data(with_patient=False)
    write_without_pictures(tmp_path, data)
    told = visible(tmp_path) + (tmp_path / "measures.json").read_text() + pdf_text(tmp_path)
    for words in ("Mustermann", "Erika", "4711", "1961", "2026-03-12", "A-99", "64 years"):
        assert words not in told
    assert measures(tmp_path)["patient"] is None


def test_remarks_that_name_the_file_are_told_without_its_name(study):
    cine = dataclasses.replace(study.cine, remarks=(f"{study.cine.name} holds two series.",))
    data = dataclasses.replace(study, cine=cine).data(with_patient=False)
    assert data["images"]["remarks"] == ["The cine holds two series."]


def test_no_file_and_nothing_printed_names_the_patient(study, report, tmp_path, capfd, caplog):
    caplog.set_level("DEBUG")
    write_without_pictures(tmp_path, study.data())
    told = " ".join([*(path.name for path in report.iterdir()), *capfd.readouterr(), caplog.text])
    assert sorted(path.name for path in report.iterdir()) == ["measures.json", "report.html", "report.pdf"]
    assert not any(word in told for word in NAME.split("^"))


def test_the_page_asks_for_nothing_from_elsewhere(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert "http" not in re.sub(r"base64,[^\"]+", "", text)
    assert "<script" not in text
    assert "<link" not in text
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', text))


def test_what_nobody_has_checked_is_said_first(study, report):
    def said(status: np.ndarray) -> str:
        masks = dataclasses.replace(study.masks, status=status.astype(np.uint8))
        return content(dataclasses.replace(study, masks=masks).data()).review

    status = study.masks.status
    assert said(status) == "42 of 54 slices are a program's prediction; no person has confirmed them here."
    assert said(status) in visible(report)
    assert (
        said(np.full_like(status, Status.REVIEWED)) == "All 54 slices were drawn, corrected or confirmed by a person."
    )
    status = status.copy()
    status[2, 3] = Status.EMPTY
    assert said(status).startswith("1 of 54 slices are not segmented")


def test_how_the_masks_came_about_is_counted_and_listed_slice_by_slice(report):
    masks = measures(report)["masks"]
    assert masks["count"] == {"empty": 0, "predicted": 42, "annotated": 9, "corrected": 1, "reviewed": 2}
    assert masks["status"][0] == "A" * 9
    assert masks["status"][3] == "ppppCpppp"
    assert masks["status"][5] == "ppRRppppp"


def test_weights_with_which_something_was_found_later_are_named_too(study: Study) -> None:
    later = dataclasses.replace(WEIGHTS, name="later-weights", network="unet", sha256="9f" * 32, licence="CC BY 4.0")
    data = report_data(study.measured, study.cine, study.masks, (WEIGHTS, later), study.header)
    assert data["weights"]["name"] == WEIGHTS.name
    assert [one["name"] for one in data["more_weights"]] == ["later-weights"]
    origin = content(data).origin
    assert ("Weights", WEIGHTS.name) in origin
    assert ("Further method", "U-Net with position, automatic") in origin
    assert ("SHA-256 of the further weights", "9f" * 32) in origin
    assert ("Licence of the further weights", "CC BY 4.0") in origin


def test_engine_weights_licence_version_use_and_conventions_are_stated(report):
    text = visible(report)
    for words in (
        "Memory network (CSTM)", WEIGHTS.name, WEIGHTS.sha256, WEIGHTS.licence, WEIGHTS.data[0],
        f"CardiacSeg {__version__}", "Research use only. Not a medical device",
        "Papillary muscles and trabeculae belong to the cavity", "none is cut at the valve plane",
    ):  # fmt: skip
        assert words in text


def test_base_mid_and_apex_are_shown_at_end_diastole_and_end_systole_with_contours(study, report):
    data = measures(report)
    shown = [(p["phase"], p["frame"], p["level"]) for p in data["pictures"]]
    assert shown == [
        (phase, data[f"{phase.lower()}_frame"], level) for phase in ("ED", "ES") for level in ("base", "mid", "apex")
    ]
    rv_area = [(study.masks.labels[0, p["slice"]] == RV.value).sum() for p in data["pictures"][:3]]
    assert rv_area[0] > rv_area[1] > rv_area[2]
    tiles = pictures(report)[1:7]
    for place, tile in zip(data["pictures"], tiles, strict=True):
        mask = study.masks.labels[place["frame"], place["slice"]]
        for structure in (LV, MYO, RV):
            drawn = (np.abs(tile.astype(int) - np.round(255 * np.array(structure.color))) <= 1).all(axis=2).sum()
            assert (drawn > 100) == bool((mask == structure.value).any())


def test_curve_bullseye_and_map_of_the_status_are_pictures_on_the_page(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<img alt="([^"]*)"', text)[0] == "Volume of the cavities over the heart cycle"
    assert "Thickness at end-diastole" in text
    status = pictures(report)[-1]
    for color in ((201, 220, 239), (47, 125, 79), (217, 130, 43), (91, 74, 138)):
        assert (status == color).all(axis=2).sum() > 50


def test_ranges_are_shown_with_their_source_and_a_place_only_where_it_can_be_told(study, report):
    text = visible(report)
    assert "UK Biobank" in text
    assert re.search(r"(below|within|above) the range", text)
    unknown = dataclasses.replace(study.cine, patient=dataclasses.replace(study.cine.patient, sex=None))
    data = measure_study(study.masks, unknown.patient, unknown.times).to_dict()
    assert all(row["place"] is None for row in data["norms"])


def test_text_from_the_header_is_text_and_no_markup(study, tmp_path):
    data = study.data()
    data["patient"]["study"] = "<b>5 & 7</b><script>"
    write_without_pictures(tmp_path, data)
    raw = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;5 &amp; 7&lt;/b&gt;&lt;script&gt;" in raw
    assert "<script" not in raw
    assert "<b>5 & 7</b>" in pdf_text(tmp_path)


@pytest.mark.parametrize("what", ["no RV", "one slice", "LV only", "nothing at all", "no times and no header"])
def test_what_is_not_known_is_left_out_and_never_a_crash(study, tmp_path, what):
    labels, status, cine = study.masks.labels.copy(), study.masks.status.copy(), study.cine
    if what == "no RV":
        labels[labels == RV.value] = 0
    elif what == "one slice":
        labels[:, [0, 1, 2, 3, 5, 6, 7, 8]] = 0
    elif what == "LV only":
        labels[labels != LV.value] = 0
    elif what == "nothing at all":
        labels[:], status[:] = 0, Status.EMPTY
    else:
        cine = dataclasses.replace(cine, times_known=False, sources=())
    masks = dataclasses.replace(study.masks, labels=labels, status=status)
    measured = measure_study(masks, cine.patient, cine.times if cine.times_known else None)
    data = report_data(measured.to_dict(), cine, masks)
    write_report(tmp_path, data, cine, masks)
    text = visible(tmp_path)
    assert unexplained(text, measures(tmp_path)) == []
    assert "None" not in text
    assert "nan" not in text.lower().split()


@pytest.mark.parametrize("package", ["jinja2", "reportlab.platypus"])
def test_without_a_package_it_is_said_how_to_get_it(study, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CardiacSegError, match=r"The report needs the package .*; install it with 'cardiacseg\[cli\]'"):
        write_without_pictures(tmp_path, study.data())


@pytest.mark.parametrize(
    ("facts", "age"),
    [
        ({"PatientAge": "064Y"}, 64.0),
        ({"PatientAge": "", "PatientBirthDate": "19610430", "StudyDate": "20260312"}, 64.87),
        ({"PatientAge": "018M", "PatientBirthDate": "", "StudyDate": "20260312"}, None),
        ({"PatientAge": "", "PatientBirthDate": "19610430", "StudyDate": ""}, None),
    ],
)
def test_the_age_comes_from_the_header_or_its_dates(study, facts, age):
    header = copy.deepcopy(study.header)
    for keyword, value in facts.items():
        setattr(header, keyword, value)
    assert age_years(header) == (None if age is None else pytest.approx(age, abs=0.01))
