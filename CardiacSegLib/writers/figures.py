"""Pictures for people: the volume curve as PNG and the beating heart with its masks as an animated GIF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..anatomy import LV, STRUCTURES
from ..atomic import atomic_path
from ..cine import Cine, Segmentation
from ..measures.volumes import AREA_LENGTH

_MARGIN_MM = 25.0
_WIDTHS = (900, 720, 560, 420, 300)
_MOST_BYTES = 5_000_000
_GREYS, _FILL, _LINE = 40, 0.22, 0.95
_TEXT = (215, 215, 215)
_RIGHT, _DOWN = np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.3, -1.0])  # patient's left and back; feet and back (LPS)


def write_curve(
    path: str | Path,
    curves: Mapping[str, np.ndarray],
    times: np.ndarray | None,
    ed: int | None,
    es: int | None,
    expert: Mapping[str, Mapping[int, float]] | None = None,
) -> None:
    """Draw the volume of the cavities over the heart cycle, with end-diastole and end-systole marked.

    curves: structure name -> (T,) ml, NaN where nothing is known; the myocardium is drawn only if it is all there is.
    times: (T,) ms, or None for an axis of frame numbers. ed, es: frames, None where there are none.
    expert: structure name -> {frame: ml}, drawn as open markers. Raises CardiacSegError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    _draw_volumes(axes, curves, times, expert or {})
    _mark_phases(axes, times, {"ED": ed, "ES": es})
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_volumes(axes, curves: Mapping[str, np.ndarray], times: np.ndarray | None, expert: Mapping) -> None:
    colors = {structure.name: structure.color for structure in STRUCTURES} | {AREA_LENGTH: LV.color}
    there = {name: curve for name, curve in curves.items() if np.nanmax(curve, initial=0) > 0}
    shown = {name: curve for name, curve in there.items() if name != "MYO"} or there
    for name, curve in shown.items():
        x = np.arange(len(curve)) if times is None else times
        color = colors.get(name)
        (line,) = axes.plot(x, curve, "o-", color=color, markersize=3.5, linewidth=1.8, label=name)
        points = expert.get(name, {})
        if points:
            frames = sorted(points)
            axes.plot(
                x[frames], [points[frame] for frame in frames], "D", markersize=8, markerfacecolor="none",
                markeredgecolor=line.get_color(), markeredgewidth=1.6, label=f"{name}, expert",
            )  # fmt: skip
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.05)
    axes.set_ylabel("Volume (ml)")
    axes.set_xlabel("Frame" if times is None else "Time (ms)")
    if shown:
        axes.legend(frameon=False, loc="best")


def _mark_phases(axes, times: np.ndarray | None, phases: Mapping[str, int | None]) -> None:
    for name, frame in phases.items():
        if frame is not None:
            x = frame if times is None else times[frame]
            axes.axvline(x, color="0.55", linewidth=1.0, linestyle=":", zorder=0)
            axes.text(x, 1.0, f"{name}\nframe {frame}", transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                      fontsize=8, color="0.35")  # fmt: skip


def write_overlay(path: str | Path, cine: Cine, segmentation: Segmentation) -> None:
    """Write the beating heart as an animated GIF: all slices side by side, cropped to the heart, with the masks.

    Slices are turned by quarters and flipped so that the patient's left is right and the feet are down, as far as the
    stack allows. cine and segmentation: the same grid. The picture is made narrower than 900 px where the file would
    pass 5 MB. Raises CardiacSegError where the file cannot be written.
    """
    frames, labels, pixel_mm = cropped(cine, segmentation)
    low, high = np.percentile(frames, (1, 99.5))
    greys = np.clip((frames - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    times = cine.times if cine.times_known else None
    step_ms = float(
        np.clip((cine.times[-1] / max(len(frames) - 1, 1)) if cine.times_known else 1000 / len(frames), 30, 200)
    )
    with atomic_path(path) as temporary:
        for width in _WIDTHS:
            mosaic = _Mosaic(greys.shape, pixel_mm, width, segmentation)
            pictures = [mosaic.draw(greys[t], labels[t], _caption(t, times)) for t in range(len(greys))]
            palette = _palette(segmentation)
            pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
            pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], loop=0,
                             duration=round(step_ms / 10) * 10, disposal=1)  # fmt: skip
            if temporary.stat().st_size < _MOST_BYTES:
                break


def _caption(frame: int, times: np.ndarray | None) -> str:
    return f"frame {frame}" + ("" if times is None else f"   {times[frame]:.0f} ms")


def cropped(cine: Cine, segmentation: Segmentation) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Frames and labels (T, Z, row, column), cut to the masks with a margin and turned to the patient's anatomy."""
    spacing = cine.spacing
    inside = segmentation.labels.any(axis=(0, 1))
    window = [slice(None), slice(None)]
    for axis, step in ((0, spacing[1]), (1, spacing[0])):
        places = np.flatnonzero(inside.any(axis=1 - axis))
        if len(places):
            margin = int(np.ceil(_MARGIN_MM / step))
            window[axis] = slice(max(places[0] - margin, 0), places[-1] + margin + 1)
    transpose, flip_rows, flip_columns = _turn(cine.affine)

    def turned(array: np.ndarray) -> np.ndarray:
        array = array[:, :, window[0], window[1]]
        array = array.swapaxes(2, 3) if transpose else array
        return array[:, :, :: -1 if flip_rows else 1, :: -1 if flip_columns else 1]

    pixel_mm = (spacing[0], spacing[1]) if transpose else (spacing[1], spacing[0])
    return turned(cine.frames), turned(segmentation.labels), (float(pixel_mm[0]), float(pixel_mm[1]))


def _turn(affine: np.ndarray) -> tuple[bool, bool, bool]:
    """Whether to swap rows and columns, and then to flip rows and columns, to bring the patient's left to the right."""
    x, y = (affine[:3, column] / np.linalg.norm(affine[:3, column]) for column in (0, 1))
    straight, swapped = (abs(c @ _RIGHT) + abs(r @ _DOWN) for c, r in ((x, y), (y, x)))
    columns, rows = (y, x) if swapped > straight else (x, y)
    return bool(swapped > straight), bool(rows @ _DOWN < 0), bool(columns @ _RIGHT < 0)


def _palette(segmentation: Segmentation) -> Image.Image:
    """The few colors that the pictures are made of, so that all frames share them and the file stays small."""
    greys = np.linspace(0, 1, _GREYS)[:, None].repeat(3, axis=1)
    colors = [greys]
    for structure in segmentation.structures[:8]:
        color = np.array(structure.color)
        colors += [greys[::2] * (1 - _FILL) + color * _FILL, greys[::8] * (1 - _LINE) + color * _LINE]
    values = (np.concatenate(colors)[:256] * 255).round().astype(np.uint8)
    palette = Image.new("P", (1, 1))
    palette.putpalette(values.tobytes() + bytes(3 * (256 - len(values))))
    return palette


def _columns(slices: int, aspect: float) -> int:
    """How many slices stand in a row, so that the picture is a bit wider than high and few places stay empty."""

    def cost(columns: int) -> float:
        rows = -(-slices // columns)
        return abs(np.log(columns * aspect / rows / 1.5)) + (columns * rows - slices) / slices

    return min(range(1, slices + 1), key=cost)


class _Mosaic:
    """Where each slice stands in the picture, and how one frame is drawn."""

    def __init__(
        self, shape: tuple[int, ...], pixel_mm: tuple[float, float], width: int, segmentation: Segmentation
    ) -> None:
        """shape: (T, Z, rows, columns); pixel_mm: size of a row and a column; width: of the whole picture in px."""
        slices, height_mm, width_mm = shape[1], shape[2] * pixel_mm[0], shape[3] * pixel_mm[1]
        self.columns = _columns(slices, width_mm / height_mm)
        tile = min(width // self.columns, 360)
        self.tile = (tile, max(1, round(tile * height_mm / width_mm)))
        present = set(np.unique(segmentation.labels))
        self.structures = [structure for structure in segmentation.structures if structure.value in present]
        self.line_px = 2 if tile > 150 else 1
        self.font = ImageFont.load_default(size=max(10, tile // 15))
        self.header = round(self.font.size * 1.8)

    def draw(self, greys: np.ndarray, labels: np.ndarray, caption: str) -> Image.Image:
        """greys (0..1) and labels: (Z, rows, columns) -> RGB."""
        rows = -(-len(greys) // self.columns)
        picture = Image.new("RGB", (self.tile[0] * self.columns, self.header + self.tile[1] * rows))
        canvas = ImageDraw.Draw(picture)
        for index, (grey, mask) in enumerate(zip(greys, labels, strict=True)):
            row, column = divmod(index, self.columns)
            place = (column * self.tile[0], self.header + row * self.tile[1])
            picture.paste(self._draw_slice(grey, mask), place)
            canvas.text(
                (place[0] + 4, place[1] + 2), str(index), fill=_TEXT, font=self.font, stroke_width=1, stroke_fill=0
            )
        self._draw_header(canvas, caption)
        return picture

    def _draw_header(self, canvas: ImageDraw.ImageDraw, caption: str) -> None:
        x = 6.0
        for structure in self.structures:
            color = tuple(round(255 * part) for part in structure.color)
            canvas.text((x, self.header * 0.15), structure.name, fill=color, font=self.font)
            x += canvas.textlength(structure.name + "   ", font=self.font)
        x = max(x, self.tile[0] * self.columns - 6 - canvas.textlength("frame 000   00000 ms", font=self.font))
        canvas.text((x, self.header * 0.15), caption, fill=_TEXT, font=self.font)

    def _draw_slice(self, grey: np.ndarray, mask: np.ndarray) -> Image.Image:
        from scipy.ndimage import binary_erosion

        image = Image.fromarray(np.ascontiguousarray(grey)).resize(self.tile, Image.Resampling.BICUBIC)
        picture = np.clip(np.asarray(image), 0, 1)[..., None].repeat(3, axis=2)
        for structure in self.structures:
            if not (mask == structure.value).any():
                continue
            soft = Image.fromarray((mask == structure.value).astype(np.float32)).resize(
                self.tile, Image.Resampling.BILINEAR
            )
            inside = np.asarray(soft) > 0.5
            border = inside & ~binary_erosion(inside, iterations=self.line_px)
            opacity = np.where(border, _LINE, np.where(inside, _FILL, 0.0))[..., None]
            picture = picture * (1 - opacity) + np.array(structure.color) * opacity
        return Image.fromarray((picture * 255).round().astype(np.uint8))
