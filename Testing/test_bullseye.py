"""The bullseye: which segment is where, what its color says, and that gaps are seen as gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from CardiacSegLib.errors import CardiacSegError
from CardiacSegLib.writers.bullseye import write_bullseye

ORANGE = (0xF4, 0xA5, 0x82)
TURNS = {1: 90, 2: 150, 4: 270, 5: 330, 13: 90, 14: 180}


def rows(**changes: dict[int, float | None]) -> list[dict]:
    """All segments with 8 mm, 12 mm and 50 %, but for the changes: key -> {number: value}."""
    usual = {"ed_mm": 8.0, "es_mm": 12.0, "thickening_percent": 50.0}
    return [
        {"number": n, "name": "", **{key: changes.get(key, {}).get(n, value) for key, value in usual.items()}}
        for n in range(1, 18)
    ]


def picture(folder: Path, segments: list[dict], model: int = 16) -> np.ndarray:
    """(Y, X, 3) of what was written."""
    write_bullseye(folder / "bullseye.png", segments, model)
    with Image.open(folder / "bullseye.png") as image:
        return np.asarray(image.convert("RGB")).astype(int)


_plain: list[np.ndarray] = []


def plain(folder: Path) -> np.ndarray:
    """The picture without changes."""
    if not _plain:
        _plain.append(picture(folder, rows()))
    return _plain[0]


def changed(folder: Path, key: str, number: int, value: float | None, model: int = 16) -> np.ndarray:
    """(Y, X) bool: the pixels that differ when one segment has another value."""
    other = picture(folder, rows(**{key: {number: value}}), model)
    differing = ((plain(folder) if model == 16 else picture(folder, rows(), model)) != other).any(axis=2)
    differing[int(0.92 * len(differing)) :] = False  # the line about gaps
    return differing


def center(mask: np.ndarray) -> np.ndarray:
    """Column and row of the middle of the pixels."""
    return np.argwhere(mask).mean(axis=0)[::-1]


def test_segments_lie_as_the_aha_has_them_with_the_septum_on_the_left(tmp_path):
    places = {number: center(changed(tmp_path, "ed_mm", number, 15.0)) for number in TURNS}
    middle = (places[1] + places[4]) / 2
    for number, degrees in TURNS.items():
        x, y = (places[number] - middle) * [1, -1]
        away = (np.degrees(np.arctan2(y, x)) - degrees + 180) % 360 - 180
        assert abs(away) < 8, number
    assert np.hypot(*(places[13] - middle)) < np.hypot(*(places[1] - middle)) / 2


def test_each_panel_shows_its_own_quantity_from_left_to_right(tmp_path):
    left, mid, right = (
        center(changed(tmp_path, key, 1, value))[0]
        for key, value in (("ed_mm", 15.0), ("es_mm", 5.0), ("thickening_percent", 95.0))
    )
    width = plain(tmp_path).shape[1]
    assert left < width / 3 < mid < 2 * width / 3 < right


def test_the_same_value_has_the_same_color_in_every_study(tmp_path):
    where = changed(tmp_path, "ed_mm", 1, 15.0)
    others = picture(tmp_path, rows(ed_mm=dict.fromkeys(range(2, 18), 15.0)))
    inside = where & (np.indices(where.shape)[0] < center(where)[1] * 2)
    np.testing.assert_allclose(others[inside], plain(tmp_path)[inside], atol=1)


def test_thicker_is_darker_and_thinning_is_orange(tmp_path):
    where = changed(tmp_path, "ed_mm", 1, 15.0)
    light, dark = (picture(tmp_path, rows(ed_mm={1: value}))[where].mean() for value in (6.0, 15.0))
    assert dark < light - 40

    def orange(value: float) -> int:
        return int((picture(tmp_path, rows(thickening_percent={4: value})) == ORANGE).all(axis=2).sum())

    assert orange(-5.0) > orange(5.0) + 1000


def test_a_segment_without_data_is_hatched_and_a_line_says_so(tmp_path):
    where = changed(tmp_path, "es_mm", 5, None)
    whole, gap = plain(tmp_path), picture(tmp_path, rows(es_mm={5: None}))
    strip = slice(int(0.95 * len(whole)), None)
    assert (whole[strip] == 255).all()
    assert not (gap[strip] == 255).all()
    inside = gap[where]
    assert (inside == 255).all(axis=1).mean() > 0.3
    assert (inside < 100).all(axis=1).mean() > 0.05


@pytest.mark.parametrize("model", [16, 17])
def test_the_apical_cap_is_drawn_in_the_model_of_17_only(tmp_path, model):
    assert changed(tmp_path, "ed_mm", 17, 5.0, model).any() == (model == 17)


def test_nothing_at_all_gives_a_picture_of_gaps(tmp_path):
    nothing = [dict.fromkeys(("ed_mm", "es_mm", "thickening_percent"), None) | {"number": n} for n in range(1, 18)]
    assert (picture(tmp_path, nothing) < 100).any()


def test_a_folder_that_does_not_exist_is_named_and_nothing_is_left(tmp_path):
    with pytest.raises(CardiacSegError, match=r"missing.*does not exist"):
        write_bullseye(tmp_path / "missing" / "bullseye.png", rows())
    assert list(tmp_path.iterdir()) == []
