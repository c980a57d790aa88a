"""Titles, tags and language from sidecars and front matter: read again when they change, and searched by."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from rest_framework.test import APIClient

from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Source
from tests.backend.conftest import Sync, searched_sources
from tests.backend.state import state
from tests.folder import write

QUESTION = "How long is parental leave?"


@pytest.fixture
def filled(folder: Path, sync: Sync) -> Path:
    write(folder, "de/leave.md", "# Urlaub\n\nParental leave is 18 weeks here.\n")
    write(folder, "en/leave.md", "---\ntags: [policy]\n---\n# Leave\n\nParental leave is 16 weeks.\n")
    write(folder, ".footnote.yml", "tags: [hr]\nlanguage: en\n")
    write(folder, "de/.footnote.yml", "language: de-AT\nfiles:\n  leave.md:\n    title: Handbuch\n")
    sync()
    return folder


sources = partial(searched_sources, question=QUESTION)


def test_search_and_chat_keep_to_tags_and_language(client: APIClient, filled: Path) -> None:
    assert sources(client) == sources(client, tag="HR") == ["de/leave.md", "en/leave.md"]
    assert sources(client, tag="policy") == sources(client, language="EN") == ["en/leave.md"]
    assert sources(client, language="de") == sources(client, language="de_at", tag="hr") == ["de/leave.md"]
    assert sources(client, language="d") == sources(client, tag="none") == []
    answer = client.post("/chat", {"message": QUESTION, "filter": {"language": "de"}}).json()
    assert "18 weeks" in answer["answer"]
    assert client.post("/chat", {"message": QUESTION, "filter": {}}).status_code == 400
    rows = {row["path"]: row for row in client.get("/sources").json()["results"]}
    assert (rows["de/leave.md"]["title"], rows["de/leave.md"]["language"]) == ("Handbuch", "de-AT")
    assert rows["en/leave.md"]["tags"] == ["hr", "policy"]


def test_a_changed_sidecar_reads_its_files_again_and_no_others(filled: Path, sync: Sync, index: KnowledgeIndex) -> None:
    write(filled, "de/.footnote.yml", "language: fr\n")
    report = sync().report
    assert (report["changed"], report["unchanged"], report["names"]["changed"]) == (1, 1, ["de/leave.md"])
    version = Source.objects.get(path="de/leave.md").current_version
    assert version is not None
    assert (version.title, version.language) == ("Urlaub", "fr")
    assert sync().report["unchanged"] == 2
    (filled / ".footnote.yml").unlink()
    assert sync().report["changed"] == 2
    write(filled, "de/.footnote.yml", "language: [")
    report = sync().report
    assert report["names"]["failed"][0][0] == "de/.footnote.yml"
    assert sync().report["failed"] == 0, "it is said once"
    state(index)


def test_a_file_that_moves_to_other_metadata_is_read_again(filled: Path, sync: Sync, index: KnowledgeIndex) -> None:
    (filled / "en" / "leave.md").rename(filled / "de" / "other.md")
    write(filled, "plain/leave.md", "# Leave\n\nSabbaticals are unpaid.\n")
    sync()
    (filled / "plain" / "leave.md").rename(filled / "de" / "plain.md")
    sync()
    version = Source.objects.get(path="de/plain.md").current_version
    assert version is not None
    assert (version.tags, version.language) == (["hr"], "de-AT")
    state(index)
