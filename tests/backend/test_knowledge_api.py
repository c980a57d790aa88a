"""GET /search, /sources, /sources/{id}, /sources/{id}/chunks, /sources/sync."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.knowledge.models import Source, SyncRun
from tests.backend.conftest import Sync
from tests.folder import write, write_pdf

LEAVE = "# Handbook\n\n## Leave\n\nParental leave is 16 weeks.\n\n## Office\n\nThe office opens at 8.\n"


@pytest.fixture
def knowledge(folder: Path, sync: Sync) -> Path:
    write(folder, "hr/handbook.md", LEAVE)
    write_pdf(folder, "rules.pdf", ["Cover page of the house rules.", "Bicycles are parked behind the house."])
    write(folder, "empty.md", "")
    sync()
    return folder


def test_search_ranks_passages_with_their_place(client: APIClient, knowledge: Path) -> None:
    answer = client.get("/search", {"q": "How long is parental leave?", "k": "2"})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert answer.json()["count"] == len(results) == 2
    assert set(results[0]) == {"source", "page", "heading", "text", "score", "chunk_id"}
    assert (results[0]["source"], results[0]["heading"]) == ("hr/handbook.md", ["Handbook", "Leave"])
    assert 1 >= results[0]["score"] >= results[1]["score"] >= 0
    assert client.get("/search", {"q": "Where are bicycles parked?"}).json()["results"][0]["page"] == 2


def test_search_stays_below_a_path(client: APIClient, knowledge: Path) -> None:
    results = client.get("/search", {"q": "parental leave", "source": "rules.pdf"}).json()["results"]
    assert {result["source"] for result in results} == {"rules.pdf"}
    assert client.get("/search", {"q": "leave", "source": "hr"}).json()["results"][0]["source"] == "hr/handbook.md"
    assert client.get("/search", {"q": "leave", "source": "nowhere"}).json() == {"count": 0, "results": []}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "   "}, "q"),
        ({"q": "a", "k": 0}, "k"),
        ({"q": "a", "k": 51}, "k"),
        ({"q": "a", "k": "many"}, "k"),
        ({"q": "a\x00b"}, "q"),
        ({"q": "x" * 8_001}, "q"),
    ],
)
def test_a_bad_search_names_the_parameter(client: APIClient, query: dict[str, str], field: str) -> None:
    answer = client.get("/search", query)
    assert answer.status_code == 400
    assert set(answer.json()["error"]["fields"]) == {field}


@pytest.mark.parametrize("query", ['"', "AND OR (", "title:", "*", "~2 [a TO b]", "\\", "-leave", "🙂", "的"])
def test_any_text_can_be_searched_for(client: APIClient, knowledge: Path, query: str) -> None:
    assert client.get("/search", {"q": query}).status_code == 200


def test_sources_show_state_reason_and_counts(client: APIClient, knowledge: Path) -> None:
    answer = client.get("/sources").json()
    assert set(answer) == {"count", "next", "previous", "results"}
    empty, handbook, rules = answer["results"]
    assert (empty["path"], empty["state"], empty["chunks"], empty["version"]) == ("empty.md", "failed", 0, None)
    assert "empty" in empty["error"]
    assert (handbook["path"], handbook["state"], handbook["error"]) == ("hr/handbook.md", "indexed", "")
    assert handbook["chunks"] == len(client.get(f"/sources/{handbook['id']}/chunks").json()["results"]) > 0
    assert len(handbook["version"]) == 64
    assert (rules["pages"], rules["format"]) == (2, "pdf")
    assert [source["path"] for source in client.get("/sources?state=failed").json()["results"]] == ["empty.md"]
    assert client.get("/sources?state=lost").status_code == 400
    assert client.get(f"/sources/{rules['id']}").json() == rules


def test_a_removed_source_says_so(client: APIClient, knowledge: Path, sync: Sync) -> None:
    (knowledge / "rules.pdf").unlink()
    sync()
    source = client.get("/sources?state=removed").json()["results"][0]
    assert (source["path"], source["chunks"], source["version"]) == ("rules.pdf", 0, None)
    assert client.get(f"/sources/{source['id']}/chunks").json()["count"] == 0


def test_every_chunk_can_be_looked_at(client: APIClient, knowledge: Path) -> None:
    source = Source.objects.get(path="hr/handbook.md")
    chunks = client.get(f"/sources/{source.pk}/chunks").json()["results"]
    assert [chunk["position"] for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert LEAVE[chunk["start"] : chunk["end"]] == chunk["text"]


def test_lists_come_in_pages(client: APIClient, folder: Path, sync: Sync) -> None:
    for number in range(5):
        write(folder, f"{number}.md", f"# Note {number}\n\nThis is note number {number}.\n")
    sync()
    first = client.get("/sources?page_size=2").json()
    assert (first["count"], len(first["results"]), first["previous"]) == (5, 2, None)
    assert [row["path"] for row in client.get(first["next"]).json()["results"]] == ["2.md", "3.md"]
    assert client.get("/sources?page=99").status_code == 404


@pytest.mark.parametrize("path", ["/sources/{}", "/sources/{}/chunks"])
def test_an_unknown_source_is_a_404(client: APIClient, path: str) -> None:
    for name in (uuid4(), "nonsense"):
        answer = client.get(path.format(name))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_staff_ask_for_a_sync_and_everybody_sees_it(
    client: APIClient, make_user: Callable[[str], User], client_of: Callable[[User], APIClient]
) -> None:
    assert client.get("/sources/sync").status_code == 404, "none was there yet"
    answer = client.post("/sources/sync", {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    chief = make_user("chief")
    User.objects.filter(pk=chief.pk).update(is_staff=True)
    staff = client_of(chief)
    asked = staff.post("/sources/sync", {"full": True})
    assert (asked.status_code, asked.json()["state"], asked.json()["full"]) == (202, "requested", True)
    assert staff.post("/sources/sync", {"full": True}).json()["id"] == asked.json()["id"], "an equal request is shared"
    assert SyncRun.objects.count() == 1
    assert client.get("/sources/sync").json()["id"] == asked.json()["id"]
    assert staff.post("/sources/sync", {"full": "perhaps"}).status_code == 400
