"""Cines and segmentations come back from the disk as they were, whole or not at all."""

from __future__ import annotations

import errno
import io
import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from CardiacSegLib.atomic import atomic_path
from CardiacSegLib.cine import Segmentation
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.readers import read_cine, read_segmentation
from CardiacSegLib.writers.images import write_cine, write_segmentation

FORMATS = [".nii.gz", ".nii", ".seq.nrrd"]


@pytest.fixture
def segmentation(oblique_cine) -> Segmentation:
    labels = np.random.default_rng(2).integers(0, 4, oblique_cine.shape).astype(np.uint8)
    return Segmentation(labels, np.ones(labels.shape[:2], np.uint8), oblique_cine.affine)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("suffix", FORMATS)
def test_the_voxels_of_a_cine_survive(tmp_path, oblique_cine, suffix, dtype):
    frames = oblique_cine.frames.astype(dtype) + (np.float32(0.125) if dtype is np.float32 else 0)
    write_cine(replace(oblique_cine, frames=frames.astype(dtype)), tmp_path / f"c{suffix}")
    read = read_cine(tmp_path / f"c{suffix}").frames
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, frames)


def test_seq_nrrd_keeps_the_time_of_every_frame(tmp_path, oblique_cine):
    write_cine(oblique_cine, tmp_path / "c.seq.nrrd")
    read = read_cine(tmp_path / "c.seq.nrrd")
    assert read.times_known and not read.remarks
    np.testing.assert_array_equal(read.times, oblique_cine.times)


def test_nifti_keeps_the_mean_time_step_with_its_unit(tmp_path, oblique_cine):
    write_cine(oblique_cine, tmp_path / "c.nii.gz")
    header = nibabel.load(tmp_path / "c.nii.gz").header
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_zooms()[3] == pytest.approx(0.12)
    np.testing.assert_allclose(read_cine(tmp_path / "c.nii.gz").times, 120.0 * np.arange(6), rtol=1e-6)


@pytest.mark.parametrize("suffix", FORMATS)
def test_times_that_are_not_known_are_not_written_as_if_they_were(tmp_path, oblique_cine, suffix):
    write_cine(replace(oblique_cine, times_known=False), tmp_path / f"c{suffix}")
    assert not read_cine(tmp_path / f"c{suffix}").times_known


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_segmentation_survives_with_the_times_of_its_cine(tmp_path, oblique_cine, segmentation, suffix):
    write_segmentation(segmentation, tmp_path / f"s{suffix}", oblique_cine)
    read = read_segmentation(tmp_path / f"s{suffix}")
    np.testing.assert_array_equal(read.labels, segmentation.labels)
    np.testing.assert_allclose(read.affine, segmentation.affine, atol=1e-4)
    assert read_cine(tmp_path / f"s{suffix}").times[-1] == pytest.approx(600.0)


def test_slicer_is_told_that_a_segmentation_is_made_of_label_maps_and_a_cine_of_volumes(
    tmp_path, oblique_cine, segmentation
):
    write_segmentation(segmentation, tmp_path / "s.seq.nrrd", oblique_cine)
    write_cine(oblique_cine, tmp_path / "c.seq.nrrd")
    assert b"DataNodeClassName:=vtkMRMLLabelMapVolumeNode\n" in (tmp_path / "s.seq.nrrd").read_bytes()
    head = (tmp_path / "c.seq.nrrd").read_bytes().split(b"\n\n")[0].decode().splitlines()
    assert "DataNodeClassName:=vtkMRMLScalarVolumeNode" in head
    assert "kinds: domain domain domain list" in head and 'units: "" "" "" "ms"' in head
    assert "axis 3 index values:=0.0 100.5 230.25 341.0 470.125 600.0" in head


def test_the_same_segmentation_gives_the_same_bytes(tmp_path, segmentation):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_segmentation(segmentation, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["c.png", "c.nrrd", "c"])
def test_another_ending_is_refused(tmp_path, oblique_cine, name):
    with pytest.raises(CardiacSegError, match=f"{name} cannot be written; choose a name that ends in .nii.gz"):
        write_cine(oblique_cine, tmp_path / name)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, oblique_cine, suffix, monkeypatch):
    path = tmp_path / f"c{suffix}"
    path.write_text("old")

    class FullDisk(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: FullDisk(self, mode))
        with pytest.raises(CardiacSegError, match=f"c{suffix} could not be written: the disk is full; free some space"):
            write_cine(oblique_cine, path)
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "old"


def test_a_folder_that_does_not_exist_is_named(tmp_path, oblique_cine):
    with pytest.raises(CardiacSegError, match=r"nowhere.*c.nii could not be written: the folder does not exist"):
        write_cine(oblique_cine, tmp_path / "nowhere" / "c.nii")


def test_a_folder_under_a_file_is_refused(tmp_path, oblique_cine):
    (tmp_path / "file").touch()
    with pytest.raises(CardiacSegError, match="leads through a file"):
        write_cine(oblique_cine, tmp_path / "file" / "c.nii")


class TestAtomicPath:
    @pytest.mark.parametrize(
        "name, suffix", [("a.nii.gz", ".nii.gz"), ("a.seq.nrrd", ".seq.nrrd"), ("v1.2.png", ".png")]
    )
    def test_the_temporary_path_is_on_the_disk_of_the_target_and_has_its_suffix(self, tmp_path, name, suffix):
        with atomic_path(tmp_path / name) as temporary:
            assert tmp_path in temporary.parents and temporary.name.endswith(suffix) and temporary.name != name
            temporary.write_text("new")
            assert not (tmp_path / name).exists()
        assert [file.name for file in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
    def test_any_failure_removes_the_temporary_file_and_passes_on(self, tmp_path, failure):
        (tmp_path / "a.txt").write_text("old")
        with pytest.raises(failure), atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise failure
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]

    def test_a_failure_of_the_system_becomes_a_sentence(self, tmp_path):
        message = "a.txt could not be written: you may not write there"
        with pytest.raises(CardiacSegError, match=message), atomic_path(tmp_path / "a.txt"):
            raise PermissionError(errno.EACCES, "denied")
        assert not list(tmp_path.iterdir())
