"""The admin: what operators see and do there, what stays hidden from them, and what its pages cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from backend.accounts import tokens
from backend.accounts.models import ApiKey, Erasure, TokenFamily, User
from backend.audit.models import Action, Event
from backend.chat.models import Conversation, DailyUsage, Feedback, Message
from backend.console.charts import WIDTH, Series, bars
from backend.jobs.models import JobRun, RunState
from backend.knowledge.models import Chunk, Source, SourceState, SyncRun, Task
from backend.outbox.models import Mail, MailState
from tests.backend.chats import ANSWER, cite, many, say, talk
from tests.backend.conftest import PASSWORD, Sync
from tests.folder import write

pytestmark = pytest.mark.django_db

SECRET = "Zanzibar"  # in everything that was written
QUERIES = 16  # of one page at the most, those of session and user among them
DASHBOARD = "/admin/dashboard/"


@pytest.fixture
def pages(root: User) -> Client:
    return enter(root)


def enter(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def may(user: User, *codenames: str) -> None:
    user.is_staff = True
    user.save()
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))


def written(user: User) -> tuple[Conversation, Message]:
    """A conversation with a declined answer that was disliked, the secret in each of its texts."""
    conversation = talk(user, title=f"{SECRET} title", turns=0)
    answer_id = uuid7()
    Message.objects.create(
        conversation=conversation, role="user", content=f"{SECRET} asked?", answer_id=answer_id, options={"a": SECRET}
    )
    passage = {"source": "a.md", "snippet": SECRET}
    declined = ANSWER | {"id": answer_id, "outcome": "abstained", "retrieved": [passage]}
    answer = say(conversation, f"{SECRET} answered.", **declined)
    cite(answer, quote=f"{SECRET} quoted")
    Feedback.objects.create(message=answer, rating=-1, comment=f"{SECRET} disliked")
    return conversation, answer


def content_pages(conversation: Conversation, answer: Message) -> list[str]:
    feedback = Feedback.objects.get(message=answer)
    return [
        "/admin/chat/conversation/",
        f"/admin/chat/conversation/{conversation.pk}/change/",
        f"/admin/chat/conversation/{conversation.pk}/history/",
        "/admin/chat/message/",
        f"/admin/chat/message/{answer.pk}/change/",
        f"/admin/chat/message/{answer.pk}/history/",
        "/admin/chat/unanswered/",
        f"/admin/chat/unanswered/{answer.pk}/change/",
        "/admin/chat/feedback/",
        f"/admin/chat/feedback/{feedback.pk}/change/",
        f"/admin/chat/feedback/{feedback.pk}/history/",
    ]


# Content


def test_content_is_hidden_from_a_superuser_too(pages: Client, user: User) -> None:
    for path in content_pages(*written(user)):
        answer = pages.get(path)
        assert answer.status_code == 200, path
        assert SECRET not in answer.content.decode(), path
    assert not Event.objects.filter(action=Action.CONTENT_READ).exists()


@pytest.mark.parametrize("by_group", [False, True])
def test_who_was_given_the_permission_reads_and_it_is_in_the_audit_log(
    pages: Client, root: User, user: User, by_group: bool
) -> None:
    wanted = Permission.objects.get(codename="view_content", content_type__app_label="chat")
    if by_group:
        group = Group.objects.create(name="readers")
        group.permissions.add(wanted)
        root.groups.add(group)
    else:
        root.user_permissions.add(wanted)
    conversation, answer = written(user)
    for path in content_pages(conversation, answer):
        shown = SECRET in pages.get(path).content.decode()
        assert shown is (path != "/admin/chat/message/" and "history" not in path), path
    lines = Event.objects.filter(action=Action.CONTENT_READ, user=root)
    assert {"what": "conversation", "id": str(conversation.pk)} in lines.values_list("detail", flat=True)
    assert lines.count() == 7, "the list of messages and histories hold none"
    assert SECRET not in str(list(lines.values_list("detail", flat=True)))


@pytest.mark.parametrize(
    "question",
    [
        "chat/message/?content__contains=Zan",
        "chat/conversation/?title__startswith=Zan",
        "chat/feedback/?comment__contains=Zan",
        "chat/feedback/?message__content__contains=Zan",
        "chat/unanswered/?content__contains=Zan",
        "outbox/mail/?text__contains=token",
        "accounts/user/?password__startswith=argon2",
        "accounts/apikey/?digest__startswith=a",
        "accounts/tokenfamily/?current__startswith=a",
    ],
)
def test_an_address_cannot_ask_for_what_no_column_shows(pages: Client, question: str) -> None:
    assert pages.get(f"/admin/{question}").status_code == 400


def test_a_permission_of_the_model_is_needed_besides(make_user: Callable[[str], User], user: User) -> None:
    written(user)
    looker = make_user("looker")
    may(looker, "view_content")
    assert enter(looker).get("/admin/chat/conversation/").status_code == 403


def test_a_conversation_lists_its_messages_without_what_they_say(pages: Client, user: User) -> None:
    conversation, answer = written(user)
    page = pages.get(f"/admin/chat/conversation/{conversation.pk}/change/").content.decode()
    assert f"/admin/chat/message/{answer.pk}/change/" in page
    assert "abstained" in page


def test_a_citation_tells_a_page_where_there_is_one(pages: Client, root: User, user: User) -> None:
    may(root, "view_content")
    _, answer = written(user)
    cite(answer, n=2, quote="Parking is free.", path="office.md")
    answer.citations.filter(n=2).update(page=None)
    page = pages.get(f"/admin/chat/message/{answer.pk}/change/").content.decode()
    assert "[1] hr/handbook.md, page 3:" in page
    assert "[2] office.md: “Parking is free.”" in page


# Doing


def test_a_deleted_user_is_erased(pages: Client, user: User) -> None:
    written(user)
    asked = pages.get(f"/admin/accounts/user/{user.pk}/delete/")
    assert b"with all conversations" in asked.content
    pages.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=user.pk).exists()
    assert not Conversation.objects.exists()
    assert Erasure.objects.filter(user_id=user.pk).exists()


def test_several_users_are_erased_by_the_action(pages: Client, make_user: Callable[[str], User]) -> None:
    ids = [make_user(name).pk for name in ("one", "two")]
    chosen = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
    assert pages.post("/admin/accounts/user/", chosen).status_code == 302
    assert set(Erasure.objects.values_list("user_id", flat=True)) == set(ids)


def test_a_user_is_made_with_an_address(pages: Client) -> None:
    form = {"username": "new", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert b"This field is required" in pages.post("/admin/accounts/user/add/", form).content
    assert pages.post("/admin/accounts/user/add/", form | {"email": "new@example.org"}).status_code == 302
    assert User.objects.get(username="new").email == "new@example.org"


def test_another_address_is_not_the_one_that_was_verified(pages: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_verified=True)
    path = f"/admin/accounts/user/{user.pk}/change/"
    form = {"username": user.username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", "is_active": "on"}
    form |= {"is_verified": "on"}
    assert pages.post(path, form | {"email": user.email.upper()}).status_code == 302
    user.refresh_from_db()
    assert user.is_verified, "it is the same address"
    assert not Mail.objects.exists()
    assert pages.post(path, form | {"email": "new@b\u00fccher.example"}).status_code == 302
    user.refresh_from_db()
    assert (user.email, user.is_verified) == ("new@xn--bcher-kva.example", False)
    assert [(mail.kind, mail.to) for mail in Mail.objects.all()] == [("address_changed", "ADA@example.org")]
    assert Event.objects.get(action=Action.PROFILE_CHANGED).user_id == user.pk
    assert pages.post(path, form | {"email": user.email}).status_code == 302
    user.refresh_from_db()
    assert user.is_verified, "an operator may say so"
    assert b"Enter a valid email address" in pages.post(path, form | {"email": "\u212aate@example.org"}).content


def test_a_password_that_an_operator_sets_ends_the_logins_and_is_told(pages: Client, user: User) -> None:
    tokens.issue(user)
    path = f"/admin/accounts/user/{user.pk}/password/"
    weak = {"password1": "12345678", "password2": "12345678", "usable_password": "true"}
    assert pages.post(path, weak).status_code == 200
    assert not Mail.objects.exists()
    good = dict.fromkeys(("password1", "password2"), "seven-green-bicycles") | {"usable_password": "true"}
    assert pages.post(path, good).status_code == 302
    assert TokenFamily.objects.get(user=user).end_reason == "operator"
    assert [(mail.kind, mail.to) for mail in Mail.objects.all()] == [("password_changed", user.email)]
    event = Event.objects.get(action=Action.PASSWORD_CHANGED)
    assert (event.user_id, event.detail) == (user.pk, {"by": User.objects.get(username="root").pk})
    assert pages.post("/admin/accounts/user/nonsense/password/", good).status_code in (302, 404)


def test_keys_are_revoked_and_logins_ended(pages: Client, user: User) -> None:
    key = ApiKey.objects.create(user=user, name="ci", prefix="fn_abcdefgh", digest="d" * 64, scopes=["chat"])
    tokens.issue(user)
    family = TokenFamily.objects.get()
    pages.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": [str(key.pk)]})
    assert not ApiKey.objects.exists()
    assert [entry.object_repr for entry in LogEntry.objects.all()] == ["fn_abcdefgh…"], "not what its user called it"
    pages.post("/admin/accounts/tokenfamily/", {"action": "end", "_selected_action": [str(family.pk)]})
    family.refresh_from_db()
    assert (family.ended_at is not None, family.end_reason) == (True, "operator")
    pages.post("/admin/accounts/tokenfamily/", {"action": "end", "_selected_action": [str(family.pk)]})
    assert set(Event.objects.values_list("action", "user")) == {
        (Action.KEY_REVOKED, user.pk),
        (Action.LOGOUT, user.pk),
    }
    tokens.issue(user)
    pages.post("/admin/accounts/user/", {"action": "end_logins", "_selected_action": [user.pk]})
    assert not TokenFamily.objects.filter(ended_at=None).exists()


def test_who_may_only_look_can_do_nothing(make_user: Callable[[str], User], user: User) -> None:
    looker = make_user("looker")
    may(looker, "view_apikey", "view_source")
    key = ApiKey.objects.create(user=user, name="ci", prefix="fn_abcdefgh", digest="d" * 64, scopes=["chat"])
    source = Source.objects.create(path="a.md")
    browser = enter(looker)
    browser.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": [str(key.pk)]})
    browser.post("/admin/knowledge/source/", {"action": "reindex", "_selected_action": [str(source.pk)]})
    assert ApiKey.objects.exists()
    assert not SyncRun.objects.exists()


def test_a_file_is_read_again(pages: Client, folder: Path, sync: Sync) -> None:
    write(folder, "a.md", "# A\n\nThe office opens at 8.\n")
    write(folder, "b.md", "")
    sync()
    before = dict(Source.objects.values_list("path", "state"))
    chunks = sorted(Chunk.objects.values_list("pk", flat=True))
    chosen = [str(pk) for pk in Source.objects.values_list("pk", flat=True)]
    pages.post("/admin/knowledge/source/", {"action": "read_again", "_selected_action": chosen})
    assert SyncRun.objects.filter(trigger="admin", task=Task.SYNC, state="requested").count() == 1
    assert Chunk.objects.current().count() == len(chunks), "what answers goes on answering"
    report = sync().report
    assert report["unchanged"] == 0, "each was read"
    assert dict(Source.objects.values_list("path", "state")) == before
    assert sorted(Chunk.objects.current().values_list("pk", flat=True)) == chunks
    assert Event.objects.filter(action=Action.SYNC_REQUESTED, detail={"sources": 2}).exists()


def test_what_is_gone_is_not_read_again(pages: Client) -> None:
    gone = Source.objects.create(path="gone.md", state=SourceState.REMOVED)
    chosen = {"action": "read_again", "_selected_action": [str(gone.pk)]}
    assert b"0 files are read again" in pages.post("/admin/knowledge/source/", chosen, follow=True).content
    assert not SyncRun.objects.exists()
    pages.post("/admin/knowledge/source/", chosen | {"action": "reindex"})
    assert SyncRun.objects.get().task == Task.REINDEX


# Every page


def test_every_page_answers_and_costs_few_queries(pages: Client, user: User) -> None:
    """The number of queries is the same for a few rows and for many: none is asked row by row."""
    fill(user, 5)
    few = {path: cost(pages, path) for path in all_lists()}
    fill(user, 80)
    for path, before in few.items():
        after = cost(pages, path)
        assert after == before, path
        assert after <= QUERIES, path


def test_lists_count_no_further_than_they_go_back(pages: Client, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.api.listing.FURTHEST", 60)
    many(user, 130, 2)
    for path in ("/admin/chat/conversation/", "/admin/chat/message/"):
        page = pages.get(path).content.decode()
        assert "60 results" in page
        assert pages.get(path, {"p": 2}).status_code == 200
        with CaptureQueriesContext(
            connection,
        ) as asked:
            pages.get(path)
        counts = [one["sql"] for one in asked.captured_queries if "COUNT(" in one["sql"]]
        assert len(counts) == 1
        assert "LIMIT 60" in counts[0]


def test_rows_are_found_by_id_and_by_user(pages: Client, user: User, make_user: Callable[[str], User]) -> None:
    conversation, answer = written(user)
    other, _ = written(make_user("bob"))
    for term in (str(conversation.pk), "ADA"):
        page = pages.get("/admin/chat/conversation/", {"q": term}).content.decode()
        assert str(conversation.pk) in page, term
        assert str(other.pk) not in page, term
    assert str(answer.pk) in pages.get("/admin/chat/message/", {"q": str(conversation.pk)}).content.decode()
    for term in (SECRET, "nobody", "%", "\0", "'", str(uuid7())):
        found = pages.get("/admin/chat/conversation/", {"q": term})
        assert found.status_code == 200, term
        assert (str(conversation.pk) in found.content.decode()) is (term == "\0"), term


@pytest.mark.parametrize("given", ["", "?days=30", "?days=90", "?days=-1", "?days=x", "?days=99999999999999999999"])
def test_the_dashboard_draws_what_was_asked(pages: Client, user: User, given: str) -> None:
    written(user)
    DailyUsage.objects.create(
        user=user, day=timezone.now().date(), model="m", questions=7, grounded=4, abstained=2, failed=1, cost="0.25"
    )
    Source.objects.create(path="<b>.md", state=SourceState.FAILED, error="<script>alert(1)</script>")
    Mail.objects.create(kind="a", to="a@example.org", subject="a", state=MailState.DEAD)
    JobRun.objects.create(job="expired", state=RunState.FAILED)
    answer = pages.get(f"{DASHBOARD}{given}")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert page.count("<figure>") == 4
    assert "questions: 7" in page
    assert "failed: 1" in page
    assert "cost: 0.25" in page
    assert "p95: 9" in page
    assert "&lt;b&gt;.md" in page
    assert "<script>alert" not in page
    assert "expired" in page
    assert SECRET not in page
    assert 'src="http' not in page


def test_an_empty_dashboard_is_drawn_too(pages: Client) -> None:
    assert pages.get(DASHBOARD).content.decode().count("<figure>") == 4


def test_the_dashboard_is_for_operators(client: Client, user: User) -> None:
    assert Client().get(DASHBOARD).headers["Location"].startswith("/admin/login/")
    assert enter(user).get(DASHBOARD).status_code == 302
    may(user)
    assert enter(user).get(DASHBOARD).status_code == 200


def test_the_pages_run_no_script_of_their_own(pages: Client) -> None:
    """Their Content-Security-Policy lets none run."""
    for path in (DASHBOARD, "/admin/", *all_lists()):
        page = pages.get(path).content.decode()
        scripts = [part.partition(">")[0] for part in page.split("<script")[1:]]
        assert all(" src=" in script or "application/json" in script for script in scripts), path


def test_why_something_failed_is_among_the_first_columns(pages: Client) -> None:
    """Of a wide table the last ones are out of sight."""
    for path in ("knowledge/source", "knowledge/syncrun", "jobs/jobrun", "outbox/mail"):
        app, model = path.split("/")
        shown = admin.site.get_model_admin(apps.get_model(app, model)).list_display
        assert "error" in shown[:4], path


def test_dates_are_those_of_the_dashboard(pages: Client, user: User) -> None:
    talk(user, at=datetime(2026, 3, 4, 17, 5, 6, tzinfo=UTC))
    assert "2026-03-04 17:05:06" in pages.get("/admin/chat/conversation/").content.decode()


def test_view_site_leads_somewhere(pages: Client) -> None:
    [target] = re.findall(r'<a href="([^"]+)">View site</a>', pages.get("/admin/").content.decode())
    assert pages.get(target).status_code == 200


def test_the_last_label_of_a_chart_is_not_cut_off() -> None:
    labels = [f"{day} Nov" for day in range(1, 91)]
    drawn = bars(labels, [Series("questions", "plain", [1] * 90)], "Questions")
    [x] = re.findall(r'<text x="([\d.]+)"[^>]*>90 Nov<', drawn)
    assert float(x) + 18 <= WIDTH, "half of six letters of 6 px each"


def all_lists() -> list[str]:
    return [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry]


def cost(pages: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as asked:
        answer = pages.get(path)
    assert answer.status_code == 200, path
    return len(asked)


def fill(user: User, number: int) -> None:
    """So many rows of everything."""
    now = timezone.now()
    mark = uuid7().hex
    for n in range(number):
        somebody = User.objects.create(username=f"{mark}-{n}", email=f"{mark}-{n}@example.org")
        conversation = talk(somebody, turns=1)
        answer = say(conversation, "no", **ANSWER | {"outcome": "abstained"})
        Feedback.objects.create(message=answer, rating=1)
        source = Source.objects.create(path=f"{mark}/{n}.md")
        version = cite(answer, path=source.path).version
        assert version is not None
        Chunk.objects.create(id=uuid7().hex, source=source, version=version, position=n, start=0, end=1)
        ApiKey.objects.create(user=somebody, name="k", prefix="fn_", digest=f"{mark}{n:032d}")
        TokenFamily.objects.create(user=somebody, current="a", expires_at=now)
        Mail.objects.create(kind="a", user=somebody, to="a@example.org", subject="a")
        Event.objects.create(action=Action.LOGIN, user=somebody)
        JobRun.objects.create(
            job=f"{mark[-8:]}{n}", slot=now - timedelta(seconds=n), state=RunState.DONE, requested_by=somebody
        )
        SyncRun.objects.create(trigger="test")
        DailyUsage.objects.create(user=somebody, day=now.date(), model="m")


def test_who_ends_a_login_is_told(root: User, user: User, pages: Client) -> None:
    tokens.issue(user)
    pages.post("/admin/accounts/user/", {"action": "end_logins", "_selected_action": [user.pk]})
    assert Event.objects.get(action=Action.LOGOUT).detail == {"everywhere": True, "by": root.pk}
    assert tokens.end_all(user, "x") == 0
