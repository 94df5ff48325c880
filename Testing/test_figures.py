"""Pictures and tables: they show every frame, the right colors at the right place, and stay small."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from CardiacSegLib.anatomy import LV, MYO, RV
from CardiacSegLib.cine import Cine, Segmentation
from CardiacSegLib.phantom import Phantom, beating_heart
from CardiacSegLib.writers.figures import write_curve, write_overlay
from CardiacSegLib.writers.tables import write_measures, write_volumes

TIMES = np.arange(8) * 100.0
LV_ML = np.array([150.0, 140, 120, 100, 80, 70, 100, 140])


@pytest.fixture(scope="module")
def heart() -> Phantom:
    return beating_heart(5, frames=6, slices=5, size=96, spacing=(1.8, 1.8, 12.0))


def has_color(picture: np.ndarray, color: tuple[float, float, float], tolerance: float = 12) -> np.ndarray:
    """(rows, columns) bool: where the picture (RGB) has the color (0..1)."""
    return (np.abs(picture[..., :3].astype(float) - np.array(color) * 255) < tolerance).all(axis=-1)


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as gif:
        pictures = []
        for index in range(gif.n_frames):
            gif.seek(index)
            pictures.append(np.asarray(gif.convert("RGB")))
        return pictures


def one_pixel_square(affine: np.ndarray) -> tuple[Cine, Segmentation]:
    """One slice whose quadrant of the largest x and smallest y is LV."""
    labels = np.zeros((2, 1, 40, 40), np.uint8)
    labels[:, :, 5:15, 25:35] = LV.value
    frames = np.zeros(labels.shape, np.int16)
    frames[..., 0, 0] = 100
    return Cine(frames, affine, np.array([0.0, 500.0])), Segmentation(labels, np.full((2, 1), 2, np.uint8), affine)


def test_the_curve_has_the_colors_of_the_cavities_and_not_of_the_myocardium(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    write_curve(path, {"LV": LV_ML, "MYO": LV_ML * 0 + 90, "RV": LV_ML + 20}, TIMES, 0, 5)
    picture = np.asarray(Image.open(path))
    assert picture.shape[1] >= 1000
    assert has_color(picture, LV.color).sum() > 500
    assert has_color(picture, RV.color).sum() > 500
    assert not has_color(picture, MYO.color).any()


def test_the_curve_shows_the_myocardium_where_it_is_all_there_is(tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.png", {"LV": LV_ML * 0, "MYO": LV_ML}, None, None, None)
    assert has_color(np.asarray(Image.open(tmp_path / "curve.png")), MYO.color).sum() > 500


def test_the_expert_adds_markers(tmp_path: Path) -> None:
    for name, expert in (("without", None), ("with", {"LV": {0: 130.0, 5: 60.0}})):
        write_curve(tmp_path / f"{name}.png", {"LV": LV_ML}, TIMES, 0, 5, expert)
    red = [has_color(np.asarray(Image.open(tmp_path / f"{n}.png")), LV.color).sum() for n in ("without", "with")]
    assert red[1] > red[0] + 100


def test_frames_of_which_nothing_is_known_leave_a_gap(tmp_path: Path) -> None:
    unknown = np.where(np.arange(8) == 0, LV_ML, np.nan)
    write_curve(tmp_path / "all.png", {"LV": LV_ML}, TIMES, None, None)
    write_curve(tmp_path / "one.png", {"LV": unknown}, TIMES, None, None)
    red = [has_color(np.asarray(Image.open(tmp_path / f"{n}.png")), LV.color).sum() for n in ("all", "one")]
    assert 0 < red[1] < red[0] / 3


def test_the_overlay_has_one_picture_a_frame_and_is_small(tmp_path: Path, heart: Phantom) -> None:
    write_overlay(tmp_path / "overlay.gif", heart.cine, heart.truth)
    pictures = frames_of(tmp_path / "overlay.gif")
    assert len(pictures) == len(heart.cine.frames)
    assert 500 < pictures[0].shape[1] <= 900
    assert (tmp_path / "overlay.gif").stat().st_size < 5_000_000


def test_the_overlay_beats_as_the_masks_do(tmp_path: Path, heart: Phantom) -> None:
    write_overlay(tmp_path / "overlay.gif", heart.cine, heart.truth)
    pictures = frames_of(tmp_path / "overlay.gif")
    volumes = heart.volumes_ml["LV"]
    # The tinted cavity is redder than it is blue; its area follows the volume.
    red = [(picture[..., 0].astype(int) - picture[..., 2] > 25).sum() for picture in pictures]
    assert np.argmin(red) == np.argmin(volumes)
    assert np.corrcoef(red, volumes)[0, 1] > 0.9


def test_a_noisy_long_cine_is_drawn_narrower_to_stay_below_5_mb(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 1000, (40, 4, 128, 128)).astype(np.int16)
    cine = Cine(frames, np.diag([1.4, 1.4, 8.0, 1.0]), np.arange(40) * 20.0)
    masks = Segmentation(np.full(frames.shape, LV.value, np.uint8), np.full((40, 4), 2, np.uint8), cine.affine)
    write_overlay(tmp_path / "overlay.gif", cine, masks)
    pictures = frames_of(tmp_path / "overlay.gif")
    assert len(pictures) == 40
    assert pictures[0].shape[1] < 900
    assert (tmp_path / "overlay.gif").stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("x_axis", "y_axis"),
    [((1, 0, 0), (0, 0, -1)), ((0, 0, -1), (-1, 0, 0)), ((-1, 0, 0), (0, 0, 1)), ((0, 0, 1), (1, 0, 0))],
    ids=["as usual", "turned by a quarter", "upside down", "turned by three quarters"],
)
def test_the_patients_left_is_right_and_the_feet_are_down(tmp_path: Path, x_axis: tuple, y_axis: tuple) -> None:
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = x_axis, y_axis, (0, 1, 0)
    cine, masks = one_pixel_square(affine)
    write_overlay(tmp_path / "overlay.gif", cine, masks)
    picture = frames_of(tmp_path / "overlay.gif")[0].astype(int)
    picture = picture[30:]  # below the header, which names the structure in its color
    rows, columns = np.nonzero(picture[..., 0] - picture[..., 2] > 25)
    toward = np.array(x_axis) - np.array(y_axis)  # where the square lies from the middle, in LPS
    assert (columns.mean() > picture.shape[1] / 2) == (toward[0] > 0)
    assert (rows.mean() > picture.shape[0] / 2) == (toward[2] < 0)


def test_volumes_that_are_not_known_are_empty_fields(tmp_path: Path) -> None:
    write_volumes(tmp_path / "v.csv", {"LV": np.array([1.23456, np.nan]), "segment 7": np.array([2.0, 0.0])}, None)
    with open(tmp_path / "v.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"frame": "0", "time_ms": "", "lv_ml": "1.235", "segment_7_ml": "2.0"},
        {"frame": "1", "time_ms": "", "lv_ml": "", "segment_7_ml": "0.0"},
    ]


def test_measures_are_strict_json(tmp_path: Path) -> None:
    write_measures(tmp_path / "m.json", {"lv_edv_ml": None, "ed_frame": 3})
    assert (tmp_path / "m.json").read_text() == '{\n  "lv_edv_ml": null,\n  "ed_frame": 3\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_measures(tmp_path / "n.json", {"lv_edv_ml": float("nan")})
    assert not (tmp_path / "n.json").exists()
