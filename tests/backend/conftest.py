"""A client, users, and a sync of the test's own folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from backend.accounts.models import User
from backend.knowledge import services
from backend.knowledge.index import KnowledgeIndex
from backend.knowledge.models import SyncRun, SyncState

PASSWORD = "correct-horse-battery"
Sync = Callable[..., SyncRun]


@pytest.fixture
def sync(index: KnowledgeIndex) -> Sync:
    """Sync the folder; a failed sync fails the test."""

    def run(*, full: bool = False) -> SyncRun:
        done = services.sync("test", full=full)
        assert done.state == SyncState.DONE, done.error
        return done

    return run


@pytest.fixture
def make_user(db: None) -> Callable[[str], User]:
    return lambda name: User.objects.create_user(name, f"{name}@example.org", PASSWORD)


@pytest.fixture
def user(make_user: Callable[[str], User]) -> User:
    return make_user("ada")


@pytest.fixture
def root(make_user: Callable[[str], User]) -> User:
    """Staff who may do everything."""
    user = make_user("root")
    user.is_staff = user.is_superuser = True
    user.save()
    return user


@pytest.fixture
def client_of() -> Callable[[User], APIClient]:
    """A client signed in as a user, as a browser would be: through POST /login."""

    def sign_in(user: User) -> APIClient:
        client = APIClient()
        tokens = client.post("/login", {"username": user.username, "password": PASSWORD}).json()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens['access']}")
        return client

    return sign_in


@pytest.fixture
def client(user: User, client_of: Callable[[User], APIClient]) -> APIClient:
    return client_of(user)


@pytest.fixture
def staff(user: User, client: APIClient) -> APIClient:
    """The client, whose user is staff."""
    User.objects.filter(pk=user.pk).update(is_staff=True)
    return client


def searched_sources(client: APIClient, *, question: str, **filters: str) -> list[str]:
    """The files that /search finds passages in, under these filters."""
    found = client.get("/search", {"q": question, **filters})
    assert found.status_code == 200, found.content
    return sorted({row["source"] for row in found.json()["results"]})
