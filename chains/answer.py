"""The chain: condense, retrieve, decide, generate, check every citation. A LangChain Runnable.

`stream` yields AnswerEvents as they come, `invoke` returns the Answer at the end; `astream` and `ainvoke` do the same
from a thread. What was streamed as tokens, joined, is the answer, unless all its claims failed: then `Done` abstains.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig

from chains import extractive
from chains.abstention import SHIPPED, Calibration, Decision, decide
from chains.calling import ChatModel, Patience, Prompts, ask
from chains.citations import CitationStream, ReadSpan, without_markers
from chains.condense import condense_prompt, condense_without_model
from chains.context import fitting, latest, room_beside, show_passages, visible
from chains.errors import ModelUnavailable
from chains.evidence import Candidate, Embeds, weigh
from chains.links import LinkCutter, Unescaper
from chains.model import Answer, AnswerEvent, Citation, Cited, Done, Draft, Outcome, Question, Retrieved, Token, Waiting
from chains.prompts import Prompt, load_internal
from vectorstore import spans

NO_ANSWER = "I could not find an answer to this in the documents."
DECLINES = "NOT_IN_DOCUMENTS"  # what the prompts tell a model to say
NEAREST = 3  # places that an abstention names
LONGEST_HEADING = 80  # characters of a heading that it names


def build_answer_chain(
    retriever: BaseRetriever,
    models: Sequence[ChatModel],
    prompt: Prompt,
    embedder: Embeds,
    read_span: ReadSpan,
    no_match: Literal["abstain", "model"] = "abstain",
    calibration: Calibration = SHIPPED,
    patience: Patience = Patience(),  # noqa: B008 (frozen)
) -> AnswerChain:
    """A chain that answers from what `retriever` finds. `read_span` reads stored source text, to check quotes by.

    models: who is asked, in this order, when those before do not answer. The extractive answerer, which always does, is
    the last or the only one.
    """
    return AnswerChain(retriever, models, prompt, embedder, read_span, no_match, calibration, patience)


class AnswerChain(Runnable[Question, Any]):
    def __init__(
        self,
        retriever: BaseRetriever,
        models: Sequence[ChatModel],
        prompt: Prompt,
        embedder: Embeds,
        read_span: ReadSpan,
        no_match: Literal["abstain", "model"],
        calibration: Calibration,
        patience: Patience,
    ) -> None:
        self.retriever = retriever
        self.models = models
        self.chat_models = [model for model in models if model.llm is not None]
        self.has_keyless = len(self.chat_models) < len(models)
        self.prompt = prompt
        self.embedder = embedder
        self.read_span = read_span
        self.no_match = no_match
        self.calibration = calibration
        self.patience = patience

    def invoke(self, input: Question, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:  # noqa: A002
        """The whole answer; a chat model is asked for it at once. ModelUnavailable when none answers."""
        for event in self.events(input, whole=True):
            if isinstance(event, Done):
                return event.answer
        raise AssertionError("a stream ends with Done")

    def stream(
        self,
        input: Question,  # noqa: A002 (the name is Runnable's)
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[AnswerEvent]:
        """Events of the answer, ending with Done. Closing the iterator stops the model call."""
        yield from self.events(input)

    async def ainvoke(
        self,
        input: Question,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Answer:
        return await asyncio.to_thread(self.invoke, input, config)

    async def astream(
        self,
        input: Question,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AnswerEvent]:
        events = self.stream(input, config)
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event

    def events(
        self, question: Question, *, whole: bool = False, draft: Draft | None = None
    ) -> Generator[AnswerEvent, None, None]:
        """As `stream`. whole: nobody reads along, so a chat model is asked for its reply at once, which costs less.
        draft: an empty one, in which the caller sees what became of an answer that it did not wait for.
        """
        work = _Work(self, question, draft or Draft(), whole=whole)
        yield Done((yield from spans.steps("answer", self._answer(work))))

    def _answer(self, work: _Work) -> Generator[AnswerEvent, None, Answer]:
        """All events before Done, and the answer."""
        clock = _Clock()
        draft = work.draft
        draft.model = self.models[0].name
        query = yield from spans.steps("condense", work.condense())
        clock.lap("condense")
        found = self._retrieve(query, work.question.source_ids)
        clock.lap("retrieve")
        yield Retrieved(found.passages)
        writer = _Writer()
        outcome, confidence = yield from spans.steps("generate", self._generate(work, found, writer))
        clock.lap("generate")
        counts = {name: getattr(draft, name) for name in ("claims", "supported", "dropped")}
        spans.note({"footnote.outcome": outcome, "footnote.model": draft.model, "footnote.prompt": self.prompt.label})
        spans.note({f"footnote.{name}": number for name, number in counts.items()})
        return Answer(
            text=writer.text,
            outcome=outcome,
            citations=tuple(writer.citations),
            passages=found.passages,
            model=draft.model,
            prompt=self.prompt.label,
            latency_ms=clock.result(draft.verify_seconds),
            confidence=round(confidence, 6),
            usage=draft.usage,
            finish_reason=draft.finish_reason or "stop",
            **counts,
        )

    @spans.traced("retrieve")
    def _retrieve(self, query: str, source_ids: Sequence[str] | None) -> _Found:
        passages = tuple(self.retriever.invoke(query, source_ids=source_ids))
        if passages:
            query = passages[0].metadata.get("query", query)  # misspelt words are mended
        evidence = None if self.chat_models else weigh(query, passages, self.embedder)
        decision = decide(passages, evidence, self.calibration)
        spans.note({"footnote.passages": len(passages), "footnote.answerable": decision.answerable})
        return _Found(query, passages, evidence, decision)

    def _generate(
        self, work: _Work, found: _Found, writer: _Writer
    ) -> Generator[AnswerEvent, None, tuple[Outcome, float]]:
        """Returns the outcome, and the confidence by which it was decided to answer."""
        draft = work.draft
        query, passages, evidence, decision = found.query, found.passages, found.evidence, found.decision
        general = self.no_match == "model" and bool(self.chat_models)
        outcome: Outcome = "abstained"
        try:
            if decision.answerable and evidence is not None:
                yield from writer.note(extractive.extract(query, passages, evidence, self.read_span, draft))
            elif decision.answerable:
                yield from writer.note(work.write(passages))
            if draft.supported == 0 and not writer.text and general:
                yield from writer.note(work.generalise())
                outcome = "ungrounded" if writer.text.strip() else "abstained"
            else:
                outcome = _outcome(draft)
        except ModelUnavailable:
            if not self.has_keyless or writer.text:
                raise
            draft.model, draft.declined = self.models[-1].name, False
            evidence = weigh(query, passages, self.embedder)
            decision = decide(passages, evidence, self.calibration)
            if decision.answerable:
                yield from writer.note(extractive.extract(query, passages, evidence, self.read_span, draft))
            outcome = _outcome(draft)
        if outcome == "abstained":
            declining = decline(passages)
            if not writer.text:
                yield Token(declining)
            writer.text, writer.citations = declining, []
        return outcome, decision.confidence

    def standalone(self, question: Question) -> str:
        """What is searched with: the question, made whole by what was said before it."""
        work = _Work(self, question, Draft(), whole=True)
        steps = work.condense()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return str(end.value)


@dataclass(frozen=True, slots=True)
class _Found:
    """query: what was searched with. evidence: what the keyless answerer draws on, where it is asked first."""

    query: str
    passages: tuple[Document, ...]
    evidence: Sequence[Candidate] | None
    decision: Decision


class _Work:
    """What chat models do for one question."""

    def __init__(self, chain: AnswerChain, question: Question, draft: Draft, *, whole: bool) -> None:
        self.chain = chain
        self.question = question
        self.draft = draft
        self.whole = whole
        self.deadline = chain.patience.deadline()

    def condense(self) -> Generator[AnswerEvent, None, str]:
        """Returns the question to search with; see chains/condense.py."""
        asked, history = self.question.text, self.question.history
        if not history:
            return asked
        if not self.chain.chat_models:
            return condense_without_model(asked, history)
        if not self.whole:
            yield Waiting()  # the first byte does not wait for the model
        text = ""
        try:
            for piece in self._ask(lambda share: condense_prompt(asked, history, share), whole=True):
                if isinstance(piece, Waiting):
                    yield piece
                else:
                    text += piece
        except ModelUnavailable:
            if not self.chain.has_keyless:
                raise
            return condense_without_model(asked, history)
        return text.strip() or asked

    def write(self, passages: Sequence[Document]) -> Iterator[AnswerEvent]:
        """The answer from the passages that fit into the prompt."""
        question = self.question
        system = self.chain.prompt.text
        asked = f"\n\nQuestion: {question.text}"
        citing = CitationStream((), self.chain.read_span, self.draft)

        @cache
        def prompt(share: int) -> list[BaseMessage] | None:
            shown = fitting(passages, room_beside(system, asked, share=share))
            citing.passages = shown
            if not shown:
                return None
            context = show_passages(shown) + asked
            history = latest(question.history, room_beside(system, context, share=share))
            return [SystemMessage(system), *history, HumanMessage(context)]

        if prompt(1) is not None:
            yield from self._check(prompt, citing, passages)

    def generalise(self) -> Iterator[AnswerEvent]:
        """An answer from general knowledge."""
        question = self.question
        system = load_internal("general").text

        def prompt(share: int) -> list[BaseMessage]:
            history = latest(question.history, room_beside(system, question.text, share=share))
            return [SystemMessage(system), *history, HumanMessage(question.text)]

        self.draft.declined = False
        yield from self._check(prompt, CitationStream((), self.chain.read_span, self.draft), ())

    def _check(self, prompts: Prompts, citing: CitationStream, found: Sequence[Document]) -> Iterator[AnswerEvent]:
        """A model's text with what stands up of it: citations of what it was shown, links of what was found."""
        known = "\n".join([self.question.text, *(passage.page_content for passage in found)])
        declining, unescaper, cutter = _Declining(self.draft), Unescaper(), LinkCutter(known, self.draft)
        for piece in self._ask(prompts, whole=self.whole):
            if isinstance(piece, Waiting):
                yield piece
            elif text := cutter.feed(unescaper.feed(declining.feed(piece))):
                yield from citing.feed(text)
        rest = cutter.feed(unescaper.feed(declining.finish()) + unescaper.finish(), last=True)
        yield from citing.feed(rest)
        yield from citing.finish()

    def _ask(self, prompts: Prompts, *, whole: bool) -> Iterator[str | Waiting]:
        chain = self.chain
        return ask(chain.chat_models, prompts, self.draft, chain.patience, self.deadline, whole=whole)


def decline(passages: Sequence[Document]) -> str:
    """The text of an abstention. It names the nearest places, and does not say that they answer."""
    places = list(dict.fromkeys(_place(passage) for passage in passages))[:NEAREST]
    if not places:
        return NO_ANSWER
    are = "passages are in" if len(passages) > 1 else "passage is in"
    return f"{NO_ANSWER} The nearest {are} {'; '.join(places)}."


def _place(passage: Document) -> str:
    """Source and page or heading, in one line, as plain data."""
    place = passage.metadata
    source = without_markers(" ".join(place["source"].split()), code=True)
    if place["page"]:
        return f"{source}, page {place['page']}"
    heading = without_markers(" ".join(visible(place["heading"][-1]).split())) if place["heading"] else ""
    if len(heading) > LONGEST_HEADING:
        heading = heading[: LONGEST_HEADING - 1].rstrip() + "…"
    return f'{source}, "{heading}"' if heading else source


class _Clock:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self.began = self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = (now - self.last) * 1000
        self.last = now

    def result(self, verify_seconds: float) -> dict[str, float]:
        verify = verify_seconds * 1000
        laps = {**self.laps, "generate": self.laps["generate"] - verify, "verify": verify}
        laps["total"] = (self.last - self.began) * 1000
        return {name: round(value, 2) for name, value in laps.items()}


class _Writer:
    """Keeps what goes by: the text so far and its citations."""

    def __init__(self) -> None:
        self.text = ""
        self.citations: list[Citation] = []

    def note(self, events: Iterator[AnswerEvent]) -> Iterator[AnswerEvent]:
        for event in events:
            if isinstance(event, Token):
                self.text += event.text
            elif isinstance(event, Cited):
                self.citations.append(event.citation)
            yield event


def _outcome(draft: Draft) -> Outcome:
    if draft.declined or draft.supported == 0:
        return "abstained"
    return "grounded" if draft.supported >= draft.claims else "partial"


class _Declining:
    """Holds the text back as long as it may turn out to be the word by which a model declines."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._held = ""
        self._decided = False

    def feed(self, piece: str) -> str:
        if self._decided:
            return "" if self.draft.declined else piece
        self._held += piece
        start = self._held.lstrip()
        if start.startswith(DECLINES):
            self._decided = self.draft.declined = True
            return ""
        if DECLINES.startswith(start):
            return ""
        self._decided = True
        return self._held

    def finish(self) -> str:
        return "" if self._decided or not self._held.strip() else self._held
