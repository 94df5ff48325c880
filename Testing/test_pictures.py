"""The panel's own pictures: where the lines of the curve and the fields of the bullseye lie, and in which color."""

from __future__ import annotations

import numpy as np
import pytest

from CardiacSegLib.anatomy import LV, MYO, RV, STRUCTURES
from CardiacSegLib.measures.aha import NAMES
from CardiacSegLib.pictures import draw_bullseye, draw_curves, segment_color
from CardiacSegLib.writers.bullseye import color_of, ink_on

SIZE = (300, 200)
VOLUMES = np.array([100.0, 80.0, 50.0, 60.0, 95.0])
TIMES = np.array([0.0, 100.0, 250.0, 300.0, 400.0])


def curve(volumes: np.ndarray = VOLUMES, times: np.ndarray | None = TIMES, **others: np.ndarray):
    return draw_curves({"LV": volumes, **others}, STRUCTURES, times, {"ED": 0, "ES": 2}, SIZE)


def test_points_stand_over_their_times_and_as_high_as_their_volumes() -> None:
    drawn = curve()
    color, (points,) = drawn.lines["LV"]
    left, top, width, height = drawn.box
    assert color == LV.color
    x, y = np.array(points).T
    assert x == pytest.approx(left + width * TIMES / 400)
    ml = (top + height - y) / (top + height - y[0]) * 100
    assert ml == pytest.approx(VOLUMES)
    assert drawn.phases == [(x[0], "ED"), (x[2], "ES")]
    assert y.min() > top


def test_the_numbers_beside_the_curve_stand_where_they_belong() -> None:
    drawn = curve()
    _, (points,) = drawn.lines["LV"]
    marks = {float(text): y for y, text in drawn.y_marks}
    assert marks[100] == pytest.approx(points[0][1])
    assert marks[60] == pytest.approx(points[3][1])
    places = {float(text): x for x, text in drawn.x_marks}
    assert places[0] == pytest.approx(points[0][0])
    assert places[400] == pytest.approx(points[4][0])
    assert drawn.x_unit == "ms"


def test_without_times_the_frames_are_counted_and_have_no_unit() -> None:
    drawn = curve(times=None)
    _, (points,) = drawn.lines["LV"]
    assert np.diff(np.array(points)[:, 0]) == pytest.approx(drawn.box[2] / 4)
    assert drawn.x_unit == ""


def test_a_frame_of_which_nothing_is_known_is_a_gap() -> None:
    volumes = VOLUMES.copy()
    volumes[1] = np.nan
    _, pieces = curve(volumes).lines["LV"]
    assert [len(piece) for piece in pieces] == [1, 3]


def test_the_myocardium_is_drawn_only_where_it_is_all_there_is() -> None:
    assert set(curve(RV=VOLUMES, MYO=VOLUMES).lines) == {"LV", "RV"}
    alone = draw_curves({"LV": 0 * VOLUMES, "MYO": VOLUMES}, STRUCTURES, TIMES, {}, SIZE)
    assert alone.lines["MYO"][0] == MYO.color


def test_nothing_is_drawn_where_nothing_is_known_and_one_frame_is_enough() -> None:
    assert curve(np.full(5, np.nan)).lines == {}
    one = draw_curves({"RV": VOLUMES[:1]}, STRUCTURES, None, {"ED": 0, "ES": None}, SIZE)
    assert one.lines["RV"][0] == RV.color
    assert [name for _, name in one.phases] == ["ED"]


def fields(values: dict[int, float | None], scale: tuple[float, float] = (4, 16), size: tuple[int, int] = SIZE):
    rows = [(number, values.get(number, 8.0)) for number in range(1, 17)]
    return {field.number: field for field in draw_bullseye(rows, scale, "{:.1f}", size)}


SIDES = {
    "anterior": (0, 1), "inferior": (0, -1), "septal": (-1, 0), "lateral": (1, 0), "anteroseptal": (-1, 1),
    "inferoseptal": (-1, -1), "inferolateral": (1, -1), "anterolateral": (1, 1),
}  # fmt: skip


def test_every_segment_lies_on_the_side_that_its_name_says_and_the_base_is_outside() -> None:
    found = fields({})
    for number in range(1, 17):
        right, up = SIDES[NAMES[number - 1].split()[-1]]
        x, y = found[number].middle[0] - SIZE[0] / 2, SIZE[1] / 2 - found[number].middle[1]
        assert np.sign(round(x, 6)) == right, NAMES[number - 1]
        assert np.sign(round(y, 6)) == up, NAMES[number - 1]
    far = {n: np.hypot(found[n].middle[0] - SIZE[0] / 2, found[n].middle[1] - SIZE[1] / 2) for n in found}
    assert max(far[n] for n in range(13, 17)) < min(far[n] for n in range(7, 13))
    assert max(far[n] for n in range(7, 13)) < min(far[n] for n in range(1, 7))


def test_the_fields_fill_the_bullseye_without_overlap_inside_the_picture() -> None:
    found = fields({}, size=(120, 300))
    areas = []
    for field in found.values():
        x, y = np.array(field.outline).T
        assert x.min() >= 0
        assert x.max() <= 120
        areas.append(0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)))
    outer = max(np.hypot(x - 60, y - 150) for field in found.values() for x, y in field.outline)
    assert sum(areas) == pytest.approx(np.pi * outer**2 * (1 - 0.22**2), rel=0.01)


def test_a_segment_without_data_is_white_and_has_no_number() -> None:
    field = fields({5: None})[5]
    assert (field.text, field.value, field.color) == ("", None, (1.0, 1.0, 1.0))
    assert fields({5: 7.26})[5].text == "7.3"


def test_thicker_is_darker_up_to_the_end_of_the_scale_and_thinning_is_orange() -> None:
    light = [sum(color_of(value, (4, 16))) for value in (4, 7, 10, 13, 16)]
    assert light == sorted(light, reverse=True)
    assert color_of(30, (4, 16)) == color_of(16, (4, 16))
    red, green, blue = color_of(-5, (0, 100))
    assert red > green > blue


def test_numbers_can_be_read_on_every_color() -> None:
    def light(color):
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for value in np.linspace(4, 16, 49):
        color = color_of(float(value), (4, 16))
        bright, dark = sorted((light(color), light(ink_on(color))), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) > 3, value


def test_segments_beside_each_other_have_colors_that_can_be_told_apart() -> None:
    colors = np.array([segment_color(number) for number in range(1, 18)])
    assert (colors >= 0).all()
    assert (colors <= 1).all()
    apart = np.abs(colors[:, None] - colors[None]).max(axis=2) + np.eye(17)
    assert apart.min() > 0.1
