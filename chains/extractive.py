"""The keyless answerer: the sentences of the passages that answer the question, verbatim, each with its citation.

A unit (sentence, list item, table row, code block) is scored by the cosine of its embedding with the question's and by
the share of the question's words it holds; the best one is the answer, others follow only when they are nearly as good.
A row is compared, and shown, with the names of its columns.
A FAQ pair answers with its answer, never with its question.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from langchain_core.documents import Document

from chains.citations import ReadSpan, cite, stands, without_markers
from chains.evidence import Candidate
from chains.model import AnswerEvent, Citation, Cited, Draft, Token
from chains.sentences import Unit, split
from chains.words import content_words, numbers
from vectorstore import spans

WORD_WEIGHT = 0.35  # of word overlap beside the cosine
PASSAGE_WEIGHT = 0.3  # of the passage's own retrieval score
NEARLY = 0.9  # a further sentence is taken when its score is at least this share of the best one's
MOST_UNITS = 2
NEAR_PAIR = 0.5  # cosine with the question below which a FAQ pair is about something else (chains/abstention.py)
WANTED_WORDS = frozenset(
    "what who whom whose which when where why how".split()
)  # else it may be a yes that is asked for
LONGEST_FAQ = 1200  # characters of a FAQ answer that are shown whole


def extract(
    question: str, passages: Sequence[Document], evidence: Sequence[Candidate], read_span: ReadSpan, draft: Draft
) -> Iterator[AnswerEvent]:
    """Events of the extractive answer. `draft` is filled as it goes; no event at all means that nothing fitted."""
    citations: list[Citation] = []
    for candidate in choose(question, passages, evidence):
        draft.claims += 1
        said = _with_names(candidate, passages[candidate.passage], citations)
        quotes = [
            cite(passages[one.passage], one.unit.start, one.unit.end, len(citations) + i)
            for i, one in enumerate(said, start=1)
        ]
        began = time.perf_counter()
        with spans.span("verify"):
            are_there = all(stands(quote, read_span) for quote in quotes)
        draft.verify_seconds += time.perf_counter() - began
        if not are_there:
            draft.dropped += 1
            continue
        draft.supported += 1
        for one, quote in zip(said, quotes, strict=True):
            separator = "" if not citations else "\n" if one.unit.kind != "sentence" else " "
            citations.append(quote)
            shown = without_markers(one.text, code=one.unit.kind in ("code", "list"))
            yield Token(f"{separator}{shown} [{quote.n}]")
            yield Cited(quote)


def _with_names(candidate: Candidate, passage: Document, said: Sequence[Citation]) -> list[Candidate]:
    """The row of a table after the names of its columns, unless they were said before; all else by itself."""
    names = candidate.names
    if names is None or names == candidate.unit:
        return [candidate]
    place = passage.metadata["version_id"], passage.metadata["start"] + names.start
    if any((one.version_id, one.start) == place for one in said):
        return [candidate]
    text = " ".join(passage.page_content[names.start : names.end].split())
    return [replace(candidate, unit=names, text=text), candidate]


def choose(question: str, passages: Sequence[Document], candidates: Sequence[Candidate]) -> list[Candidate]:
    """The units that answer, in reading order."""
    if not passages:
        return []
    if pair := _faq_answer(passages):
        return [pair]
    candidates = [candidate for candidate in candidates if not candidate.is_fragment] or candidates
    candidates = _without_echoes(question, candidates) or candidates
    if not candidates:
        return []
    scores = _score(question, candidates, passages)
    ranked = sorted(range(len(candidates)), key=lambda i: (-scores[i], candidates[i].passage, candidates[i].unit.start))
    best = scores[ranked[0]]
    taken: list[Candidate] = []
    for i in ranked:
        if len(taken) == MOST_UNITS or scores[i] < NEARLY * best:
            break
        if not any(_repeats(candidates[i].text, other.text) for other in taken):
            taken.append(candidates[i])
    return sorted(taken, key=lambda candidate: (candidate.passage, candidate.unit.start))


def _faq_answer(passages: Sequence[Document]) -> Candidate | None:
    """The answer of the pair that was found first, if what was found first is one and asks the same."""
    place = passages[0].metadata
    if place.get("kind") != "faq" or place.get("answer_start") is None or place["similarity"] < NEAR_PAIR:
        return None
    text = passages[0].page_content
    start = max(0, place["answer_start"] - place["start"])
    end = len(text.rstrip())
    if end - start > LONGEST_FAQ:
        units = [unit for unit in split(text) if unit.start >= start and unit.end - start <= LONGEST_FAQ]
        end = units[-1].end if units else start + LONGEST_FAQ
    while start < end and text[start].isspace():
        start += 1
    return Candidate(0, Unit(start, end, "sentence"), text[start:end], 0.0, text[start:end]) if end > start else None


def _without_echoes(question: str, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """What says something that the question does not say."""
    if WANTED_WORDS.isdisjoint(question.casefold().split()):
        return candidates
    words, figures = content_words(question), numbers(question)
    return [
        candidate
        for candidate in candidates
        if not (content_words(candidate.meaning) <= words and numbers(candidate.meaning) <= figures)
    ]


def _score(question: str, candidates: Sequence[Candidate], passages: Sequence[Document]) -> list[float]:
    wanted = content_words(question)
    scores = []
    for candidate in candidates:
        held = len(wanted & content_words(candidate.meaning)) / len(wanted) if wanted else 0.0
        passage = passages[candidate.passage].metadata["score"]
        is_question = candidate.text.rstrip("*_ ").endswith("?")
        scores.append(candidate.cosine + WORD_WEIGHT * held + PASSAGE_WEIGHT * passage - 0.5 * is_question)
    return scores


def _repeats(text: str, other: str) -> bool:
    first, second = content_words(text), content_words(other)
    smaller = min(len(first), len(second))
    return smaller == 0 or len(first & second) >= 0.8 * smaller
