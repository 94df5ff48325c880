"""The degradations of the robustness benchmark do what their level says."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.benchmarks.degradation import LEVELS, degraded, scaled, shifted


def grey(value: float, size: int = 200) -> np.ndarray:
    return np.full((2, size, size), value, np.float32)


def test_frames_are_scaled_between_their_percentiles_and_cut_off() -> None:
    frames = np.random.default_rng(0).normal(500, 200, (2, 3, 40, 50)).astype(np.int16)
    low, high = np.percentile(frames, 1), np.percentile(frames, 99.5)
    found = scaled(frames)
    assert found.dtype == np.float32 and found.min() == 0 and found.max() == 1
    assert np.allclose(found, np.clip((frames - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize("sigma", LEVELS["Gaussian noise"])
def test_gaussian_noise_has_its_standard_deviation_and_stays_in_range(sigma: float) -> None:
    found = degraded(grey(0.5), "Gaussian noise", sigma, np.random.default_rng(0))
    assert found.mean() == pytest.approx(0.5, abs=0.003) and found.min() >= 0 and found.max() <= 1
    assert found.std() == pytest.approx(sigma, rel=0.03)
    assert degraded(grey(0.0), "Gaussian noise", sigma, np.random.default_rng(0)).min() == 0


@pytest.mark.parametrize("count", LEVELS["shot noise"])
@pytest.mark.parametrize("value", [0.1, 0.4])
def test_shot_noise_has_the_variance_of_counting(count: float, value: float) -> None:
    found = degraded(grey(value), "shot noise", count, np.random.default_rng(0))
    assert found.mean() == pytest.approx(value, rel=0.02)
    assert found.std() == pytest.approx((value / count) ** 0.5, rel=0.05)
    assert np.allclose(found * count, np.round(found * count), atol=1e-3)
    assert not degraded(grey(0.0), "shot noise", count, np.random.default_rng(0)).any()


@pytest.mark.parametrize("sigma", LEVELS["Gaussian blur"])
def test_blur_spreads_a_point_in_its_slice_as_a_gaussian_does(sigma: float) -> None:
    frames = np.zeros((2, 41, 41), np.float32)
    frames[0, 20, 20] = 1
    found = degraded(frames, "Gaussian blur", sigma, np.random.default_rng(0))
    line = np.exp(-((np.arange(41) - 20) ** 2) / (2 * sigma**2))
    assert np.allclose(found[0], np.outer(line, line) / line.sum() ** 2, atol=2e-4) and not found[1].any()
    assert np.allclose(degraded(grey(0.3), "Gaussian blur", sigma, np.random.default_rng(0)), 0.3, atol=1e-6)


def test_the_levels_of_a_kind_go_from_mild_to_strong() -> None:
    frames = np.random.default_rng(0).random((1, 64, 64)).astype(np.float32)
    for kind, levels in LEVELS.items():
        if kind != "shift":
            changes = [
                np.abs(degraded(frames, kind, level, np.random.default_rng(1)) - frames).mean() for level in levels
            ]
            assert changes == sorted(changes) and changes[0] > 0


def test_a_shift_moves_pictures_and_masks_alike_and_continues_the_border_of_the_picture_alone() -> None:
    frames = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 24
    assert np.array_equal(shifted(frames, 1, "edge")[..., 1:], frames[..., :-1])
    assert np.array_equal(shifted(frames, 2, "edge")[..., :2], np.repeat(frames[..., :1], 2, axis=-1))
    assert not shifted(frames, 2, "constant")[..., :2].any()
    assert np.array_equal(degraded(frames, "shift", 0.25, np.random.default_rng(0)), shifted(frames, 1, "edge"))
    assert np.array_equal(shifted(frames, 0, "constant"), frames)
