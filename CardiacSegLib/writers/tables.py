"""Numbers to files: the measures as JSON, the volumes as CSV with a row a frame, and rows of agreement as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..atomic import atomic_path


def write_measures(path: str | Path, measures: Mapping[str, object]) -> None:
    """Write the measures as JSON; what is not known is null. Raises CardiacSegError if the file cannot be written."""
    text = json.dumps(measures, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_volumes(path: str | Path, curves: Mapping[str, np.ndarray], times: np.ndarray | None) -> None:
    """Write a row a frame: frame (from 0), time_ms (empty where not known) and a column of ml for every structure.

    curves: structure name -> (T,) ml, NaN (an empty field) where nothing is known of the frame. times: (T,) ms or None.
    Raises CardiacSegError where the file cannot be written.
    """
    columns = {f"{name.lower().replace(' ', '_').replace('-', '_')}_ml": curve for name, curve in curves.items()}
    frames = len(next(iter(columns.values())))
    rows = [
        {"frame": frame, "time_ms": None if times is None else round(float(times[frame]), 3)}
        | {name: None if np.isnan(curve[frame]) else round(float(curve[frame]), 3) for name, curve in columns.items()}
        for frame in range(frames)
    ]
    write_rows(path, rows)


def write_tidy_volumes(
    path: str | Path, curves: Mapping[str, np.ndarray], times: np.ndarray | None, ed: int | None, es: int | None
) -> None:
    """Write a row for every frame and structure: frame (from 0), time_ms, phase (ED, ES, empty), structure, volume_ml.

    curves, times: as in write_volumes; what is not known is an empty field. Raises CardiacSegError where the file
    cannot be written.
    """
    phases = {es: "ES", ed: "ED"}
    rows = [
        {
            "frame": frame,
            "time_ms": None if times is None else round(float(times[frame]), 3),
            "phase": phases.get(frame),
            "structure": name,
            "volume_ml": None if np.isnan(curve[frame]) else round(float(curve[frame]), 3),
        }
        for frame in range(len(next(iter(curves.values()))))
        for name, curve in curves.items()
    ]
    write_rows(path, rows)


def write_rows(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write one CSV line for every row under the names of the first; None is an empty field.

    Raises CardiacSegError where the file cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
