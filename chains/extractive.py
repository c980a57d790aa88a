"""The keyless answerer: the sentences of the passages that answer the question, verbatim, each with its citation.

A unit (sentence, list item, table row, code block) is scored by the cosine of its embedding with the question's and by
the share of the question's words it holds; the best one is the answer, others follow only when they are nearly as good.
A FAQ pair answers with its answer, never with its question.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from langchain_core.documents import Document

from chains.citations import ReadSpan, cite, stands, without_markers
from chains.evidence import Candidate
from chains.model import AnswerEvent, Citation, Cited, Draft, Token
from chains.sentences import Unit, split
from chains.words import content_words

WORD_WEIGHT = 0.35  # of word overlap beside the cosine
PASSAGE_WEIGHT = 0.3  # of the passage's own retrieval score
NEARLY = 0.9  # a further sentence is taken when its score is at least this share of the best one's
MOST_UNITS = 2
NEAR_PAIR = 0.5  # cosine with the question below which a FAQ pair is about something else (chains/abstention.py)
LONGEST_FAQ = 1200  # characters of a FAQ answer that are shown whole


def extract(
    question: str, passages: Sequence[Document], evidence: Sequence[Candidate], read_span: ReadSpan, draft: Draft
) -> Iterator[AnswerEvent]:
    """Events of the extractive answer. `draft` is filled as it goes; no event at all means that nothing fitted."""
    chosen = choose(question, passages, evidence)
    citations: list[Citation] = []
    for candidate in chosen:
        draft.claims += 1
        citation = cite(passages[candidate.passage], candidate.unit.start, candidate.unit.end, len(citations) + 1)
        began = time.perf_counter()
        is_there = stands(citation, read_span)
        draft.verify_seconds += time.perf_counter() - began
        if not is_there:
            draft.dropped += 1
            continue
        draft.supported += 1
        separator = "" if not citations else "\n" if candidate.unit.kind != "sentence" else " "
        citations.append(citation)
        shown = without_markers(candidate.text, code=candidate.unit.kind in ("code", "list"))
        yield Token(f"{separator}{shown} [{citation.n}]")
        yield Cited(citation)


def choose(question: str, passages: Sequence[Document], candidates: Sequence[Candidate]) -> list[Candidate]:
    """The units that answer, in reading order."""
    if not passages:
        return []
    if pair := _faq_answer(passages):
        return [pair]
    candidates = [candidate for candidate in candidates if not candidate.is_fragment] or candidates
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
    return Candidate(0, Unit(start, end, "sentence"), text[start:end], 0.0) if end > start else None


def _score(question: str, candidates: Sequence[Candidate], passages: Sequence[Document]) -> list[float]:
    wanted = content_words(question)
    scores = []
    for candidate in candidates:
        held = len(wanted & content_words(candidate.text)) / len(wanted) if wanted else 0.0
        passage = passages[candidate.passage].metadata["score"]
        is_question = candidate.text.rstrip("*_ ").endswith("?")
        scores.append(candidate.cosine + WORD_WEIGHT * held + PASSAGE_WEIGHT * passage - 0.5 * is_question)
    return scores


def _repeats(text: str, other: str) -> bool:
    first, second = content_words(text), content_words(other)
    smaller = min(len(first), len(second))
    return smaller == 0 or len(first & second) >= 0.8 * smaller
