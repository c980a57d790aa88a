"""Whether what was found can hold an answer: a decision before a word is written.

Without a chat model: a logistic model of two figures, the score of the best passage and the cosine of the question with
the sentence closest to it, fitted on the development sets and checked by leaving one set out at a time (docs/adr/0005).
A FAQ pair is judged by its cosine alone: pairs are alike, so it means the same from one to the next. The better of the
two decides.
What it gives is a probability on those sets; a calibration (`python -m evals calibrate`) bends it to be one on other
documents and questions, and says from where on to answer. A chat model reads the passages and declines by itself;
before it, only what is far off is turned away, by the score.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from langchain_core.documents import Document

from chains.evidence import Candidate

SCORE, SENTENCE, BIAS = 5.07, 6.06, -6.5
FAQ_SIMILARITY, FAQ_BIAS = 25.7, -14.5
THRESHOLD_OF_SCORE = 0.28
FORMAT = 1


class BadCalibration(Exception):
    """The file is not a calibration of this release; the message says why."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """confidence = logistic(slope * x + bias), where x is the log-odds that the shipped model gives (Platt 1999);
    answered is from `threshold` on.

    false_answers, false_refusals: the shares of unanswerable questions that are answered, and of answerable ones that
    are declined, to be expected on questions like those it was made of. embedding: the fingerprint of the embedding
    model whose cosines it is about; "" for any. made_of: where it comes from, for people.
    """

    slope: float = 1.0
    bias: float = 0.0
    threshold: float = 0.20
    false_answers: float = 0.73
    false_refusals: float = 0.04
    embedding: str = ""
    made_of: str = "the development sets"

    def confidence(self, log_odds: float) -> float:
        return 1 / (1 + math.exp(-max(-500.0, min(500.0, self.slope * log_odds + self.bias))))

    def write(self, path: Path) -> None:
        """Whole or not at all: a server may be reading."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)


SHIPPED = Calibration()


def load_calibration(path: Path | None) -> Calibration:
    """The calibration in this file; the shipped one when there is no file. BadCalibration."""
    if path is None:
        return SHIPPED
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return SHIPPED
    except (OSError, ValueError) as error:
        raise BadCalibration(f"{path} cannot be read: {error}") from None
    expected = asdict(SHIPPED)
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT or found.keys() != expected.keys():
        raise BadCalibration(
            f"{path} is not a calibration of this release; make it anew by `python -m evals calibrate`."
        )
    for name, value in found.items():
        if isinstance(expected[name], str) != isinstance(value, str) or isinstance(value, bool):
            raise BadCalibration(f"{path}: {name} is not right.")
        if not isinstance(value, str) and not (isinstance(value, int | float) and math.isfinite(value)):
            raise BadCalibration(f"{path}: {name} is not a number.")
    if found["slope"] <= 0 or not 0 <= found["threshold"] <= 1:
        raise BadCalibration(f"{path}: slope must be above 0, and threshold from 0 to 1.")
    return Calibration(**found)


@dataclass(frozen=True, slots=True)
class Decision:
    """answerable: whether to answer. confidence: in [0, 1]."""

    answerable: bool
    confidence: float


def decide(
    passages: Sequence[Document], evidence: Sequence[Candidate] | None, calibration: Calibration = SHIPPED
) -> Decision:
    """From the passages that were found, best first, with the retriever's metadata, and their sentences (None for a
    chat model).
    """
    if not passages or evidence == []:
        return Decision(answerable=False, confidence=0.0)
    if evidence is None:
        score = passages[0].metadata["score"]
        return Decision(score >= THRESHOLD_OF_SCORE, score)
    log_odds = max([*_of_pairs(passages), *_of_texts(passages, evidence)])
    confidence = calibration.confidence(log_odds)
    return Decision(confidence >= calibration.threshold, confidence)


def _of_pairs(passages: Sequence[Document]) -> list[float]:
    """The log-odds that the FAQ pair nearest to the question answers it; none without one."""
    nearest = [place["similarity"] for place in (passage.metadata for passage in passages) if place["kind"] == "faq"]
    return [FAQ_SIMILARITY * max(nearest) + FAQ_BIAS] if nearest else []


def _of_texts(passages: Sequence[Document], evidence: Sequence[Candidate]) -> list[float]:
    """The log-odds that the best of the other passages, with the sentence closest to the question, answer it."""
    texts = [passage.metadata["score"] for passage in passages if passage.metadata["kind"] != "faq"]
    closest = [one.cosine for one in evidence if passages[one.passage].metadata["kind"] != "faq"]
    return [SCORE * max(texts) + SENTENCE * max(closest) + BIAS] if texts and closest else []
