"""The structures of the heart that the product knows, and the label conventions it maps at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import CardiacSegError


@dataclass(frozen=True)
class Code:
    """A coded concept of a terminology, e.g. Code("SCT", "87878005", "Left ventricle")."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """One thing that is segmented: its label value (1..255), short name, display color (RGB, 0..1) and coded type."""

    value: int
    name: str
    color: tuple[float, float, float]
    code: Code | None = None


LV = Structure(1, "LV", (0.86, 0.22, 0.22), Code("SCT", "87878005", "Left ventricle"))
MYO = Structure(2, "MYO", (0.20, 0.68, 0.35), Code("SCT", "74281007", "Myocardium"))
RV = Structure(3, "RV", (0.20, 0.45, 0.88), Code("SCT", "53085002", "Right ventricle"))
STRUCTURES: tuple[Structure, ...] = (LV, MYO, RV)

HEART_AXIS = np.array([1.0, -1.0, -1.0]) / np.sqrt(3)
"""The usual axis of the heart from base to apex, LPS: to the left, to the front and down."""

LABEL_MAPS: dict[str, dict[int, int]] = {
    "native": {1: 1, 2: 2, 3: 3},
    "acdc": {1: 3, 2: 2, 3: 1},
    "mnms": {1: 1, 2: 2, 3: 3},
}
"""Presets of label conventions: file value -> native value (background 0 stays 0)."""


def to_native(labels: np.ndarray, label_map: str | Mapping[int, int], source: str = "the mask") -> np.ndarray:
    """Map the label values of a file to the native ones (1 LV, 2 MYO, 3 RV).

    labels: integer array of any shape; label_map: a preset's name or {file value: native value}; source: for errors.
    The preset "native" also lets values above 3 through, so that structures of the user's own survive.
    Returns uint8 of the same shape. Raises CardiacSegError for an unknown preset or a value the map does not know.
    """
    if isinstance(label_map, str):
        if label_map not in LABEL_MAPS:
            known = ", ".join(sorted(LABEL_MAPS))
            raise CardiacSegError(f"The label map '{label_map}' is not known; choose one of {known}.")
        mapping, name = LABEL_MAPS[label_map], label_map
    else:
        mapping, name = dict(label_map), "custom"
    lookup = np.full(256, -1, np.int16)
    lookup[0] = 0
    if name == "native":
        lookup[:] = np.arange(256)
    for file_value, native_value in mapping.items():
        lookup[file_value] = native_value
    labels = np.asarray(labels)
    values = np.unique(labels)
    wrong = [v for v in values if not 0 <= v <= 255 or v != int(v) or lookup[int(v)] < 0]
    if wrong:
        shown = ", ".join(f"{float(v):g}" for v in wrong[:5])
        expected = ", ".join(str(v) for v in (0, *sorted(mapping)))
        raise CardiacSegError(
            f"{source} holds the label value {shown}, which the label map '{name}' does not know "
            f"(it knows {expected}); choose another --label-map or correct the mask."
        )
    return lookup[labels.astype(np.uint8)].astype(np.uint8)
