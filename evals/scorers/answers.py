"""Whether the answer says what a reference answer says, word by word.

Token F1: the harmonic mean of the precision and recall of the words that the answer and a reference share, counted with
repetition; the best over the references. Containment: whether a reference stands in the answer as a run of whole words
(`has_answer` of DrQA, Chen et al. 2017, arXiv 1704.00051). Both on texts normalised as SQuAD's evaluation script does
(Rajpurkar et al. 2016, arXiv 1606.05250): lower case, no ASCII punctuation, no English articles, single spaces.

F1 punishes long answers; containment does not. A declined answer scores 0 on an answerable question, as in SQuAD 2.0.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def token_f1(answer: str, references: Sequence[str]) -> float | None:
    """The best F1 over the references; None without references."""
    return max((_f1(normalise(answer).split(), normalise(text).split()) for text in references), default=None)


def contains(answer: str, references: Sequence[str]) -> bool | None:
    """Whether any reference stands in the answer; None without references."""
    if not references:
        return None
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
