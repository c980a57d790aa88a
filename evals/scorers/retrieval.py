"""Whether the passages that hold the answer were found, and how high. Computed by trec_eval (NIST), through pytrec_eval
(Van Gysel and de Rijke 2018, SIGIR).

Recall@k is 1 when at least one of the first k passages is right, else 0: one place that holds the answer is enough to
answer (trec_eval's `success`; top-k retrieval accuracy, Karpukhin et al. 2020, arXiv 2004.04906; also called hit rate).
MRR@k: 1/r for the first right passage at rank r <= k, else 0 (TREC-8 question answering, Voorhees 1999). nDCG@k: the
gain of every right passage, discounted by log2(rank + 1), over the best order's (Järvelin and Kekäläinen 2002). The
judged documents are the gold places, each of gain 1: the first passage that is right for a place stands for it, further
ones for the same place count as not right.

A passage is right for a gold place when it comes from the gold file and
- the gold has a page: it is on that page;
- the gold has a text: its last heading is that text (FAQ pairs are titled by their question), or the two share a run of
  words in sequence that is at least half as long as the shorter of them, and no shorter than five words or the whole
  gold text;
- the gold has neither: it comes from that file.
Texts are compared as lower-case words between whitespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from evals.figures import Figure
from evals.recordings import Passage, Recording
from evals.samples import Gold, Sample

SHORTEST_RUN = 5  # words; a shorter run is a phrase that may stand anywhere
CUTOFFS = (1, 5, 10)
DEEPEST = 10


def figures(k: int) -> list[Figure]:
    """For searches of `k` passages: nothing is claimed beyond them."""
    depth = min(k, DEEPEST)
    return [
        *(Figure(f"recall@{cutoff}") for cutoff in CUTOFFS if cutoff <= k),
        Figure(f"MRR@{depth}", yes_no=False),
        Figure(f"nDCG@{depth}", yes_no=False),
    ]


def score(sample: Sample, recording: Recording, k: int) -> dict[str, float]:
    """For answerable questions."""
    import pytrec_eval

    if not sample.answerable:
        return {}
    depth = min(k, DEEPEST)
    cutoffs = [cutoff for cutoff in CUTOFFS if cutoff <= k]
    ranked = _as_places(sample.gold, recording.passages[:depth])
    wanted = {f"gold{i}": 1 for i in range(len(sample.gold))}
    measures = {f"success.{','.join(map(str, cutoffs))}", "recip_rank", f"ndcg_cut.{depth}"}
    evaluator = pytrec_eval.RelevanceEvaluator({"q": wanted}, measures)
    # An empty ranking is none to trec_eval: a document that is not judged stands for it.
    found = evaluator.evaluate({"q": {name: -float(i) for i, name in enumerate(ranked)} or {"none": 0.0}})["q"]
    return {
        **{f"recall@{cutoff}": found[f"success_{cutoff}"] for cutoff in cutoffs},
        f"MRR@{depth}": found["recip_rank"],
        f"nDCG@{depth}": found[f"ndcg_cut_{depth}"],
    }


def first_right(gold: Sequence[Gold], passages: Sequence[Passage]) -> int | None:
    """The rank (from 1) of the first right passage, None when none is."""
    return next((rank for rank, passage in enumerate(passages, start=1) if is_right_for_any(gold, passage)), None)


def is_right_for_any(gold: Sequence[Gold], passage: Passage) -> bool:
    return any(is_right(place, passage) for place in gold)


def is_right(gold: Gold, passage: Passage) -> bool:
    """Whether the passage is the gold place, as defined at the head of this module."""
    wanted = words(gold.text or "")
    needed = min(len(wanted), max(SHORTEST_RUN, (min(len(wanted), len(words(passage.text))) + 1) // 2))
    return stands_in(gold, passage, needed)


def stands_in(gold: Gold, passage: Passage, needed: int) -> bool:
    """Whether the passage lies in the gold place, where a gold text asks for `needed` shared words in sequence."""
    if passage.source != gold.file:
        return False
    if gold.page is not None:
        return passage.page == gold.page
    if gold.text is None:
        return True
    wanted = words(gold.text)
    if passage.heading and words(passage.heading[-1]) == wanted:
        return True
    return SequenceMatcher(None, wanted, words(passage.text), autojunk=False).find_longest_match().size >= needed


def words(text: str) -> list[str]:
    return text.casefold().split()


def _as_places(gold: Sequence[Gold], passages: Sequence[Passage]) -> list[str]:
    """A name for each passage: of the first gold place that it is right for and no passage before it was."""
    names: list[str] = []
    open_places = dict(enumerate(gold))
    for rank, passage in enumerate(passages):
        place = next((i for i, place in open_places.items() if is_right(place, passage)), None)
        names.append(f"other{rank}" if place is None else f"gold{place}")
        open_places.pop(place if place is not None else -1, None)
    return names
