"""Reading and writing keep every voxel on its point in space, on a rotated, anisotropic, left-handed grid."""

from __future__ import annotations

import ast
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import oblique_affine

from CardiacSegLib.cine import Cine, Segmentation, Status
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.readers import read_annotation, read_cine, read_labels, read_segmentation
from CardiacSegLib.writers.images import write_cine, write_segmentation

FORMATS = [".nii.gz", ".nii", ".seq.nrrd"]
LPS_RAS = np.diag([-1, -1, 1, 1])


def labelled(cine: Cine, seed: int = 1) -> Segmentation:
    labels = np.random.default_rng(seed).integers(0, 4, cine.shape).astype(np.uint8)
    return Segmentation(labels, np.full(cine.shape[:2], Status.PREDICTED, np.uint8), cine.affine)


def points(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Rows of frame, label, x, y, z (mm), sorted: what is where, however the array is laid out."""
    t, z, y, x = np.nonzero(labels)
    place = np.column_stack([x, y, z, np.ones_like(x)]) @ affine[:3].T
    rows = np.column_stack([t, labels[t, z, y, x], place]).round(2) + 0.0
    return rows[np.lexsort(rows.T)]


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Another reader's view of a NIfTI file: (T, Z, Y, X) and voxel to LPS."""
    image = nibabel.load(path)
    return np.asarray(image.dataobj).transpose(), LPS_RAS @ image.affine


def by_hand(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A .seq.nrrd read by its definition: the text header, then gzip, first index fastest."""
    head, body = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    assert fields["space"] == "left-posterior-superior"
    columns = [ast.literal_eval(text) for text in fields["space directions"].split() if text != "none"]
    affine = np.eye(4)
    affine[:3] = np.column_stack([*columns, ast.literal_eval(fields["space origin"])])
    sizes = [int(size) for size in fields["sizes"].split()]
    return np.frombuffer(gzip.decompress(body), np.uint8).reshape(sizes, order="F").transpose(), affine


@pytest.mark.parametrize("handedness", [-1, 1])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_mask_drawn_written_and_read_again_lies_on_the_same_points(tmp_path, oblique_cine, suffix, handedness):
    cine = Cine(oblique_cine.frames, oblique_affine(handedness=handedness), oblique_cine.times)
    write_cine(cine, tmp_path / f"cine{suffix}")
    read = read_cine(tmp_path / f"cine{suffix}")
    segmentation = labelled(read)
    write_segmentation(segmentation, tmp_path / f"mask{suffix}", read)
    labels, affine, _ = read_labels(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(points(labels, affine), points(segmentation.labels, cine.affine))
    oracle = by_hand if suffix == ".seq.nrrd" else by_nibabel
    np.testing.assert_array_equal(points(*oracle(tmp_path / f"mask{suffix}")), points(segmentation.labels, cine.affine))


@pytest.mark.parametrize("suffix", FORMATS)
def test_affine_and_left_handedness_survive_the_round_trip(tmp_path, oblique_cine, suffix):
    write_cine(oblique_cine, tmp_path / f"cine{suffix}")
    affine = read_cine(tmp_path / f"cine{suffix}").affine
    np.testing.assert_allclose(affine, oblique_cine.affine, atol=1e-4)
    assert np.linalg.det(affine[:3, :3]) < 0


def test_qform_and_sform_of_a_written_file_say_the_same(tmp_path, oblique_cine):
    write_cine(oblique_cine, tmp_path / "cine.nii")
    header = nibabel.load(tmp_path / "cine.nii").header
    assert header["qform_code"] == header["sform_code"] == 1
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)


@pytest.mark.parametrize("handedness", [-1, 1])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_nifti_places_voxels_by_sform_or_qform_as_nibabel_does(tmp_path, form, handedness):
    affine = LPS_RAS @ oblique_affine(handedness=handedness)
    image = nibabel.Nifti1Image(np.ones((9, 7, 4, 3), np.int16), affine)
    image.set_sform(affine, code=1 if form == "sform" else 0)
    image.set_qform(affine, code=1 if form == "qform" else 0)
    nibabel.save(image, tmp_path / "mask.nii.gz")
    _, read, _ = read_labels(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(read, oblique_affine(handedness=handedness), atol=1e-4)


def test_a_sheared_grid_is_read_as_it_is(tmp_path):
    sheared = oblique_affine()
    sheared[:3, 2] += [0.0, 1.5, 0.5]
    image = nibabel.Nifti1Image(np.ones((5, 4, 3), np.uint8), None)
    image.set_sform(LPS_RAS @ sheared, code=1)
    nibabel.save(image, tmp_path / "mask.nii")
    _, read, _ = read_labels(tmp_path / "mask.nii")
    np.testing.assert_allclose(read, sheared, atol=1e-4)


def test_an_sform_without_voxel_sizes_takes_them_from_pixdim_and_says_so(tmp_path):
    image = nibabel.Nifti1Image(np.ones((5, 4, 3), np.uint8), np.diag([-1, -1, 1, 1]))
    image.header["pixdim"][1:4] = [1.5625, 1.5625, 10.0]
    nibabel.save(image, tmp_path / "mask.nii")
    _, affine, remarks = read_labels(tmp_path / "mask.nii")
    np.testing.assert_allclose(affine, np.diag([1.5625, 1.5625, 10.0, 1.0]))
    assert "pixdim" in remarks[0]


@pytest.mark.parametrize("suffix", [".nii.gz", ".seq.nrrd"])
@pytest.mark.parametrize("order, flips", [((0, 1, 2), (0,)), ((1, 0, 2), ()), ((2, 0, 1), (1, 2))])
def test_a_mask_with_axes_swapped_or_flipped_is_turned_exactly(tmp_path, oblique_cine, suffix, order, flips):
    truth = labelled(oblique_cine)
    columns = truth.labels.transpose(0, 3, 2, 1)
    turned, affine = columns.transpose(0, *(1 + axis for axis in order)), np.eye(4)
    affine[:3, :3], affine[:3, 3] = oblique_cine.affine[:3, list(order)], oblique_cine.affine[:3, 3]
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (turned.shape[1 + axis] - 1)
        affine[:3, axis] *= -1
        turned = np.flip(turned, 1 + axis)
    labels = np.ascontiguousarray(turned.transpose(0, 3, 2, 1))
    write_segmentation(Segmentation(labels, np.zeros(labels.shape[:2], np.uint8), affine), tmp_path / f"m{suffix}")
    read = read_annotation(tmp_path / f"m{suffix}", oblique_cine)
    np.testing.assert_array_equal(read.labels, truth.labels)
    np.testing.assert_array_equal(read.affine, oblique_cine.affine)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda a: a @ np.diag([1, 1, 1.2, 1]), "voxels measure"),
        (lambda a: a + np.array([[0, 0, 0, 5.0], *[[0] * 4] * 3]), "5.0 mm"),
        (lambda a: a @ turn_about_centre((9, 7, 4)), "turned"),
    ],
)
def test_a_mask_on_another_grid_is_refused_and_told_what_differs(tmp_path, oblique_cine, change, said):
    truth = labelled(oblique_cine)
    other = Segmentation(truth.labels, truth.status, change(oblique_cine.affine))
    write_segmentation(other, tmp_path / "mask.nii")
    with pytest.raises(CardiacSegError, match=f"mask.nii is not on the grid of oblique.*{said}"):
        read_annotation(tmp_path / "mask.nii", oblique_cine)


def turn_about_centre(size: tuple[int, int, int]) -> np.ndarray:
    """A turn of 10 degrees in the plane, in mm of a 1.25 x 1.75 grid, about the centre of the voxels."""
    scale, angle = np.diag([1.25, 1.75, 8.5, 1.0]), np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix = np.linalg.inv(scale) @ turn @ scale
    centre = (np.array(size) - 1) / 2
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return matrix


@pytest.mark.parametrize("first_column", [0, 1])
def test_a_mask_of_another_size_is_refused_wherever_it_was_cropped(tmp_path, oblique_cine, first_column):
    affine = oblique_cine.affine.copy()
    affine[:3, 3] += affine[:3, 0] * first_column
    cropped = Segmentation(np.ones((1, 4, 7, 8), np.uint8), np.zeros((1, 4), np.uint8), affine)
    write_segmentation(cropped, tmp_path / "m.nii")
    with pytest.raises(CardiacSegError, match=r"8 x 7 x 4 voxels.*9 x 7 x 4"):
        read_annotation(tmp_path / "m.nii", oblique_cine)


def test_dicom_and_nifti_of_the_same_real_study_agree_in_space(data):
    """The NIfTI file is a crop in plane of the DICOM series, from apex to base; equal points must hold equal values."""
    dicom = read_cine(data / "sunnybrook" / "SCD0000101_dicom_sax.zip")
    nifti = read_cine(data / "sunnybrook" / "SCD0000101_cine.nii.gz")
    to_dicom = np.linalg.inv(dicom.affine) @ nifti.affine
    np.testing.assert_allclose(to_dicom[:3, :3], np.diag([1, 1, -1]), atol=1e-4)
    x, y, z = np.rint(to_dicom[:3, 3]).astype(int)
    np.testing.assert_allclose(to_dicom[:3, 3], [x, y, z], atol=0.01)
    assert z == 11
    same = dicom.frames[:, ::-1, y : y + 160, x : x + 160]
    np.testing.assert_array_equal(same, nifti.frames)


def test_real_oblique_studies_are_placed_as_nibabel_places_them(data):
    for name in ("sunnybrook/SCD0000201_seg.nii.gz", "bivme_patient1/sax_gp_seg.nii.gz"):
        labels, affine = by_nibabel(data / name)
        segmentation = read_segmentation(data / name, "acdc")
        np.testing.assert_array_equal(segmentation.labels > 0, labels > 0)
        np.testing.assert_allclose(segmentation.affine, affine, atol=1e-4)
