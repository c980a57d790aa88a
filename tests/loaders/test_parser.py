"""The parsing process: it serves many files, and what hangs, crashes or eats memory there dies alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from loaders.errors import Damaged, LoadError, NoText, ParserDied, TooLarge
from loaders.parser import Limits, Parser
from tests.folder import write, write_pdf
from vectorstore.embeddings import tokenizer_path


@pytest.fixture
def parser() -> Iterator[Parser]:
    with Parser(tokenizer_path(), Limits(seconds=20, max_chars=2_000_000)) as parser:
        yield parser


def child(parser: Parser) -> int:
    assert parser._process is not None
    return parser._process.pid


def test_files_of_every_kind_come_back_whole(tmp_path: Path, parser: Parser) -> None:
    text = "# Über uns\n\nWir öffnen um 8 🙂.\n"
    loaded = parser.parse(write(tmp_path, "-a 🙂.md", text), "-a 🙂.md")
    assert (loaded.text, loaded.format) == (text, "markdown")
    assert loaded.chunks[0].heading == ("Über uns",)
    first = child(parser)
    assert parser.parse(write_pdf(tmp_path, "b.pdf", ["One", "Two"]), "b.pdf").pages == 2
    assert parser.parse(write(tmp_path, "c.html", "<h1>A</h1><p>Some text is here.</p>"), "c.html").format == "html"
    assert child(parser) == first


def test_errors_keep_their_kind_and_the_process_goes_on(tmp_path: Path, parser: Parser) -> None:
    with pytest.raises(NoText, match="empty"):
        parser.parse(write(tmp_path, "a.md", ""), "a.md")
    with pytest.raises(Damaged, match="not a PDF"):
        parser.parse(write(tmp_path, "a.pdf", "x"), "a.pdf")
    with pytest.raises(TooLarge):
        parser.parse(write(tmp_path, "a.txt", b"word " * 2_000_000), "a.txt")
    with pytest.raises(LoadError, match="No such file"):
        parser.parse(tmp_path / "gone.md", "gone.md")
    assert parser.parse(write(tmp_path, "b.md", "# A\n\nText."), "b.md").chunks


def test_a_process_that_was_killed_is_started_again(tmp_path: Path, parser: Parser) -> None:
    path = write(tmp_path, "a.md", "# A\n\nText.")
    parser.parse(path, "a.md")
    os.kill(child(parser), signal.SIGKILL)
    assert parser._process is not None
    parser._process.wait()
    assert parser.parse(path, "a.md").chunks


def test_a_process_that_dies_over_a_file_is_that_files_error(tmp_path: Path, parser: Parser) -> None:
    path = write(tmp_path, "a.md", "# A\n\nText.")
    parser.parse(path, "a.md")
    os.kill(child(parser), signal.SIGSTOP)
    parser.limits = Limits(seconds=0.3)
    with pytest.raises(ParserDied, match="took longer"):
        parser.parse(path, "a.md")
    parser.limits = Limits(seconds=20)
    assert parser.parse(path, "a.md").chunks


def bomb(path: Path, megabytes: int) -> Path:
    """A PDF whose one page unpacks twice to megabytes of nothing to show."""
    content = zlib.compress(zlib.compress(b" " * (megabytes << 20), 9), 9)
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R >>",
        b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    out = b"%PDF-1.4\n"
    for number, part in enumerate(parts, start=1):
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    out += b"trailer << /Root 1 0 R /Size 5 >>\n%%EOF\n"
    path.write_bytes(out)
    return path


def test_a_file_that_unpacks_to_gigabytes_dies_alone(tmp_path: Path, parser: Parser) -> None:
    parser.limits = Limits(seconds=20, memory_bytes=700_000_000)
    with pytest.raises(LoadError):
        parser.parse(bomb(tmp_path / "bomb.pdf", 900), "bomb.pdf")
    assert parser.parse(write(tmp_path, "b.md", "# A\n\nText."), "b.md").chunks


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    path = write(tmp_path, "a.md", "# A\n\nText.")
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom loaders.parser import Limits, Parser\n"
        "from vectorstore.embeddings import tokenizer_path\nparser = Parser(tokenizer_path(), Limits())\n"
        f"parser.parse(Path({os.fspath(path)!r}), 'a.md')\nprint(parser._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    assert any(_is_gone(pid) for _ in range(50))


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    time.sleep(0.1)
    return False
