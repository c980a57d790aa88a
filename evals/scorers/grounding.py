"""What an answer says that nothing it was given says. Without a model, so it is not faithfulness: words can stand in
the documents and still be put together wrongly.

Support is everything the answer could draw on: the passages found, the quotes, the question and what was said before.
- Unsupported words: the share of the answer's content words (stems, chains/words.py) that stand nowhere in it.
- Unsupported numbers, dates, names: whether the answer holds at least one that does not. (Entities and numbers as the
  places where invention shows: Nan et al. 2021, arXiv 2102.09130.) A date agrees with a date of the support when no
  part that both have (year, month, day) differs, and its figures are no numbers. A name is a capitalised word that
  does not begin a sentence.
Less is better for all of them. Declined answers are left out.
"""

from __future__ import annotations

from itertools import chain

from chains.facts import Date, dates, name_words, names, without_dates
from chains.words import content_words, numbers
from evals.figures import Figure
from evals.recordings import Recording
from evals.samples import Sample
from evals.scorers.abstention import is_declined
from evals.scorers.answers import MARKER

FIGURES = (
    Figure("unsupported words", yes_no=False, more_is_better=False),
    Figure("unsupported numbers", more_is_better=False),
    Figure("unsupported dates", more_is_better=False),
    Figure("unsupported names", more_is_better=False),
)


def score(sample: Sample, recording: Recording) -> dict[str, float]:
    if recording.outcome is None or is_declined(recording.outcome):
        return {}
    answer = MARKER.sub("", recording.answer)
    support = "\n".join(
        chain(
            (" ".join((*passage.heading, passage.text)) for passage in recording.passages),
            (citation["quote"] for citation in recording.citations),
            (turn.content for turn in sample.history),
            [sample.question],
        )
    )
    said = content_words(answer)
    known = dates(support)
    scores = {
        "unsupported numbers": float(not numbers(without_dates(answer)) <= numbers(support)),
        "unsupported dates": float(any(not any(_agree(date, other) for other in known) for date in dates(answer))),
        "unsupported names": float(not names(answer) <= name_words(support)),
    }
    if said:
        scores["unsupported words"] = len(said - content_words(support)) / len(said)
    return scores


def _agree(date: Date, other: Date) -> bool:
    return all(mine is None or theirs is None or mine == theirs for mine, theirs in zip(date, other, strict=True))
