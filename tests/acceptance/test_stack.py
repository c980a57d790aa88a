"""Several processes that answer by one index, and what stops under them: Chroma, PostgreSQL, Redis, a process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from backend.environment import BASE_DIR
from tests.acceptance.conftest import HOME
from tests.acceptance.proxy import Proxy, running_proxy
from tests.acceptance.server import PASSWORD, PATIENCE, Client, Server, free_port
from tests.folder import write
from tests.stores import ChromaServer

pytestmark = pytest.mark.acceptance

LEAVE = "How long is parental leave?"
OFFICE = "When does the office open?"
REDIS = ("127.0.0.1", 6379)
OWNS = "owns the index and follows the folder"


@pytest.fixture
def chroma(tmp_path: Path) -> Iterator[ChromaServer]:
    server = ChromaServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def beside() -> Iterator[Callable[..., Server]]:
    """Makes further processes of a server's DATA_DIR; killed afterwards."""
    made: list[Server] = []

    def make(server: Server, command: str = "serve", **settings: str) -> Server:
        other = Server(server.data, server.knowledge, command=command)
        other.environment = server.environment | {"PORT": str(other.port)} | settings
        made.append(other)
        return other

    yield make
    for other in made:
        other.kill()


class People:
    """Some who ask again and again, each in a conversation of their own; and what they were told."""

    def __init__(self, server: Server, number: int = 4) -> None:
        self.server = server
        self.statuses: Counter[int] = Counter()
        self.answers: set[str] = set()  # ids of the messages that came back with a 200
        self.shapeless: list[str] = []  # what was refused without a word why
        self.unasked: Counter[str] = Counter()  # the connection broke
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=[f"person{n}"], daemon=True) for n in range(number)]

    def __enter__(self) -> People:
        for name in self.names:
            with Client(self.server, name):
                pass
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not self.shapeless, self.shapeless

    @property
    def names(self) -> list[str]:
        return [f"person{number}" for number in range(len(self._threads))]

    def answered(self) -> int:
        with self._lock:
            return len(self.answers)

    def wait_for_answers(self, more: int = 8) -> None:
        before = self.answered()
        self.server.wait_until(lambda: self.answered() >= before + more, f"{more} more answers")

    def wait_for(self, status: int) -> None:
        before = self.statuses[status]
        self.server.wait_until(lambda: self.statuses[status] > before, f"a {status}")

    def _ask(self, name: str) -> None:
        login = httpx.post(
            f"{self.server.url}/login", json={"username": name, "password": PASSWORD}, timeout=PATIENCE
        ).json()
        headers = {"Authorization": f"Bearer {login['access']}"}
        with httpx.Client(base_url=self.server.url, headers=headers, timeout=PATIENCE) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                try:
                    answer = client.post("/chat", json={"message": f"{LEAVE} ({number})"})
                except httpx.TransportError as error:
                    with self._lock:
                        self.unasked[type(error).__name__] += 1
                    time.sleep(0.05)
                    continue
                with self._lock:
                    self.statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        self.answers.add(answer.json()["message_id"])
                if answer.status_code != 200:
                    if not answer.json().get("error", {}).get("code"):
                        self.shapeless.append(answer.text)
                    time.sleep(0.05)

    def stored(self) -> set[str]:
        """Ids of the answers that are in their histories."""
        found: set[str] = set()
        for name in self.names:
            with Client(self.server, name) as client:
                page: dict[str, Any] = client.get("/chat-history", params={"page_size": 200}).json()
                while True:
                    for conversation in page["results"]:
                        found |= {m["id"] for m in conversation["messages"] if m["role"] == "assistant"}
                    if not page["next"]:
                        break
                    page = client.get(page["next"]).json()
        return found


def checks_of(server: Server) -> dict[str, Any]:
    checks: dict[str, Any] = httpx.get(f"{server.url}/readyz", timeout=PATIENCE).json()["checks"]
    return checks


def sources_found(client: Client, question: str) -> set[str]:
    found = client.get("/search", params={"q": question})
    assert found.status_code == 200, found.text
    return {row["source"] for row in found.json()["results"]}


def fill(server: Server) -> None:
    write(server.knowledge, "leave.md", "# Leave\n\nParental leave is 16 weeks.\n")
    write(server.knowledge, "office.md", "# Office\n\nThe office opens at 8 in the morning.\n")


def test_two_servers_and_a_scheduler_share_one_index(
    make_server: Callable[..., Server],
    beside: Callable[..., Server],
    chroma: ChromaServer,
    database: Callable[[], str],
) -> None:
    one = make_server(CHROMA_URL=chroma.url, DATABASE_URL=database(), RUN_SCHEDULER="off", WEB_WORKERS="2")
    fill(one)
    one.start(wait=False)
    one.wait_until(lambda: "Footnote serves" in one.log.read_text(), "its database")
    one.wait_until(lambda: not one.is_ready() and "index" in _checks_or_none(one), "its word")
    assert not checks_of(one)["index"]["ok"], "nobody has compared the folder"
    scheduler, two = beside(one, "run_scheduler"), beside(one)
    scheduler.start(wait=False)
    two.start()
    one.wait_until(one.is_ready, "ready")
    one.make_staff()
    with Client(one, "operator") as first, Client(two) as second:
        for client in (first, second):
            assert sources_found(client, OFFICE) >= {"office.md"}
            assert client.ask(LEAVE)["outcome"] == "grounded"
        [source] = [row for row in first.get("/sources").json()["results"] if row["path"] == "leave.md"]
        assert first.delete(f"/sources/{source['id']}").status_code == 204
        for _ in range(20):  # whichever process answers
            fresh = httpx.get(f"{one.url}/search", params={"q": LEAVE}, headers=first.headers).json()["results"]
            assert "leave.md" not in {row["source"] for row in fresh}
        assert "leave.md" not in sources_found(second, LEAVE)
        assert second.ask(LEAVE)["outcome"] == "abstained"

        write(one.knowledge, "bicycles.md", "# Bicycles\n\nBicycles are parked behind the house.\n")
        for client, server in ((first, one), (second, two)):
            server.wait_until(lambda c=client: "bicycles.md" in sources_found(c, "bicycles"), "what was dropped")  # type: ignore[misc]
        assert second.ask("Where are bicycles parked?")["citations"][0]["source"] == "bicycles.md"

    scheduler.interrupt()
    backup = str(one.data / "moved.tar.gz")
    assert one.manage("backup", "--output", backup).returncode == 0
    refused = one.manage("restore", backup, "--force")
    assert (refused.returncode, "is using" in refused.stderr) == (1, True), "those that only read the index use it too"
    for server in (one, two):
        server.interrupt()
    text = one.log.read_text() + two.log.read_text() + scheduler.log.read_text()
    assert "Traceback" not in text
    assert scheduler.log.read_text().count(OWNS) == 1
    assert OWNS not in one.log.read_text() + two.log.read_text()


def _checks_or_none(server: Server) -> dict[str, Any]:
    try:
        return checks_of(server)
    except httpx.TransportError:
        return {}


def test_another_process_takes_over_the_index_when_its_owner_is_killed(
    make_server: Callable[..., Server], beside: Callable[..., Server], chroma: ChromaServer
) -> None:
    one = make_server(CHROMA_URL=chroma.url)
    fill(one)
    one.start()
    two = beside(one)
    two.start()
    assert OWNS in one.log.read_text()
    with Client(two) as client:
        client.ask(LEAVE)
        one.kill()
        write(two.knowledge, "bicycles.md", "# Bicycles\n\nBicycles are parked behind the house.\n")
        two.wait_until(lambda: client.states().get("bicycles.md") == "indexed", "the other one")
        assert client.ask("Where are bicycles parked?")["outcome"] == "grounded"
        assert OWNS in two.log.read_text()
        (two.knowledge / "bicycles.md").unlink()
        two.wait_until(lambda: client.states()["bicycles.md"] == "removed", "a deletion")


@pytest.mark.parametrize("loss", ["none", "all"])
def test_chroma_is_stopped_and_back(make_server: Callable[..., Server], chroma: ChromaServer, loss: str) -> None:
    server = make_server(CHROMA_URL=chroma.url)
    fill(server)
    server.start()
    with Client(server) as client:
        conversation = client.ask(LEAVE)["conversation_id"]
        chroma.kill()
        checks = checks_of(server)
        assert not checks["index"]["ok"]
        assert "Chroma" in checks["index"]["detail"]
        assert checks["database"]["ok"]
        refused = client.post("/chat", json={"message": OFFICE, "conversation_id": conversation})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "index_unavailable")
        assert client.get("/search", params={"q": OFFICE}).status_code == 503
        kept = client.get(f"/conversations/{conversation}/messages").json()["results"]
        assert [message["content"] for message in kept if message["role"] == "user"] == [LEAVE, OFFICE]

        write(server.knowledge, "bicycles.md", "# Bicycles\n\nBicycles are parked behind the house.\n")
        (server.knowledge / "leave.md").unlink()
        server.wait_until(lambda: "It is tried again" in server.log.read_text(), "its word")
        if loss == "all":
            shutil.rmtree(chroma.path)
        chroma.start()
        server.wait_until(server.is_ready, "ready")
        server.wait_until(lambda: client.states().get("bicycles.md") == "indexed", "what was dropped meanwhile")
        assert client.ask("Where are bicycles parked?")["outcome"] == "grounded"
        assert client.ask(LEAVE)["outcome"] == "abstained", "its file is gone"
        answer = client.ask(OFFICE, conversation_id=conversation)
        assert answer["citations"][0]["source"] == "office.md"
        chunks = sum(row["chunks"] for row in client.get("/sources").json()["results"] if row["state"] == "indexed")
        server.wait_until(lambda: checks_of(server)["index"]["detail"] == f"{chunks} passages", "every vector")
        assert server.manage("reconcile").returncode == 0
    assert "Traceback" not in server.log.read_text()


def test_a_server_that_starts_before_chroma_waits_for_it(
    make_server: Callable[..., Server], chroma: ChromaServer
) -> None:
    chroma.kill()
    server = make_server(CHROMA_URL=chroma.url)
    fill(server)
    server.start(wait=False)
    server.wait_until(lambda: "index" in _checks_or_none(server), "its word")
    assert "Chroma" in checks_of(server)["index"]["detail"]
    with Client(server) as client:
        assert client.post("/chat", json={"message": LEAVE}).status_code == 503
        chroma.start()
        server.wait_until(server.is_ready, "ready")
        assert client.ask(LEAVE)["outcome"] == "grounded"
    assert "Traceback" not in server.log.read_text()


def test_a_chroma_that_says_nothing_is_not_waited_for_for_ever(
    make_server: Callable[..., Server], chroma: ChromaServer
) -> None:
    server = make_server(CHROMA_URL=chroma.url)
    fill(server)
    server.start()
    with Client(server) as client:
        client.ask(LEAVE)
        chroma.signal(signal.SIGSTOP)
        try:
            assert client.post("/chat", json={"message": OFFICE}).status_code == 503
        finally:
            chroma.signal(signal.SIGCONT)
        assert client.ask(OFFICE)["outcome"] == "grounded"


@pytest.fixture
def postgresql() -> Iterator[tuple[str, Proxy]]:
    """A database of the test's own behind a proxy, as DATABASE_URL names it; skips where there is no PostgreSQL."""
    try:
        home = psycopg.connect(HOME, autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"PostgreSQL does not answer: {error}")
    name = f"footnote_stack_{os.getpid()}"
    home.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    home.execute(f'CREATE DATABASE "{name}"')
    info = home.info
    upstream: Any = f"{info.host}/.s.PGSQL.{info.port}" if info.host.startswith("/") else (info.host, info.port)
    password = f":{info.password}" if info.password else ""
    with running_proxy(upstream) as proxy:
        yield f"postgresql://{info.user}{password}@127.0.0.1:{proxy.port}/{name}?sslmode=disable", proxy
    home.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    home.close()


def test_postgresql_is_restarted_under_load(
    make_server: Callable[..., Server],
    beside: Callable[..., Server],
    chroma: ChromaServer,
    postgresql: tuple[str, Proxy],
) -> None:
    url, proxy = postgresql
    server = make_server(CHROMA_URL=chroma.url, DATABASE_URL=url, RUN_SCHEDULER="off", WEB_WORKERS="2")
    fill(server)
    server.start(wait=False)
    server.wait_until(lambda: "Footnote serves" in server.log.read_text(), "its database")
    scheduler = beside(server, "run_scheduler")
    scheduler.start(wait=False)
    server.wait_until(server.is_ready, "ready")
    with People(server) as people:
        people.wait_for_answers()
        for away in (0.0, 20.0):  # seconds; the second is longer than any request waits for a connection
            proxy.cut()
            people.wait_for(503)
            time.sleep(away)
            unready = httpx.get(f"{server.url}/readyz", timeout=PATIENCE)
            assert (unready.status_code, unready.json()["checks"]["database"]["ok"]) == (503, False)
            assert httpx.get(f"{server.url}/healthz", timeout=PATIENCE).status_code == 200
            proxy.heal()
            people.wait_for_answers()
    server.wait_until(server.is_ready, "ready")
    assert set(people.statuses) <= {200, 503}, people.statuses
    assert not people.unasked
    assert people.answers <= people.stored(), "every answer that was given is kept"
    write(server.knowledge, "bicycles.md", "# Bicycles\n\nBicycles are parked behind the house.\n")
    with Client(server) as client:
        server.wait_until(lambda: client.states().get("bicycles.md") == "indexed", "the scheduler goes on too")
    assert scheduler.process is not None
    assert scheduler.process.poll() is None


def test_without_redis_throttles_still_count_and_chat_goes_on(
    make_server: Callable[..., Server], chroma: ChromaServer
) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(REDIS) != 0:
            pytest.skip("no Redis answers on its usual port")
    with running_proxy(REDIS) as proxy:
        server = make_server(
            CHROMA_URL=chroma.url,
            REDIS_URL=f"redis://127.0.0.1:{proxy.port}/9",
            THROTTLE_LOGIN_FAILURES="5/hour",
        )
        fill(server)
        server.start()
        with People(server, 2) as people:
            people.wait_for_answers()
            proxy.cut()
            people.wait_for_answers()
            wrong = {"username": f"nobody-{server.port}", "password": "wrong"}
            told = [httpx.post(f"{server.url}/login", json=wrong, timeout=PATIENCE).status_code for _ in range(20)]
            assert set(told) == {401, 429}
            assert told[-1] == 429, "it does not let everything through"
            proxy.heal()
            people.wait_for_answers()
        assert set(people.statuses) == {200}
        assert not people.unasked
    assert "Traceback" not in server.log.read_text()


def children(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "--parent", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def test_web_workers_are_killed_under_load(
    make_server: Callable[..., Server], chroma: ChromaServer, database: Callable[[], str]
) -> None:
    server = make_server(CHROMA_URL=chroma.url, DATABASE_URL=database(), WEB_WORKERS="2")
    fill(server)
    server.start()
    assert server.process is not None
    with People(server) as people:
        people.wait_for_answers()
        for _ in range(3):
            before = children(server.process.pid)
            os.kill(before[0], signal.SIGKILL)
            people.wait_for_answers()
            server.wait_until(
                lambda gone=before[0]: len(now := children(server.process.pid)) == 2 and gone not in now,  # type: ignore[misc]
                "another worker",
            )
    assert set(people.statuses) <= {200}, people.statuses
    assert people.unasked, "whoever was connected to the killed one was cut off"
    assert people.answers <= people.stored()
    write(server.knowledge, "bicycles.md", "# Bicycles\n\nBicycles are parked behind the house.\n")
    with Client(server) as client:
        server.wait_until(lambda: client.states().get("bicycles.md") == "indexed", "the folder is followed")


def test_several_workers_on_an_embedded_store_are_refused(make_server: Callable[..., Server]) -> None:
    server = make_server(WEB_WORKERS="2")
    refused = server.manage("serve")
    assert refused.returncode == 1
    assert "WEB_WORKERS=2 needs CHROMA_URL" in refused.stderr


class Up:
    """`make up` over a server's folders; the server is what answers."""

    def __init__(self, server: Server) -> None:
        self.server = server
        server.environment.pop("WEB_WORKERS")
        server.environment["CHROMA_URL"] = f"http://127.0.0.1:{free_port()}"

    def start(self) -> None:
        with self.server.log.open("ab") as log:
            self.server.process = subprocess.Popen(
                [sys.executable, "-m", "tasks.up"],
                cwd=BASE_DIR,
                env=self.server.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.server.wait_until(self.server.is_ready, "ready")

    def pids(self) -> dict[str, int]:
        """The stack's processes by what they are."""
        assert self.server.process is not None
        found = {}
        for pid in children(self.server.process.pid):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
            found[next((w for w in ("serve", "run_scheduler", "run") if w in words), "?")] = pid
        return found


def refused_up(server: Server) -> subprocess.CompletedProcess[str]:
    """`make up` where it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "tasks.up"],
        cwd=BASE_DIR,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_make_up_is_the_whole_stack(make_server: Callable[..., Server], database: Callable[[], str]) -> None:
    if sys.platform != "linux":
        pytest.skip("it looks into /proc")
    server = make_server(DATABASE_URL=database())
    fill(server)
    stack = Up(server)
    try:
        stack.start()
        told, where = server.log.read_text(), server.environment["DATABASE_URL"]
        assert ("Database: PostgreSQL." if where else "Database: SQLite (DATABASE_URL names a PostgreSQL).") in told
        assert "the database (REDIS_URL names a Redis)" in told, "what is not set is said"
        before = stack.pids()
        assert set(before) == {"serve", "run_scheduler", "run"}
        workers = children(before["serve"])
        assert len(workers) == 2
        with Client(server) as client:
            assert client.ask(LEAVE)["outcome"] == "grounded"
            for pid in before.values():
                os.kill(pid, signal.SIGKILL)
            server.wait_until(
                lambda: set(now := stack.pids()) == set(before) and not set(now.values()) & set(before.values()),
                "others in their place",
            )
            server.wait_until(lambda: not any(_lives(pid) for pid in workers), "the end of workers without a master")
            server.wait_until(server.is_ready, "ready again")
            write(server.knowledge, "bicycles.md", "# Bicycles\n\nBicycles are parked behind the house.\n")
            server.wait_until(lambda: client.states().get("bicycles.md") == "indexed", "ingestion")
            server.wait_until(server.is_ready, "ready")
            assert client.ask("Where are bicycles parked?")["outcome"] == "grounded"
        again = refused_up(server)
        assert again.returncode == 1
        assert "cannot be used" in again.stderr
        last = stack.pids()
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        server.process.wait(PATIENCE)
        assert not any(_lives(pid) for pid in last.values())

        stack.start()
        last = stack.pids()
        server.process.kill()
        server.process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while any(_lives(pid) for pid in last.values()):
            assert time.monotonic() < deadline, "what it had started goes on without it"
            time.sleep(0.1)
    finally:
        server.kill()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"VECTOR_STORE": "faiss"}, "VECTOR_STORE=faiss is embedded"),
        ({"WEB_WORKERS": "0"}, "WEB_WORKERS"),
        ({"TASKS": "celery"}, "CELERY_BROKER_URL"),
        ({"DATABASE_URL": "mysql://somebody:secret@127.0.0.1/footnote"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://somebody:secret@127.0.0.1:1/footnote"}, "DATABASE_URL does not answer"),
        ({"REDIS_URL": "http://127.0.0.1:6379"}, "REDIS_URL"),
    ],
)
def test_make_up_says_what_is_wrong(make_server: Callable[..., Server], given: dict[str, str], said: str) -> None:
    server = make_server(**given)
    refused = refused_up(server)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "secret" not in refused.stderr
