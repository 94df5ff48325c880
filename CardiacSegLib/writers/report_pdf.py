"""The report as PDF (A4), laid out by ReportLab: pure Python, where renderers of HTML need libraries of the system."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from PIL import Image as Picture

from ..atomic import atomic_path
from ..errors import CardiacSegError
from .report_content import Content, Pairs, Table

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from .report import Pictures

_MARGIN_MM = 14
_FRAME_PADDING = 6  # ReportLab's own, in points
_INK, _SOFT, _RULE, _ACCENT = "#1c2430", "#5b6675", "#d5dae1", "#7a1f2b"


def write_pdf(path: str | Path, page: Content, pictures: Pictures) -> None:
    """Write the content as pages with a footer that names study and use. Raises CardiacSegError if it cannot."""
    try:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate
    except ImportError as error:
        raise CardiacSegError("The report needs the package reportlab; install it with 'cardiacseg[cli]'.") from error
    margin = _MARGIN_MM * mm
    with atomic_path(path) as temporary:
        document = SimpleDocTemplate(
            str(temporary), pagesize=A4, leftMargin=margin, rightMargin=margin, topMargin=margin,
            bottomMargin=margin + 8, title=page.title, author="CardiacSeg", creator="CardiacSeg",
        )  # fmt: skip
        layout = _Layout(document.width - 2 * _FRAME_PADDING)
        draw = layout.footer(page.footer, margin)
        with _binary_streams():
            document.build(layout.story(page, pictures), onFirstPage=draw, onLaterPages=draw)


@contextmanager
def _binary_streams() -> Iterator[None]:
    """Pictures as bytes: ReportLab's text encoding of them takes longer than all the rest, and a quarter more room."""
    from reportlab import rl_config

    before, rl_config.useA85 = rl_config.useA85, 0
    try:
        yield
    finally:
        rl_config.useA85 = before


class _Layout:
    """Makes the parts of the page for a width in points."""

    def __init__(self, width: float) -> None:
        from reportlab.lib.styles import ParagraphStyle

        plain, bold = _fonts()
        self.width, self.plain, self.bold = width, plain, bold
        text = ParagraphStyle("text", fontName=plain, fontSize=8, leading=10.4, textColor=_INK)
        self.text = text
        self.soft = ParagraphStyle("soft", text, textColor=_SOFT)
        self.note = ParagraphStyle("note", text, fontSize=7, leading=9, textColor=_SOFT)
        self.title = ParagraphStyle("title", text, fontName=bold, fontSize=15, leading=19)
        self.head = ParagraphStyle("head", text, fontName=bold, fontSize=10, leading=13, spaceBefore=9, spaceAfter=3)
        self.warning = ParagraphStyle("warning", text, fontName=bold, textColor=_ACCENT, spaceAfter=5)
        self.review = ParagraphStyle(
            "review", text, backColor="#f8f3f3", borderPadding=(3, 4, 3, 6), spaceBefore=8, spaceAfter=5
        )

    def story(self, page: Content, pictures: Pictures) -> list[Flowable]:
        """All parts, in the order of the HTML page."""
        from reportlab.platypus import KeepTogether

        half = (self.width - 14) / 2
        right = [self.image(pictures.curve, half), *self.pairs(page.context, half, 0.36)]
        parts = [self.paragraph(page.title, self.title), self.paragraph(page.warning, self.warning)]
        parts += [*self.facts(page.facts), self.paragraph(page.review, self.review)]
        parts += [self.heading("Volumes and function"), self.beside([self.table(page.results, half)], right)]
        if page.norms.rows:
            norms = [self.table(page.norms, self.width, words=True), *self.notes(page.norm_notes)]
            parts.append(KeepTogether([self.heading("Beside published ranges of healthy adults"), *norms]))
        rows = self.tiles(page.captions, pictures.overlays)
        parts += [KeepTogether([self.heading("Contours"), *rows[:1]]), *rows[1:]]
        parts.append(KeepTogether([self.heading("Wall of the left ventricle"), *self.wall(page, pictures)]))
        right = [self.image(pictures.status, half), self.heading("Conventions"), *self.notes(page.conventions)]
        origin = self.beside(self.pairs(page.origin, half, 0.32), right)
        parts.append(KeepTogether([self.heading("How the masks came about"), origin]))
        if page.remarks:
            parts.append(KeepTogether([self.heading("Remarks on the images"), *self.notes(page.remarks)]))
        return [*parts, self.signature()]

    def wall(self, page: Content, pictures: Pictures) -> list[Flowable]:
        """The bullseye, and the segments in two columns."""
        parts = [self.image(pictures.bullseye, 0.8 * self.width)] if pictures.bullseye else []
        headers, rows = page.segments.headers, page.segments.rows
        middle = -(-len(rows) // 2)
        if rows:
            halves = [self.table(Table(headers, part), self.width / 2 - 7) for part in (rows[:middle], rows[middle:])]
            parts.append(self.beside(*([half] for half in halves)))
        else:
            parts.append(self.paragraph("No segment has a value."))
        return [*parts, *self.notes(page.segment_notes)]

    def paragraph(self, text: str, style=None) -> Flowable:
        """Text that is no markup."""
        from reportlab.platypus import Paragraph

        return Paragraph(escape(text), style or self.text)

    def heading(self, text: str) -> Flowable:
        """The head of a section."""
        return self.paragraph(text, self.head)

    def notes(self, lines: Sequence[str]) -> list[Flowable]:
        """Small print, a line each."""
        return [self.paragraph(line, self.note) for line in lines]

    def facts(self, pairs: Pairs) -> list[Flowable]:
        """Patient and study in two columns."""
        half, middle = self.width / 2, -(-len(pairs) // 2)
        columns = [self.pairs(part, half, 0.3) for part in (pairs[:middle], pairs[middle:])]
        return [self.beside(*columns)] if pairs else []

    def pairs(self, pairs: Pairs, width: float, share: float) -> list[Flowable]:
        """Labels, which take a share of the width, and what they stand for."""
        rows = [[self.paragraph(label, self.soft), self.paragraph(value)] for label, value in pairs]
        return [self.grid(rows, [share * width, (1 - share) * width], [])] if rows else []

    def table(self, table: Table, width: float, words: bool = False) -> Flowable:
        """A table with a rule under each row; values stand right, words left."""
        columns = len(table.headers) - 1
        first = 0.24 if words else max(0.38, 1 - 0.17 * columns)
        rows = [[self.paragraph(cell, self.note) for cell in table.headers]]
        rows += [[self.paragraph(cell) for cell in row] for row in table.rows]
        if not words:
            for row in rows:
                for cell in row[1:]:
                    cell.style = cell.style.clone("right", alignment=2)
        lines = [("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE), ("TOPPADDING", (0, 0), (-1, -1), 1.2)]
        letters = [len(head) + 4 for head in table.headers[1:]]
        widths = [first * width, *((1 - first) * width * count / sum(letters) for count in letters)]
        return self.grid(rows, widths, lines)

    def tiles(self, captions: Pairs, pictures: Sequence[bytes]) -> list[Flowable]:
        """Pictures with their captions in rows of three."""
        width = 0.78 * self.width / 3
        cells = [
            [self.image(picture, width - 5), self.paragraph(f"{name}, {place}", self.note)]
            for (name, place), picture in zip(captions, pictures, strict=True)
        ]
        return [self.grid([cells[i : i + 3]], [width] * len(cells[i : i + 3]), []) for i in range(0, len(cells), 3)]

    def beside(self, left: list[Flowable], right: list[Flowable]) -> Flowable:
        """Two columns."""
        return self.grid([[left, right]], [self.width / 2] * 2, [])

    def grid(self, rows: list, widths: list[float], style: list[tuple]) -> Flowable:
        """Cells without borders."""
        from reportlab.platypus import Table as Grid

        bare = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 5), ("TOPPADDING", (0, 0), (-1, -1), 0),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5)]  # fmt: skip
        return Grid(rows, widths, style=bare + style, hAlign="LEFT")

    def image(self, picture: bytes, width: float) -> Flowable:
        """A picture of that width."""
        from reportlab.platypus import Image

        with Picture.open(io.BytesIO(picture)) as opened:
            columns, rows = opened.size
        return Image(io.BytesIO(picture), width, width * rows / columns)

    def signature(self) -> Flowable:
        """Where the reader signs."""
        from reportlab.platypus import KeepTogether, Spacer

        cells = [[self.paragraph(name, self.note) for name in ("Read by", "", "Date", "", "Signature")]]
        rules = [("LINEABOVE", (column, 0), (column, 0), 0.8, _INK) for column in (0, 2, 4)]
        widths = [share * self.width for share in (0.36, 0.04, 0.2, 0.04, 0.36)]
        return KeepTogether([Spacer(1, 20), self.grid(cells, widths, rules)])

    def footer(self, text: str, margin: float):
        """A function that draws the footer of a page."""

        def draw(canvas, document) -> None:
            paragraph = self.paragraph(text, self.note)
            _, height = paragraph.wrap(self.width, margin)
            paragraph.drawOn(canvas, document.leftMargin + _FRAME_PADDING, margin - height + 4)

        return draw


def _fonts() -> tuple[str, str]:
    """DejaVu Sans, which comes with Matplotlib: unlike the PDF's own fonts it has more than the letters of Latin-1."""
    from matplotlib import get_data_path
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    names = ("DejaVuSans", "DejaVuSans-Bold")
    for name in names:
        pdfmetrics.registerFont(TTFont(name, str(Path(get_data_path(), "fonts", "ttf", f"{name}.ttf"))))
    return names
