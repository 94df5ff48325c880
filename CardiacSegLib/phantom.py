"""A beating short-axis heart with known truth: ventricles, organs around them, MR or CT contrast, from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .anatomy import LV, MYO, RV
from .cine import Cine, Patient, Segmentation, Status
from .errors import CardiacSegError
from .phantom_heart import ANGLES, Heart, contraction, draw_heart, ripple, slice_depths

Spacing = tuple[float, float, float]

CT_VALUES = {
    "lv": 350, "rv": 300, "atrium": 340, "aorta": 350, "myo": 110, "muscle": 60, "liver": 90, "fat": -90,
    "lung": -850, "air": -990, "stomach": 30,
}  # fmt: skip
"""Typical Hounsfield units of a coronary CT angiography."""


@dataclass(frozen=True)
class Phantom:
    """A simulated cine, its true masks on the same grid, and the true volumes.

    volumes_ml: "LV", "MYO", "RV" -> (T,) ml. They are the sum over the slices of the area of the section at the slice
    centre, times the slice distance (the disc summation of clinical practice): exact for LV and MYO from their
    contours, anti-aliased on the pixel grid for RV.
    """

    cine: Cine
    truth: Segmentation
    volumes_ml: dict[str, np.ndarray]


def beating_heart(
    seed: int,
    frames: int = 25,
    slices: int = 10,
    size: int = 128,
    spacing: Spacing = (1.4, 1.4, 8.0),
    modality: str = "MR",
    ejection_fraction: float | None = None,
    frame_indices: Sequence[int] | None = None,
) -> Phantom:
    """Draw the heart that belongs to a seed; the same arguments give the same heart bit for bit.

    frames: frames in one heart cycle, frame 0 is end-diastole. slices: counted from the base. size: rows and columns.
    spacing: (x, y, z) mm. modality: "MR" (int16, arbitrary units) or "CT" (int16, Hounsfield units).
    ejection_fraction: of the LV in percent, 5 to 85; None draws it too. frame_indices: draw only these frames of the
    cycle, in increasing order; they are identical to the same frames of the whole cine.
    Papillary muscles and trabeculae are dark but belong to the LV label; atria and outflow tracts are unlabelled.
    Raises CardiacSegError for a value outside these ranges.
    """
    indices = list(range(frames)) if frame_indices is None else [int(i) for i in frame_indices]
    _check(frames, slices, size, spacing, modality, ejection_fraction, indices)
    heart = draw_heart(np.random.default_rng([seed, 0]), slices, spacing[2], ejection_fraction)
    scene = _Scene(np.random.default_rng([seed, 1]), heart, slices, size, spacing, modality)
    beat = contraction(frames, heart.systole)
    images = np.empty((len(indices), slices, size, size), np.float32)
    labels = np.zeros(images.shape, np.uint8)
    rv_mm2 = np.zeros(len(indices))
    for t, index in enumerate(indices):
        for z in range(slices):
            images[t, z], labels[t, z], area = scene.draw(z, beat[index], index / frames)
            rv_mm2[t] += area
        images[t] = scene.acquire(images[t], np.random.default_rng([seed, 2, index]))
    areas = np.array([heart.disc_areas(beat[i], scene.depths) for i in indices]) * spacing[2] / 1000
    volumes = {"LV": areas[:, 0], "MYO": areas[:, 1], "RV": rv_mm2 * spacing[2] / 1000}
    affine = _oblique_affine(np.random.default_rng([seed, 3]), spacing, images.shape)
    times = np.array(indices) * (60000.0 / heart.rate / frames)
    cine = Cine(
        np.rint(images).astype(np.int16), affine, times, modality,
        patient=Patient(heart_rate_bpm=heart.rate), name=f"phantom {seed}",
    )  # fmt: skip
    status = np.full(labels.shape[:2], int(Status.ANNOTATED), np.uint8)
    return Phantom(cine, Segmentation(labels, status, affine.copy()), volumes)


def _check(
    frames: int,
    slices: int,
    size: int,
    spacing: Spacing,
    modality: str,
    ejection_fraction: float | None,
    indices: list[int],
) -> None:
    """Refuse what cannot be drawn."""
    if frames < 2 or slices < 1 or size < 16 or min(spacing) <= 0:
        raise CardiacSegError(
            "A phantom needs at least 2 frames, 1 slice, 16 pixels and positive spacing; enlarge them."
        )
    if modality not in ("MR", "CT"):
        raise CardiacSegError(f"The phantom knows no modality '{modality}'; choose MR or CT.")
    if ejection_fraction is not None and not 5 <= ejection_fraction <= 85:
        raise CardiacSegError(f"The ejection fraction {ejection_fraction:g} % cannot be drawn; choose 5 to 85 percent.")
    if not indices or indices != sorted(set(indices)) or indices[0] < 0 or indices[-1] >= frames:
        raise CardiacSegError(f"The frame numbers {indices} must increase within 0 to {frames - 1}; choose others.")


def _smooth_field(rng: np.random.Generator, shape: Sequence[int], knots: Sequence[int]) -> np.ndarray:
    """Float32 noise of zero mean and unit variance, smooth over shape / knots samples."""
    values = rng.standard_normal([k + 3 for k in knots], dtype=np.float32)
    for n, k in zip(shape, knots, strict=True):
        place = np.arange(n)[:, None] * (k / max(n, 2)) + 1 - np.arange(k + 3)
        basis = np.exp(-0.8 * place**2).astype(np.float32)
        basis /= np.linalg.norm(basis, axis=1, keepdims=True)
        values = np.tensordot(values, basis, axes=(0, 1))
    return values


def _mr_values(rng: np.random.Generator) -> dict[str, float]:
    """Signal of the tissues in balanced SSFP relative to the LV's blood."""
    myo = rng.uniform(0.2, 0.55)
    return {
        "lv": 1.0, "rv": rng.uniform(0.75, 1.1), "atrium": rng.uniform(0.8, 1.1), "aorta": rng.uniform(0.7, 1.2),
        "myo": myo, "muscle": myo * rng.uniform(0.6, 1.3), "liver": rng.uniform(0.15, 0.7),
        "fat": rng.uniform(0.5, 1.5), "lung": rng.uniform(0.03, 0.18), "air": rng.uniform(0.0, 0.05),
        "stomach": rng.uniform(0.05, 1.2),
    }  # fmt: skip


def _coverage(distance: np.ndarray, pixel: float) -> np.ndarray:
    """Share of a pixel that lies inside, from the distance in mm to the border (positive inside)."""
    return np.clip(distance / pixel + 0.5, 0, 1)


@dataclass
class _Plane:
    """The pixels of one slice as seen from the LV axis, and the picture being painted on them."""

    x: np.ndarray
    y: np.ndarray
    pixel: float
    image: np.ndarray

    def polar(self, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance in mm and index of the angle, about a point."""
        dx, dy = self.x - np.float32(center[0]), self.y - np.float32(center[1])
        angle = np.arctan2(dy, dx) * np.float32(ANGLES / 2 / np.pi) + np.float32(ANGLES + 0.5)
        return np.hypot(dx, dy), angle.astype(np.int32) % ANGLES

    def inside(self, polar: tuple[np.ndarray, np.ndarray], radii: np.ndarray) -> np.ndarray:
        """Coverage of a star-shaped outline."""
        return _coverage(radii.astype(np.float32)[polar[1]] - polar[0], self.pixel)

    def disc(self, center: np.ndarray, radius: float) -> np.ndarray:
        """Coverage of a disc."""
        return _coverage(radius - np.hypot(self.x - np.float32(center[0]), self.y - np.float32(center[1])), self.pixel)

    def paint(self, coverage: np.ndarray, value: float | np.ndarray) -> None:
        """Lay a tissue over the picture."""
        self.image += coverage * (value - self.image)


class _Scene:
    """All that is drawn for one seed: the heart, the organs round it, and how the scanner sees them."""

    def __init__(
        self, rng: np.random.Generator, heart: Heart, slices: int, size: int, spacing: Spacing, modality: str
    ) -> None:
        self.heart, self.modality, self.spacing = heart, modality, spacing
        self.depths = slice_depths(heart, slices, spacing[2])
        self.thickness = spacing[2] * rng.uniform(0.7, 1.0)
        self.values = dict(CT_VALUES) if modality == "CT" else _mr_values(rng)
        middle = (size - 1) / 2
        place = rng.normal(0, 4, 2) + 0.5 * heart.rv_depth * np.array([-np.cos(heart.septum), -np.sin(heart.septum)])
        breath = rng.normal(0, rng.choice([0.3, 1.0, 2.5]), (slices, 2))
        if modality == "CT":  # all slices in one breath-hold
            breath[:] = 0
        self.x = ((np.arange(size) - middle) * spacing[0] - place[0] - breath[:, :1]).astype(np.float32)
        self.y = ((np.arange(size) - middle) * spacing[1] - place[1] - breath[:, 1:]).astype(np.float32)
        shape, knots = (slices, size, size), (2, size // 12 + 2, size // 12 + 2)
        self.flow = np.stack([_smooth_field(rng, shape, knots) for _ in range(2)])
        self.flow *= rng.uniform(0.02, 0.16) if modality == "MR" else 0.02
        self.inflow = rng.uniform(0, 0.12) if modality == "MR" else 0.0
        self.fat = np.clip(ripple(rng, 1, 6, 2.5) + rng.uniform(-1, 5), 0, 9)
        self.trabeculae = np.abs(ripple(rng, 5, 24, rng.uniform(0.5, 3.0)))
        self.rv_trabeculae = np.abs(ripple(rng, 4, 20, rng.uniform(0.8, 3.5)))
        few = rng.integers(2, 8)
        self.papillary = np.append(rng.uniform(2.5, 6.5, 2), rng.uniform(1.0, 3.0, few))
        self.papillary_angle = (
            heart.septum + np.pi + np.append(np.array([0.95, -0.95]) + rng.normal(0, 0.25, 2), rng.normal(0, 2, few))
        )
        self.papillary_place = np.append(rng.uniform(0.6, 0.88, 2), rng.uniform(0.75, 0.98, few))
        self.rv_wall = rng.uniform(1.0, 3.5)
        self.atrium = heart.radius * rng.uniform(0.75, 1.15)
        self.outflow = rng.uniform(11, 17)
        self.background = self._organs(rng, shape)
        self._draw_scanner(rng, shape)

    def _draw_scanner(self, rng: np.random.Generator, shape: Sequence[int]) -> None:
        """Choose sharpness, coil profile, banding, gain and noise."""
        self.blur = rng.uniform(0.35, 1.0)
        self.gain = np.ones(shape, np.float32)
        self.noise = rng.uniform(8, 35) if self.modality == "CT" else np.exp(rng.uniform(np.log(0.008), np.log(0.07)))
        self.scale = 1.0 if self.modality == "CT" else np.exp(rng.uniform(np.log(80), np.log(900)))
        if self.modality == "CT":
            return
        slope = rng.normal(0, 0.35, 2)
        far = np.hypot(*shape[1:])
        ramp = slope[0] * self.y[:, :, None] / far * 2 + slope[1] * self.x[:, None, :] / far * 2
        self.gain = np.exp(ramp + rng.uniform(0, 0.2) * _smooth_field(rng, shape, (1, 3, 3)))
        self.gain *= np.exp(rng.normal(0, rng.uniform(0, 0.12), (shape[0], 1, 1)))
        if rng.random() < 0.3:
            phase = rng.uniform(-2, 2) + 1.6 * _smooth_field(rng, shape, (1, 2, 2))
            self.gain *= 1 - rng.uniform(0.3, 0.8) * np.exp(-(np.cos(phase / 2) ** 2) * rng.uniform(30, 80))
        self.gain = self.gain.astype(np.float32)

    def _along(self, angle: float) -> np.ndarray:
        """(Z, Y, X) mm from the LV axis in a direction that turns with the septum."""
        turned = self.heart.septum - angle
        return np.float32(np.cos(turned)) * self.x[:, None, :] + np.float32(np.sin(turned)) * self.y[:, :, None]

    def _organs(self, rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
        """(Z, Y, X) lung with vessels, stray organs, liver and stomach below, chest wall in front, spine and aorta."""
        v, depth = self.values, self.depths[:, None, None].astype(np.float32)
        names = list(v)
        if rng.random() < 0.25:
            v = {**v, **dict(zip(names[4:], rng.permutation([v[n] for n in names[4:]]), strict=True))}

        def bumps(finer: int = 1) -> np.ndarray:
            return _smooth_field(rng, shape, (2, 4 * finer, 4 * finer))

        plane = _Plane(self.x[:, None, :], self.y[:, :, None], self.spacing[0], np.full(shape, v["lung"], np.float32))
        plane.paint(np.clip(bumps(7) * 2 - rng.uniform(3.5, 5.5), 0, 1), rng.uniform(0.3, 0.8) * v["lv"])
        for _ in range(rng.integers(0, 4)):
            plane.paint(np.clip((bumps() - rng.uniform(0.7, 1.5)) * 10, 0, 1), v[names[rng.integers(4, len(names))]])
        floor = self._along(np.pi / 2 + rng.normal(0, 0.35))
        floor += rng.uniform(-0.1, 0.4) * (depth - 25) - self.heart.radius - self.heart.wall - rng.uniform(-4, 14)
        floor += (self._along(0) - rng.normal(0, 30)) ** 2 * rng.normal(0, 0.003)
        below = np.clip((floor + rng.uniform(1, 7) * bumps()) / 2, 0, 1)
        stomach = below * np.clip((bumps() - rng.uniform(-0.5, 1)) * 8, 0, 1)
        plane.paint(np.clip(below * 6, 0, 1), v["fat"] if rng.random() < 0.5 else v["muscle"])
        plane.paint(below, v["liver"])
        plane.paint(stomach, v["stomach"])
        across = np.pi + rng.uniform(0.1, 0.9)
        for reach, radius, name in ((62, 11, "aorta"), (92, 22, "muscle")):
            where = self.heart.septum - across - rng.normal(0, 0.15)
            center = (reach + rng.normal(0, 6)) * np.array([np.cos(where), np.sin(where)])
            plane.paint(plane.disc(center, radius * rng.uniform(0.8, 1.3)), v[name])
        angle = rng.uniform(-0.9, 0.3)
        wall = self._along(angle) + self._along(angle + np.pi / 2) ** 2 / rng.uniform(150, 500)
        wall += rng.uniform(0, 0.4) * (depth - 25) + rng.uniform(1, 6) * bumps()
        wall -= self.heart.rv_depth * 0.7 + self.heart.radius + self.heart.wall + rng.uniform(-4, 18)
        for name in ("muscle", "fat", "air"):
            plane.paint(np.clip(wall / 2, 0, 1), v[name])
            wall = wall - rng.uniform(4, 26)
        spread = abs(plane.image) if self.modality == "MR" else np.float32(60)
        return plane.image + spread * rng.uniform(0.03, 0.2) * _smooth_field(
            rng, shape, (4, shape[1] // 4, shape[2] // 4)
        )

    def draw(self, z: int, s: float, phase: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Picture (Y, X) without noise, labels (Y, X), and the RV's area in mm2, of a slice at contraction s."""
        image, labels, area = self.background[z].copy(), np.zeros(self.background.shape[1:], np.uint8), 0.0
        rows, columns = self._window(z)
        x, y = self.x[z][None, columns], self.y[z][rows, None]
        flow = np.cos(2 * np.pi * phase) * self.flow[0, z] + np.sin(2 * np.pi * phase) * self.flow[1, z]
        blood = (1 + self.inflow * np.cos(2 * np.pi * phase + z) + flow)[rows, columns]
        layers = []
        for part in (-1, 0, 1):
            depth = self.depths[z] + part * self.thickness / 3
            plane = _Plane(x, y, np.sqrt(self.spacing[0] * self.spacing[1]), image[rows, columns].copy())
            lv, myo, rv = self._paint_heart(plane, s, depth, self.heart.center(s, self.depths[z]), blood)
            layers.append(plane.image)
            if part == 0:
                found = labels[rows, columns]
                found[rv > 0.5], found[myo > 0.5], found[lv > 0.5] = RV.value, MYO.value, LV.value
                area = float((rv * (1 - myo)).sum()) * self.spacing[0] * self.spacing[1]
        image[rows, columns] = sum(layers) / 3
        return image, labels, area

    def _window(self, z: int) -> tuple[slice, slice]:
        """Rows and columns that the heart can reach, so that the rest is not computed again for each frame."""
        heart = self.heart
        ends = [np.array([[-1.0, -1.0], [1.0, 1.0]]) * (heart.radius + heart.wall) * 1.5]
        rv = heart.rv(0.0, max(self.depths[z], 0.3 * heart.length))
        if rv:
            ends.append(rv[0] + np.array([[-1], [1]]) * rv[1].max() * 1.25)
        low, high = np.min(ends, axis=(0, 1)) - 12, np.max(ends, axis=(0, 1)) + 12
        axes = [
            np.flatnonzero((a > lo) & (a < hi)) for a, lo, hi in zip((self.x[z], self.y[z]), low, high, strict=True)
        ]
        columns, rows = (slice(int(a[0]), int(a[-1]) + 1) if len(a) else slice(0, 1) for a in axes)
        return rows, columns

    def _paint_heart(
        self, plane: _Plane, s: float, depth: float, center: np.ndarray, blood: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Paint the heart at a depth; returns the coverage of LV cavity, LV with its wall, RV's outline."""
        v, heart = self.values, self.heart
        lv = myo = rv = np.zeros(np.broadcast_shapes(plane.x.shape, plane.y.shape), np.float32)
        walls, right = heart.walls(s, depth), heart.rv(s, depth)
        if walls is None and depth < 0.5 * heart.length:
            self._paint_base(plane, s, center, blood)
        if right:
            polar = plane.polar(center + right[0])
            rv = plane.inside(polar, right[1])
            plane.paint(plane.inside(polar, right[1] + self.rv_wall + self.fat), v["fat"])
            plane.paint(plane.inside(polar, right[1] + self.rv_wall), v["muscle"])
            hollow = right[1] - self.rv_trabeculae * (0.5 + 0.5 * s)
            plane.paint(plane.inside(polar, np.clip(hollow, 0, None)), v["rv"] * blood)
        if walls:
            polar = plane.polar(center)
            lv, myo = plane.inside(polar, walls[0]), plane.inside(polar, walls[1])
            plane.paint(plane.inside(polar, walls[1] + 0.6 * self.fat), v["fat"])
            plane.paint(myo, v["myo"])
            rough = self.trabeculae * (0.4 + max(0.0, depth) / heart.length)
            plane.paint(plane.inside(polar, np.clip(walls[0] - rough, 0, None)), v["lv"] * blood)
            self._paint_papillaries(plane, depth, center, walls[0], lv)
        return lv, myo, rv

    def _paint_papillaries(
        self, plane: _Plane, depth: float, center: np.ndarray, endo: np.ndarray, lv: np.ndarray
    ) -> None:
        """Two large muscles and some small ones along the middle of the cavity; in systole they touch."""
        along = depth / self.heart.length
        taper = np.clip(1 - abs(along - 0.55) / 0.33, 0, 1) ** 0.5
        for radius, angle, place in zip(self.papillary, self.papillary_angle, self.papillary_place, strict=True):
            reach = place * endo[round(np.degrees(angle)) % ANGLES]
            where = center + reach * np.array([np.cos(angle), np.sin(angle)])
            plane.paint(plane.disc(where, radius * taper) * lv * min(1.0, taper * 2), self.values["myo"])

    def _paint_base(self, plane: _Plane, s: float, center: np.ndarray, blood: np.ndarray) -> None:
        """Left and right atrium and the aortic root, above the valves; none of them carries a label."""
        v, heart = self.values, self.heart
        toward = np.array([np.cos(heart.septum), np.sin(heart.septum)])
        up = np.array([toward[1], -toward[0]]) * -np.sign(np.cos(heart.septum))
        left, grown = center - 5 * toward, self.atrium * (1 + 0.12 * s)
        right, root = center + (heart.radius + 22) * toward - 8 * up, center + 0.75 * heart.radius * toward + 12 * up
        plane.paint(plane.disc(center, heart.radius + heart.wall * 0.8), v["fat"])
        for where, radius, name in ((right, 20.0, "atrium"), (left, grown, "atrium"), (root, self.outflow, "aorta")):
            plane.paint(plane.disc(where, radius + 2), v["muscle"])
            plane.paint(plane.disc(where, radius), v[name] * blood)

    def acquire(self, stack: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What the scanner makes of one frame (Z, Y, X): blur in plane, coil profile, noise (Rician for MR)."""
        for axis in (1, 2):
            stack = gaussian_filter1d(stack, self.blur, axis=axis, truncate=3)
        noise = rng.standard_normal((2, *stack.shape), dtype=np.float32) * np.float32(self.noise)
        if self.modality == "CT":
            return np.clip(stack + noise[0], -1024, 3071)
        return np.hypot(stack * self.gain + noise[0], noise[1]) * np.float32(self.scale)


def _oblique_affine(rng: np.random.Generator, spacing: Spacing, shape: Sequence[int]) -> np.ndarray:
    """A short-axis orientation in LPS near the usual one, with the grid's centre near the origin."""
    rotation, upper = np.linalg.qr(
        np.array([[0.7, 0.2, 0.6], [0.6, -0.5, -0.6], [0.2, 0.8, -0.5]]) + rng.normal(0, 0.08, (3, 3))
    )
    rotation = rotation * np.sign(np.diag(upper))
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.asarray(spacing, float)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[:0:-1]) - 1) / 2)
    return affine
