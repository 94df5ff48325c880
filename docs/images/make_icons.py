"""Makes Resources/Icons/*.png: the extension's icon from its SVG, and the picture of the sample for Sample Data.

.venv/bin/python docs/images/make_icons.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from CardiacSegLib.anatomy import STRUCTURES
from CardiacSegLib.readers import read_annotation, read_cine

RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
ICONS = RESOURCES / "Icons"
ICON_SIZE, THUMBNAIL_SIZE = 128, 260


def main() -> None:
    """Write both pictures."""
    render(ICONS / "CardiacSeg.svg", ICONS / "CardiacSeg.png", ICON_SIZE)
    thumbnail(ICONS / "CardiacSegSample.png", frame=18, slice_index=5)


def render(svg: Path, png: Path, size: int) -> None:
    """Draw an SVG file into a square PNG file of `size` pixels."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtGui import QGuiApplication, QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    _application = QGuiApplication.instance() or QGuiApplication([])
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(0)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    QSvgRenderer(str(svg)).render(painter)
    painter.end()
    image.save(str(png))


def thumbnail(png: Path, frame: int, slice_index: int) -> None:
    """The middle of one slice of the sample, with the expert's masks over it."""
    cine = read_cine(RESOURCES / "SampleData" / "cine.nii.gz")
    annotation = read_annotation(RESOURCES / "SampleData" / "annotation.nii.gz", cine, frame=frame)
    # A quarter turn shows this slice as the views do, with the right ventricle on the left.
    picture, labels = (np.rot90(a[frame, slice_index], -1) for a in (cine.frames.astype(float), annotation.labels))
    side = min(picture.shape)
    rows, columns = ((length - side) // 2 for length in picture.shape)
    window = np.s_[rows : rows + side, columns : columns + side]
    grey = np.clip(picture[window] / np.percentile(picture, 99.5), 0, 1)
    canvas = np.repeat(resized(grey)[..., None], 3, axis=-1)
    for structure in STRUCTURES:
        inside = resized((labels[window] == structure.value).astype(float))[..., None]
        canvas += 0.55 * inside * (np.array(structure.color) - canvas)
    Image.fromarray((255 * canvas).round().astype(np.uint8)).save(png, optimize=True)


def resized(plane: np.ndarray) -> np.ndarray:
    """A plane of 0..1 at the thumbnail's size."""
    image = Image.fromarray(plane.astype(np.float32))
    return np.clip(np.asarray(image.resize((THUMBNAIL_SIZE,) * 2, Image.Resampling.BICUBIC)), 0, 1)


if __name__ == "__main__":
    main()
