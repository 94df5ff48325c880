"""Surfaces: closed, turned outwards, in LPS mm, and of the volume of the masks they were made of."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import oblique_affine

pytest.importorskip("vtkmodules", reason="VTK is not installed")

from CardiacSegLib.anatomy import LV, MYO, RV, STRUCTURES, Structure
from CardiacSegLib.cine import Segmentation, Status
from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.writers.surfaces import write_surfaces


def segmentation(labels: np.ndarray, affine: np.ndarray) -> Segmentation:
    return Segmentation(labels.astype(np.uint8), np.full(labels.shape[:2], Status.PREDICTED, np.uint8), affine)


def read_stl(path: Path) -> np.ndarray:
    """(triangles, 3 corners, 3) mm, by the format's definition."""
    data = path.read_bytes()
    count = int(np.frombuffer(data, "<u4", 1, 80)[0])
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    return np.frombuffer(data, record, count, 84)["corners"].astype(float)


def read_obj(path: Path) -> np.ndarray:
    """(triangles, 3 corners, 3) mm, by the format's definition."""
    lines = [line.split() for line in path.read_text().splitlines() if line]
    points = np.array([line[1:4] for line in lines if line[0] == "v"], float)
    faces = [[int(corner.split("/")[0]) - 1 for corner in line[1:]] for line in lines if line[0] == "f"]
    return points[np.array(faces)]


def volume_ml(triangles: np.ndarray) -> float:
    """By the divergence theorem: positive where the surface is turned outwards."""
    a, b, c = triangles.transpose(1, 0, 2)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000)


def is_closed(triangles: np.ndarray) -> bool:
    """Whether each edge is walked as often in one direction as in the other."""
    _, names = np.unique(np.round(triangles.reshape(-1, 3), 3), axis=0, return_inverse=True)
    names = names.reshape(-1, 3)
    edges = Counter((int(a), int(b)) for corners in names for a, b in zip(corners, np.roll(corners, -1), strict=True))
    return all(edges[b, a] == count for (a, b), count in edges.items() if a != b)


def a_ball(spacing: tuple[float, float, float], radius_mm: float = 25.0) -> np.ndarray:
    grid = np.meshgrid(*(np.arange(-3, 2 * radius_mm / s + 4) * s - radius_mm for s in spacing[::-1]), indexing="ij")
    return (sum(axis**2 for axis in grid) <= radius_mm**2)[None]


@pytest.mark.parametrize("spacing", [(1.4, 1.4, 8.0), (1.25, 1.25, 10.0)])
def test_on_a_phantom_every_surface_is_closed_and_has_the_volume_of_its_mask(tmp_path, spacing):
    truth = beating_heart(1, frames=8, slices=10, size=96, spacing=spacing, frame_indices=(0, 3)).truth
    paths = write_surfaces(tmp_path, truth)
    assert sorted(path.name for path in paths) == sorted(
        f"frame{t:02d}_{s}.stl" for t in (0, 1) for s in ("LV", "MYO", "RV")
    )
    for path in paths:
        frame, name = int(path.stem[5:7]), path.stem[8:]
        value = next(structure.value for structure in STRUCTURES if structure.name == name)
        triangles = read_stl(path)
        assert is_closed(triangles)
        assert volume_ml(triangles) == pytest.approx((truth.labels[frame] == value).sum() * truth.voxel_ml, rel=0.025)


@pytest.mark.parametrize("handedness", [1, -1])
def test_a_surface_lies_where_its_voxels_lie_and_is_turned_outwards(tmp_path, handedness):
    affine = oblique_affine((1.0, 1.0, 1.0), handedness)
    ball = a_ball((1.0, 1.0, 1.0), 12.0)
    (path,) = write_surfaces(tmp_path, segmentation(ball * LV.value, affine))
    triangles = read_stl(path)
    voxels = np.argwhere(ball[0])[:, ::-1]
    centre = affine[:3, :3] @ voxels.mean(axis=0) + affine[:3, 3]
    distances = np.linalg.norm(triangles.reshape(-1, 3) - centre, axis=1)
    assert volume_ml(triangles) == pytest.approx(4 / 3 * np.pi * 12.0**3 / 1000, rel=0.03)
    assert abs(distances - 12.0).max() < 1.0


def test_smoothing_takes_the_steps_between_thick_slices_away(tmp_path):
    spacing = (1.25, 1.25, 10.0)
    affine = np.diag([*spacing, 1.0])
    (path,) = write_surfaces(tmp_path, segmentation(a_ball(spacing) * LV.value, affine))
    triangles = read_stl(path)
    a, b, c = triangles.transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    areas = np.linalg.norm(normals, axis=1) / 2
    sides = np.abs(normals[:, 2]) < 1e-3 * np.linalg.norm(normals, axis=1)
    assert areas.sum() == pytest.approx(4 * np.pi * 25.0**2, rel=0.12)  # that of the steps is 18 % larger
    assert areas[sides].sum() < 0.05 * areas.sum()


def test_both_formats_hold_the_same_surface(tmp_path):
    masks = segmentation(a_ball((2.0, 2.0, 5.0)) * RV.value, oblique_affine((2.0, 2.0, 5.0)))
    (stl,), (obj,) = write_surfaces(tmp_path, masks, "stl"), write_surfaces(tmp_path, masks, "obj")
    assert (stl.name, obj.name) == ("frame00_RV.stl", "frame00_RV.obj")
    assert np.allclose(read_stl(stl), read_obj(obj), atol=1e-2)


def test_the_file_says_that_its_coordinates_are_lps(tmp_path):
    (path,) = write_surfaces(tmp_path, segmentation(a_ball((3.0, 3.0, 3.0)) * LV.value, np.eye(4)))
    assert b"SPACE=LPS" in path.read_bytes()[:80]


@pytest.mark.parametrize("what", ["one voxel", "one slice", "a ring of one voxel", "voxels that touch at a corner"])
def test_small_and_thin_masks_give_closed_surfaces(tmp_path, what):
    labels = np.zeros((1, 3, 12, 12), np.uint8)
    if what == "one voxel":
        labels[0, 1, 5, 5] = MYO.value
    elif what == "one slice":
        labels[0, 0, 3:9, 3:9] = MYO.value
    elif what == "a ring of one voxel":
        labels[0, :, 3:9, 3:9] = MYO.value
        labels[0, :, 4:8, 4:8] = 0
    else:
        labels[0, 1, 4:6, 4:6] = labels[0, 1, 6:8, 6:8] = MYO.value
    (path,) = write_surfaces(tmp_path, segmentation(labels, np.diag([1.5, 1.5, 8.0, 1.0])))
    assert is_closed(read_stl(path))


def test_a_mask_that_fills_the_picture_is_closed_too(tmp_path):
    labels = np.full((1, 4, 10, 10), LV.value)
    (path,) = write_surfaces(tmp_path, segmentation(labels, np.diag([2.0, 2.0, 8.0, 1.0])))
    assert is_closed(read_stl(path))


def test_a_structures_name_becomes_a_safe_file_name(tmp_path):
    masks = segmentation(a_ball((3.0, 3.0, 3.0)) * 7, np.eye(4))
    masks = dataclasses.replace(masks, structures=(Structure(7, "scar: a/b", (1, 1, 0)),))
    assert [path.name for path in write_surfaces(tmp_path, masks)] == ["frame00_scar__a_b.stl"]


def test_nothing_segmented_and_unknown_formats_are_refused(tmp_path):
    masks = segmentation(np.zeros((1, 2, 4, 4)), np.eye(4))
    with pytest.raises(CardiacSegError, match="no mask"):
        write_surfaces(tmp_path, masks)
    with pytest.raises(CardiacSegError, match="'ply' is not known"):
        write_surfaces(tmp_path, masks, "ply")
    assert list(tmp_path.iterdir()) == []


def test_without_vtk_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vtkmodules", None)
    with pytest.raises(CardiacSegError, match=r"need the package vtk; install it with 'cardiacseg\[surfaces\]'"):
        write_surfaces(tmp_path, segmentation(a_ball((3.0, 3.0, 3.0)) * LV.value, np.eye(4)))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CardiacSegError, match="does not exist"):
        write_surfaces(tmp_path / "gone", segmentation(a_ball((3.0, 3.0, 3.0)) * LV.value, np.eye(4)))
