"""Whether quotes are what they say they are, come from the right places, and how much of an answer has one.

Validity: a quote is not empty and equals the source's text between its offsets, character for character:
`text[start:end] == quote`. Nothing is forgiven, neither whitespace nor case. It says that the words stand there, not
that they support the answer; answers made of quotes reach 1.0 easily, so read it beside recall and refusals. (Quote
verification as in Menick et al. 2022, arXiv 2203.11147, where quotes are verbatim by construction.)

Precision: the share of an answer's citations that lie in a gold place. Recall: the share of the gold places that are
cited. (Against gold passages; ALCE's citation precision and recall, Gao et al. 2023, arXiv 2305.14627, ask a model
instead.) A citation lies in a gold place as a passage does (see retrieval.py), where a quote shorter than five words
must stand in the gold text whole.

Coverage: the share of the answer's sentences that have a citation: a marker follows them, or they stand in a quote word
for word. Sentences without a content word are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chains.sentences import split
from chains.words import content_words
from evals.figures import Figure
from evals.recordings import Passage, Recording
from evals.samples import Gold, Sample
from evals.scorers.abstention import is_declined
from evals.scorers.answers import MARKER
from evals.scorers.retrieval import SHORTEST_RUN, stands_in, words

FIGURES = (
    Figure("citation validity", yes_no=False),
    Figure("citation precision", yes_no=False),
    Figure("citation recall", yes_no=False),
    Figure("citation coverage", yes_no=False),
)


def score(sample: Sample, recording: Recording) -> dict[str, float]:
    """Validity and precision need a citation; precision and recall an answerable question that was answered."""
    if recording.outcome is None or is_declined(recording.outcome):
        return {}
    scores = {}
    citations = recording.citations
    if citations:
        valid = [is_valid(*pair) for pair in zip(citations, recording.stored, strict=True)]
        scores["citation validity"] = sum(valid) / len(valid)
    if sample.answerable:
        if citations:
            scores["citation precision"] = sum(is_right(sample.gold, c) for c in citations) / len(citations)
        cited = [any(is_in(place, citation) for citation in citations) for place in sample.gold]
        scores["citation recall"] = sum(cited) / len(cited)
    covered = coverage(recording.answer, citations)
    if covered is not None:
        scores["citation coverage"] = covered
    return scores


def is_valid(citation: Mapping[str, Any], stored: str | None) -> bool:
    """Whether the quote is the stored text at its place."""
    return bool(citation.get("quote")) and stored == citation["quote"]


def is_right(gold: Sequence[Gold], citation: Mapping[str, Any]) -> bool:
    """Whether the citation lies in any of the gold places."""
    return any(is_in(place, citation) for place in gold)


def is_in(place: Gold, citation: Mapping[str, Any]) -> bool:
    quote = Passage(citation["source"], citation["quote"], 0.0, citation["page"], tuple(citation["heading"] or ()))
    lengths = len(words(place.text or "")), len(words(quote.text))
    return stands_in(place, quote, min(*lengths, max(SHORTEST_RUN, (min(lengths) + 1) // 2)))


def coverage(answer: str, citations: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of the answer's sentences with a citation; None without sentences."""
    plain, places = _without_markers(answer)
    claims = [unit for unit in split(plain) if content_words(plain[unit.start : unit.end])]
    if not claims:
        return None
    marked = {max((i for i, unit in enumerate(claims) if unit.start < place), default=None) for place in places}
    quotes = [" ".join(citation["quote"].split()) for citation in citations]
    covered = [
        i in marked or any(" ".join(plain[unit.start : unit.end].split()) in quote for quote in quotes)
        for i, unit in enumerate(claims)
    ]
    return sum(covered) / len(covered)


def _without_markers(answer: str) -> tuple[str, list[int]]:
    """The answer without its markers, and where in that text each of them stood."""
    plain, places, done = "", [], 0
    for marker in MARKER.finditer(answer):
        plain += answer[done : marker.start()]
        places.append(len(plain))
        done = marker.end()
    return plain + answer[done:], places
