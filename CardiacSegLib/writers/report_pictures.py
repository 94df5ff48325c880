"""The pictures of a report as PNG: slices with contours, and how each mask came about."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from ..anatomy import LV, MYO
from ..cine import Cine, Segmentation, Status
from .figures import cropped
from .report_data import LETTERS

_WIDTH = 480
_LINE = 3
_STATUS_COLORS = {
    Status.EMPTY: "#ffffff", Status.PREDICTED: "#c9dcef", Status.ANNOTATED: "#2f7d4f", Status.CORRECTED: "#d9822b",
    Status.REVIEWED: "#5b4a8a",
}  # fmt: skip
_STATUS_WORDS = {
    Status.EMPTY: "not segmented", Status.PREDICTED: "predicted (p)", Status.ANNOTATED: "annotated (A)",
    Status.CORRECTED: "corrected (C)", Status.REVIEWED: "reviewed (R)",
}  # fmt: skip


def overlays(cine: Cine, segmentation: Segmentation, places: Sequence[Mapping[str, object]]) -> list[bytes]:
    """A PNG for each place (its "frame" and "slice"): the slice round the heart with the contours of the masks.

    The patient's left is right and the feet are down as far as the stack allows.
    """
    frames, labels, pixel_mm = cropped(cine, segmentation)
    low, high = np.percentile(frames, (1, 99.5))
    size = (_WIDTH, max(1, round(_WIDTH * frames.shape[2] * pixel_mm[0] / (frames.shape[3] * pixel_mm[1]))))
    pictures = []
    for place in places:
        t, z = int(place["frame"]), int(place["slice"])
        grey = np.clip((frames[t, z] - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
        pictures.append(_png(_outlined(grey, labels[t, z], segmentation, size)))
    return pictures


def _outlined(grey: np.ndarray, mask: np.ndarray, segmentation: Segmentation, size: tuple[int, int]) -> Image.Image:
    from scipy.ndimage import binary_erosion

    image = Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.BICUBIC)
    picture = np.clip(np.asarray(image), 0, 1)[..., None].repeat(3, axis=2)
    for structure in sorted(segmentation.structures, key=lambda one: one.value == LV.value):
        filled = mask == structure.value
        if structure.value == MYO.value:  # its inner border is the cavity's, which has its own color
            filled |= mask == LV.value
        soft = Image.fromarray(filled.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        inside = np.asarray(soft) > 0.5
        picture[inside & ~binary_erosion(inside, iterations=_LINE)] = structure.color
    return Image.fromarray((picture * 255).round().astype(np.uint8))


def status_map(segmentation: Segmentation) -> bytes:
    """A PNG with a field for every slice (row) and frame (column), in the color of its status.

    What is a person's work also has its letter, for prints without color.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    status = segmentation.status.T
    slices, frames = status.shape
    figure = Figure(figsize=(4.8, min(0.7 + 0.14 * slices, 4.0)), dpi=220, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colors = ListedColormap([_STATUS_COLORS[value] for value in Status])
    axes.pcolormesh(status, cmap=colors, vmin=-0.5, vmax=len(Status) - 0.5, edgecolors="#b0b0b0", linewidth=0.4)
    for z, t in np.argwhere(status >= Status.ANNOTATED):
        axes.text(
            t + 0.5, z + 0.5, LETTERS[Status(status[z, t])], color="white", ha="center", va="center", fontsize=5.5
        )
    step = max(1, frames // 10)
    axes.set_xticks(np.arange(0, frames, step) + 0.5, range(0, frames, step), fontsize=7)
    axes.set_yticks(np.arange(0, slices, 2) + 0.5, range(0, slices, 2), fontsize=7)
    axes.set_xlabel("Frame", fontsize=8)
    axes.set_ylabel("Slice", fontsize=8)
    axes.invert_yaxis()
    present = [value for value in Status if (status == value).any()]
    patches = [Patch(facecolor=_STATUS_COLORS[v], edgecolor="#808080", label=_STATUS_WORDS[v]) for v in present]
    figure.legend(handles=patches, loc="outside upper center", ncols=min(len(patches), 4), frameon=False, fontsize=6.5,
                  columnspacing=1.0, handlelength=1.2)  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
