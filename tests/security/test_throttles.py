"""How often one may: by account, by address, by user; on paper that all processes share."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from backend.accounts import attempts
from backend.accounts.models import User
from backend.environment import BASE_DIR, as_unset
from backend.outbox.models import Mail
from backend.throttling.models import Counter
from backend.throttling.storage import DatabaseStorage, RedisOrHere
from tests.backend.conftest import PASSWORD
from tests.backend.test_edges import check_error

pytestmark = pytest.mark.django_db
REDIS = "redis://127.0.0.1:6379/9"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("backend.throttling.storage", "backend.throttling.throttles", "backend.accounts.attempts"):
        monkeypatch.setattr(f"{module}.time.time", clock)
    return clock


@pytest.fixture
def limit(settings: Settings) -> Callable[..., None]:
    def set_limits(**limits: str) -> None:
        settings.ENV = settings.ENV.model_copy(update={f"throttle_{name}": text for name, text in limits.items()})

    return set_limits


def log_in(login: str = "ada", password: str = "wrong", address: str = "192.0.2.1") -> Any:
    return APIClient(REMOTE_ADDR=address).post("/login", {"username": login, "password": password})


def wait_of(answer: Any) -> int:
    check_error(answer, 429, "throttled")
    return int(answer["Retry-After"])


@pytest.mark.parametrize("login", ["ada", "nobody", "ada@example.org", "nobody@example.org"])
def test_guessing_one_password_takes_ever_longer(user: User, clock: Clock, login: str) -> None:
    for _ in range(attempts.FREE + 1):
        assert log_in(login).status_code == 401
    waits = []
    for _ in range(10):
        refused = log_in(login)
        waits.append(wait_of(refused))
        assert wait_of(log_in(login, PASSWORD)) == waits[-1], "the right password is refused as the wrong one is"
        clock.now += waits[-1]
        assert log_in(login).status_code == 401
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    clock.now += attempts.FORGOTTEN_AFTER
    assert log_in("ada", PASSWORD).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_many_guesses_at_once_no_more_are_tried_than_in_turn(user: User, clock: Clock, client_of: Any) -> None:
    signed_in = client_of(user)
    wrong = {"old_password": "wrong", "new_password": "seven-green-bicycles"}

    def guess(number: int) -> int:
        try:
            return int(log_in(address=f"203.0.113.{number}").status_code)
        finally:
            connection.close()

    def prove(_: int) -> int:
        try:
            return int(signed_in.post("/password/change", wrong).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(guess, range(32)))
        assert set(statuses) == {401, 429}
        assert statuses.count(401) == attempts.FREE + 1
        statuses = list(pool.map(prove, range(32)))
        assert set(statuses) == {400, 429}
        assert statuses.count(400) == attempts.FREE + 1


@pytest.mark.django_db(transaction=True)
def test_guesses_at_many_accounts_at_once_are_counted_too(user: User, limit: Callable[..., None]) -> None:
    limit(login_failures="10/hour")

    def guess(number: int) -> int:
        try:
            return int(log_in(f"user{number}").status_code)
        finally:
            connection.close()

    for _ in range(20):
        assert log_in(password=PASSWORD).status_code == 200, "what succeeds is no failure"
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(guess, range(32)))
    assert statuses.count(401) == 10
    assert statuses.count(429) == 22


@pytest.mark.parametrize(
    "login", ["ada@\uff42\u00fccher.example", "ada@B\u00dcCHER.example", "ADA@xn--bcher-kva.example"]
)
def test_spellings_of_an_address_share_their_tries(user: User, clock: Clock, login: str) -> None:
    User.objects.update(email="ada@xn--bcher-kva.example")
    for _ in range(attempts.FREE + 1):
        assert log_in("ada@b\u00fccher.example").status_code == 401
    wait_of(log_in(login))
    clock.now += attempts.FORGOTTEN_AFTER
    assert log_in(login, PASSWORD).status_code == 200


def test_another_name_does_not_shorten_the_wait(user: User, clock: Clock, client_of: Any) -> None:
    signed_in = client_of(user)
    wrong = {"old_password": "wrong", "new_password": "seven-green-bicycles"}
    for _ in range(attempts.FREE + 1):
        assert signed_in.post("/password/change", wrong).status_code == 400
    assert signed_in.patch("/me", {"username": "lovelace"}).status_code == 200
    wait_of(signed_in.post("/password/change", wrong))


def test_a_login_that_reads_like_the_count_of_another_is_one_of_its_own(
    user: User, clock: Clock, client_of: Any
) -> None:
    at_home = "192.0.2.1"
    signed_in = client_of(user)
    for login in (f"user {user.pk}", "ada from 127.0.0.1", f"from {at_home}: login ada"):
        for _ in range(attempts.FREE + 2):
            log_in(login, address="203.0.113.1")
    assert log_in(password=PASSWORD).status_code == 200
    right = {"old_password": PASSWORD, "new_password": "seven-green-bicycles"}
    assert signed_in.post("/password/change", right).status_code == 200


def test_name_and_address_of_an_account_are_counted_apart(user: User, clock: Clock) -> None:
    """Together they would tell that they are one account's, and that there is one."""
    for login in ("ada", "ADA@example.org"):
        for _ in range(attempts.FREE + 1):
            assert log_in(login).status_code == 401
        wait_of(log_in(login.lower()))


def test_a_reset_by_mail_forgets_the_failures(user: User, clock: Clock) -> None:
    from backend.accounts.links import RESET

    for login in ("ada", "ada@example.org"):
        for _ in range(attempts.FREE + 1):
            log_in(login)
        wait_of(log_in(login))
    body = {"token": RESET.token(user), "new_password": "seven-green-bicycles"}
    assert APIClient().post("/password/reset/confirm", body).status_code == 200
    for login in ("ada", "ada@example.org"):
        assert log_in(login, "seven-green-bicycles").status_code == 200


def test_one_account_from_many_addresses_waits_and_its_owner_does_not(user: User, clock: Clock) -> None:
    at_home = "198.51.100.7"
    assert log_in(password=PASSWORD, address=at_home).status_code == 200
    for number in range(attempts.FREE + 1):
        assert log_in(address=f"203.0.113.{number}").status_code == 401
    wait_of(log_in(address="203.0.113.99"))
    assert log_in(password=PASSWORD, address=at_home).status_code == 200
    for _ in range(attempts.FREE + 1):
        assert log_in(address=at_home).status_code == 401
    assert wait_of(log_in(password=PASSWORD, address=at_home)) <= attempts.LONGEST_WAIT


def test_a_right_password_forgets_the_wrong_ones(user: User) -> None:
    for _ in range(3):
        for _ in range(attempts.FREE):
            assert log_in().status_code == 401
        assert log_in(password=PASSWORD).status_code == 200


def test_spraying_many_accounts_from_one_address_is_slowed_down(
    make_user: Callable[[str], User], clock: Clock, limit: Callable[..., None]
) -> None:
    limit(login_failures="20/minute")
    make_user("ada")
    answers = [log_in(f"user{number}", address="2001:db8::1") for number in range(20)]
    assert {answer.status_code for answer in answers} == {401}
    assert 0 < wait_of(log_in("another", address="2001:db8::ffff")) <= 60, "a /64 is one customer"
    assert log_in("another", address="2001:db8:0:1::1").status_code == 401
    assert log_in(password=PASSWORD, address="192.0.2.9").status_code == 200
    clock.now += 61
    assert log_in("another", address="2001:db8::1").status_code == 401


def test_many_accounts_from_one_address(clock: Clock, limit: Callable[..., None]) -> None:
    limit(signup="3/minute; 5/day")

    def sign_up(number: int) -> Any:
        body = {"username": f"user{number}", "email": f"user{number}@example.org", "password": PASSWORD}
        return APIClient(REMOTE_ADDR="192.0.2.1").post("/signup", body)

    assert [sign_up(number).status_code for number in range(3)] == [201] * 3
    assert wait_of(sign_up(3)) <= 60
    clock.now += 61
    assert [sign_up(number).status_code for number in (4,)] == [201]
    clock.now += 61
    assert wait_of(sign_up(5)) > 3600, "by the day"
    assert User.objects.count() == 4


@pytest.mark.parametrize("path", ["/password/reset", "/verify-email/resend"])
def test_nobody_is_pestered_with_mail(user: User, limit: Callable[..., None], path: str) -> None:
    limit(mail_to="2/hour", mail="5/hour")
    for email in (user.email, "nobody@example.org"):
        address = "192.0.2.1" if email == user.email else "192.0.2.2"
        client = APIClient(REMOTE_ADDR=address)
        assert [client.post(path, {"email": email}).status_code for _ in range(2)] == [202, 202]
        assert wait_of(client.post(path, {"email": email.upper()})) <= 3600
        assert wait_of(APIClient(REMOTE_ADDR="192.0.2.3").post(path, {"email": email})) <= 3600
    assert Mail.objects.count() == 2
    client = APIClient(REMOTE_ADDR="192.0.2.4")
    answers = [client.post(path, {"email": f"user{number}@example.org"}).status_code for number in range(6)]
    assert answers == [202] * 5 + [429]


def test_signing_up_with_somebodys_address_does_not_pester_either(user: User, limit: Callable[..., None]) -> None:
    limit(mail_to="2/hour")
    for number in range(4):
        body = {"username": f"user{number}", "email": user.email, "password": PASSWORD}
        assert APIClient().post("/signup", body).status_code == 201
    assert Mail.objects.count() == 2


def test_users_are_counted_each_by_herself(
    make_user: Callable[[str], User], client_of: Callable[[User], APIClient], limit: Callable[..., None], index: None
) -> None:
    ada, berta = (client_of(make_user(name)) for name in ("ada", "berta"))
    limit(search="2/minute", chat="1/minute", upload="1/minute")
    assert [ada.get("/search?q=a").status_code for _ in range(3)] == [200, 200, 429]
    assert berta.get("/search?q=a").status_code == 200
    assert ada.post("/chat", {"message": "Hello?"}).status_code == 200
    assert wait_of(ada.post("/chat", {"message": "Hello?"})) <= 60
    completion = {"model": "footnote", "messages": [{"role": "user", "content": "Hello?"}]}
    refused = ada.post("/v1/chat/completions", completion)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert int(refused["Retry-After"]) <= 60
    conversation = ada.get("/conversations").json()["results"][0]["id"]
    assert ada.post(f"/conversations/{conversation}/messages", {"message": "Hello?"}).status_code == 429
    assert ada.get(f"/conversations/{conversation}/messages").status_code == 200, "reading is not asking"
    assert berta.post("/chat", {"message": "Hello?"}).status_code == 200


def test_a_program_counts_as_its_user(client: APIClient, limit: Callable[..., None], index: None) -> None:
    key = client.post("/api-keys", {"name": "script"}).json()["key"]
    limit(search="2/minute")
    program = APIClient(HTTP_AUTHORIZATION=f"Bearer {key}")
    assert [each.get("/search?q=a").status_code for each in (client, program, program)] == [200, 200, 429]


def test_uploads_are_counted(make_user: Callable[[str], User], client_of: Any, limit: Any, index: None) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    staff = make_user("staff")
    User.objects.update(is_staff=True)
    client = client_of(staff)
    limit(upload="1/minute")
    answers = [
        client.post("/sources", {"files": SimpleUploadedFile("a.md", b"# A\n\nText.")}, format="multipart")
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert client.get("/sources").status_code == 200


def test_one_user_does_not_take_all_the_seats(user: User, settings: Settings) -> None:
    from backend.api.errors import Unavailable
    from backend.chat.turns import Seat
    from backend.throttling.throttles import TooMany

    settings.ENV = settings.ENV.model_copy(update={"max_chats": 3, "max_chats_per_user": 2})
    other, third = User(pk=user.pk + 1), User(pk=user.pk + 2)
    with Seat(user), Seat(user):
        with pytest.raises(TooMany), Seat(user):
            pass
        with Seat(other), pytest.raises(Unavailable), Seat(third):
            pass
        with Seat(other):
            assert Seat.taken() == 3
    assert Seat.taken() == 0


def kinds() -> Iterator[Any]:
    yield pytest.param(DatabaseStorage, id="database")
    yield pytest.param(lambda: RedisOrHere(REDIS), id="redis")


@pytest.fixture(params=kinds())
def counting(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = request.param()
    if isinstance(made, RedisOrHere):
        try:
            made.redis.check() or pytest.skip("no Redis answers here")
        except Exception as error:  # noqa: BLE001 (whatever the client raises)
            pytest.skip(f"no Redis answers here: {error}")
    yield made
    for key in ("a", "b"):
        made.clear(key)


def test_counters_count_expire_and_are_cleared(counting: Any) -> None:
    assert [counting.incr("a", 60), counting.incr("a", 60), counting.incr("a", 60, 3)] == [1, 2, 5]
    assert (counting.get("a"), counting.get("b")) == (5, 0)
    import time

    assert 50 < counting.get_expiry("a") - time.time() <= 61
    counting.clear("a")
    assert counting.get("a") == 0


def test_expired_counters_begin_anew(clock: Clock) -> None:
    counting = DatabaseStorage()
    assert [counting.incr("a", 60), counting.incr("b", 600)] == [1, 1]
    clock.now += 61
    assert counting.get("a") == 0
    assert [counting.incr("a", 60), counting.incr("b", 600)] == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_when_many_count_at_once() -> None:
    def count(_: int) -> int:
        try:
            return DatabaseStorage().incr("a", 60)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(count, range(64))) == list(range(1, 65))


def test_counters_name_nobody(user: User) -> None:
    log_in()
    keys = list(Counter.objects.values_list("key", flat=True))
    assert keys
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys), "digests, no names and no addresses"


def test_while_redis_is_away_this_process_counts_alone(
    user: User, settings: Settings, limit: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    limit(signup="2/minute")
    settings.ENV = settings.ENV.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    bodies = ({"username": f"u{n}", "email": f"u{n}@example.org", "password": PASSWORD} for n in range(3))
    assert [APIClient().post("/signup", body).status_code for body in bodies] == [201, 201, 429]
    assert log_in(password=PASSWORD).status_code == 200
    assert "Redis does not answer" in caplog.text


TOGETHER = """
import sys, threading
import django
django.setup()
from backend.throttling.storage import get_storage
sys.setswitchinterval(1e-6)  # seconds: threads take turns in the middle of everything
start, failed = threading.Barrier(16), []
def ask():
    start.wait()
    try:
        get_storage()
    except Exception as error:
        failed.append(error)
threads = [threading.Thread(target=ask) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failed, failed
"""


def test_the_first_requests_of_a_process_may_come_together() -> None:
    environment = os.environ | as_unset() | {"REDIS_URL": REDIS, "DJANGO_SETTINGS_MODULE": "backend.settings"}
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", TOGETHER],
            cwd=BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
