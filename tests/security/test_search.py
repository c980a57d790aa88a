"""What somebody searches for is words, whatever it means to SQL, to the word index or to Chroma."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from backend.knowledge.models import Source
from tests.backend.chats import talk
from tests.backend.conftest import Sync, searched_sources
from tests.folder import write

OPERATORS = [
    "parental -leave",
    "+parental +leave +nothing",
    'NOT parental AND (weeks OR "leave',
    "text:parental^1000 title:* id:[a TO z] source:/.*/",
    "parental~2 par?ntal parental* {!lucene}",
    "parental') OR ('1'='1",
    "parental'; DROP TABLE knowledge_chunk; --",
    "parental UNION SELECT password FROM accounts_user",
    "parental NEAR/5 leave",
    'parental {"$or": [{"$contains": ""}]} $not_contains',
    "parental %' OR 1=1 \\ ESCAPE '_",
    "parental ${jndi:ldap://127.0.0.1/a} {{7*7}} `id` $(id)",
    "parental :(){:|:&};: <script>alert(1)</script>",
    "parental IN [a b c] .. ) ] } ^ ~ \\",
]
NO_WORDS = [
    "*",
    "*:*",
    "-",
    '"',
    "(",
    "[* TO *]",
    "' OR ''='",
    "%",
    "_",
    "$",
    "\\",
    "🙈",
    "^^^^",
    "AND OR NOT",
    "{}" * 500,
]


@pytest.fixture
def filled(folder: Path, sync: Sync) -> None:
    write(folder, "leave.md", "# Leave\n\nParental leave is 16 weeks, paid in full.\n")
    write(folder, "sea/whales.md", "# Whales\n\nWhales sing for hours, at night.\n")
    write(folder, "100%_sure.md", "# Krill\n\nKrill is small and pink.\n")
    sync()


@pytest.mark.django_db
@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("query", [*OPERATORS, *NO_WORDS])
def test_operators_in_a_search_or_question_are_words(client: APIClient, query: str) -> None:
    found = client.get("/search", {"q": query, "k": "50"})
    assert found.status_code == 200, found.content
    results = found.json()["results"]
    if query in OPERATORS:
        assert results[0]["source"] == "leave.md", "no operator keeps it away"
    assert {row["source"] for row in results} <= {"leave.md", "sea/whales.md", "100%_sure.md"}
    assert Source.objects.count() == 3
    answer = client.post("/chat", {"message": query})
    assert answer.status_code == 200, answer.content
    assert answer.json()["outcome"] in ("grounded", "partial", "abstained")


@pytest.mark.django_db
@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "filters",
    [
        {"source": "%"}, {"source": "_eave.md"}, {"source": "*"}, {"source": "../leave.md"}, {"source": "sea/%"},
        {"source": "x' OR '1'='1"}, {"source": '{"$ne": ""}'}, {"tag": '{"$exists": true}'}, {"tag": "%"},
        {"language": "%"}, {"language": "en' OR 'a'='a"}, {"source": "leave.md\\"},
    ],
    ids=str,
)  # fmt: skip
def test_operators_in_a_filter_are_names_that_no_source_has(client: APIClient, filters: dict[str, Any]) -> None:
    assert searched_sources(client, question="parental whales krill", **filters) == []
    assert (
        client.post("/chat", {"message": "How long is parental leave?", "filter": {"source": {"$ne": ""}}}).status_code
        == 400
    )


@pytest.mark.django_db
@pytest.mark.usefixtures("filled")
def test_what_looks_like_an_operator_in_a_name_is_found_by_it(client: APIClient, user: Any) -> None:
    assert searched_sources(client, question="krill", source="100%_sure.md") == ["100%_sure.md"]
    talk(user, "100% sure")
    talk(user, "1000 reasons")
    for query, count in (("100%", 1), ("%", 1), ("_", 0), ("' OR 1=1 --", 0), ("\\", 0), ("100", 2)):
        assert client.get("/conversations", {"q": query}).json()["count"] == count, query


@pytest.mark.django_db
def test_more_parameters_than_anybody_needs_are_a_400(client: APIClient) -> None:
    for path in ("/search", "/conversations", "/sources", "/stats", "/chat-history"):
        answer = client.get(f"{path}?{'&'.join(f'a{number}=1' for number in range(5_000))}")
        assert answer.status_code == 400, (path, answer.content)
