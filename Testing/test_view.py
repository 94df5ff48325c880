"""The field of view of the engine: a mask comes back to the native pixels it came from, wherever the heart lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from CardiacSegLib.cine import Cine, Segmentation, Status
from CardiacSegLib.engines.propagation import PropagationEngine, border_confidence
from CardiacSegLib.engines.view import LATTICE_MM, MARGIN_MM, SMALLEST_MM, View, window
from CardiacSegLib.networks.cstm import SIZES, CSTMConfig, Features
from CardiacSegLib.networks.matching import Memory

VALUES = (4, 7)


@dataclass(frozen=True)
class Scene:
    """A picture of some shape with a round heart: centre (row, column) and radius in mm; spacing is (x, y) in mm."""

    shape: tuple[int, int]
    spacing: tuple[float, float]
    centre: tuple[float, float]
    radius: float

    def cine(self, frames: int = 3) -> Cine:
        noise = np.random.default_rng(0).integers(0, 1000, (frames, 2, *self.shape)).astype(np.int16)
        return Cine(noise, np.diag([*self.spacing, 8.0, 1.0]), np.arange(frames) * 30.0)

    def labels(self) -> np.ndarray:
        rows, columns = np.mgrid[: self.shape[0], : self.shape[1]]
        away = np.hypot((rows - self.centre[0]) * self.spacing[1], (columns - self.centre[1]) * self.spacing[0])
        return np.select([away < 0.6 * self.radius, away < self.radius], [7, 4], 0).astype(np.uint8)


SCENES = {
    "in the middle": Scene((180, 200), (1.4, 1.4), (90, 100), 40),
    "small picture, narrower than the view": Scene((64, 64), (1.4, 1.4), (32, 32), 30),
    "at the corner of a small picture": Scene((64, 64), (1.4, 1.4), (5, 60), 20),
    "at the corner of a large picture": Scene((300, 256), (0.7, 0.7), (10, 250), 35),
    "cut by the border": Scene((128, 128), (1.4, 1.4), (0, 0), 25),
    "fine pixels": Scene((300, 256), (0.7, 0.7), (150, 128), 35),
    "odd number of pixels": Scene((181, 143), (1.13, 1.13), (77, 70), 37),
    "long pixels": Scene((200, 180), (1.8, 0.9), (100, 90), 35),
    "tall pixels": Scene((120, 240), (0.8, 1.7), (60, 120), 35),
    "narrow in one direction": Scene((60, 256), (1.4, 1.4), (30, 200), 30),
    "coarse pixels": Scene((64, 64), (5.0, 5.0), (32, 32), 40),
    "tiny picture": Scene((16, 16), (1.4, 1.4), (8, 8), 8),
    "larger than the smallest view": Scene((512, 512), (0.7, 0.7), (256, 256), 150),
}


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest) -> Scene:
    return SCENES[request.param]


def view_of(scene: Scene, spacing_mm: float = 1.4, shorter_side: int = 0, multiple: int = 8) -> View:
    return View(scene.cine(), scene.labels() > 0, spacing_mm, shorter_side, multiple)


def there_and_back(view: View, labels: np.ndarray) -> np.ndarray:
    """The labels as the network sees them, and back on the native pixels."""
    masks = view.masks(labels, VALUES)
    maps = torch.cat([1 - masks.sum(dim=1, keepdim=True), masks], dim=1)
    winner = view.native(maps).argmax(dim=1)[0].numpy()
    return view.paste(np.array([0, *VALUES], np.uint8)[winner], labels.shape)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


# There and back -------------------------------------------------------------------------------------------------------


def test_a_mask_comes_back_to_the_pixels_it_came_from(scene: Scene) -> None:
    labels = scene.labels()
    back = there_and_back(view_of(scene), labels)
    assert back.shape == labels.shape and back.dtype == np.uint8
    for value in VALUES:
        assert dice(back == value, labels == value) > 0.998


def test_the_view_of_the_whole_picture_returns_masks_as_well(scene: Scene) -> None:
    labels = scene.labels()
    view = view_of(scene, spacing_mm=0, shorter_side=192, multiple=16)
    assert (view.rows, view.columns) == ((0, scene.shape[0]), (0, scene.shape[1])) and min(view.size) == 192
    for value in VALUES:
        assert dice(there_and_back(view, labels) == value, labels == value) > 0.99


def test_outside_the_view_is_background() -> None:
    scene = SCENES["at the corner of a large picture"]
    view = view_of(scene)
    pasted = view.paste(
        np.ones((view.rows[1] - view.rows[0], view.columns[1] - view.columns[0]), np.uint8), scene.shape
    )
    expected = np.zeros(scene.shape, np.uint8)
    expected[view.rows[0] : view.rows[1], view.columns[0] : view.columns[1]] = 1
    np.testing.assert_array_equal(pasted, expected)
    assert not pasted.all()


# The rectangle --------------------------------------------------------------------------------------------------------


def test_the_heart_is_seen_with_its_margin_where_there_is_picture(scene: Scene) -> None:
    view = view_of(scene)
    labels = scene.labels()
    for axis, (first, last), mm in ((1, view.rows, scene.spacing[1]), (0, view.columns, scene.spacing[0])):
        heart = np.flatnonzero(labels.any(axis=axis))
        size = labels.shape[1 - axis]
        margin = (MARGIN_MM - LATTICE_MM / 2) / mm - 1
        assert first <= max(heart[0] - margin, 0) and last >= min(heart[-1] + 1 + margin, size)
        assert (last - first) * mm >= SMALLEST_MM - mm


@pytest.mark.parametrize("mm", [0.7, 1.0, 1.4, 1.9])
@pytest.mark.parametrize("extent_mm", [30, 100, 130, 170])
def test_the_margin_is_seen_wherever_the_heart_lies(extent_mm: float, mm: float) -> None:
    size, extent = round(300 / mm), round(extent_mm / mm)
    margin = (MARGIN_MM - LATTICE_MM / 2) / mm - 1
    for start in range(size - extent):
        first, last = window(np.arange(start, start + extent), size, mm)
        assert 0 <= first <= max(start - margin, 0) and size >= last >= min(start + extent + margin, size)


@pytest.mark.parametrize("mm", [0.7, 1.0, 1.4, 1.9])
def test_the_view_is_as_small_as_its_steps_allow(mm: float) -> None:
    for extent_mm in range(20, 200, 7):
        first, last = window(np.arange(round(200 / mm), round((200 + extent_mm) / mm)), round(500 / mm), mm)
        needed = max(extent_mm + 2 * MARGIN_MM, SMALLEST_MM)
        assert needed - 3 * mm <= (last - first) * mm < needed + 2 * LATTICE_MM + 3 * mm


@pytest.mark.parametrize("mm", [0.7, 1.0, 1.4, 1.9])
@pytest.mark.parametrize("extent_mm", [50, 130])
def test_a_mask_drawn_a_pixel_further_out_rarely_moves_the_view(extent_mm: float, mm: float) -> None:
    """A heart of this extent, wherever it lies and with a few pixels more or less, is drawn one pixel longer."""
    size, moved = round(400 / mm), []
    for extent in range(round(extent_mm / mm), round((extent_mm + 6) / mm)):
        for first in range(round(100 / mm), round(200 / mm)):
            before = window(np.arange(first, first + extent), size, mm)
            moved.append(window(np.arange(first, first + extent + 1), size, mm) != before)
    assert np.mean(moved) < 0.2 * mm, "half a pixel in steps of 5.6 mm for the middle, and as much for the width"


def test_hearts_at_nearly_the_same_place_share_few_views() -> None:
    views = {window(np.arange(first, first + 50), 400, 1.0) for first in range(150, 206)}
    assert 10 <= len(views) <= 11 and len({last - first for first, last in views}) <= 2


def test_the_view_stays_in_the_picture_where_it_can(scene: Scene) -> None:
    view = view_of(scene)
    for (first, last), size in zip((view.rows, view.columns), scene.shape, strict=True):
        if last - first < size:
            assert first >= 0 and last <= size


def test_the_network_gets_the_pixel_size_and_the_multiple_it_needs(scene: Scene) -> None:
    view = view_of(scene)
    for (first, last), mm, pixels in zip((view.rows, view.columns), scene.spacing[::-1], view.size, strict=True):
        assert pixels % 8 == 0
        assert (last - first) * mm / pixels == pytest.approx(1.4, rel=0.05)


def test_the_picture_is_scaled_to_the_unit_interval(scene: Scene) -> None:
    cine = scene.cine()
    picture = view_of(scene).picture(cine.frames[0, 0])
    assert picture.dtype == torch.float32 and picture.isfinite().all()
    assert picture.min() >= 0 and picture.max() <= 1 + 1e-5 and picture.std() > 0.02


def test_beyond_the_picture_its_border_is_continued_but_masks_are_not() -> None:
    scene = SCENES["small picture, narrower than the view"]
    view = view_of(scene)
    plane = np.full(scene.shape, 500, np.int16)
    np.testing.assert_allclose(view.picture(plane), view.picture(plane)[0, 0, 50, 50], atol=1e-5)
    everywhere = view.masks(np.full(scene.shape, 4, np.uint8), (4,))[0, 0]
    assert everywhere[0].max() == 0 and everywhere[56, 56] == 1
    assert float(everywhere.mean()) == pytest.approx(64 * 64 / 112**2, rel=0.02)


# Through the engine ---------------------------------------------------------------------------------------------------


class Copyist(nn.Module):
    """A network that answers each question with the first mask in its memory."""

    config: CSTMConfig = SIZES["small"]

    def encode_key(self, pictures: Tensor) -> Features:
        tokens = pictures.flatten(2).transpose(1, 2)
        return Features(tokens, tokens, pictures, pictures, pictures)

    def encode_value(self, pictures: Tensor, features: Features, masks: Tensor) -> tuple[Tensor, Tensor]:
        tokens = masks.flatten(2).transpose(1, 2)
        return tokens, tokens

    def read(self, query: Features, memory: Memory, slots: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        assert valid[:, 0].all()
        return memory.value4[slots[:, 0]], memory.value3[slots[:, 0]]

    def decode(self, query: Features, read4: Tensor, read3: Tensor, objects: int) -> Tensor:
        assert read4.shape[-1] == objects
        return torch.logit(read4.transpose(1, 2).unflatten(2, query.res4.shape[-2:]), eps=1e-6)


def centre_mm(mask: np.ndarray, scene: Scene) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0) * scene.spacing[::-1]


def test_a_mask_that_is_copied_lies_where_it_was_drawn(scene: Scene) -> None:
    cine = scene.cine(frames=5)
    labels = np.zeros(cine.shape, np.uint8)
    labels[0] = scene.labels()
    labels[0, 1] = np.where(labels[0, 1] == 7, 4, 0)
    status = np.zeros(cine.shape[:2], np.uint8)
    status[0] = Status.ANNOTATED
    engine = PropagationEngine(Copyist(), torch.device("cpu"))
    found = list(engine.segment(cine, Segmentation(labels, status, cine.affine)))
    assert len(found) == 8
    for prediction in found:
        drawn = labels[0, prediction.slice]
        for value in set(np.unique(drawn)) - {0}:
            assert dice(prediction.labels == value, drawn == value) > 0.97
            assert np.abs(centre_mm(prediction.labels == value, scene) - centre_mm(drawn == value, scene)).max() < 0.2
        assert set(np.unique(prediction.labels)) == set(np.unique(drawn))


# Confidence -----------------------------------------------------------------------------------------------------------


def test_confidence_is_taken_at_the_borders_only() -> None:
    winner = torch.zeros(1, 6, 6, dtype=torch.long)
    winner[0, :, 3:] = 2
    best = torch.full((1, 6, 6), 0.9)
    best[0, :, 2:4] = 0.5
    assert border_confidence(best, winner) == pytest.approx([0.5])


def test_confidence_of_a_slice_without_borders_is_that_of_the_whole() -> None:
    best = torch.tensor([[[0.6, 0.8], [1.0, 1.0]]])
    assert border_confidence(best, torch.zeros(1, 2, 2, dtype=torch.long)) == pytest.approx([0.85])


@pytest.mark.parametrize("shift", [0, 1])
def test_a_slice_that_is_sure_has_a_confidence_of_at_most_one(shift: int) -> None:
    scene = SCENES["coarse pixels"]
    cine = scene.cine(frames=2 + shift)
    labels = np.zeros(cine.shape, np.uint8)
    labels[0, 0] = scene.labels()
    status = np.zeros(cine.shape[:2], np.uint8)
    status[0] = Status.ANNOTATED
    found = list(
        PropagationEngine(Copyist(), torch.device("cpu")).segment(cine, Segmentation(labels, status, cine.affine))
    )
    sure = [prediction.confidence for prediction in found if prediction.slice == 1]
    assert all(0.99 < confidence <= 1 for confidence in sure)
