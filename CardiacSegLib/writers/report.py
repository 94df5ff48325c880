"""The report of a study: report.html, complete in itself, report.pdf, and measures.json with every number on them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..atomic import atomic_path
from ..cine import Cine, Segmentation
from ..errors import CardiacSegError
from ..temporary import private_folder
from .bullseye import write_bullseye
from .figures import write_curve
from .report_content import Content, content
from .report_pictures import overlays, status_map
from .tables import write_measures

TEMPLATE = Path(__file__).resolve().parents[2] / "Resources" / "Report" / "report.html"


@dataclass(frozen=True)
class Pictures:
    """The pictures of a report as PNG; overlays in the order of the content's captions, bullseye None without data."""

    curve: bytes
    status: bytes
    overlays: list[bytes]
    bullseye: bytes | None = None


def write_report(folder: str | Path, data: Mapping[str, object], cine: Cine, segmentation: Segmentation) -> None:
    """Write measures.json, report.html and report.pdf into the folder.

    data: as report_data. Page and PDF show numbers of `data` alone; what they do not know they leave out. Raises
    CardiacSegError if a package of the extra 'report' is missing or a file cannot be written.
    """
    folder, page = Path(folder), content(data)
    pictures = _pictures(data, cine, segmentation)
    write_measures(folder / "measures.json", data)
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(html(page, pictures), encoding="utf-8")
    from .report_pdf import write_pdf

    write_pdf(folder / "report.pdf", page, pictures)


def html(page: Content, pictures: Pictures) -> str:
    """The page with its pictures inside; it asks for nothing from elsewhere."""
    try:
        import jinja2
    except ImportError as error:
        raise CardiacSegError("The report needs the package Jinja2; install it with 'cardiacseg[cli]'.") from error
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    images = {"curve": _uri(pictures.curve), "status": _uri(pictures.status), "bullseye": _uri(pictures.bullseye)}
    tiles = list(zip(page.captions, map(_uri, pictures.overlays), strict=True))
    return template.render(page=page, images=images, overlays=tiles)


def _uri(picture: bytes | None) -> str | None:
    return None if picture is None else "data:image/png;base64," + base64.b64encode(picture).decode()


def _pictures(data: Mapping, cine: Cine, segmentation: Segmentation) -> Pictures:
    rows = data["segments"]["rows"]
    known = any(row[key] is not None for row in rows for key in ("ed_mm", "es_mm", "thickening_percent"))
    return Pictures(
        curve=_png(write_curve, *_curve(data)),
        status=status_map(segmentation),
        overlays=overlays(cine, segmentation, data["pictures"]),
        bullseye=_png(write_bullseye, rows) if known else None,
    )


def _png(write: Callable, *arguments: object) -> bytes:
    """What a function writes to the path that it is given."""
    with private_folder() as folder:
        path = folder / "picture.png"
        write(path, *arguments)
        return path.read_bytes()


def _curve(data: Mapping) -> tuple[dict[str, np.ndarray], np.ndarray | None, int | None, int | None]:
    """The arguments of write_curve."""
    volumes = dict(data["volumes"])
    times = volumes.pop("time_ms")
    curves = {
        name.removesuffix("_ml"): np.array([np.nan if value is None else value for value in values], float)
        for name, values in volumes.items()
    }
    return curves, None if times is None else np.array(times), data["ed_frame"], data["es_frame"]
