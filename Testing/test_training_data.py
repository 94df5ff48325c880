"""Public data sets as they lie on disk become labelled subjects, and what nobody labelled stays unknown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.training.command import DataSource, gather
from CardiacSegLib.training.sources import DATA_SETS, Licence, read_phantoms, strictest
from CardiacSegLib.training.subjects import LabelledVolume, Subject, compact, load_subjects, save_subjects
from CardiacSegLib.training.sunnybrook import JPEG_PIXEL_MM, filled


def write(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.25, 1.5, 8.0)) -> None:
    """An image file of (T, Z, Y, X) or (Z, Y, X)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array, isVector=False)
    image.SetSpacing([*spacing, 1.0][: array.ndim])
    SimpleITK.WriteImage(image, str(path))


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 900, shape).astype(np.int16)


def heart(slices: int = 3, values: tuple[int, int, int] = (1, 2, 3)) -> np.ndarray:
    """Labels (Z, 12, 14) with the given values for LV, MYO and RV."""
    labels = np.zeros((slices, 12, 14), np.uint8)
    labels[:, 3:9, 3:9] = values[1]
    labels[:, 4:7, 4:8] = values[0]
    labels[:, 3:8, 10:13] = values[2]
    return labels


def read(kind: str, root: Path) -> dict[str, Subject]:
    return {subject.name: subject for subject in DATA_SETS[kind].read(root)}


# ACDC -----------------------------------------------------------------------------------------------------------------


def test_acdc_frames_are_counted_from_1_in_info_cfg_and_labels_become_native(tmp_path: Path) -> None:
    folder = tmp_path / "patient007"
    images = {1: pictures(3, 12, 14), 10: pictures(3, 12, 14) + 1}
    for frame, image in images.items():
        write(folder / f"patient007_frame{frame:02d}.nii.gz", image)
        write(folder / f"patient007_frame{frame:02d}_gt.nii.gz", heart(values=(3, 2, 1)))
    (folder / "Info.cfg").write_text("ED: 1\nES: 10\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")
    (tmp_path / "MANDATORY_CITATION.md").write_text("not a subject")
    ed, es = read("acdc", tmp_path)["patient007"].volumes
    assert (ed.phase, es.phase) == ("ED", "ES")
    assert np.array_equal(ed.image, images[1]) and np.array_equal(es.image, images[10])
    assert np.array_equal(ed.labels, heart()) and ed.labelled == (1, 2, 3)
    assert ed.pixel_mm == pytest.approx((1.25, 1.5))


def test_a_mask_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    stem = tmp_path / "patient007" / "patient007_frame01"
    write(Path(f"{stem}.nii.gz"), pictures(3, 12, 14))
    write(Path(f"{stem}_gt.nii.gz"), heart(slices=2))
    (stem.parent / "Info.cfg").write_text("ED: 1\nES: 1\n")
    with pytest.raises(CardiacSegError, match=r"patient007_frame01_gt\.nii\.gz"):
        read("acdc", tmp_path)


# M&Ms -----------------------------------------------------------------------------------------------------------------

TABLE = "201014_M&Ms_Dataset_Information_-_opendataset.csv"


def mnms_tree(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two subjects, one of them without masks, as the download unpacks; returns the labelled one's images and masks."""
    images = pictures(6, 3, 12, 14)
    masks = np.zeros(images.shape, np.uint8)
    masks[0], masks[4] = heart(), np.roll(heart(), 1, axis=2)
    write(root / "Training/Labeled/A0S9V9/A0S9V9_sa.nii.gz", images)
    write(root / "Training/Labeled/A0S9V9/A0S9V9_sa_gt.nii.gz", masks)
    write(root / "Training/Unlabeled/B1C2D3/B1C2D3_sa.nii.gz", images)
    (root / TABLE).write_text(
        ",External code,VendorName,Vendor,Centre,ED,ES\n0,A0S9V9,Siemens,A,1,0,4\n1,B1C2D3,GE,C,4,0,3\n"
    )
    return images, masks


@pytest.mark.parametrize("where", [".", "Training", "Training/Labeled"])
def test_mnms_takes_the_frames_that_the_table_counts_from_0(tmp_path: Path, where: str) -> None:
    images, masks = mnms_tree(tmp_path)
    subjects = read("mnms", tmp_path / where)
    assert list(subjects) == ["A0S9V9"]
    ed, es = subjects["A0S9V9"].volumes
    assert np.array_equal(ed.image, images[0]) and np.array_equal(ed.labels, masks[0])
    assert np.array_equal(es.image, images[4]) and np.array_equal(es.labels, masks[4])
    assert (ed.phase, es.phase) == ("ED", "ES") and ed.pixel_mm == pytest.approx((1.25, 1.5))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "lacks the table"),
        ("External code,ED,ES\nX,0,4\n", "no ED and ES frame for A0S9V9"),
        ("External code,ED,ES\nA0S9V9,0,6\n", "has the frames"),
        ("External code,ED,ES\nA0S9V9,0,\n", "columns External code, ED and ES"),
        ("Code,ED,ES\nA0S9V9,0,4\n", "columns External code, ED and ES"),
    ],
)
def test_a_wrong_mnms_table_is_said_in_one_sentence(tmp_path: Path, table: str | None, message: str) -> None:
    root = tmp_path / "a" / "b" / "mnms"
    mnms_tree(root)
    (root / TABLE).unlink()
    if table:
        (root / TABLE).write_text(table)
    with pytest.raises(CardiacSegError, match=message):
        read("mnms", root)


def test_mnms2_reads_both_phases_of_the_short_axis_only(tmp_path: Path) -> None:
    images = {"ED": pictures(3, 12, 14), "ES": pictures(3, 12, 14) + 7}
    for code in ("002", "001"):
        for phase, image in images.items():
            for view in ("SA", "LA"):
                write(tmp_path / "dataset" / code / f"{code}_{view}_{phase}.nii.gz", image)
                write(tmp_path / "dataset" / code / f"{code}_{view}_{phase}_gt.nii.gz", heart())
        write(tmp_path / "dataset" / code / f"{code}_SA_CINE.nii.gz", pictures(5, 3, 12, 14))
    subjects = read("mnms2", tmp_path)
    assert list(subjects) == ["001", "002"]
    ed, es = subjects["001"].volumes
    assert np.array_equal(ed.image, images["ED"]) and np.array_equal(es.image, images["ES"])
    assert np.array_equal(es.labels, heart()) and (ed.phase, es.phase) == ("ED", "ES")


# Sunnybrook -----------------------------------------------------------------------------------------------------------


def square(centre: float, half: float) -> np.ndarray:
    """A closed contour round a point of the diagonal, in pixels from the corner of the first pixel."""
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + centre


def draw(folder: Path, number: int, half: float, outer: float | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / f"IM-0001-{number:04d}-icontour-manual.txt", square(8, half), fmt="%.2f")
    np.savetxt(folder / f"IM-0001-{number:04d}-p1contour-manual.txt", square(8, 1), fmt="%.2f")
    if outer:
        np.savetxt(folder / f"IM-0001-{number:04d}-ocontour-manual.txt", square(8, outer), fmt="%.2f")


def draw_three_slices(folder: Path) -> None:
    """ED is frame 17 and ES frame 6 (from 0) of slices 0 to 2; ES of slice 0 is not drawn."""
    for z in range(3):
        draw(folder, 20 * z + 18, half=4, outer=6)
        if z > 0:
            draw(folder, 20 * z + 7, half=2)


def assert_drawn_slices(subject: Subject, pixel_mm: float) -> None:
    """The subject of draw_three_slices, whose pictures are filled with their number."""
    ed, es = subject.volumes
    assert (ed.phase, ed.labelled, es.phase, es.labelled) == ("ED", (1, 2), "ES", (1,))
    assert [int(np.median(s)) for s in ed.image] == [38, 58] and [int(np.median(s)) for s in es.image] == [27, 47]
    assert (ed.labels == 1).sum(axis=(1, 2)).tolist() == [64, 64]
    assert (ed.labels == 2).sum(axis=(1, 2)).tolist() == [80, 80]
    assert (es.labels == 1).sum(axis=(1, 2)).tolist() == [16, 16] and not (es.labels > 1).any()
    assert ed.pixel_mm == pytest.approx((pixel_mm, pixel_mm), rel=1e-4)


def test_sunnybrook_jpegs_pair_the_phases_of_a_slice_and_leave_undrawn_slices_out(tmp_path: Path) -> None:
    draw_three_slices(tmp_path / "manual_contour/SC-N-03/contours-manual/IRCCI-expert")
    for number in (18, 38, 58, 7, 27, 47):
        phase = "d" if number % 20 == 18 else "s"
        path = tmp_path / f"images/N-03/N-03-{phase}-{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((16, 16), number, np.uint8)), str(path))
    assert_drawn_slices(read("sunnybrook", tmp_path)["SC-N-03"], JPEG_PIXEL_MM)


def write_dicom(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(np.full((1, 16, 16), value, np.uint16))
    image.SetSpacing((1.40625, 1.40625, 8.0))
    SimpleITK.WriteImage(image, str(path))


def test_sunnybrook_as_published_is_read_from_dicom_and_contours(tmp_path: Path) -> None:
    draw_three_slices(tmp_path / "SCD_ManualContours/SC-HF-I-01/contours-manual/IRCCI-expert")
    for number in range(1, 61):
        write_dicom(tmp_path / f"SCD_IMAGES_01/SCD0000101/CINESAX_300/IM-0003-{number:04d}.dcm", number)
    write_dicom(tmp_path / "SCD_IMAGES_01/SCD0000101/CINELAX_302/IM-0005-0038.dcm", 999)
    (tmp_path / "scd_patientdata.csv").write_text(
        "PatientID,OriginalID,Gender,Age,PathologyID,Pathology\n"
        "SCD0000101,SC-HF-I-1,Male,60,1,Heart failure\nSCD0000201,SC-HF-I-2,Male,55,1,Heart failure\n"
    )
    subjects = read("sunnybrook", tmp_path)
    assert list(subjects) == ["SCD0000101"]
    assert_drawn_slices(subjects["SCD0000101"], 1.40625)


@pytest.mark.parametrize(("name", "labelled"), [("SCD0000101", (1, 2)), ("SCD0000501", (1,))])
def test_sunnybrook_nifti_keeps_what_the_expert_drew_but_not_displaced_outlines(
    tmp_path: Path, name: str, labelled: tuple[int, ...]
) -> None:
    images, masks = pictures(9, 4, 12, 14), np.zeros((9, 4, 12, 14), np.uint8)
    masks[8], masks[3, 1:] = heart(4, (3, 2, 0)), heart(3, (3, 0, 0))
    write(tmp_path / f"{name}_cine.nii.gz", images)
    write(tmp_path / f"{name}_seg.nii.gz", masks)
    drawn = {"8": [0, 1, 2], "3": [1, 2, 3]}
    (tmp_path / "meta.json").write_text(
        json.dumps({"cases": {name: {"ed_frame": 8, "es_frame": 3, "slices_with_endo": drawn}}})
    )
    ed, es = read("sunnybrook", tmp_path)[name].volumes
    assert np.array_equal(ed.image, images[8, 1:3]) and np.array_equal(es.image, images[3, 1:3])
    assert (ed.labelled, es.labelled) == (labelled, (1,))
    assert set(np.unique(ed.labels)) == {0, *labelled} and set(np.unique(es.labels)) == {0, 1}


def test_a_subject_that_was_never_drawn_in_both_phases_is_refused_by_name(tmp_path: Path) -> None:
    draw(tmp_path / "manual_contour/SC-N-03/contours-manual/IRCCI-expert", 18, half=4, outer=6)
    (tmp_path / "images/N-03").mkdir(parents=True)
    image = SimpleITK.GetImageFromArray(np.full((16, 16), 18, np.uint8))
    SimpleITK.WriteImage(image, str(tmp_path / "images/N-03/N-03-d-18.jpg"))
    with pytest.raises(CardiacSegError, match="SC-N-03"):
        read("sunnybrook", tmp_path)


def test_a_folder_that_is_not_sunnybrook_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CardiacSegError, match=r"scd_patientdata\.csv"):
        read("sunnybrook", tmp_path)


def test_a_filled_contour_has_the_area_of_its_polygon() -> None:
    angles = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    points = np.stack([30.3 + 17 * np.cos(angles), 25.6 + 12 * np.sin(angles)], axis=1)
    mask = filled(points, (50, 60))
    assert mask.sum() == pytest.approx(np.pi * 17 * 12, rel=0.01)
    rows, columns = np.nonzero(mask)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((30.3, 25.6), abs=0.1)


def test_a_contour_that_leaves_the_picture_is_cut_at_its_border() -> None:
    assert np.argwhere(filled(square(1, 2), (4, 4))).max() == 2
    assert filled(square(1, 2), (4, 4)).sum() == 9


# Real files -----------------------------------------------------------------------------------------------------------


def test_real_sunnybrook_subjects_beat_and_have_walls_round_their_cavities(data: Path) -> None:
    subjects = read("sunnybrook", data / "sunnybrook") | read("sunnybrook", data / "sunnybrook_edes_jpeg")
    assert len(subjects) == 11
    for subject in subjects.values():
        ed, es = subject.volumes
        assert (ed.labels == 1).sum() > (es.labels == 1).sum() > 0
        assert len(ed.image) == len(es.image) >= 5 and (ed.labels == 1).any(axis=(1, 2)).all()
        assert ed.labelled == ((1,) if subject.name == "SCD0000501" else (1, 2))
        across = 2 * np.sqrt((ed.labels > 0).sum(axis=(1, 2)).max() / np.pi) * ed.pixel_mm[0]
        assert 50 < across < 105, f"{subject.name}: a left ventricle is not {across:.0f} mm wide"


def test_real_jpeg_phases_agree_with_the_letters_in_the_file_names(data: Path) -> None:
    folder = data / "sunnybrook_edes_jpeg"
    for name, subject in read("sunnybrook", folder).items():
        for volume, letter in zip(subject.volumes, "ds", strict=True):
            paths = sorted((folder / "images" / name.removeprefix("SC-")).glob(f"*-{letter}-*.jpg"))
            named = [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(p))).tobytes() for p in paths]
            assert all(image.tobytes() in named for image in volume.image), name


def test_real_acdc_subjects_have_all_three_structures_in_both_phases(data: Path) -> None:
    names = [p.name for p in sorted((data / "acdc" / "training").iterdir()) if p.is_dir()]
    subject = compact(next(DATA_SETS["acdc"].read(data / "acdc" / "training")), spacing_mm=3.0, size=40)
    assert subject.name == names[0]
    for volume in subject.volumes:
        assert set(np.unique(volume.labels)) == {0, 1, 2, 3} and volume.image.shape[1:] == (40, 40)


# Compact subjects -----------------------------------------------------------------------------------------------------


def test_compact_subjects_have_one_pixel_size_and_the_heart_in_the_middle() -> None:
    labels = np.zeros((2, 60, 80), np.uint8)
    labels[:, 10:20, 50:70] = 1
    volume = LabelledVolume(pictures(2, 60, 80), labels, (1.0, 2.0), "ED")
    small = compact(Subject("x", (volume,)), spacing_mm=1.0, size=50).volumes[0]
    assert small.image.shape == small.labels.shape == (2, 50, 50) and small.pixel_mm == (1.0, 1.0)
    rows, columns = np.nonzero(small.labels[0])
    assert (rows.mean(), columns.mean()) == pytest.approx((24.5, 24.5), abs=0.6)
    assert small.labels[0].sum() == pytest.approx(10 * 2 * 20 * 1, rel=0.1)
    assert small.image.dtype == np.uint8 and small.image.min() == 0 and small.image.max() == 255


def test_a_subject_without_any_mask_is_refused_by_name() -> None:
    volume = LabelledVolume(pictures(2, 8, 8), np.zeros((2, 8, 8), np.uint8), (1.0, 1.0), "ED")
    with pytest.raises(CardiacSegError, match="Mrs Nobody"):
        compact(Subject("Mrs Nobody", (volume,)), 1.0, 8)


def test_saved_subjects_come_back_as_they_were(tmp_path: Path) -> None:
    volumes = tuple(
        LabelledVolume(pictures(2, 8, 8).astype(np.uint8), heart(2)[:, :8, :8], (1.3, 1.3), phase, labelled)
        for phase, labelled in (("ED", (1, 2)), ("ES", (1,)))
    )
    save_subjects(tmp_path / "kept.npz", [Subject("one", volumes), Subject("two", volumes[:1])])
    one, two = load_subjects(tmp_path / "kept.npz")
    assert (one.name, two.name, len(one.volumes), len(two.volumes)) == ("one", "two", 2, 1)
    for before, after in zip(volumes, one.volumes, strict=True):
        assert np.array_equal(before.image, after.image) and np.array_equal(before.labels, after.labels)
        assert (before.pixel_mm, before.phase, before.labelled) == (after.pixel_mm, after.phase, after.labelled)


def test_phantom_hearts_are_the_same_for_the_same_seed_and_label_everything() -> None:
    (first,), (again,), (other,) = (list(read_phantoms(1, seed)) for seed in (3, 3, 4))
    assert all(v.labelled == (1, 2, 3) for v in first.volumes)
    assert np.array_equal(first.volumes[0].image, again.volumes[0].image)
    assert not np.array_equal(first.volumes[0].image, other.volumes[0].image)


# Data arguments and licences ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acdc=training", DataSource("acdc", "training", None)),
        ("mnms=a/b@0.5", DataSource("mnms", "a/b", 0.5)),
        ("phantom=100@0.2", DataSource("phantom", "100", 0.2)),
    ],
)
def test_a_data_argument_names_kind_place_and_share(text: str, expected: DataSource) -> None:
    assert DataSource.parse(text) == expected


@pytest.mark.parametrize("text", ["acdc", "acdc=", "ukb=folder", "acdc=folder@half", "phantom=many", "phantom-ct=x"])
def test_a_wrong_data_argument_is_refused_with_the_kinds_there_are(text: str) -> None:
    with pytest.raises(CardiacSegError, match="acdc, acdc-cine, mnms, mnms2, sunnybrook, phantom, phantom-cine"):
        DataSource.parse(text)


@pytest.mark.parametrize("kind", ["acdc", "mnms", "mnms2"])
def test_an_empty_or_missing_data_folder_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    for where in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CardiacSegError, match=where.name):
            gather(DataSource(kind, str(where), None), 1.5, 32, 0)


def test_weights_inherit_the_strictest_licence_of_their_data() -> None:
    assert DATA_SETS["sunnybrook"].licence is Licence.CC0
    assert strictest([Licence.CC0, Licence.CC0]) is Licence.CC0
    assert strictest([Licence.CC0, DATA_SETS["acdc"].licence, DATA_SETS["mnms"].licence]) is Licence.ACDC
