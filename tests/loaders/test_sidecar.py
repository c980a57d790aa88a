"""What stands beside files, and in them, of title, tags and language."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders.folder import scan
from loaders.sidecar import BadSidecar, Metadata, Sidecar, read_sidecar, resolve
from tests.folder import write
from tests.loaders.conftest import ReadFile


def test_tags_add_up_and_the_nearest_language_counts() -> None:
    sidecars = {
        "": Sidecar(Metadata(tags=("all",), language="en"), {"a.pdf": Metadata("A")}),
        "hr": Sidecar(Metadata(tags=("hr",)), {"b.pdf": Metadata("B", ("policy",), "de-AT")}),
        "hr/old": Sidecar(Metadata(language="fr"), {}),
    }
    assert resolve(sidecars, "a.pdf") == Metadata("A", ("all",), "en")
    assert resolve(sidecars, "hr/a.pdf") == Metadata("", ("all", "hr"), "en"), "an entry is of its own folder only"
    assert resolve(sidecars, "hr/b.pdf") == Metadata("B", ("all", "hr", "policy"), "de-AT")
    assert resolve(sidecars, "hr/old/b.pdf") == Metadata("", ("all", "hr"), "fr")
    assert resolve(sidecars, "hrx/b.pdf") == Metadata("", ("all",), "en")
    assert resolve({}, "a.pdf").digest == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tags: [", "not valid YAML: see line"),
        ("a: &a [x, x]\ntags: [*a]", "unknown: a"),
        ("tags: [[a]]", "tags must be a list of texts"),
        ("- a", "must be a mapping"),
        ("tag: x", "unknown: tag"),
        ("tags: {a: b}", "tags must be a list"),
        ("tags: [" + "x," * 60 + "]", None),
        ("tags: [" + ",".join(f"t{i}" for i in range(51)) + "]", "at most 50 tags"),
        ("files: [a]", "files must map names"),
        ("files: {a.pdf: 1}", "files must map names"),
        ("files: {a.pdf: {title: [x]}}", "title and language must be texts"),
        ("x" * 100_001, "over 100,000 bytes"),
        ("[" * 50_000, "not valid YAML"),
    ],
)
def test_a_bad_sidecar_says_what_is_wrong(tmp_path: Path, text: str, reason: str | None) -> None:
    path = write(tmp_path, ".footnote.yml", text)
    with pytest.raises(BadSidecar, match=reason or "at most"):
        read_sidecar(path)


def test_a_scan_finds_them_and_lists_bad_ones(tmp_path: Path) -> None:
    write(tmp_path, "hr/.footnote.yml", "tags: hr, policy")
    write(tmp_path, "it/.footnote.yml", "tags: [")
    write(tmp_path, "empty/.footnote.yml", "")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / ".footnote.yml").symlink_to("/etc/hostname")
    write(tmp_path, "hr/a.md", "x")
    found = scan(tmp_path)
    assert [entry.path for entry in found.files] == ["hr/a.md"]
    assert found.sidecars == {
        "hr": Sidecar(Metadata(tags=("hr", "policy")), {}),
        "empty": Sidecar(Metadata(), {}),
    }
    assert [(problem.path, problem.reason[:20]) for problem in found.problems] == [
        ("it/.footnote.yml", "it is not valid YAML"),
        ("link/.footnote.yml", "it is not a regular "),
    ]


@pytest.mark.parametrize(
    ("front", "metadata"),
    [
        ("title: 'Time: off'\ntags: [hr, policy]\nlang: en", ("Time: off", ("hr", "policy"), "en")),
        ("tags: b, a", ("Leave", ("a", "b"), "")),
        ("title: [x", ("Leave", (), "")),
        ("just words", ("Leave", (), "")),
    ],
)
def test_front_matter_tells_of_its_file(read: ReadFile, front: str, metadata: tuple[str, tuple[str, ...], str]) -> None:
    loaded = read("a.md", f"---\n{front}\n---\n# Leave\n\nParental leave is 16 weeks.\n")
    assert (loaded.title, loaded.tags, loaded.language) == metadata
    assert "policy" not in loaded.chunks[0].text
