"""`cardiacseg inspect`: what a study holds and how its cine is read, told before anything is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from dicom_files import Scan, long_axis, values, write
from typer.testing import CliRunner

from CardiacSegLib import cli
from CardiacSegLib.cine import Cine
from CardiacSegLib.writers.images import write_cine

SCAN = Scan(values(10, 4, 8, 6), times=[80.0 * t for t in range(10)])


def inspect(path):
    return CliRunner().invoke(cli.app, ["inspect", str(path)])


def test_a_study_is_listed_with_its_views_its_stack_and_the_remarks(tmp_path):
    for z in (0, 1, 3):
        write(SCAN.slice(z, series=f"1.5.{z}", number=10 + z, description="tfi2d1"), tmp_path / "d")
    write(long_axis(SCAN, 60, series="1.6", number=20, description="name"), tmp_path / "d")
    result = inspect(tmp_path / "d")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()[:1].isdigit()}
    assert "* " in rows["13"] and "short axis" in rows["13"]
    assert "4-chamber" in rows["20"] and "* " not in rows["20"]
    assert "4 slices of 6 x 8 pixels" in result.stdout and "10 frames, 80.0 ms apart" in result.stdout
    assert "- d holds 4 series; 3 of them" in result.stdout and "slice 2, interpolated" in result.stdout


def test_an_image_file_is_told_with_its_remarks(tmp_path):
    write_cine(Cine(SCAN.frames.astype(np.int16), SCAN.affine, 80.0 * np.arange(10)), tmp_path / "c.nii")
    result = inspect(tmp_path / "c.nii")
    assert (
        result.exit_code == 0 and "4 slices of 6 x 8 pixels, 1.25 x 1.75 x 9.5 mm; 10 frames, 80.0 ms" in result.stdout
    )


def test_a_study_without_a_stack_is_listed_all_the_same_and_ends_in_one_sentence(tmp_path):
    for number, degrees in enumerate((0, 60)):
        view = long_axis(SCAN, degrees, series=f"1.6.{number}", number=20 + number)
        write(replace(view, description="view"), tmp_path / "d")
    result = inspect(tmp_path / "d")
    assert result.exit_code == 1 and "2-chamber" in result.stdout
    assert result.stderr.startswith("cardiacseg: ") and "none of them a stack" in result.stderr
