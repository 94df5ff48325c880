"""What the readers accept, what they say about it, and the one sentence they refuse it with."""

from __future__ import annotations

import errno
import gzip
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from conftest import oblique_affine

from CardiacSegLib.cine import Cine, Status
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.readers import read_annotation, read_cine, read_labels, read_segmentation
from CardiacSegLib.writers.images import write_cine

LPS_RAS = np.diag([-1, -1, 1, 1])


def refused(sentence: str):
    """The error is one sentence, ends with a full stop and says this."""
    return pytest.raises(CardiacSegError, match=f"(?s)^[^\n]*{sentence}[^\n]*\\.$")


def nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None, step: float = 0.035, unit="sec") -> Path:
    """Write (T, Z, Y, X) or (Z, Y, X) with nibabel."""
    image = nibabel.Nifti1Image(voxels.transpose(), LPS_RAS @ (oblique_affine() if affine is None else affine))
    if voxels.ndim == 4:
        image.header.set_xyzt_units("mm", unit)
        image.header["pixdim"][4] = step
    nibabel.save(image, path)
    return path


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 900, (10, 3, 6, 5)).astype(np.int16)


class TestNifti:
    def test_int16_stays_int16(self, tmp_path, frames):
        read = read_cine(nifti(tmp_path / "c.nii.gz", frames)).frames
        assert read.dtype == np.int16
        np.testing.assert_array_equal(read, frames)

    def test_values_that_int16_cannot_hold_become_float32(self, tmp_path, frames):
        read = read_cine(nifti(tmp_path / "c.nii.gz", frames.astype(np.uint16) + 40000)).frames
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, frames.astype(float) + 40000)

    def test_slope_and_intercept_are_applied(self, tmp_path, frames):
        image = nibabel.Nifti1Image(frames.transpose(), np.eye(4))
        image.header.set_slope_inter(0.5, -10.0)
        path = tmp_path / "c.nii"
        image.to_filename(path)
        raw = bytearray(path.read_bytes())
        raw[112:120] = np.array([0.5, -10], "<f4").tobytes()
        raw[352:] = frames.astype("<i2").tobytes()
        path.write_bytes(raw)
        np.testing.assert_allclose(read_cine(path).frames, frames * 0.5 - 10)

    def test_big_endian_files_are_read(self, tmp_path, frames):
        image = nibabel.Nifti1Image(frames.transpose(), np.eye(4), nibabel.Nifti1Header(endianness=">"))
        nibabel.save(image, tmp_path / "c.nii")
        np.testing.assert_array_equal(read_cine(tmp_path / "c.nii").frames, frames)

    @pytest.mark.parametrize("step, unit", [(0.05, "sec"), (50.0, "msec"), (50000.0, "usec")])
    def test_the_time_step_is_taken_in_its_unit(self, tmp_path, frames, step, unit):
        cine = read_cine(nifti(tmp_path / "c.nii", frames, step=step, unit=unit))
        assert cine.times_known and not cine.remarks
        np.testing.assert_allclose(cine.times, 50.0 * np.arange(10), rtol=1e-6)

    @pytest.mark.parametrize(
        "step, unit",
        [
            (1.0, "sec"),
            (0.0, "sec"),
            (-0.03, "sec"),
            (np.nan, "sec"),
            (0.4, "sec"),
            (1.0, "msec"),
            (30.0, "unknown"),
            (30, "hz"),
        ],
    )
    def test_a_step_that_no_heart_has_is_said_and_not_believed(self, tmp_path, frames, step, unit):
        path = nifti(tmp_path / "c.nii", frames, unit=unit)
        raw = bytearray(path.read_bytes())
        raw[92:96] = np.array([step], "<f4").tobytes()
        path.write_bytes(raw)
        cine = read_cine(path)
        assert not cine.times_known and "times are not known" in cine.remarks[0] and "nominal" in cine.remarks[0]
        np.testing.assert_allclose(np.diff(cine.times), 100.0)

    def test_two_frames_a_second_apart_are_not_believed_either(self, tmp_path, frames):
        assert not read_cine(nifti(tmp_path / "c.nii", frames[:2], step=1.0)).times_known

    def test_info_cfg_beside_an_acdc_cine_tells_height_and_weight(self, tmp_path, frames):
        (tmp_path / "Info.cfg").write_text("ED: 1\nGroup: DCM\nHeight: 184.0\nWeight: 95.0\n")
        patient = read_cine(nifti(tmp_path / "c.nii", frames)).patient
        assert (patient.height_cm, patient.weight_kg) == (184.0, 95.0)

    def test_an_image_of_unknown_place_keeps_its_voxel_sizes_and_says_so(self, tmp_path, frames):
        image = nibabel.Nifti1Image(frames.transpose(), None)
        image.header["pixdim"][1:4] = [1.5, 1.25, 8.0]
        image.header["sform_code"] = image.header["qform_code"] = 0
        image.to_filename(tmp_path / "c.nii")
        cine = read_cine(tmp_path / "c.nii")
        np.testing.assert_allclose(cine.spacing, [1.5, 1.25, 8.0])
        assert any("where the image lies" in remark for remark in cine.remarks)

    def test_where_sform_and_qform_disagree_the_sform_counts_and_it_is_said(self, tmp_path, frames):
        image = nibabel.Nifti1Image(frames.transpose(), LPS_RAS @ oblique_affine())
        image.set_sform(LPS_RAS @ oblique_affine(), 1)
        image.set_qform(np.diag([2.0, 3, 4, 1]), 1)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = 0.05
        image.to_filename(tmp_path / "c.nii")
        cine = read_cine(tmp_path / "c.nii")
        np.testing.assert_allclose(cine.affine, oblique_affine(), atol=1e-4)
        assert "sform and qform" in cine.remarks[0]

    def test_a_qform_alone_places_the_image(self, tmp_path, frames):
        image = nibabel.Nifti1Image(frames.transpose(), LPS_RAS @ oblique_affine())
        image.set_sform(None, 0)
        image.set_qform(LPS_RAS @ oblique_affine(), 1)
        image.to_filename(tmp_path / "c.nii")
        np.testing.assert_allclose(read_cine(tmp_path / "c.nii").affine, oblique_affine(), atol=1e-4)

    @pytest.mark.parametrize("size", [0.0, np.nan])
    def test_a_voxel_size_of_nothing_becomes_1_mm_and_it_is_said(self, tmp_path, frames, size):
        image = nibabel.Nifti1Image(frames.transpose(), None)
        image.header["sform_code"] = image.header["qform_code"] = 0
        image.to_filename(tmp_path / "c.nii")
        raw = bytearray((tmp_path / "c.nii").read_bytes())
        raw[80:92] = np.array([1.5, 1.25, size], "<f4").tobytes()
        (tmp_path / "c.nii").write_bytes(raw)
        cine = read_cine(tmp_path / "c.nii")
        np.testing.assert_allclose(cine.spacing, [1.5, 1.25, 1.0])
        assert any("volumes cannot be trusted" in remark for remark in cine.remarks)

    def test_a_claim_of_more_than_the_file_can_hold_is_refused_at_once(self, tmp_path, frames):
        path = nifti(tmp_path / "c.nii.gz", frames)
        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[40:56] = np.array([4, 1000, 1000, 100, 20, 1, 1, 1], "<i2").tobytes()
        path.write_bytes(gzip.compress(raw))
        with refused("c.nii.gz claims 3.7 GiB"):
            read_cine(path)


class TestSeqNrrd:
    HEADER = (
        "NRRD0004\n# Complete NRRD file format specification at:\n# http://teem.sourceforge.net/nrrd/format.html\n"
        "type: short\ndimension: 4\nspace: {space}\nsizes: {sizes}\nspace directions: {directions}\nkinds: {kinds}\n"
        "labels: {labels}\nunits: {units}\nendian: little\nencoding: {encoding}\nspace origin: (-10,-20,-30)\n"
        "DataNodeClassName:=vtkMRMLScalarVolumeNode\naxis {axis} index type:=numeric\n"
        "axis {axis} index values:={values}\n\n"
    )

    def write(self, path: Path, frames: np.ndarray, first: bool = False, **changes: str) -> Path:
        """As 3D Slicer writes it: the list axis last; or first, as its older versions did."""
        around = (lambda text, own: f"{own} {text}") if first else (lambda text, own: f"{text} {own}")
        t, z, y, x = frames.shape
        fields = {
            "space": "left-posterior-superior", "encoding": "gzip", "axis": 0 if first else 3,
            "sizes": around(f"{x} {y} {z}", str(t)), "kinds": around("domain domain domain", "list"),
            "directions": around("(0,1.5,0) (-1.5,0,0) (0,0,-8)", "none"),
            "labels": around('"" "" ""', '"time"'), "units": around('"" "" ""', '"ms"'),
            "values": " ".join(str(40.5 * i) for i in range(t)),
        }  # fmt: skip
        voxels = np.moveaxis(frames, 0, -1) if first else frames
        data = np.ascontiguousarray(voxels, "<i2").tobytes()
        fields.update(changes)
        data = gzip.compress(data) if fields["encoding"] == "gzip" else data
        path.write_bytes(self.HEADER.format(**fields).encode() + data)
        return path

    @pytest.mark.parametrize("first", [False, True])
    @pytest.mark.parametrize("encoding", ["gzip", "raw"])
    def test_slicers_sequences_are_read_whichever_axis_the_frames_are(self, tmp_path, frames, first, encoding):
        cine = read_cine(self.write(tmp_path / "c.seq.nrrd", frames, first, encoding=encoding))
        np.testing.assert_array_equal(cine.frames, frames)
        np.testing.assert_allclose(cine.times, 40.5 * np.arange(10))
        expected = [[0, -1.5, 0, -10], [1.5, 0, 0, -20], [0, 0, -8, -30], [0, 0, 0, 1]]
        np.testing.assert_array_equal(cine.affine, expected)
        assert cine.times_known and not cine.remarks

    def test_a_right_anterior_superior_space_is_turned_to_lps(self, tmp_path, frames):
        cine = read_cine(self.write(tmp_path / "c.seq.nrrd", frames, space="right-anterior-superior"))
        np.testing.assert_array_equal(cine.affine[:3, 3], [10, 20, -30])
        np.testing.assert_array_equal(cine.affine[:3, 0], [0, -1.5, 0])

    def test_an_index_that_is_no_time_leaves_the_times_unknown(self, tmp_path, frames):
        cine = read_cine(self.write(tmp_path / "c.seq.nrrd", frames, units='"" "" "" ""'))
        assert not cine.times_known and "no unit of time" in cine.remarks[0]

    def test_seconds_are_turned_to_milliseconds_from_the_first_frame(self, tmp_path, frames):
        values = " ".join(str(0.15 + 0.05 * i) for i in range(10))
        cine = read_cine(self.write(tmp_path / "c.seq.nrrd", frames, units='"" "" "" "s"', values=values))
        np.testing.assert_allclose(cine.times, 50 * np.arange(10))

    def test_an_array_without_a_space_has_frames_last_and_says_so(self, tmp_path, frames):
        header = "NRRD0004\ntype: short\ndimension: 4\nsizes: 5 6 3 10\nspacings: 1.5 1.25 8 40\nencoding: raw\n"
        (tmp_path / "c.nrrd").write_bytes(f"{header}endian: little\n\n".encode() + frames.astype("<i2").tobytes())
        cine = read_cine(tmp_path / "c.nrrd")
        np.testing.assert_array_equal(cine.frames, frames)
        np.testing.assert_allclose(cine.spacing, [1.5, 1.25, 8])
        assert "where the image lies" in cine.remarks[0] and not cine.times_known

    def test_the_labels_of_a_multi_volume_are_its_times(self, tmp_path, frames):
        path = self.write(tmp_path / "c.nrrd", frames, encoding="raw")
        labels = ",".join(str(10 + 40 * t) for t in range(10))
        head, body = path.read_bytes().split(b"\n\n", 1)
        kept = [line for line in head.split(b"\n") if b"index" not in line and not line.startswith(b"units")]
        kept += [f"MultiVolume.FrameLabels:={labels}".encode(), b"MultiVolume.FrameIdentifyingDICOMTagUnits:=ms"]
        path.write_bytes(b"\n".join(kept) + b"\n\n" + body)
        cine = read_cine(path)
        np.testing.assert_allclose(cine.times, 40 * np.arange(10))

    @pytest.mark.parametrize(
        "change, said",
        [
            ({"encoding": "bzip2"}, "encoding 'bzip2'"),
            ({"space": "scanner-xyz"}, "space 'scanner-xyz'"),
            ({"sizes": "5 6 3 11"}, "cut short"),
            ({"sizes": "5000 6000 3000 11"}, "GiB"),
            ({"sizes": "5 6 -3 11"}, "sizes 5 6 -3 11"),
            ({"directions": "(1,0,0) (0,1,0) none none"}, "2 of them in space"),
        ],
    )
    def test_a_header_that_cannot_be_used_is_refused(self, tmp_path, frames, change, said):
        with refused(f"c.seq.nrrd.*{said}"):
            read_cine(self.write(tmp_path / "c.seq.nrrd", frames, **change))


class TestMetaImage:
    @staticmethod
    def write(path: Path, voxels: np.ndarray, compress: bool = False) -> Path:
        """Of a 4D cine each frame is placed, then they are joined."""
        affine = oblique_affine(handedness=1)
        images = [SimpleITK.GetImageFromArray(frame) for frame in (voxels if voxels.ndim == 4 else [voxels])]
        for image in images[: len(images) * (voxels.ndim > 2)]:
            image.SetSpacing([1.25, 1.75, 8.5])
            image.SetDirection((affine[:3, :3] / [1.25, 1.75, 8.5]).ravel().tolist())
            image.SetOrigin(affine[:3, 3].tolist())
        joined = SimpleITK.JoinSeries(images, 0.0, 0.04) if voxels.ndim == 4 else images[0]
        SimpleITK.WriteImage(joined, str(path), compress)
        return path

    @pytest.mark.parametrize("compress", [False, True])
    def test_a_4d_image_is_a_cine_whose_times_have_no_unit(self, tmp_path, frames, compress):
        cine = read_cine(self.write(tmp_path / "c.mha", frames, compress))
        np.testing.assert_array_equal(cine.frames, frames)
        np.testing.assert_allclose(cine.affine, oblique_affine(handedness=1), atol=1e-4)
        assert not cine.times_known and "0.04 without a unit of time" in cine.remarks[0]

    @pytest.mark.parametrize("compress", [False, True])
    def test_a_header_with_its_voxels_beside_it_is_read(self, tmp_path, frames, compress):
        path = self.write(tmp_path / "c.mhd", frames, compress)
        np.testing.assert_array_equal(read_cine(path).frames, frames)
        assert not any("more voxels" in remark for remark in read_cine(path).remarks)

    def test_voxels_in_another_place_and_a_file_cut_short_are_refused(self, tmp_path, frames):
        path = self.write(tmp_path / "c.mha", frames[0])
        raw = path.read_bytes()
        path.write_bytes(raw[:-50])
        with refused("c.mha is (damaged|cut short)"):
            read_cine(path)
        for elsewhere in (b"x.raw", b"../c.raw", b"LIST", b"/dev/zero"):
            path.write_bytes(raw.replace(b"ElementDataFile = LOCAL", b"ElementDataFile = " + elsewhere))
            with refused("c.mha keeps its voxels in .* which is no file beside it"):
                read_cine(path)
        path.write_bytes(raw.replace(b"DimSize = 5 6 3", b"DimSize = 5000 6000 3000"))
        with refused("c.mha claims 167.6 GiB"):
            read_cine(path)


class TestFoldersOfFrames:
    def test_3d_files_are_frames_in_the_order_of_their_numbers(self, tmp_path, frames):
        for t, frame in enumerate(frames):
            nifti(tmp_path / f"heart_frame{t + 1}.nii.gz", frame)
        cine = read_cine(tmp_path)
        np.testing.assert_array_equal(cine.frames, frames)
        np.testing.assert_allclose(cine.affine, oblique_affine(), atol=1e-4)
        assert not cine.times_known and "10 files are the frames" in cine.remarks[0]

    def test_a_number_that_is_missing_is_said(self, tmp_path, frames):
        for t in (0, 1, 3, 4):
            nifti(tmp_path / f"f{t}.nii", frames[t])
        assert "The numbers 2 are missing" in read_cine(tmp_path).remarks[1]

    def test_a_folder_with_one_cine_is_that_cine(self, tmp_path, frames):
        nifti(tmp_path / "c.nii", frames)
        (tmp_path / "notes.txt").write_text("seen")
        np.testing.assert_array_equal(read_cine(tmp_path).frames, frames)

    def test_files_that_are_not_the_frames_of_one_cine_are_refused_and_named(self, tmp_path, frames):
        nifti(tmp_path / "a_frame1.nii", frames[0])
        nifti(tmp_path / "a_frame1_gt.nii", frames[0])
        with refused(r"2 image files that are not the frames of one cine \(a_frame1.*_gt"):
            read_cine(tmp_path)

    def test_frames_on_other_grids_and_cines_among_frames_are_refused(self, tmp_path, frames):
        nifti(tmp_path / "f1.nii", frames[0])
        nifti(tmp_path / "f2.nii", frames[0], np.diag([1.0, 2, 3, 1]))
        with refused("f2.nii in .* is on another grid"):
            read_cine(tmp_path)
        nifti(tmp_path / "f2.nii", frames)
        with refused("f2.nii has 10 frames; give it alone"):
            read_cine(tmp_path)


class TestSingleImages:
    def test_a_3d_image_is_one_frame_and_says_so(self, tmp_path, frames):
        cine = read_cine(nifti(tmp_path / "c.nii", frames[0]))
        np.testing.assert_array_equal(cine.frames, frames[:1])
        assert not cine.times_known and list(cine.times) == [0.0] and "single image" in cine.remarks[-1]

    def test_a_2d_image_is_one_slice_of_one_frame(self, tmp_path, frames):
        for path in (
            nifti(tmp_path / "c.nii", frames[0, 0]),
            TestMetaImage.write(tmp_path / "c.mha", frames[0, 0]),
        ):
            cine = read_cine(path)
            np.testing.assert_array_equal(cine.frames, frames[:1, :1])
            assert "single image" in cine.remarks[-1]

    def test_a_plain_2d_nrrd_is_one_slice_of_one_frame(self, tmp_path, frames):
        header = b"NRRD0004\ntype: short\ndimension: 2\nsizes: 5 6\nencoding: raw\nendian: little\n\n"
        (tmp_path / "c.nrrd").write_bytes(header + frames[0, 0].astype("<i2").tobytes())
        cine = read_cine(tmp_path / "c.nrrd")
        np.testing.assert_array_equal(cine.frames, frames[:1, :1])
        assert "taken as 1 mm" in cine.remarks[0]


class TestRefusals:
    @pytest.mark.parametrize("name", ["c.nii", "c.nii.gz", "c.seq.nrrd", "c.mha", "c.txt", "c"])
    def test_what_is_no_image_is_refused(self, tmp_path, name):
        (tmp_path / name).write_text("Not an image. " * 100)
        with refused(f"{name} is (not|damaged)"):
            read_cine(tmp_path / name)

    def test_a_file_that_is_not_there_or_may_not_be_read_is_refused(self, tmp_path, monkeypatch):
        with refused("gone.nii does not exist"):
            read_cine(tmp_path / "gone.nii")
        (tmp_path / "mine.nii").touch()

        def denied(self, *_):
            raise PermissionError(errno.EACCES, "denied", str(self))

        monkeypatch.setattr(Path, "open", denied)
        with refused("mine.nii may not be read"):
            read_cine(tmp_path / "mine.nii")

    @pytest.mark.parametrize("name", ["c.nii", "c.nii.gz"])
    def test_a_file_cut_short_is_refused(self, tmp_path, frames, name):
        path = nifti(tmp_path / name, frames)
        path.write_bytes(path.read_bytes()[:-200])
        with refused(f"{name} is (cut short|damaged)"):
            read_cine(path)

    def test_nan_is_refused(self, tmp_path, frames):
        with_nan = frames.astype(np.float32)
        with_nan[2, 1, 0, 0] = np.nan
        with refused("c.nii holds NaN"):
            read_cine(nifti(tmp_path / "c.nii", with_nan))

    def test_a_color_image_is_refused(self, tmp_path):
        color = np.zeros((5, 6, 3, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        nibabel.save(nibabel.Nifti1Image(color, np.eye(4)), tmp_path / "c.nii")
        with refused("not a gray-scale image"):
            read_cine(tmp_path / "c.nii")


class TestAnnotation:
    """Masks of a cine with 6 frames, 4 slices, 7 rows and 9 columns."""

    @staticmethod
    def mask(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.uint8)

    def test_a_3d_mask_is_of_the_frame_and_its_empty_slices_are_not_annotated(self, tmp_path, oblique_cine):
        mask = self.mask(4, 7, 9)
        mask[1, 2:5, 2:5], mask[2, 3, 3] = 1, 3
        read = read_annotation(nifti(tmp_path / "m.nii.gz", mask), oblique_cine, frame=5)
        np.testing.assert_array_equal(read.labels[5], mask)
        assert not read.labels[:5].any()
        expected = np.zeros((6, 4), np.uint8)
        expected[5, 1:3] = Status.ANNOTATED
        np.testing.assert_array_equal(read.status, expected)

    def test_of_a_4d_mask_the_slices_that_are_not_empty_are_annotated(self, tmp_path, oblique_cine):
        mask = self.mask(6, 4, 7, 9)
        mask[0, 1, 2, 2], mask[4, 3, 2, 2] = 1, 2
        read = read_annotation(nifti(tmp_path / "m.nii.gz", mask), oblique_cine)
        np.testing.assert_array_equal(read.labels, mask)
        assert {tuple(place) for place in np.argwhere(read.fixed)} == {(0, 1), (4, 3)}

    def test_a_named_slice_is_annotated_though_empty(self, tmp_path, oblique_cine):
        mask = self.mask(4, 7, 9)
        mask[1, 2, 2] = 1
        path = nifti(tmp_path / "m.nii", mask)
        read = read_annotation(path, oblique_cine, 0, annotated_slices=((0, 3), (2, 1)))
        assert {tuple(place) for place in np.argwhere(read.fixed)} == {(0, 1), (0, 3), (2, 1)}

    def test_acdc_values_become_native(self, tmp_path, oblique_cine):
        mask = self.mask(4, 7, 9)
        mask[0, 0, :3] = [1, 2, 3]
        read = read_annotation(nifti(tmp_path / "m.nii", mask), oblique_cine, label_map="acdc")
        np.testing.assert_array_equal(read.labels[0, 0, 0, :3], [3, 2, 1])

    def test_structures_of_the_users_own_keep_their_value_and_get_a_color_each(self, tmp_path, oblique_cine):
        mask = self.mask(4, 7, 9)
        mask[0, 0, :3] = [1, 4, 17]
        structures = read_annotation(nifti(tmp_path / "m.nii", mask), oblique_cine).structures
        assert [(s.value, s.name) for s in structures[3:]] == [(4, "segment 4"), (17, "segment 17")]
        assert len({s.color for s in structures}) == 5

    def test_whole_numbers_stored_as_floats_are_labels(self, tmp_path):
        mask = self.mask(4, 7, 9).astype(np.float32)
        mask[0, 0, 0] = 3
        labels, _, _ = read_labels(nifti(tmp_path / "m.nii", mask))
        assert labels.shape == (1, 4, 7, 9) and labels.dtype == np.uint8 and labels.max() == 3

    @pytest.mark.parametrize("frame", [-1, 6])
    def test_a_frame_that_does_not_exist_is_refused_with_the_range(self, tmp_path, oblique_cine, frame):
        path = nifti(tmp_path / "m.nii", np.ones((4, 7, 9), np.uint8))
        with refused(re.escape(f"no frame {frame}; choose 0 to 5 (counted from 0)")):
            read_annotation(path, oblique_cine, frame)
        with refused(re.escape("no slice 4; choose 0 to 3 (counted from 0)")):
            read_annotation(path, oblique_cine, annotated_slices=((0, 4),))

    @pytest.mark.parametrize(
        "value, said",
        [(0, "no annotated voxel"), (0.5, "value 0.5"), (np.nan, "NaN"), (-1, "value -1"), (700, "value 700")],
    )
    def test_values_that_are_no_labels_are_refused(self, tmp_path, oblique_cine, value, said):
        mask = np.zeros((4, 7, 9), np.float32)
        mask[1, 1, 1] = value
        with refused(f"m.nii holds.*{said}"):
            read_annotation(nifti(tmp_path / "m.nii", mask), oblique_cine)

    def test_a_value_that_the_label_map_does_not_know_is_refused(self, tmp_path, oblique_cine):
        with refused("m.nii holds the label value 4.*'acdc'"):
            read_annotation(nifti(tmp_path / "m.nii", np.full((4, 7, 9), 4, np.uint8)), oblique_cine, label_map="acdc")

    def test_a_4d_mask_with_other_frames_is_refused(self, tmp_path, oblique_cine):
        with refused("m.nii has 5 frames where oblique has 6"):
            read_annotation(nifti(tmp_path / "m.nii", np.ones((5, 4, 7, 9), np.uint8)), oblique_cine)

    def test_a_segmentation_is_predicted_in_all_slices_of_its_frames(self, tmp_path):
        mask = self.mask(6, 4, 7, 9)
        mask[2, 1, 0, 0] = 2
        status = read_segmentation(nifti(tmp_path / "s.nii", mask)).status
        np.testing.assert_array_equal(status[2], Status.PREDICTED)
        assert status.sum() == 4

    def test_a_frame_with_a_part_of_the_stack_is_not_taken_as_segmented(self, tmp_path):
        mask = np.zeros((4, 8, 7, 9), np.uint8)
        mask[0, 1:7] = mask[1, 2:5] = mask[2, 3] = mask[3, [1, 2, 5, 6]] = 1
        path = nifti(tmp_path / "s.nii", mask)
        status = read_segmentation(path).status
        assert (status == Status.PREDICTED).sum(axis=1).tolist() == [8, 8, 1, 4]
        cine = Cine(np.zeros((4, 8, 7, 9), np.int16), read_segmentation(path).affine, np.arange(4.0))
        np.testing.assert_array_equal(read_segmentation(path, cine=cine).status, status)

    def test_overlapping_segments_of_slicer_are_refused(self, tmp_path, oblique_cine):
        write_cine(oblique_cine, tmp_path / "c.seq.nrrd")
        header, body = (tmp_path / "c.seq.nrrd").read_bytes().split(b"\n\n", 1)
        (tmp_path / "m.seg.nrrd").write_bytes(header + b"\nSegment0_Name:=LV\n\n" + body)
        with refused("m.seg.nrrd holds overlapping segments"):
            read_labels(tmp_path / "m.seg.nrrd")


class TestRealData:
    def test_an_acdc_cine_and_its_expert_masks_fit(self, data):
        folder = data / "acdc" / "cine" / "patient001"
        cine = read_cine(folder / "patient001_4d.nii.gz")
        assert cine.shape == (30, 7, 95, 100) and cine.frames.dtype == np.int16
        assert cine.patient.height_cm == 184 and cine.patient.weight_kg == 95
        assert not cine.times_known and "1000 ms a frame" in cine.remarks[0]
        annotation = read_annotation(folder / "patient001_frame12_gt.nii.gz", cine, 11, "acdc")
        assert annotation.fixed[11].all() and annotation.fixed.sum() == 7
        lv, myo = ((annotation.labels[11, 3] == value).sum() for value in (1, 2))
        assert lv > 0 and myo > 0

    def test_an_acdc_training_mask_has_the_voxel_size_of_its_header(self, data):
        path = data / "acdc" / "training" / "patient001" / "patient001_frame01_gt.nii.gz"
        segmentation = read_segmentation(path, "acdc")
        assert segmentation.voxel_ml == pytest.approx(1.5625 * 1.5625 * 10 / 1000)

    def test_a_sunnybrook_dicom_zip_is_a_stack_of_12_slices_and_20_frames(self, data):
        cine = read_cine(data / "sunnybrook" / "SCD0000101_dicom_sax.zip")
        assert cine.shape == (20, 12, 256, 256) and cine.times_known and cine.modality == "MR"
        np.testing.assert_allclose(cine.spacing, [1.367188, 1.367188, 10.0], atol=1e-3)
        assert cine.times[-1] == pytest.approx(19 * 38.3, rel=0.01)
        assert 75 < cine.patient.heart_rate_bpm < 82
        assert len({uid for row in cine.sources for uid in row}) == 240

    def test_the_masks_on_all_frames_of_a_clinical_stack_fit(self, data):
        folder = data / "bivme_patient1"
        cine: Cine = read_cine(folder / "sax_4d.nii.gz")
        annotation = read_annotation(folder / "sax_gp_seg.nii.gz", cine, label_map="acdc")
        assert cine.shape == annotation.labels.shape == (25, 6, 208, 256)
        assert annotation.fixed.any(axis=1).all() and "without a unit" in cine.remarks[0]
