"""Stand-in for slicer.i18n: the texts stay in English."""

from __future__ import annotations


def translate(context: str, text: str) -> str:
    """The text as it is."""
    return text


def tr(text: str) -> str:
    """The text as it is."""
    return text
