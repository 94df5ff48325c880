"""DICOM SEG: masks read back voxel by voxel by the image they lie on, coded, one object a frame, and valid."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import dicom_files
import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="highdicom, the extra 'dicom', is not installed")

from dicom_images import NAME, write_dicom

from CardiacSegLib import __version__
from CardiacSegLib.anatomy import LV, MYO, RV, Structure
from CardiacSegLib.cine import Cine, Segmentation, Status
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.readers import read_cine
from CardiacSegLib.weights import WeightsCard
from CardiacSegLib.writers.dicom_seg import write_dicom_seg
from CardiacSegLib.writers.dicom_sources import DicomSource, read_source

WEIGHTS = WeightsCard("some-weights", "cstm", "small", ("phantom",), "CC0", "none", 0, sha256="ab" * 32)


@dataclasses.dataclass(frozen=True)
class Study:
    """A cine that was read from DICOM files, its masks and the files' headers."""

    folder: Path
    cine: Cine
    masks: Segmentation
    source: DicomSource


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    phantom = beating_heart(3, frames=4, slices=6, size=64, spacing=(2.8, 2.8, 10.0))
    folder = write_dicom(phantom.cine, tmp_path_factory.mktemp("dicom") / "images")
    cine = read_cine(folder)
    labels = phantom.truth.labels if np.allclose(cine.affine, phantom.cine.affine) else phantom.truth.labels[:, ::-1]
    status = np.full(cine.shape[:2], Status.PREDICTED, np.uint8)
    status[0] = Status.ANNOTATED
    return Study(folder, cine, Segmentation(labels.copy(), status, cine.affine), read_source(folder, cine))


def masks_by_image(path: Path) -> dict[tuple[str, str], np.ndarray]:
    """(SOP Instance UID of the image, label of the segment) -> mask, read with pydicom alone."""
    data = pydicom.dcmread(path)
    labels = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in data.SegmentSequence}
    pixels = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    masks = {}
    for pixel, group in zip(pixels, data.PerFrameFunctionalGroupsSequence, strict=True):
        image = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        masks[str(image), labels[number]] = pixel.astype(bool)
    return masks


def masks_by_place(data: pydicom.Dataset, cine: Cine, structures: tuple[Structure, ...]) -> np.ndarray:
    """(Z, Y, X) labels on the cine's grid, each plane put where its position says."""
    values = {s.name: s.value for s in structures}
    numbers = {int(segment.SegmentNumber): values[str(segment.SegmentLabel)] for segment in data.SegmentSequence}
    labels = np.zeros(cine.shape[1:], np.uint8)
    pixels = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for pixel, group in zip(pixels, data.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array([*group.PlanePositionSequence[0].ImagePositionPatient, 1.0], float)
        index = np.linalg.solve(cine.affine, corner)
        assert np.allclose(index[:3], np.round(index[:3]), atol=1e-3)
        labels[round(index[2])][pixel.astype(bool)] = numbers[
            int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        ]
    return labels


def validator_errors(path: Path) -> list[str]:
    """What dciodvfy of dicom3tools finds wrong."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace")
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Abort"))]


def test_every_frame_reads_back_voxel_by_voxel_on_the_images_it_was_drawn_on(study, tmp_path):
    paths = write_dicom_seg(tmp_path, study.masks, study.cine, study.source, WEIGHTS)
    assert [path.name for path in paths] == [f"seg_frame{frame:02d}.dcm" for frame in range(4)]
    for frame, path in enumerate(paths):
        found = masks_by_image(path)
        for index, uid in enumerate(study.cine.sources[frame]):
            for structure in (LV, MYO, RV):
                truth = study.masks.labels[frame, index] == structure.value
                assert (found.pop((uid, structure.name), np.zeros_like(truth)) == truth).all()
        assert found == {}


def test_all_frames_are_one_series_of_the_patients_study_and_not_the_images_series(study, tmp_path):
    written = [pydicom.dcmread(p) for p in write_dicom_seg(tmp_path, study.masks, study.cine, study.source, WEIGHTS)]
    image = study.source.first
    assert len({data.SeriesInstanceUID for data in written}) == 1
    assert len({data.SOPInstanceUID for data in written}) == 4
    assert [data.InstanceNumber for data in written] == [1, 2, 3, 4]
    for frame, data in enumerate(written):
        assert data.SeriesInstanceUID != image.SeriesInstanceUID
        assert (data.StudyInstanceUID, data.FrameOfReferenceUID) == (image.StudyInstanceUID, image.FrameOfReferenceUID)
        assert (data.PatientName, data.PatientID) == (image.PatientName, image.PatientID)
        referenced = [r.ReferencedSOPInstanceUID for r in data.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
        assert sorted(referenced) == sorted(study.cine.sources[frame])


def test_segments_are_coded_and_the_same_in_every_frame(study, tmp_path):
    written = [pydicom.dcmread(p) for p in write_dicom_seg(tmp_path, study.masks, study.cine, study.source, WEIGHTS)]
    segments = [
        [(s.SegmentNumber, s.SegmentLabel, s.TrackingUID, s.SegmentedPropertyTypeCodeSequence[0].CodeValue,
          s.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator) for s in data.SegmentSequence]
        for data in written
    ]  # fmt: skip
    assert all(row == segments[0] for row in segments)
    assert [(row[1], row[3], row[4]) for row in segments[0]] == [(s.name, s.code.value, "SCT") for s in (LV, MYO, RV)]


def test_who_made_the_masks_is_written_in_them(study, tmp_path):
    data = pydicom.dcmread(write_dicom_seg(tmp_path, study.masks, study.cine, study.source, WEIGHTS)[0])
    algorithm = data.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert data.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert algorithm.AlgorithmName == "CardiacSeg cstm"
    assert algorithm.AlgorithmVersion == __version__
    for fact in (WEIGHTS.name, WEIGHTS.sha256, WEIGHTS.licence):
        assert fact in algorithm.AlgorithmParameters


@pytest.mark.parametrize(("status", "kind"), [(Status.PREDICTED, "AUTOMATIC"), (Status.CORRECTED, "MANUAL")])
def test_masks_of_a_program_alone_and_of_a_person_alone_say_so(study, tmp_path, status, kind):
    masks = dataclasses.replace(study.masks, status=np.full_like(study.masks.status, status))
    data = pydicom.dcmread(write_dicom_seg(tmp_path, masks, study.cine, study.source, WEIGHTS)[0])
    assert {segment.SegmentAlgorithmType for segment in data.SegmentSequence} == {kind}


def test_the_frames_of_end_diastole_and_end_systole_can_be_told(study, tmp_path):
    paths = write_dicom_seg(tmp_path, study.masks, study.cine, study.source, WEIGHTS, {"ED": 0, "ES": 2})
    texts = [pydicom.dcmread(path).ContentDescription for path in paths]
    assert [("ED" in text, "ES" in text) for text in texts] == [(1, 0), (0, 0), (0, 1), (0, 0)]


def test_frames_without_a_segmented_slice_are_left_out_and_empty_ones_read_back_empty(study, tmp_path):
    labels, status = study.masks.labels.copy(), study.masks.status.copy()
    labels[1:3], status[1] = 0, Status.EMPTY
    masks = dataclasses.replace(study.masks, labels=labels, status=status)
    paths = write_dicom_seg(tmp_path, masks, study.cine, study.source, WEIGHTS)
    assert [path.name for path in paths] == ["seg_frame00.dcm", "seg_frame02.dcm", "seg_frame03.dcm"]
    assert not any(mask.any() for mask in masks_by_image(paths[1]).values())


def test_a_structure_of_the_users_own_is_written_too(study, tmp_path):
    labels = study.masks.labels.copy()
    labels[:, 2, :5, :5] = 7
    own = Structure(7, "scar", (0.5, 0.5, 0.1))
    masks = dataclasses.replace(study.masks, labels=labels, structures=(*study.masks.structures, own))
    path = write_dicom_seg(tmp_path, masks, study.cine, study.source, WEIGHTS)[0]
    found = masks_by_image(path)[study.cine.sources[0][2], "scar"]
    assert found.sum() == 25
    assert found[:5, :5].all()


def test_slices_that_are_series_of_their_own_are_each_referred_to_in_their_series(study, tmp_path):
    folder = write_dicom(study.cine, tmp_path / "images", series_per_slice=True)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    headers.sort(key=lambda h: (float(h.TriggerTime), int(h.InstanceNumber)))
    grid = tuple(tuple(headers[t * 6 : t * 6 + 6]) for t in range(4))
    truth = {(str(h.SOPInstanceUID), str(h.SeriesInstanceUID)) for h in grid[1]}
    paths = write_dicom_seg(tmp_path, study.masks, study.cine, DicomSource(grid), WEIGHTS)
    data = pydicom.dcmread(paths[1])
    said = {
        (str(reference.ReferencedSOPInstanceUID), str(series.SeriesInstanceUID))
        for series in data.ReferencedSeriesSequence
        for reference in series.ReferencedInstanceSequence
    }
    assert said == truth
    assert len(data.ReferencedSeriesSequence) == 6
    found = masks_by_image(paths[1])
    assert (found[str(grid[1][3].SOPInstanceUID), "LV"] == (study.masks.labels[1, 3] == LV.value)).all()


def test_the_validator_finds_no_error(study, tmp_path):
    for path in write_dicom_seg(tmp_path, study.masks, study.cine, study.source, WEIGHTS, {"ED": 0}):
        assert validator_errors(path) == []


def test_headers_that_anonymisers_broke_are_mended(study, tmp_path):
    broken = {"StudyDate": "20120000", "PatientBirthDate": "00000000", "StudyTime": ""}
    with pytest.warns(UserWarning):
        folder = write_dicom(study.cine, tmp_path / "images", **broken)
        for path in folder.iterdir():
            data = pydicom.dcmread(path)
            for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName", "PatientSex", "SliceThickness"):
                delattr(data, keyword)
            data.save_as(path)
        cine = read_cine(folder)
    path = write_dicom_seg(tmp_path, study.masks, cine, read_source(folder, cine), WEIGHTS)[0]
    assert pydicom.dcmread(path).StudyDate == ""
    assert validator_errors(path) == []


def test_no_file_name_and_nothing_printed_names_the_patient(study, tmp_path, capfd, caplog):
    caplog.set_level("DEBUG")
    paths = write_dicom_seg(tmp_path, study.masks, study.cine, read_source(study.folder, study.cine), WEIGHTS)
    told = " ".join([*(path.name for path in paths), *capfd.readouterr(), caplog.text])
    for word in (*NAME.split("^"), "4711"):
        assert word not in told


def test_a_cine_that_is_not_from_dicom_is_told_why_not(study):
    with pytest.raises(CardiacSegError, match="was not read from DICOM"):
        read_source(study.folder, dataclasses.replace(study.cine, sources=()))


def test_images_that_are_missing_are_counted(study, tmp_path):
    folder = Path(shutil.copytree(study.folder, tmp_path / "images"))
    sorted(folder.iterdir())[0].unlink()
    with pytest.raises(CardiacSegError, match="lacks 1 of the 24 images"):
        read_source(folder, study.cine)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_images_that_nothing_can_refer_to_are_refused(study, tmp_path, keyword):
    folder = Path(shutil.copytree(study.folder, tmp_path / "images"))
    path = sorted(folder.iterdir())[5]
    data = pydicom.dcmread(path)
    delattr(data, keyword)
    data.save_as(path)
    with pytest.raises(CardiacSegError, match=f"have no {keyword}"):
        read_source(folder, study.cine)


@pytest.mark.parametrize("per_slice", [False, True])
def test_of_multi_frame_images_the_masks_lie_right_and_name_the_whole_image(tmp_path, per_slice):
    scan = dicom_files.Scan()
    for z in range(3) if per_slice else ():
        data = dicom_files.enhanced(scan, [(t, z) for t in range(4)])
        dicom_files.save(data, tmp_path / "images" / f"{z}.dcm")
    if not per_slice:
        dicom_files.save(dicom_files.enhanced(scan), tmp_path / "images" / "all.dcm")
    cine = read_cine(tmp_path / "images")
    labels = np.random.default_rng(1).integers(0, 4, cine.shape).astype(np.uint8)
    masks = Segmentation(labels, np.full(cine.shape[:2], Status.PREDICTED, np.uint8), cine.affine)
    (tmp_path / "seg").mkdir()
    source = read_source(tmp_path / "images", cine)
    for frame, path in enumerate(write_dicom_seg(tmp_path / "seg", masks, cine, source, WEIGHTS)):
        data = pydicom.dcmread(path)
        assert masks_by_place(data, cine, (LV, MYO, RV)) == pytest.approx(labels[frame])
        referenced = [
            r.ReferencedSOPInstanceUID for s in data.ReferencedSeriesSequence for r in s.ReferencedInstanceSequence
        ]
        assert sorted(referenced) == sorted(set(cine.sources[frame]))
        assert validator_errors(path) == []


def test_a_slice_that_was_put_together_when_read_lies_where_it_is_and_names_no_image(study, tmp_path):
    sources = tuple(("", *row[1:]) for row in study.cine.sources)
    cine = dataclasses.replace(study.cine, sources=sources)
    path = write_dicom_seg(tmp_path, study.masks, cine, read_source(study.folder, cine), WEIGHTS)[0]
    data = pydicom.dcmread(path)
    corner = cine.affine[:3, 3]
    planes = [group.PlanePositionSequence[0].ImagePositionPatient for group in data.PerFrameFunctionalGroupsSequence]
    assert study.masks.labels[0, 0].any()
    assert min(np.linalg.norm(np.array(plane, float) - corner) for plane in planes) < 0.01
    referenced = [r.ReferencedSOPInstanceUID for r in data.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert sorted(referenced) == sorted(sources[0][1:])
    assert validator_errors(path) == []


def test_every_plane_lies_where_its_image_lies(study, tmp_path):
    position = {str(h.SOPInstanceUID): h.ImagePositionPatient for row in study.source.headers for h in row}
    data = pydicom.dcmread(write_dicom_seg(tmp_path, study.masks, study.cine, study.source, WEIGHTS)[1])
    shared = data.SharedFunctionalGroupsSequence[0]
    image = study.source.first
    assert np.allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient, image.ImageOrientationPatient)
    assert np.allclose(shared.PixelMeasuresSequence[0].PixelSpacing, image.PixelSpacing)
    for group in data.PerFrameFunctionalGroupsSequence:
        uid = str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        assert np.allclose(group.PlanePositionSequence[0].ImagePositionPatient, position[uid], atol=1e-4)


def test_nothing_segmented_is_refused(study, tmp_path):
    empty = dataclasses.replace(study.masks, labels=study.masks.labels * 0, status=study.masks.status * 0)
    with pytest.raises(CardiacSegError, match="no segmented slice"):
        write_dicom_seg(tmp_path, empty, study.cine, study.source, WEIGHTS)
    assert list(tmp_path.iterdir()) == []


def test_a_zip_serves_as_well_as_the_folder(study, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "study"), "zip", study.folder)
    source = read_source(packed, study.cine)
    assert [[str(h.SOPInstanceUID) for h in row] for row in source.headers] == [list(r) for r in study.cine.sources]


def test_a_real_series_reads_back_voxel_by_voxel(data, tmp_path):
    path = data / "sunnybrook" / "SCD0000101_dicom_sax.zip"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in shared/data")
    cine = read_cine(path)
    frame = len(cine.frames) // 2
    labels = np.zeros(cine.shape, np.uint8)
    labels[frame] = np.digitize(cine.frames[frame], np.percentile(cine.frames[frame], (50, 75, 90))).astype(np.uint8)
    status = np.where(labels.any(axis=(2, 3)), Status.PREDICTED, Status.EMPTY).astype(np.uint8)
    masks = Segmentation(labels, status, cine.affine)
    (written,) = write_dicom_seg(tmp_path, masks, cine, read_source(path, cine), WEIGHTS)
    found = masks_by_image(written)
    for index, uid in enumerate(cine.sources[frame]):
        for structure in (LV, MYO, RV):
            assert (found[uid, structure.name] == (labels[frame, index] == structure.value)).all()
