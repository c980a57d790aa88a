"""The chain: condense, retrieve, decide, generate, check every citation. A LangChain Runnable.

`stream` yields AnswerEvents as they come, `invoke` returns the Answer at the end; `astream` and `ainvoke` do the same
from a thread. What was streamed as tokens, joined, is the answer, unless all its claims failed: then `Done` abstains.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig

from chains import condense, extractive
from chains.abstention import SHIPPED, Calibration, decide
from chains.citations import CitationStream, ReadSpan, without_markers
from chains.context import fitting, latest, room_beside, show_passages, visible
from chains.errors import ModelUnavailable
from chains.evidence import Candidate, Embeds, weigh
from chains.links import unescaped, without_foreign_links
from chains.model import Answer, AnswerEvent, Citation, Cited, Done, Draft, Outcome, Question, Retrieved, Token
from chains.prompts import Prompt, load_internal

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.retrievers import BaseRetriever

NO_ANSWER = "I could not find an answer to this in the documents."
DECLINES = "NOT_IN_DOCUMENTS"  # what the prompts tell a model to say
NEAREST = 3  # places that an abstention names
LONGEST_HEADING = 80  # characters of a heading that it names


@dataclass(frozen=True)
class ChatModel:
    """A LangChain chat model with the name it was configured by; `llm` is None for the extractive answerer."""

    name: str
    llm: BaseChatModel | None


def build_answer_chain(
    retriever: BaseRetriever,
    model: ChatModel,
    prompt: Prompt,
    embedder: Embeds,
    read_span: ReadSpan,
    no_match: Literal["abstain", "model"] = "abstain",
    calibration: Calibration = SHIPPED,
) -> AnswerChain:
    """A chain that answers from what `retriever` finds. `read_span` reads stored source text, to check quotes by."""
    return AnswerChain(retriever, model, prompt, embedder, read_span, no_match, calibration)


class AnswerChain(Runnable[Question, Any]):
    def __init__(
        self,
        retriever: BaseRetriever,
        model: ChatModel,
        prompt: Prompt,
        embedder: Embeds,
        read_span: ReadSpan,
        no_match: Literal["abstain", "model"],
        calibration: Calibration,
    ) -> None:
        self.retriever = retriever
        self.model = model
        self.prompt = prompt
        self.embedder = embedder
        self.read_span = read_span
        self.no_match = no_match
        self.calibration = calibration

    def invoke(self, input: Question, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:  # noqa: A002
        """The whole answer. ModelUnavailable when the chat model fails."""
        for event in self.stream(input, config):
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
        clock = _Clock()
        try:
            query = condense.condense(input.text, input.history, self.model.llm)
        except Exception as error:
            raise _as_unavailable(error) from error
        clock.lap("condense")
        passages = tuple(self.retriever.invoke(query, source_ids=input.source_ids))
        if passages:
            query = passages[0].metadata.get("query", query)  # misspelt words are mended
        evidence = weigh(query, passages, self.embedder) if self.model.llm is None else None
        decision = decide(passages, evidence, self.calibration)
        clock.lap("retrieve")
        yield Retrieved(passages)

        draft = Draft()
        writer = _Writer()
        if decision.answerable:
            yield from writer.note(self._write(input, query, passages, evidence, draft))
        general = self.no_match == "model" and self.model.llm is not None
        if draft.supported == 0 and not writer.text and general:
            yield from writer.note(self._generalise(input, draft))
            outcome: Outcome = "ungrounded" if writer.text.strip() else "abstained"
        else:
            outcome = _outcome(draft)
        if outcome == "abstained":
            declining = decline(passages)
            if not writer.text:
                yield Token(declining)
            writer.text, writer.citations = declining, []
        clock.lap("generate")
        yield Done(
            Answer(
                text=writer.text,
                outcome=outcome,
                citations=tuple(writer.citations),
                passages=passages,
                model=self.model.name,
                prompt=self.prompt.label,
                latency_ms=clock.result(draft.verify_seconds),
                confidence=round(decision.confidence, 6),
                usage=draft.usage,
                claims=draft.claims,
                supported=draft.supported,
                dropped=draft.dropped,
            )
        )

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

    def _write(
        self,
        question: Question,
        query: str,
        passages: Sequence[Document],
        evidence: Sequence[Candidate] | None,
        draft: Draft,
    ) -> Iterator[AnswerEvent]:
        if evidence is not None or self.model.llm is None:
            yield from extractive.extract(query, passages, evidence or [], self.read_span, draft)
            return
        asked = f"\n\nQuestion: {question.text}"
        room = room_beside(self.prompt.text, asked)
        shown = fitting(passages, room)
        if not shown:
            return
        context = show_passages(shown) + asked
        messages = [
            SystemMessage(self.prompt.text),
            *latest(question.history, room_beside(self.prompt.text, context)),
            HumanMessage(context),
        ]
        yield from self._ask(self.model.llm, messages, question, passages, shown, draft)

    def _generalise(self, question: Question, draft: Draft) -> Iterator[AnswerEvent]:
        assert self.model.llm is not None  # noqa: S101 (for the type checker)
        prompt = load_internal("general").text
        history = latest(question.history, room_beside(prompt, question.text))
        messages = [SystemMessage(prompt), *history, HumanMessage(question.text)]
        draft.declined = False
        yield from self._ask(self.model.llm, messages, question, (), (), draft)

    def _ask(
        self,
        llm: BaseChatModel,
        messages: list[BaseMessage],
        question: Question,
        found: Sequence[Document],
        shown: Sequence[Document],
        draft: Draft,
    ) -> Iterator[AnswerEvent]:
        """The model's text with what stands up of it: citations of what it was shown, links of what was found."""
        citing = CitationStream(shown, self.read_span, draft)
        known = "\n".join([question.text, *(passage.page_content for passage in found)])
        pieces = unescaped(_unless_declined(_pieces(llm, messages, draft), draft))
        for piece in without_foreign_links(pieces, known, draft):
            yield from citing.feed(piece)
        yield from citing.finish()


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


def _pieces(llm: BaseChatModel, messages: list[BaseMessage], draft: Draft) -> Iterator[str]:
    """The model's text as it comes; its token counts go into the draft. Every failure is ModelUnavailable.

    A connection that ends early looks like the end of the answer to OpenAI's client: without the `finish_reason` that
    the protocol promises, the answer is not taken for a whole one.
    """
    finished = not hasattr(llm, "root_client")  # langchain-openai's; other providers' clients notice it themselves
    try:
        for chunk in llm.stream(messages):
            finished = finished or "finish_reason" in chunk.response_metadata
            if chunk.text:
                yield chunk.text
            if usage := getattr(chunk, "usage_metadata", None):
                for name in ("input_tokens", "output_tokens"):
                    draft.usage[name] += usage.get(name, 0)
    except Exception as error:
        raise _as_unavailable(error) from error
    if not finished:
        raise ModelUnavailable("The chat model's connection ended before its answer did.")


def _unless_declined(pieces: Iterator[str], draft: Draft) -> Iterator[str]:
    """The pieces, held back as long as they may turn out to be the word by which a model declines."""
    held = ""
    for piece in pieces:
        if draft.declined:
            continue
        held += piece
        start = held.lstrip()
        if start.startswith(DECLINES):
            draft.declined = True
        elif not DECLINES.startswith(start):
            yield held
            yield from pieces
            return
    if held.strip() and not draft.declined:
        yield held


def _as_unavailable(error: Exception) -> ModelUnavailable:
    """A provider's error as ours, with the wait that its server asked for."""
    if isinstance(error, ModelUnavailable):
        return error
    wait = 5.0
    headers = getattr(getattr(error, "response", None), "headers", {}) or {}
    with contextlib.suppress(ValueError):
        wait = float(headers.get("retry-after", wait))
    return ModelUnavailable(f"The chat model did not answer ({type(error).__name__}).", wait)
