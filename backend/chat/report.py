"""What one day's questions tell those who run the server; nobody's name, and no address that somebody wrote."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from django.db.models import QuerySet, Sum

from backend.chat.models import DailyUsage, Message, Outcome, Role
from backend.chat.stats import start_of
from vectorstore.embeddings import Embedder

ALIKE = 0.65  # cosine of two questions: rewordings lie above, other questions about the same thing mostly below
LOOKED_AT = 2_000  # unanswered questions of a day, the latest
LONGEST = 200  # characters of a question
_ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+")


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Questions that are alike and that the documents do not answer. question: the most frequent of them. nearest: the
    file in which something like it was found most often."""

    question: str
    times: int
    askers: int
    nearest: str


@dataclass(frozen=True, slots=True)
class Slow:
    """stage: the one that took longest."""

    at: datetime
    seconds: float
    stage: str
    stage_seconds: float
    model: str


@dataclass(frozen=True, slots=True)
class _Asked:
    text: str
    user: int
    source: str


def unanswered(day: date, number: int, embedder: Embedder) -> list[Unanswered]:
    """What the documents did not answer on that day (UTC), the most wanted first."""
    answers = _answers(day).filter(outcome=Outcome.ABSTAINED, replaced_at=None).order_by("-created_at", "-pk")
    rows = list(answers.values_list("pk", "retrieved", "conversation__user")[:LOOKED_AT])
    questions = _questions_of([pk for pk, _, _ in rows])
    asked = [
        _Asked(" ".join(questions[pk].split()), user, retrieved[0]["source"] if retrieved else "")
        for pk, retrieved, user in rows
        if pk in questions
    ]
    found = [_describe(group) for group in _group(asked, embedder)]
    return sorted(found, key=lambda one: (-one.times, -one.askers, one.question))[:number]


def slowest(day: date, number: int) -> list[Slow]:
    """The answers of that day (UTC) that took longest."""
    timed = _answers(day).exclude(latency_ms__total=None).order_by("-latency_ms__total", "pk")
    found = []
    for at, times, model in timed.values_list("created_at", "latency_ms", "model")[:number]:
        stages = {name: value for name, value in times.items() if name != "total"}
        stage = max(stages, key=lambda name: stages[name], default="")
        found.append(Slow(at, times["total"] / 1000, stage, stages.get(stage, 0.0) / 1000, model))
    return found


def failed_models(day: date) -> list[tuple[str, int]]:
    """The models that did not answer on that day (UTC), and how many questions."""
    failed = DailyUsage.objects.filter(day=day, failed__gt=0).order_by().values_list("model")
    return sorted(failed.annotate(number=Sum("failed")), key=lambda row: (-row[1], row[0]))


def shown(text: str) -> str:
    """On one line, shortened, and without mail addresses."""
    line = _ADDRESS.sub("…@…", " ".join(text.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _answers(day: date) -> QuerySet[Message]:
    return Message.objects.filter(
        role=Role.ASSISTANT, created_at__gte=start_of(day), created_at__lt=start_of(day + timedelta(days=1))
    )


def _questions_of(answers: Iterable[UUID]) -> dict[UUID, str]:
    ids = list(answers)
    found: dict[UUID, str] = {}
    for start in range(0, len(ids), 500):
        some = Message.objects.filter(role=Role.USER, answer_id__in=ids[start : start + 500]).order_by()
        found |= {answer: text for answer, text in some.values_list("answer_id", "content") if answer is not None}
    return found


def _group(asked: list[_Asked], embedder: Embedder) -> list[list[_Asked]]:
    """Each with the first one that it is like, the most frequent questions first."""
    by_text: dict[str, list[_Asked]] = defaultdict(list)
    for one in asked:
        by_text[one.text].append(one)
    texts = sorted(by_text, key=lambda text: (-len(by_text[text]), text))
    if not texts:
        return []
    vectors = embedder.embed_array(texts)
    firsts: list[int] = []
    groups: list[list[_Asked]] = []
    for i, text in enumerate(texts):
        alike = vectors[firsts] @ vectors[i]
        if firsts and alike.max() >= ALIKE:
            groups[int(alike.argmax())] += by_text[text]
        else:
            firsts.append(i)
            groups.append(list(by_text[text]))
    return groups


def _describe(group: list[_Asked]) -> Unanswered:
    sources = Counter(one.source for one in group if one.source)
    return Unanswered(
        question=shown(group[0].text),
        times=len(group),
        askers=len({one.user for one in group}),
        nearest=min(sources, key=lambda path: (-sources[path], path), default=""),
    )
