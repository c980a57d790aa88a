"""What the storm counts: that it can see a loss, and tells copies apart."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any

from evals.mailstorm import Tally, count, is_refused
from evals.smtp_server import Accepted


def accepted(to: str, message_id: str, at: float = 0.0, *, told: bool = True) -> Accepted:
    message = EmailMessage()
    message["Message-ID"] = f"<{message_id}@example.org>"
    return Accepted(to, "footnote@example.org", message, at, told)


def stored(*names: str, **states: str) -> dict[str, Any]:
    addresses = [f"{name}@example.org" for name in names]
    mails = [{"to": to, "state": states.get(to.partition("@")[0], "sent")} for to in addresses]
    return {"accounts": addresses, "mails": mails}


def test_a_mail_that_no_server_took_is_lost_unless_it_was_refused_for_good() -> None:
    tally = count(stored("user1", "user2", "user199", user199="dead"), [accepted("user1@example.org", "a")])
    assert tally == Tally(
        accounts=3,
        accepted=1,
        dead=1,
        pending=0,
        lost=["user2@example.org"],
        doubled=0,
        unheard=0,
        killed=0,
        other_ids=0,
    )
    assert not tally.good


def test_copies_are_told_apart_by_what_came_before_them() -> None:
    arrived = [
        accepted("user1@example.org", "a", 1.0, told=False),
        accepted("user1@example.org", "a", 2.0),
        accepted("user2@example.org", "b", 1.0),
        accepted("user2@example.org", "b", 3.0, told=False),
        accepted("user2@example.org", "b", 5.0),
        accepted("user3@example.org", "c", 1.0),
    ]
    tally = count(stored("user1", "user2", "user3"), arrived)
    assert (tally.accepted, tally.doubled, tally.unheard, tally.killed, tally.other_ids) == (3, 3, 2, 1, 0)
    assert tally.good


def test_two_mails_for_one_account_and_one_that_still_waits_are_no_good_end() -> None:
    twice = [accepted("user1@example.org", "a"), accepted("user1@example.org", "b")]
    tally = count(stored("user1"), twice)
    assert (tally.doubled, tally.other_ids, tally.good) == (0, 1, False)
    waiting = count(stored("user1", user1="pending"), [accepted("user1@example.org", "a")])
    assert (waiting.pending, waiting.good) == (1, False)


def test_one_address_in_a_hundred_is_refused() -> None:
    assert [n for n in range(300) if is_refused(f"user{n}@example.org")] == [99, 199, 299]
    assert not is_refused("waits@example.org")
