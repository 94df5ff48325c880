"""From masks to numbers: volumes, ejection fraction and mass; agreement with an expert is in `agreement`."""

from .volumes import Measures, counted_frames, measure, volume_curves

__all__ = ["Measures", "counted_frames", "measure", "volume_curves"]
