"""CardiacSegLib: from a cardiac cine to segmentations and ejection fraction, in plain Python."""

__version__ = "0.1.0"
