"""Segmentations and numbers to files: one module a format."""
