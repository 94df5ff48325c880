"""What is known of a study's slices as text in node attributes, so that it is saved and loaded with any scene."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, replace

import numpy as np

from ..cine import Segmentation, Status
from ..weights import WeightsCard

STATUS, CONFIDENCE, CHECKSUM = NAMES = ("CardiacSeg.Status", "CardiacSeg.Confidence", "CardiacSeg.Checksum")
LAST_RUN, WEIGHTS, UNFINISHED = OF_RUNS = ("CardiacSeg.LastRun", "CardiacSeg.Weights", "CardiacSeg.UnfinishedRun")


def texts_of(status: np.ndarray, confidence: np.ndarray, labels: np.ndarray) -> dict[str, str]:
    """Attribute name -> text for one frame. status, confidence: (Z,); labels: (Z, Y, X)."""
    return {
        STATUS: " ".join(str(int(value)) for value in status),
        CONFIDENCE: " ".join(f"{value:.4f}" for value in confidence),
        CHECKSUM: " ".join(checksum(mask) for mask in labels),
    }


def read_texts(texts: dict[str, str | None], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Status (Z,), confidence (Z,) and whether each mask is still the one that they were written for."""
    count = len(labels)
    status = np.array((texts[STATUS] or "0 " * count).split(), np.uint8)
    confidence = np.array((texts[CONFIDENCE] or "1 " * count).split(), float)
    empty = checksum(np.zeros_like(labels[0]))
    sums = (texts[CHECKSUM] or f"{empty} " * count).split()
    same = np.array([checksum(mask) == known for mask, known in zip(labels, sums, strict=True)])
    return status, confidence, same


def readable(texts: dict[str, str | None], slices: int) -> bool:
    """Whether these are texts of a frame with so many slices; all of them may be missing."""
    kinds = {STATUS: lambda text: Status(int(text)), CONFIDENCE: float, CHECKSUM: lambda text: int(text, 16)}
    try:
        parts = {name: [kinds[name](part) for part in text.split()] for name, text in texts.items() if text}
    except ValueError:
        return False
    return all(len(part) == slices for part in parts.values()) and len(parts) in (0, len(NAMES))


def checksum(mask: np.ndarray) -> str:
    """Tells whether a mask was changed."""
    return f"{zlib.crc32(np.ascontiguousarray(mask)):08x}"


def pack_run(annotation: Segmentation, method: str, checksums: list[list[str]]) -> str:
    """A complete run: its method, the status and the fixed masks that it began with, the checksums when it ended."""
    masks = np.ascontiguousarray(annotation.labels[annotation.fixed])
    packed = base64.b64encode(zlib.compress(masks.tobytes())).decode("ascii")
    entry = {"method": method, "status": annotation.status.tolist(), "masks": packed, "checksums": checksums}
    return json.dumps(entry)


def pack_weights(cards: tuple[WeightsCard, ...]) -> str:
    """Cards as text, without the places of their files."""
    return json.dumps([asdict(replace(card, path=None)) for card in cards])


def read_weights(text: str | None) -> tuple[WeightsCard, ...]:
    """The cards that were packed."""
    return tuple(WeightsCard(**(entry | {"data": tuple(entry["data"])})) for entry in json.loads(text or "[]"))


def read_run(text: str) -> dict:
    """What was packed, as it stands: method, status, masks, checksums."""
    return json.loads(text)


def unpack_run(text: str | None, now: Segmentation) -> Segmentation | None:
    """The annotation that was packed, on the grid and with the structures of now; slices not fixed are empty."""
    if not text:
        return None
    entry = read_run(text)
    run = Segmentation(np.zeros_like(now.labels), np.array(entry["status"], np.uint8), now.affine, now.structures)
    masks = np.frombuffer(zlib.decompress(base64.b64decode(entry["masks"])), np.uint8)
    run.labels[run.fixed] = masks.reshape(-1, *now.labels.shape[2:])
    return run
