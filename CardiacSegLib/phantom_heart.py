"""The geometry of the phantom's heart: ventricles as functions of contraction and depth, and how hearts differ."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

ANGLES = 360
THETA = np.arange(ANGLES) * (2 * np.pi / ANGLES)


def contraction(frames: int, systole: float) -> np.ndarray:
    """(frames,) from 0 at end-diastole (frame 0) to exactly 1 at end-systole, with early filling and atrial kick."""
    end_systole = min(max(1, round(systole * frames)), frames - 1)
    phase = np.arange(frames) / end_systole
    filling = np.clip((np.arange(frames) - end_systole) / (frames - end_systole), 0, 1)
    return np.where(
        phase <= 1,
        np.sin(np.pi / 2 * phase) ** 2,
        1 - 0.78 * _smoothstep(filling / 0.5) - 0.22 * _smoothstep(filling * 4 - 3),
    )


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def ripple(rng: np.random.Generator, lowest: int, highest: int, strength: float) -> np.ndarray:
    """(ANGLES,) periodic noise of zero mean whose harmonics fall off, standard deviation about strength."""
    n = np.arange(lowest, highest + 1)[:, None]
    waves = np.cos(n * THETA + rng.uniform(0, 2 * np.pi, n.shape)) * rng.normal(0, 1, n.shape) / n
    return strength * np.sqrt(2) * waves.sum(0) / np.sqrt((1 / n**2).sum())


def bump(center: float, width: float) -> np.ndarray:
    """(ANGLES,) a hill of height 1 round an angle."""
    return np.exp((np.cos(THETA - center) - 1) / width**2)


@dataclass(frozen=True)
class Heart:
    """The ventricles as functions of contraction s (0..1) and depth z (mm from the LV base at ED, towards the apex)."""

    septum: float  # direction from LV to RV, radians
    radius: float  # largest LV radius at ED, mm
    wall: float
    length: float  # of the LV with its apical wall
    blunt: float  # exponent of the profile
    descent: float  # of the base in systole, mm
    apex_bias: float  # how much more the apex contracts than the base
    shape: np.ndarray  # relative outline of the cavity
    thickness: np.ndarray  # relative wall area by angle, mean 1
    weakness: np.ndarray  # 1 = contracts fully
    twist: float
    rv_depth: float  # from the septum to the free wall at ED, mm
    rv_height: float  # half height relative to the epicardium
    rv_reach: float  # how far beyond the LV base the RV goes, mm
    rv_length: float
    rv_turn: float
    rv_squeeze: float
    rv_shape: np.ndarray
    systole: float
    rate: float
    tilt: np.ndarray  # drift of the axis, mm in plane per mm of depth
    bounce: np.ndarray  # movement in plane at end-systole, mm
    squeeze: float = 0.0  # set so that the ejection fraction is the one wanted

    def walls(self, s: float, z: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Radii (ANGLES,) of endo- and epicardium in mm, or None beyond base and apex.

        The wall area at a given fraction of the long axis grows as the axis shortens: the wall's volume is constant.
        """
        length = self.length - self.descent * s
        p = (z - self.descent * s) / length
        if not 0 <= p < 1:
            return None
        cavity_end = 1 - self.wall * 0.8 / self.length
        inner = self.radius * self._profile(p, cavity_end)
        outer = (self.radius + self.wall) * self._profile(p, 1.0)
        wall = (outer**2 - inner**2) * self.length / length
        shorter = self.squeeze * s * self.weakness * (1 + self.apex_bias * (p - 0.5))
        outline = np.roll(1 + self.shape, round(self.twist * (p - 0.5) + 8 * s * (p - 0.3)))
        endo = inner * outline * np.clip(1 - shorter, 0.04, None)
        return endo, np.sqrt(endo**2 + wall * self.thickness)

    def _profile(self, p: float, end: float) -> float:
        """Relative radius of a truncated superellipsoid, 1 at 20 % of the axis, 0 at the end."""
        q = (p - 0.2) / (end - 0.2)
        return max(0.0, 1 - abs(q) ** self.blunt) ** 0.5

    def disc_areas(self, s: float, depths: np.ndarray) -> np.ndarray:
        """Areas (2,) of LV and MYO in mm2, summed over the slices."""
        total = np.zeros(2)
        for z in depths:
            walls = self.walls(s, z)
            if walls:
                inner = np.pi * np.mean(walls[0] ** 2)
                total += inner, np.pi * np.mean(walls[1] ** 2) - inner
        return total

    def rv(self, s: float, z: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Centre (2,) relative to the LV's and radii (ANGLES,) of the RV's outline before the LV is cut out of it."""
        top = -self.rv_reach + 1.15 * self.descent * s
        p = (z - top) / (self.rv_length + self.rv_reach - 1.15 * self.descent * s)
        if not 0 <= p < 1:
            return None
        epi = (self.radius + self.wall) * (1 - 0.75 * max(0.0, p - 0.3) ** 1.6)
        taper = max(0.0, 1 - p**2.2) ** 0.8
        depth = self.rv_depth * taper * (1 - self.rv_squeeze * s) * (0.85 + 0.15 * min(1.0, p * 5))
        height = epi * self.rv_height * (0.35 + 0.65 * taper) * (1 - 0.35 * self.rv_squeeze * s)
        near = 0.4 * epi
        half = (epi + depth - near) / 2
        angle = self.septum + self.rv_turn * (0.35 - p)
        turned = THETA - angle
        radii = half * height / np.hypot(height * np.cos(turned), half * np.sin(turned))
        center = (near + half) * np.array([np.cos(angle), np.sin(angle)])
        return center, radii * (1 + np.roll(self.rv_shape, round(np.degrees(angle))))

    def center(self, s: float, z: float) -> np.ndarray:
        """(x, y) of the LV axis in mm."""
        return self.tilt * (z - 0.4 * self.length) + self.bounce * s


def draw_heart(rng: np.random.Generator, slices: int, distance: float, ejection_fraction: float | None) -> Heart:
    """Choose a heart: normal, dilated, hypertrophic, infarcted or with a large RV; then make its EF the one wanted."""
    kind = rng.choice(["normal", "dilated", "hypertrophic", "infarct", "right"], p=[0.3, 0.2, 0.2, 0.15, 0.15])
    usual_ef = {"dilated": (10, 42), "hypertrophic": (55, 80), "infarct": (20, 55), "right": (35, 70)}
    ef = rng.uniform(*usual_ef.get(kind, (50, 72)))
    ef = ef if ejection_fraction is None else float(ejection_fraction)
    radius = {"dilated": rng.uniform(28, 40), "hypertrophic": rng.uniform(17, 26)}.get(kind, rng.uniform(20, 31))
    wall = {"dilated": rng.uniform(4.5, 9), "hypertrophic": rng.uniform(10, 19)}.get(kind, rng.uniform(5.5, 11))
    septum = np.pi + rng.normal(0, 0.6)
    length = float(np.clip(slices * distance * rng.uniform(0.76, 1.02), 55, 112))
    bulge = rng.uniform(0.2, 0.9) if kind == "hypertrophic" else rng.uniform(-0.1, 0.2)
    thickness = 1 + bulge * bump(septum + rng.normal(0, 0.5), 0.8) + ripple(rng, 1, 5, rng.uniform(0.03, 0.12))
    weakness = 1 - (rng.uniform(0.4, 1.0) if kind == "infarct" else rng.uniform(0, 0.25)) * bump(
        rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
    )
    flat = rng.uniform(0.1, 0.3) if kind == "right" and rng.random() < 0.6 else rng.uniform(-0.03, 0.06)
    shape = ripple(rng, 2, 7, rng.uniform(0.01, 0.045)) - flat * bump(septum, 0.55)
    heart = Heart(
        septum=septum, radius=radius, wall=wall, length=length, blunt=rng.uniform(1.9, 2.6),
        descent=length * ef / 100 * rng.uniform(0.2, 0.28), apex_bias=rng.uniform(0, 0.45), shape=shape,
        thickness=np.clip(thickness, 0.25, None) / np.clip(thickness, 0.25, None).mean(), weakness=weakness,
        twist=rng.uniform(-40, 40), rv_depth=rng.uniform(36, 62) if kind == "right" else rng.uniform(22, 42),
        rv_height=rng.uniform(1.0, 1.35) if kind == "right" else rng.uniform(0.98, 1.3),
        rv_reach=rng.uniform(3, 16), rv_length=length * rng.uniform(0.78, 0.97), rv_turn=rng.uniform(0, 0.9),
        rv_squeeze=rng.uniform(0.15, 0.35) if kind == "right" else rng.uniform(0.25, 0.6),
        rv_shape=ripple(rng, 3, 7, rng.uniform(0.02, 0.07)), systole=rng.uniform(0.3, 0.45),
        rate=float(rng.uniform(48, 110)), tilt=rng.normal(0, 0.13, 2), bounce=rng.normal(0, 1.5, 2),
    )  # fmt: skip
    return _with_ejection_fraction(heart, ef / 100, slices, distance)


def slice_depths(heart: Heart, slices: int, distance: float) -> np.ndarray:
    """(slices,) mm of the slice centres below the LV base at ED: the LV lies in the middle of the stack."""
    spare = slices * distance - heart.length
    return (np.arange(slices) + 0.5) * distance - spare * 0.5


def _with_ejection_fraction(heart: Heart, ef: float, slices: int, distance: float) -> Heart:
    """The same heart with the squeeze at which its discs lose the fraction ef, from full at ED to smallest at ES.

    A basal slice that leaves can alone be more than a weak heart ejects; then the base is made to descend less.
    """
    depths = slice_depths(heart, slices, distance)
    steps = np.linspace(0, 1, 17)
    for descent in (*(heart.descent * 0.6**n for n in range(8)), 0.0):
        low, high = 0.0, 1.3
        for _ in range(20):
            squeeze = (low + high) / 2
            heart = replace(heart, squeeze=squeeze, descent=descent)
            volumes = [heart.disc_areas(s, depths)[0] for s in (0.0, 1.0)]
            low, high = (squeeze, high) if volumes[1] > (1 - ef) * volumes[0] else (low, squeeze)
        course = [heart.disc_areas(s, depths)[0] for s in steps]
        if squeeze > 0.001 and max(course) <= course[0] and min(course) >= course[-1]:
            break
    return heart
