"""Shared fixtures: the real data, where it is present, and a small cine on a difficult grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mrml_scene import scene  # noqa: F401 (a fixture)
from panel_work import cine_file, heart, open_panel, panel, weights, worker  # noqa: F401 (fixtures)
from SlicerHost.testing import host, pytest_pyfunc_call  # noqa: F401 (a fixture and a hook of pytest)

from CardiacSegLib.cine import Cine

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("the folder shared/data with real images is not beside the project")
    return DATA


def oblique_affine(spacing: tuple[float, float, float] = (1.25, 1.75, 8.5), handedness: int = -1) -> np.ndarray:
    """Voxel to LPS: turned about all three axes, anisotropic, off centre and, by default, left-handed."""
    a, b, c = np.radians([25.0, -40.0, 65.0])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_y @ about_z * spacing * [1, 1, handedness]
    affine[:3, 3] = [-37.5, 112.25, 61.0]
    return affine


@pytest.fixture
def oblique_cine() -> Cine:
    """Six frames, four slices, seven rows, nine columns on the oblique left-handed grid, uneven frame times."""
    frames = np.random.default_rng(0).integers(-50, 1200, (6, 4, 7, 9)).astype(np.int16)
    times = np.array([0.0, 100.5, 230.25, 341.0, 470.125, 600.0])
    return Cine(frames, oblique_affine(), times, name="oblique")
