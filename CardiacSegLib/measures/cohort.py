"""Many studies: one row of numbers for each, and how two such tables agree (Bland and Altman, correlation)."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CardiacSegError

STUDY = "study"
PROBLEM = "problem"
_UNCOMPARED = ("_frame", "_deg", "thickest_segment")  # ends of columns whose differences mean nothing
_SPREAD = 1.96

Cohort = dict[str, dict[str, str]]
"""Name of a study -> column -> text, as in the file."""


@dataclass(frozen=True)
class Agreement:
    """How two tables agree in one measure, over the studies in which both know it.

    bias: mean of A - B; sd: of these differences; low, high: limits of agreement, bias -/+ 1.96 sd (Bland and Altman,
    Lancet 1986;1:307); mean_absolute: of the differences; r: Pearson's. What too few studies leave open is None.
    """

    measure: str
    n: int
    mean_a: float
    mean_b: float
    bias: float
    mean_absolute: float
    sd: float | None
    low: float | None
    high: float | None
    r: float | None


def cohort_row(name: str, study: Mapping[str, object]) -> dict[str, object]:
    """One study as one flat row: its name, every single number of measures.json, rates and segments included.

    study: as StudyMeasures.to_dict. Curves over time and texts of more than a word are left to measures.json.
    """
    row: dict[str, object] = {STUDY: name}
    row |= {key: value for key, value in study.items() if not isinstance(value, dict | list)}
    for side in ("lv", "rv"):
        curve = study.get(f"{side}_curve", {})
        row |= {f"{side}_{key}": value for key, value in curve.items() if key != "missing"}
    row |= study.get("smoothness", {})
    segments = study.get("segments", {})
    row["insertion_deg"] = segments.get("insertion_deg")
    for segment in segments.get("rows", ()):
        for key in ("ed_mm", "es_mm", "thickening_percent"):
            row[f"segment_{segment['number']:02d}_{key}"] = segment[key]
    return row


def read_cohort(path: str | Path) -> Cohort:
    """Read a table with a column "study" and one row for each.

    Raises CardiacSegError if the file cannot be read, has no such column, or names a study twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CardiacSegError(
            f"{path} could not be read as a CSV table; give one that 'cardiacseg measure' wrote."
        ) from error
    if STUDY not in columns:
        raise CardiacSegError(
            f"{path} has no column 'study'; give a table that 'cardiacseg measure' wrote for many studies."
        )
    cohort: Cohort = {}
    for row in rows:
        if row[STUDY] in cohort:
            raise CardiacSegError(f"{path} names the study '{row[STUDY]}' twice; keep one row for each.")
        cohort[row[STUDY]] = {key: value or "" for key, value in row.items() if key not in (None, STUDY, PROBLEM)}
    return cohort


def paired_values(a: Cohort, b: Cohort) -> dict[str, np.ndarray]:
    """Measure -> (N, 2) its values in A and B, for the N studies in which both tables know it as a number.

    Raises CardiacSegError if the tables have no study or no number in common.
    """
    common = [name for name in a if name in b]
    if not common:
        raise CardiacSegError("The two tables have no study in common; name the studies alike in the column 'study'.")
    pairs = {}
    for column in a[common[0]]:
        if column.endswith(_UNCOMPARED) or column == "schema_version" or column not in b[common[0]]:
            continue
        values = np.array([[_number(table[name].get(column, "")) for table in (a, b)] for name in common])
        values = values[np.isfinite(values).all(axis=1)]
        if len(values):
            pairs[column] = values
    if not pairs:
        raise CardiacSegError("The two tables have no number in common; give two that 'cardiacseg measure' wrote.")
    return pairs


def compare_cohorts(pairs: Mapping[str, np.ndarray]) -> list[Agreement]:
    """A row for every measure of paired_values."""
    return [_agree(measure, values) for measure, values in pairs.items()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _agree(measure: str, values: np.ndarray) -> Agreement:
    """values: (N, 2), N at least 1."""
    difference = values[:, 0] - values[:, 1]
    bias, mean_absolute = float(difference.mean()), float(np.abs(difference).mean())
    sd = float(difference.std(ddof=1)) if len(values) > 1 else None
    constant = np.ptp(values, axis=0).min() == 0
    r = None if len(values) < 3 or constant else float(np.corrcoef(values.T)[0, 1])
    low, high = (None, None) if sd is None else (bias - _SPREAD * sd, bias + _SPREAD * sd)
    mean_a, mean_b = map(float, values.mean(axis=0))
    return Agreement(measure, len(values), mean_a, mean_b, bias, mean_absolute, sd, low, high, r)
