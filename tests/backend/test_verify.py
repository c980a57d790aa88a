"""A citation after its answer: verified again, marked in the history, and kept as long as its conversation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.chat.models import Citation, Conversation, Message
from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import Source, SourceState, SourceVersion
from tests.backend.conftest import Sync
from tests.backend.state import state
from tests.backend.test_chat import ask, events
from tests.folder import write, write_pdf

QUESTION = "How many weeks of parental leave do I get?"
QUOTE = "Parental leave is 16 weeks, paid in full."
LEAVE = f"# Handbook\n\n## Leave\n\n{QUOTE}\n\n## Office\n\nThe office in Oslo opens at 8.\n"


@pytest.fixture
def filled(folder: Path, sync: Sync) -> Path:
    write(folder, "hr/handbook.md", LEAVE)
    write(folder, "whales.md", "# Whales\n\nWhales breathe air.\n")
    sync()
    return folder


@pytest.fixture
def answer(client: APIClient, filled: Path) -> dict[str, Any]:
    made = ask(client, QUESTION)
    assert [cited["quote"] for cited in made["citations"]] == [QUOTE]
    return made


def path_of(answer: dict[str, Any], n: int = 1) -> str:
    return f"/messages/{answer['message_id']}/citations/{n}/verify"


def verify(client: APIClient, answer: dict[str, Any], n: int = 1) -> dict[str, Any]:
    shown = client.get(path_of(answer, n))
    assert shown.status_code == 200, shown.content
    result: dict[str, Any] = shown.json()
    return result


def told(client: APIClient) -> list[str]:
    """The source states of all citations in the history."""
    rows = client.get("/chat-history").json()["results"]
    cited = [message.get("citations", []) for row in rows for message in row["messages"]]
    return [citation["source_state"] for citations in cited for citation in citations]


def test_a_citation_is_looked_up_in_the_text_it_quotes(client: APIClient, answer: dict[str, Any]) -> None:
    cited = answer["citations"][0]
    start, end = LEAVE.index(QUOTE), LEAVE.index(QUOTE) + len(QUOTE)
    del cited["score"]
    assert cited["source_state"] == "current"
    assert verify(client, answer) == {
        **cited,
        "valid": True,
        "before": LEAVE[:start],
        "after": LEAVE[end:],
        "now": {
            "source": "hr/handbook.md",
            "source_version": cited["source_version"],
            "place": {"start": start, "end": end, "page": None, "heading": ["Handbook", "Leave"]},
        },
    }


def test_little_of_the_text_is_shown_around_a_quote(client: APIClient, folder: Path, sync: Sync) -> None:
    pages = ["Cover page of the house rules.", "Bicycles are parked behind the house."]
    write_pdf(folder, "rules.pdf", pages)
    write(folder, "long.md", "Oak. " * 90 + "\n\nThe zebra sleeps in barn seven.\n\n" + "Elm. " * 90)
    sync()
    shown = verify(client, ask(client, "Where are bicycles parked?"))
    assert (shown["page"], shown["now"]["place"]["page"]) == (2, 2)
    shown = verify(client, ask(client, "In which barn does the zebra sleep?"))
    assert (len(shown["before"]), len(shown["after"])) == (200, 200)
    assert shown["before"].endswith("Oak. \n\n")


def test_an_edited_file_shows_the_old_text_and_where_the_quote_stands_now(
    client: APIClient, answer: dict[str, Any], filled: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    before = verify(client, answer)
    moved_down = LEAVE.replace("## Leave", "## Rules\n\nBe kind.\n\n## Time off")
    write(filled, "hr/handbook.md", moved_down)
    sync()
    after = verify(client, answer)
    assert {**after, "source_state": "current", "now": before["now"]} == before, "what was cited is shown as it was"
    assert after["source_state"] == "changed"
    start = moved_down.index(QUOTE)
    place = {"start": start, "end": start + len(QUOTE), "page": None, "heading": ["Handbook", "Time off"]}
    assert after["now"]["place"] == place
    assert after["now"]["source_version"] != after["source_version"]
    write(filled, "hr/handbook.md", LEAVE.replace("16 weeks", "18 weeks"))
    sync()
    after = verify(client, answer)
    assert (after["valid"], after["source_state"], after["now"]["place"]) == (True, "changed", None)
    assert told(client) == ["changed"]
    write(filled, "hr/handbook.md", LEAVE)
    sync()
    assert verify(client, answer) == before, "the same content answers again"
    state(index)


@pytest.mark.parametrize("oaks", [80, 88], ids=["before", "after"])
def test_of_equal_places_the_nearest_is_shown(client: APIClient, folder: Path, sync: Sync, oaks: int) -> None:
    barn = "The zebra sleeps in barn seven."
    write(folder, "barn.md", "Oak. " * 90 + f"\n\n{barn}\n")
    sync()
    answer = ask(client, "In which barn does the zebra sleep?")
    text = f"{barn}\n\n" + "Oak. " * oaks + f"\n\n{barn}\n\n" + "Elm. " * 90 + f"\n\n{barn}\n"
    write(folder, "barn.md", text)
    sync()
    assert verify(client, answer)["now"]["place"]["start"] == text.index(barn, 1)


def test_a_deleted_file_still_shows_what_was_cited(
    client: APIClient, answer: dict[str, Any], filled: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    before = verify(client, answer)
    (filled / "hr" / "handbook.md").unlink()
    for synced in (False, True):
        if synced:
            sync()
        assert verify(client, answer) == {**before, "source_state": "removed", "now": None}
    assert told(client) == ["removed"]
    state(index)


def test_a_source_that_staff_delete_is_removed_at_once(
    client: APIClient, answer: dict[str, Any], client_of: Callable[[User], APIClient], make_user: Callable[[str], User]
) -> None:
    chief = make_user("chief")
    User.objects.filter(pk=chief.pk).update(is_staff=True)
    source = Source.objects.get(path="hr/handbook.md")
    assert client_of(chief).delete(f"/sources/{source.pk}").status_code == 204
    assert told(client) == ["removed"]
    shown = verify(client, answer)
    assert (shown["valid"], shown["source_state"], shown["now"]) == (True, "removed", None)


def test_a_file_that_can_no_longer_be_read_has_changed(
    client: APIClient, answer: dict[str, Any], filled: Path, sync: Sync
) -> None:
    write(filled, "hr/handbook.md", b"\x7fELF" + bytes(100))
    sync()
    shown = verify(client, answer)
    assert (shown["valid"], shown["source_state"], shown["now"]) == (True, "changed", None)
    assert told(client) == ["changed"]


def test_a_file_that_moved_is_the_same(client: APIClient, answer: dict[str, Any], filled: Path, sync: Sync) -> None:
    (filled / "archive").mkdir()
    (filled / "hr" / "handbook.md").rename(filled / "archive" / "handbook.md")
    sync()
    write(filled, "hr/handbook.md", "# Another\n\nThis is another handbook.\n")
    sync()
    assert told(client) == ["current"]
    shown = verify(client, answer)
    assert (shown["source"], shown["source_state"]) == ("hr/handbook.md", "current")
    assert (shown["now"]["source"], shown["now"]["place"]["start"]) == ("archive/handbook.md", shown["start"])


def test_a_file_that_moves_to_the_path_of_a_removed_one_keeps_what_was_cited_there(
    client: APIClient, answer: dict[str, Any], filled: Path, sync: Sync, index: KnowledgeIndex
) -> None:
    (filled / "hr" / "handbook.md").unlink()
    write(filled, "new/handbook.md", "# New\n\nA new handbook.\n")
    sync()
    (filled / "new" / "handbook.md").rename(filled / "hr" / "handbook.md")
    assert sync().report["moved"] == 1
    shown = verify(client, answer)
    assert (shown["valid"], shown["before"], shown["source_state"]) == (True, LEAVE[: shown["start"]], "changed")
    assert shown["now"]["place"] is None
    state(index)


def test_a_quote_that_does_not_stand_in_the_stored_text_is_not_valid(
    client: APIClient, answer: dict[str, Any], filled: Path
) -> None:
    Citation.objects.update(quote="Parental leave is 61 weeks, paid in full.")
    shown = verify(client, answer)
    assert (shown["valid"], shown["now"]["place"]) == (False, None)
    Citation.objects.update(quote=QUOTE, start=5, end=5 + len(QUOTE))
    shown = verify(client, answer)
    assert (shown["valid"], shown["now"]["place"]["start"]) == (False, LEAVE.index(QUOTE))
    Citation.objects.update(start=10**6, end=10**6 + len(QUOTE))
    assert verify(client, answer)["valid"] is False


def test_a_citation_whose_text_was_not_kept_goes_by_its_path(
    client: APIClient, answer: dict[str, Any], filled: Path, sync: Sync
) -> None:
    Citation.objects.update(version=None)
    shown = verify(client, answer)
    assert (shown["valid"], shown["before"], shown["after"]) == (False, None, None)
    assert (told(client), shown["source_state"], shown["now"]["place"]["start"]) == (
        ["current"],
        "current",
        LEAVE.index(QUOTE),
    )
    write(filled, "hr/handbook.md", LEAVE + "\nMore.\n")
    sync()
    assert (told(client), verify(client, answer)["source_state"]) == (["changed"], "changed")
    Source.objects.filter(path="hr/handbook.md").delete()
    assert (told(client), verify(client, answer)["source_state"]) == (["removed"], "removed")


def test_only_the_owner_sees_a_citation(
    client: APIClient, answer: dict[str, Any], make_user: Callable[[str], User], client_of: Callable[[User], APIClient]
) -> None:
    theirs = client_of(make_user("eve")).get(path_of(answer))
    nobodys = client.get(f"/messages/{uuid4()}/citations/1/verify")
    assert (theirs.status_code, theirs.json()["error"]["code"]) == (404, "not_found")
    assert theirs.content == nobodys.content
    question = Message.objects.get(role="user").pk
    for path in (*(path_of(answer, n) for n in (0, 2, 10**30)), f"/messages/{question}/citations/1/verify"):
        assert client.get(path).content == nobodys.content, path
    for n in ("-1", "x", "1.0"):
        assert client.get(path_of(answer).replace("/1/", f"/{n}/")).status_code == 404
    assert APIClient().get(path_of(answer)).status_code == 401
    assert client.post(path_of(answer)).status_code == 405


@pytest.mark.parametrize("how", ["edited", "deleted"])
@pytest.mark.parametrize("erased", ["one conversation", "the history"])
def test_the_cited_text_is_freed_by_the_next_sync_after_its_conversation(
    client: APIClient, answer: dict[str, Any], filled: Path, sync: Sync, how: str, erased: str
) -> None:
    kept = SourceVersion.objects.filter(source__path="hr/handbook.md", digest=answer["citations"][0]["source_version"])
    if how == "edited":
        write(filled, "hr/handbook.md", "# Handbook\n\nNothing is left.\n")
    else:
        (filled / "hr" / "handbook.md").unlink()
    for _ in range(2):
        sync()
    assert kept.count() == 1
    query = f"?conversation_id={answer['conversation_id']}" if erased == "one conversation" else ""
    assert client.delete(f"/chat-history{query}").status_code == 204
    sync()
    assert not kept.exists()
    assert SourceVersion.objects.count() == (2 if how == "edited" else 1)


def test_the_text_of_a_deleted_file_that_nobody_cited_is_not_kept(filled: Path, sync: Sync) -> None:
    (filled / "whales.md").unlink()
    sync()
    assert [version.source.path for version in SourceVersion.objects.all()] == ["hr/handbook.md"]


def test_a_streamed_answer_and_the_history_show_the_same(client: APIClient, filled: Path) -> None:
    got = events(client.post("/chat", {"message": QUESTION, "stream": True}))
    cited = [data for name, data in got if name == "citation"]
    assert [citation["source_state"] for citation in cited] == ["current"]
    assert got[-1][1]["citations"] == cited
    assert client.get("/chat-history").json()["results"][0]["messages"][1]["citations"] == cited


def test_the_state_of_many_citations_takes_no_more_queries_than_of_few(
    client: APIClient, user: User, django_assert_max_num_queries: Callable[[int], CaptureQueriesContext]
) -> None:
    states = [SourceState.INDEXED, SourceState.REMOVED, SourceState.FAILED]
    for number in range(30):
        source = Source.objects.create(path=f"{number}.md", state=states[number % 3])
        version = SourceVersion.objects.create(source=source, digest=str(number), text="x")
        if source.state == SourceState.INDEXED:
            Source.objects.filter(pk=source.pk).update(current_version=version)
        conversation = Conversation.objects.create(user=user, title="x", updated_at=timezone.now())
        message = Message.objects.create(conversation=conversation, role="assistant", content="x")
        place = {"source": source.path, "start": 0, "end": 1, "quote": "x", "score": 1.0}
        for n in (1, 2, 3):
            kept = None if n == 3 else version
            Citation.objects.create(message=message, n=n, version=kept, source_version=str(number), **place)
    with django_assert_max_num_queries(6):
        shown = told(client)
    assert sorted(shown) == ["changed"] * 30 + ["current"] * 30 + ["removed"] * 30
