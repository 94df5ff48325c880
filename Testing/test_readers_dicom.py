"""One DICOM series to a cine, whichever kind of file the scanner wrote, and what is refused."""

from __future__ import annotations

import errno
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import (
    SPACING,
    Scan,
    base_to_apex,
    compressed,
    enhanced,
    multiframe,
    philips_scale,
    philips_slope,
    save,
    single,
    values,
    write,
)
from test_readers import refused

from CardiacSegLib.readers import read_cine
from CardiacSegLib.writers.images import write_cine

SCAN = Scan()
FRAMES = SCAN.frames


class TestOneFilePerImage:
    def test_files_are_sorted_by_place_and_trigger_time_not_by_name(self, tmp_path):
        cine = read_cine(write(SCAN, tmp_path / "d"))
        np.testing.assert_array_equal(cine.frames, FRAMES)
        np.testing.assert_allclose(cine.times, [0, 200, 400, 600])
        assert cine.frames.dtype == np.int16 and cine.times_known and cine.modality == "MR" and not cine.remarks

    def test_the_slice_distance_is_that_of_the_positions_and_pixel_spacing_is_row_then_column(self, tmp_path):
        cine = read_cine(write(SCAN, tmp_path / "d"))
        np.testing.assert_allclose(cine.affine, SCAN.affine, atol=1e-4)
        np.testing.assert_allclose(cine.spacing, SPACING, atol=1e-4)

    def test_a_short_axis_stack_goes_from_base_to_apex_whichever_way_its_normal_looks(self, tmp_path):
        affine = base_to_apex()
        affine[:3, 0] *= -1
        cine = read_cine(write(replace(SCAN, affine=affine), tmp_path / "d"))
        np.testing.assert_array_equal(cine.frames, FRAMES)
        np.testing.assert_allclose(cine.affine, affine, atol=1e-4)

    def test_the_patient_is_known_in_cm_and_kg(self, tmp_path):
        patient = read_cine(write(SCAN, tmp_path / "d")).patient
        assert (patient.height_cm, patient.weight_kg, patient.sex, patient.heart_rate_bpm) == (175.0, 70.0, "F", 75.0)

    def test_the_heart_rate_comes_from_the_nominal_interval_where_it_is_not_given(self, tmp_path):
        cine = read_cine(write(SCAN, tmp_path / "d", HeartRate=None, NominalInterval=1000))
        assert cine.patient.heart_rate_bpm == 60.0

    def test_each_frame_and_slice_knows_the_image_it_came_from(self, tmp_path):
        folder = write(SCAN, tmp_path / "d")
        cine = read_cine(folder)
        by_uid = {f.SOPInstanceUID: f for f in map(pydicom.dcmread, folder.iterdir())}
        for t in range(4):
            for z in range(3):
                np.testing.assert_array_equal(by_uid[cine.sources[t][z]].pixel_array, FRAMES[t, z])

    def test_slope_and_intercept_are_applied(self, tmp_path):
        cine = read_cine(write(SCAN, tmp_path / "d", RescaleSlope=0.25, RescaleIntercept=-100))
        np.testing.assert_allclose(cine.frames, FRAMES * 0.25 - 100)

    def test_overlays_in_the_unused_bits_are_no_part_of_the_picture(self, tmp_path):
        marked = Scan(frames=FRAMES | 0x8000)
        np.testing.assert_array_equal(read_cine(write(marked, tmp_path / "d")).frames, FRAMES)

    def test_an_inverted_gray_scale_is_turned_round(self, tmp_path):
        cine = read_cine(write(SCAN, tmp_path / "d", PhotometricInterpretation="MONOCHROME1"))
        np.testing.assert_array_equal(cine.frames, 4095 - FRAMES.astype(int))

    def test_without_trigger_times_frames_follow_their_number_over_the_nominal_interval(self, tmp_path):
        cine = read_cine(write(SCAN, tmp_path / "d", TriggerTime=None, NominalInterval=800))
        np.testing.assert_array_equal(cine.frames, FRAMES[::-1])  # the instance numbers run backwards
        np.testing.assert_allclose(cine.times, [0, 200, 400, 600])
        assert "800 ms" in cine.remarks[0]

    def test_without_numbers_frames_follow_the_acquisition_time(self, tmp_path):
        for t in range(4):
            for z in range(3):
                changes = {"TriggerTime": None, "InstanceNumber": None, "AcquisitionTime": f"1012{30 + t}.{50 - z}"}
                save(single(SCAN, t, z, **changes), tmp_path / "d" / f"{(7 * t + 5 * z) % 97}.dcm")
        np.testing.assert_array_equal(read_cine(tmp_path / "d").frames, FRAMES)

    def test_frames_that_nothing_tells_apart_are_refused(self, tmp_path):
        with refused("does not say in which order its frames follow"):
            read_cine(write(SCAN, tmp_path / "d", TriggerTime=None, InstanceNumber=None))

    def test_without_any_time_it_is_said(self, tmp_path):
        cine = read_cine(write(SCAN, tmp_path / "d", TriggerTime=None))
        assert not cine.times_known and "nominal" in cine.remarks[0]

    def test_one_frame_of_several_slices_is_a_single_image(self, tmp_path):
        cine = read_cine(write(Scan(frames=FRAMES[:1]), tmp_path / "d"))
        np.testing.assert_array_equal(cine.frames, FRAMES[:1])
        assert not cine.times_known and any("single image" in remark for remark in cine.remarks)

    def test_one_slice_is_a_cine_with_the_thickness_of_its_header(self, tmp_path):
        cine = read_cine(write(SCAN.slice(1), tmp_path / "d"))
        np.testing.assert_array_equal(cine.frames, FRAMES[:, 1:2])
        assert cine.spacing[2] == pytest.approx(6.0) and "taken as 6 mm" in cine.remarks[0]

    def test_images_that_share_their_trigger_times_are_said_to_be_doubtful(self, tmp_path):
        cine = read_cine(write(replace(SCAN, times=(0.0, 0.0, 400.0, 400.0)), tmp_path / "d"))
        np.testing.assert_array_equal(cine.frames, FRAMES[::-1])  # by number
        assert "the same trigger time" in cine.remarks[0]

    @pytest.mark.parametrize("part", ["P", "VELOCITY MAP", "R", "I"])
    def test_other_parts_of_the_signal_beside_the_anatomy_are_left_out_and_said(self, tmp_path, part):
        folder = write(SCAN, tmp_path / "d")
        for t in range(4):
            for z in range(3):
                velocity = single(SCAN, t, z, ImageType=["ORIGINAL", "PRIMARY", part], PixelData=bytes(60))
                save(velocity, folder / f"velocity{t}{z}")
        cine = read_cine(folder)
        np.testing.assert_array_equal(cine.frames, FRAMES)
        assert "12 phase images" in cine.remarks[0]


class TestOtherFiles:
    @pytest.mark.parametrize("slices_first", [False, True])
    def test_enhanced_mr_is_upright_whichever_way_its_frames_are_ordered(self, tmp_path, slices_first):
        order = [(t, z) for t in (2, 0, 3, 1) for z in range(3)] if slices_first else None
        save(enhanced(SCAN, order), tmp_path / "d" / "one.dcm")
        cine = read_cine(tmp_path / "d")
        np.testing.assert_array_equal(cine.frames, FRAMES)
        np.testing.assert_allclose(cine.affine, SCAN.affine, atol=1e-4)
        np.testing.assert_allclose(cine.times, [0, 200, 400, 600])
        assert cine.times_known and not cine.remarks

    def test_philips_own_scale_makes_the_values_of_all_images_comparable(self, tmp_path):
        save(enhanced(SCAN, philips=True), tmp_path / "d" / "one.dcm")
        cine = read_cine(tmp_path / "d")
        meant = np.empty(FRAMES.shape)
        for t in range(4):
            for z in range(3):  # Chenevert et al. 2014: (stored x slope + intercept) / (slope x scale slope)
                slope = philips_slope(t, z)
                meant[t, z] = FRAMES[t, z] * slope / (slope * philips_scale(t, z))
        ratio = cine.frames / np.where(meant > 0, meant, np.nan)
        np.testing.assert_allclose(np.nanmin(ratio), np.nanmax(ratio), rtol=1e-5)

    def test_classic_multi_frame_files_are_one_slice_over_time_each(self, tmp_path):
        for z in range(3):
            save(multiframe(SCAN, z), tmp_path / "d" / f"{9 - z}.dcm")
        cine = read_cine(tmp_path / "d")
        np.testing.assert_array_equal(cine.frames, FRAMES)
        np.testing.assert_allclose(cine.times, [0, 200, 400, 600])

    def test_gated_ct_with_a_series_for_each_phase_has_times_from_the_percentages(self, tmp_path):
        for t in range(4):
            changes = {"frames": FRAMES[t : t + 1], "series": f"1.2.3.{t}", "number": 10 - t}
            phase = replace(SCAN, modality="CT", description=f"Cardiac 0.6 B26f {25 * t} %", **changes)
            write(phase, tmp_path / "d", RescaleIntercept=-1024, RescaleSlope=1, HeartRate=60)
        cine = read_cine(tmp_path / "d")
        np.testing.assert_array_equal(cine.frames, FRAMES.astype(int) - 1024)
        np.testing.assert_allclose(cine.times, [0, 250, 500, 750])
        assert cine.modality == "CT" and cine.times_known and cine.frames.dtype == np.int16
        assert "4 series are the phases of one cine" in cine.remarks[0]

    def test_gated_ct_in_one_series_and_without_a_heart_rate_has_frames_in_order_and_no_times(self, tmp_path):
        for t in range(4):
            for z in range(3):
                ct = single(replace(SCAN, modality="CT"), t, z, NominalPercentageOfCardiacPhase=20.0 * t)
                save(ct, tmp_path / "d" / f"{(5 * t + 3 * z) % 41}.dcm")
        cine = read_cine(tmp_path / "d")
        np.testing.assert_array_equal(cine.frames, FRAMES)
        assert not cine.times_known and "percent of the heart cycle" in cine.remarks[0]

    def test_enhanced_ct_has_times_from_its_rr_interval(self, tmp_path):
        save(enhanced(replace(SCAN, modality="CT", times=(0.0, 25.0, 50.0, 75.0))), tmp_path / "d" / "one.dcm")
        cine = read_cine(tmp_path / "d")
        np.testing.assert_array_equal(cine.frames, FRAMES.astype(int) - 1024)
        np.testing.assert_allclose(cine.times, [0, 200, 400, 600])

    @pytest.mark.parametrize("compressor", ["RLE", "JPEG", "JPEG2000"])
    def test_pixels_compressed_without_loss_are_read(self, tmp_path, compressor):
        large = Scan(frames=values(2, 1, 32, 40), times=(0.0, 400.0))
        for t in range(2):
            save(compressed(single(large, t, 0), compressor), tmp_path / "d" / f"{t}.dcm")
        np.testing.assert_array_equal(read_cine(tmp_path / "d").frames, large.frames)

    def test_a_mosaic_is_refused_with_the_reason(self, tmp_path):
        mosaic = single(SCAN, 0, 0, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
        save(mosaic, tmp_path / "d" / "m.dcm")
        with refused("m.dcm in .* is a Siemens mosaic, many slices in one picture"):
            read_cine(tmp_path / "d")

    def test_a_color_image_is_refused(self, tmp_path):
        save(single(SCAN, 0, 0, SamplesPerPixel=3, PixelData=bytes(180)), tmp_path / "d" / "c.dcm")
        with refused("c.dcm in .* is a color image"):
            read_cine(tmp_path / "d")

    @pytest.mark.parametrize("name", ["cine.dcm", "IM0001"])
    def test_one_file_with_all_frames_can_be_given_by_itself(self, tmp_path, name):
        np.testing.assert_array_equal(read_cine(save(enhanced(SCAN), tmp_path / name)).frames, FRAMES)

    def test_a_dicomdir_stands_for_the_files_beside_it(self, tmp_path):
        write(SCAN, tmp_path / "IMAGES")
        index = save(single(SCAN, 0, 0, Modality=None), tmp_path / "DICOMDIR")
        np.testing.assert_array_equal(read_cine(index).frames, FRAMES)

    def test_an_image_type_of_one_word_is_a_word(self, tmp_path):
        folder = write(SCAN, tmp_path / "d", skip=((0, 0),))
        save(single(SCAN, 0, 0, ImageType="PRIMARY"), folder / "odd.dcm")
        np.testing.assert_array_equal(read_cine(folder).frames, FRAMES)


class TestArchives:
    def test_a_zip_reads_like_the_folder_and_leaves_nothing_on_the_disk(self, tmp_path):
        folder = write(SCAN, tmp_path / "d")
        with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("README.txt", "no image")
            archive.writestr("__MACOSX/._IM0001.dcm", "no image")
            for file in folder.iterdir():
                archive.write(file, f"deep/{file.name}")
        before = sorted(tmp_path.rglob("*"))
        np.testing.assert_array_equal(read_cine(tmp_path / "d.zip").frames, FRAMES)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_zip_bomb_is_refused_before_it_is_unpacked(self, tmp_path):
        path = tmp_path / "d.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.dcm", "w") as entry:
            for _ in range(100):
                entry.write(bytes(1 << 20))
        with refused("would unpack to 0.098 GiB"):
            read_cine(path)

    @pytest.mark.parametrize("name", ["../a.dcm", "b/../../a.dcm", "/etc/a.dcm", "..\\a.dcm", "C:\\a.dcm"])
    def test_a_zip_with_a_name_outside_of_it_is_refused(self, tmp_path, name):
        with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
            archive.writestr(name, b"x")
        with refused("would land outside of it"):
            read_cine(tmp_path / "d.zip")
        assert [path.name for path in tmp_path.parent.rglob("a.dcm")] == []

    def test_a_zip_cut_short_and_one_with_a_flipped_byte_are_refused(self, tmp_path):
        folder = write(SCAN, tmp_path / "d")
        with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
        whole = (tmp_path / "d.zip").read_bytes()
        (tmp_path / "short.zip").write_bytes(whole[: len(whole) // 2])
        with refused("short.zip is not a zip file, or a damaged one"):
            read_cine(tmp_path / "short.zip")
        at = whole.index(b"DICM") + 400
        (tmp_path / "flipped.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with refused("flipped.zip"):
            read_cine(tmp_path / "flipped.zip")

    @pytest.mark.parametrize("name", ["Müller, Jürgen (1)", "心臓 映画", "x" * 250])
    def test_paths_with_spaces_umlauts_cjk_and_250_characters_are_read(self, tmp_path, name):
        np.testing.assert_array_equal(read_cine(write(SCAN, tmp_path / name)).frames, FRAMES)

    @pytest.mark.parametrize("name", ["Müller, Jürgen (1)", "心臓 映画", "x" * 240])
    @pytest.mark.parametrize("ending", [".nii.gz", ".seq.nrrd", ".mha"])
    def test_image_files_of_such_names_are_read(self, tmp_path, name, ending):
        cine = read_cine(write(SCAN, tmp_path / "d"))
        path = tmp_path / f"{name}{ending}"
        if ending == ".mha":
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(cine.frames[0]), str(path))
        else:
            write_cine(cine, path)
        np.testing.assert_array_equal(read_cine(path).frames[0], cine.frames[0])


class TestWhatDoesNotBelong:
    @pytest.mark.parametrize(
        "change, said",
        [
            ({"PatientID": "q"}, "mixes images of 2 patients"),
            ({"PatientName": "Other"}, "mixes images of 2 patients"),
            ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "3 frames in slice 0 where others have 4"),
            ({"PixelSpacing": [2.0, 2.0]}, "2 image sizes or pixel spacings in slice 0"),
            ({"ImageOrientationPatient": [1, 1, 0, 0, 1, 0]}, "odd.dcm in .* cannot be read"),
            ({"PixelSpacing": [0, 0]}, "odd.dcm in .* cannot be read"),
            ({"Rows": 60000, "Columns": 60000}, "odd.dcm in .* claims 1 frames of 60000 x 60000"),
            ({"NumberOfFrames": 5000}, "odd.dcm in .* has pixels that cannot be read: the file is cut short"),
            ({"Rows": 2000}, "odd.dcm in .* has pixels that cannot be read: the file is cut short"),
            ({"PixelData": b"\0\0"}, "odd.dcm in .* has pixels that cannot be read"),
        ],
    )
    def test_a_file_that_does_not_belong_is_refused(self, tmp_path, change, said):
        folder = write(SCAN, tmp_path / "d", skip=((0, 0),))
        save(single(SCAN, 0, 0, **change), folder / "odd.dcm")
        with refused(said):
            read_cine(folder)

    def test_two_anonymous_studies_are_never_merged(self, tmp_path):
        write(replace(SCAN, patient=""), tmp_path / "d")
        other = replace(
            SCAN, patient="", study="1.2.3.99", series="1.2.3.98", affine=SCAN.affine @ np.diag([1, 1, 1, 1])
        )
        with refused("mixes 2 studies without patient IDs"):
            read_cine(write(other, tmp_path / "d"))

    def test_a_name_spelled_in_another_way_is_the_same_patient(self, tmp_path):
        folder = write(SCAN, tmp_path / "d", skip=((0, 0),), PatientName="Doe^John")
        save(single(SCAN, 0, 0, PatientName="DOE^JOHN"), folder / "other.dcm")
        np.testing.assert_array_equal(read_cine(folder).frames, FRAMES)

    def test_a_missing_frame_is_named(self, tmp_path):
        with refused("3 frames in slice 1 where others have 4"):
            read_cine(write(SCAN, tmp_path / "d", skip=((2, 1),)))

    def test_copies_of_files_and_of_images_under_new_names_count_once_and_are_said(self, tmp_path):
        folder = write(SCAN, tmp_path / "d")
        first = sorted(folder.iterdir())[0]
        (folder / "copy.dcm").write_bytes(first.read_bytes())
        again = pydicom.dcmread(sorted(folder.iterdir())[3])
        again.SOPInstanceUID = pydicom.uid.generate_uid()
        save(again, folder / "again.dcm")
        cine = read_cine(folder)
        np.testing.assert_array_equal(cine.frames, FRAMES)
        assert "1 files are copies" in cine.remarks[0] and "1 images are there twice" in cine.remarks[1]

    def test_empty_files_and_images_without_a_place_are_passed_over_and_said(self, tmp_path):
        folder = write(SCAN, tmp_path / "d")
        (folder / "empty.dcm").touch()
        save(single(SCAN, 0, 0, ImagePositionPatient=None), folder / "chart.dcm")
        cine = read_cine(folder)
        np.testing.assert_array_equal(cine.frames, FRAMES)
        assert "empty.dcm" in cine.remarks[0] and "chart.dcm" in cine.remarks[1]

    def test_a_damaged_file_is_named(self, tmp_path):
        folder = write(SCAN, tmp_path / "d", skip=((0, 0),))
        (folder / "bad.dcm").write_bytes(b"this was an image")
        with refused("bad.dcm in .* cannot be read as DICOM"):
            read_cine(folder)

    def test_what_is_no_zip_and_a_folder_without_images_are_refused(self, tmp_path):
        (tmp_path / "d.zip").write_text("no zip")
        with refused("d.zip is not a zip file"):
            read_cine(tmp_path / "d.zip")
        (tmp_path / "empty").mkdir()
        with refused("empty holds no MR or CT DICOM image"):
            read_cine(tmp_path / "empty")

    def test_a_folder_that_may_not_be_read_is_refused(self, tmp_path, monkeypatch):
        folder = write(SCAN, tmp_path / "d")

        def denied(path):
            raise PermissionError(errno.EACCES, "denied", str(path))

        monkeypatch.setattr("os.listdir", denied)
        monkeypatch.setattr(Path, "iterdir", lambda path: denied(path))
        with refused("may not be read"):
            read_cine(folder)
