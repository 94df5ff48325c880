"""Damaged input never ends in a traceback, and never in a cine that is silently partial or of two patients."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from damage import KINDS, SCAN, Damage, inputs, outcome_of_whole, verdict
from dicom_files import save, single
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.readers import read_cine

DAMAGE = st.builds(
    Damage,
    st.sampled_from(KINDS),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**64 - 1),
)
REFUSED = {"two patients", *(name for name in inputs() if name.startswith("giant"))}


@pytest.mark.parametrize("name", sorted(inputs()))
def test_whole_input_is_read_and_what_cannot_be_is_refused(name):
    shape, _ = outcome_of_whole(name)
    assert (shape is None) == (name in REFUSED)


@settings(max_examples=400, deadline=20_000, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.sampled_from(sorted(inputs())), st.lists(DAMAGE, min_size=1, max_size=3))
def test_damaged_input_is_read_whole_or_with_a_remark_or_refused_in_one_sentence(name, damages):
    assert verdict(name, damages) in ("read", "remarked", "refused")


ABSURD = {
    "TriggerTime": [-300.0, 0.0, 1e-300, 1e300],
    "InstanceNumber": [0, -5, 2**31 - 1],
    "NominalInterval": [0, -800, 2**31 - 1],
    "HeartRate": [0, -60, 100000],
    "CardiacNumberOfImages": [0, -1, 10000],
    "SeriesNumber": [-1, 2**31 - 1],
    "ImagePositionPatient": [[1e30, 0.0, 0.0], [0.0, 0.0, 0.0], [-60.0, 20.0, 1e6]],
    "ImageOrientationPatient": [[0.0] * 6, [1e30, 0.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]],
    "PixelSpacing": [[1e-9, 1.0], [1e9, 1.0], [-1.0, 1.0], [0.0, 0.0]],
    "SliceThickness": [0.0, -1.0, 1e30],
    "RescaleSlope": [0.0, -1.0, 1e300, 1e-300],
    "RescaleIntercept": [1e300, -1e300],
    "PatientSize": [-1.0, 0.0, 1e30],
    "PatientWeight": [-1.0, 1e30],
    "BitsStored": [0, 1, 64],
    "BitsAllocated": [0, 1, 8, 64],
    "PixelRepresentation": [1, 7],
    "SamplesPerPixel": [0, 3, 1000],
    "NumberOfFrames": [0, -1, 2**31 - 1],
    "ImageType": ["", "P", ["A"] * 50],
    "PhotometricInterpretation": ["", "RGB", "PALETTE COLOR", "MONOCHROME1"],
    "FrameOfReferenceUID": ["", "1.2"],
    "Modality": ["", "US"],
}
CHANGE = st.sampled_from([(keyword, value) for keyword, values in ABSURD.items() for value in values])


@settings(max_examples=100, deadline=20_000, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(CHANGE, min_size=1, max_size=3), st.sets(st.integers(0, 5), min_size=1))
def test_absurd_values_in_sound_files_never_end_in_a_traceback(changes, where):
    with tempfile.TemporaryDirectory() as folder:
        for number, sound in enumerate(inputs()["classic"].files.values()):
            path = Path(folder, f"{number}.dcm")
            if number in where:
                save(single(SCAN, number // 2, number % 2, **dict(changes)), path)
            else:
                path.write_bytes(sound)
        try:
            cine = read_cine(folder)
        except CardiacSegError as error:
            assert str(error).endswith(".") and "\n" not in str(error)
        else:
            assert cine.shape == SCAN.frames.shape or cine.remarks
