"""Whether the answer says what a reference answer says, word by word.

Exact match and token F1 as SQuAD's evaluation script has them (Rajpurkar et al. 2016, arXiv 1606.05250): texts in lower
case, without ASCII punctuation and English articles, single spaces; F1 is the harmonic mean of the precision and recall
of the words that the answer and a reference share, counted with repetition; the best over the references. Containment:
whether a reference stands in the answer as a run of whole words (`has_answer` of DrQA, Chen et al. 2017, arXiv
1704.00051), on the same normalised texts. Markers such as [1] are left out of the answer before.

Exact match and F1 punish answers in whole sentences; containment does not. A declined answer scores 0 on an answerable
question, as in SQuAD 2.0.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from evals.figures import Figure
from evals.recordings import Recording
from evals.samples import Sample
from evals.scorers.abstention import is_declined

FIGURES = (
    Figure("answer contains gold"),
    Figure("exact match"),
    Figure("token F1", yes_no=False),
)

MARKER = re.compile(r"\s*\[\d{1,3}(?:\s*,\s*\d{1,3})*\]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def score(sample: Sample, recording: Recording) -> dict[str, float]:
    """For answerable questions with reference answers."""
    if not sample.answerable or not sample.answers or recording.outcome is None:
        return {}
    answer = "" if is_declined(recording.outcome) else MARKER.sub("", recording.answer)
    return {
        "answer contains gold": float(contains(answer, sample.answers)),
        "exact match": float(any(normalise(answer) == normalise(text) for text in sample.answers)),
        "token F1": token_f1(answer, sample.answers),
    }


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The best F1 over the references."""
    return max(_f1(normalise(answer).split(), normalise(text).split()) for text in references)


def contains(answer: str, references: Sequence[str]) -> bool:
    """Whether any reference stands in the answer."""
    whole = f" {normalise(answer)} "
    return any(f" {text} " in whole for text in map(normalise, references) if text)


def normalise(text: str) -> str:
    """SQuAD's normalisation, in its order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _f1(answer: list[str], reference: list[str]) -> float:
    if not answer or not reference:
        return float(answer == reference)
    shared = (Counter(answer) & Counter(reference)).total()
    return 2 * shared / (len(answer) + len(reference))
