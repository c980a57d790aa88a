"""Makes `knowledge/footnote-handbook.pdf`, the PDF among the sample documents; the same bytes at every run.

    python -m evals.datasets.sample.make_handbook

The text is `handbook.txt`: "## " opens a chapter, "### " a section, lines between bars are a table, all else is
paragraphs. Each chapter stands on a page of its own, so that the pages named in `questions.jsonl` hold.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

TITLE = "Footnote handbook"
MARGIN = 25 * mm
TEXT = Path(__file__).with_name("handbook.txt")
TARGET = Path(__file__).resolve().parents[3] / "knowledge" / "footnote-handbook.pdf"


def main() -> None:
    TARGET.write_bytes(make_handbook())


def make_handbook() -> bytes:
    """The PDF: uncompressed and without a date, so that no library's version of today shows in it."""
    text = TEXT.read_text(encoding="utf-8")
    chapters = sum(line.startswith("## ") for line in text.splitlines())

    def running_lines(canvas: Canvas, document: Any) -> None:
        canvas.setFont("Helvetica", 9)
        canvas.drawString(MARGIN, 14 * mm, TITLE)
        canvas.drawRightString(A4[0] - MARGIN, 14 * mm, f"Page {document.page} of {chapters}")

    file = BytesIO()
    SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=TITLE,
        author="The Footnote project",
        invariant=1,
        pageCompression=0,
    ).build(_story(text), onFirstPage=running_lines, onLaterPages=running_lines)
    return file.getvalue()


def _story(text: str) -> list[Flowable]:
    styles = getSampleStyleSheet()
    body = ParagraphStyle("Text", parent=styles["BodyText"], fontSize=10.5, leading=15)
    story: list[Flowable] = []
    chapter = 0
    for block in text.strip().split("\n\n"):
        if block.startswith("## "):
            chapter += 1
            if chapter > 1:
                story.append(PageBreak())
            story.append(Paragraph(f"{chapter} {block[3:]}", styles["Heading1"]))
        elif block.startswith("### "):
            story.append(Paragraph(block[4:], styles["Heading2"]))
        elif block.startswith("|"):
            story += [Spacer(1, 2 * mm), _table(block), Spacer(1, 2 * mm)]
        else:
            story.append(Paragraph(" ".join(block.split()), body))
    return story


def _table(block: str) -> Table:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    style = TableStyle(
        [
            ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
            ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
            ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
        ]
    )
    return Table(rows, colWidths=[90 * mm, 50 * mm], style=style)


if __name__ == "__main__":
    main()
