"""How a structure is written as Slicer's segment, in scenes and in .seg.nrrd files alike, and in the names of files."""

from __future__ import annotations

from .anatomy import Code, Structure

VALUE_TAG = "CardiacSeg.Value"
"""The structure's value is a tag of its segment: editors renumber the label map's own values as they like."""
_CONTEXT = "Segmentation category and type - CardiacSeg"
_CATEGORY = "SCT^123037004^Anatomical Structure"


def segment_id(structure: Structure) -> str:
    """The ID of a structure's segment in every frame; it stays when the segment is renamed."""
    return f"CardiacSeg_{structure.value}"


def terminology_entry(code: Code) -> str:
    """The coded type as Slicer writes it in a segment's tag."""
    kind = f"{code.scheme}^{code.value}^{code.meaning}"
    return f"{_CONTEXT}~{_CATEGORY}~{kind}~^^~Anatomic codes - DICOM master list~^^~^^"


def safe_name(name: str, otherwise: str) -> str:
    """A part of a file name that any file system takes; otherwise: where nothing of the name is left."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name).strip("_") or otherwise
