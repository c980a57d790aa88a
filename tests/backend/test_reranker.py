"""RERANKER through the product: /search and /chat hear it, and a wrong name stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from tests.backend.conftest import Sync
from tests.folder import write

COMPRESSORS = "tests.vectorstore.test_reranker"
TEXTS = {
    "long.md": "# Leave\n\nParental leave is 16 weeks, paid in full, and begins when the child is born.\n",
    "short.md": "# Leave\n\nParental leave is 16 weeks.\n",
    "other.md": "# Food\n\nLunch is free on Fridays.\n",
}


@pytest.fixture
def knowledge(folder: Path, sync: Sync) -> None:
    for name, text in TEXTS.items():
        write(folder, name, text)
    sync()


def use(settings: Settings, name: str, **options: object) -> None:
    settings.ENV = settings.ENV.model_copy(update={"reranker": name, "reranker_options": options})


def search(client: APIClient) -> list[tuple[str, float]]:
    answer = client.get("/search", {"q": "How long is parental leave when a child is born?"})
    assert answer.status_code == 200
    return [(row["source"], row["score"]) for row in answer.json()["results"]]


def test_search_takes_its_order_and_shows_the_retrievers_scores(
    client: APIClient, settings: Settings, knowledge: None
) -> None:
    before = search(client)
    assert [source for source, _ in before] == ["long.md", "short.md", "other.md"]
    use(settings, f"{COMPRESSORS}:ShortestFirst", longest=60)
    assert search(client) == sorted(before, key=lambda row: len(TEXTS[row[0]]))[:2]


@pytest.mark.parametrize("name", ["Raises", "Stranger", "Rewrites", "Missing"])
def test_one_that_fails_fails_no_question(client: APIClient, settings: Settings, knowledge: None, name: str) -> None:
    before = search(client)
    use(settings, f"{COMPRESSORS}:{name}")
    assert search(client) == before
    answer = client.post("/chat", {"message": "How long is parental leave?"})
    assert answer.status_code == 200
    assert "16 weeks" in answer.json()["answer"]


def test_one_that_drops_everything_leaves_nothing_to_answer_from(
    client: APIClient, settings: Settings, knowledge: None
) -> None:
    use(settings, f"{COMPRESSORS}:ShortestFirst", longest=0)
    assert search(client) == []
    assert client.post("/chat", {"message": "How long is parental leave?"}).json()["outcome"] == "abstained"


def test_a_name_of_nothing_stops_the_start(settings: Settings) -> None:
    call_command("check")
    use(settings, f"{COMPRESSORS}:Missing")
    with pytest.raises(SystemCheckError, match=f"RERANKER='{COMPRESSORS}:Missing' cannot be loaded"):
        call_command("check")
    use(settings, f"{COMPRESSORS}:ShortestFirst")
    call_command("check")
