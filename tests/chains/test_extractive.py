"""The keyless answerer answers with sentences of the passages, each with its citation."""

from langchain_core.documents import Document

from chains.evidence import weigh
from chains.extractive import extract
from chains.model import Cited, Draft, Token
from tests.chains.passages import Shelf
from vectorstore.embeddings import Embedder


def answer(question: str, passages: list[Document], shelf: Shelf, embedder: Embedder) -> tuple[str, list[str], Draft]:
    draft = Draft()
    events = list(extract(question, passages, weigh(question, passages, embedder), shelf.read_span, draft))
    text = "".join(event.text for event in events if isinstance(event, Token))
    return text, [event.citation.quote for event in events if isinstance(event, Cited)], draft


def test_the_sentence_that_answers_is_picked_from_its_passage(embedder: Embedder) -> None:
    shelf = Shelf()
    passages = [
        shelf.passage("The handbook has three parts. Parental leave is 16 weeks, paid in full. Ask HR for the form."),
        shelf.passage("The office in Oslo opens at 8.", score=0.3),
    ]
    text, quotes, draft = answer("How many weeks of parental leave do I get?", passages, shelf, embedder)
    assert quotes == ["Parental leave is 16 weeks, paid in full."]
    assert text == "Parental leave is 16 weeks, paid in full. [1]"
    assert (draft.claims, draft.supported) == (1, 1)


def test_a_faq_pair_answers_with_its_answer_and_not_with_its_question(embedder: Embedder) -> None:
    shelf = Shelf()
    pair = "How do I reset my password?\nOpen Settings, choose Security, press Reset."
    passages = [shelf.passage(pair, kind="faq", answer_start=28)]
    text, quotes, _ = answer("password reset", passages, shelf, embedder)
    assert quotes == ["Open Settings, choose Security, press Reset."]
    assert text == "Open Settings, choose Security, press Reset. [1]"


def test_nothing_is_said_twice(embedder: Embedder) -> None:
    shelf = Shelf()
    same = "Parental leave is 16 weeks."
    passages = [shelf.passage(same), shelf.passage(same), shelf.passage("Parental leave is 16 weeks!")]
    _, quotes, _ = answer("How long is parental leave?", passages, shelf, embedder)
    assert quotes == [same]


def test_a_quote_that_is_not_stored_is_not_said(embedder: Embedder) -> None:
    shelf = Shelf()
    passages = [shelf.passage("Parental leave is 16 weeks.")]
    shelf.texts.clear()
    assert answer("How long is parental leave?", passages, shelf, embedder)[0] == ""


def test_a_heading_is_not_an_answer(embedder: Embedder) -> None:
    shelf = Shelf()
    passage = "Parental leave\n\nEverybody may stay at home with a new child for sixteen weeks."
    _, quotes, _ = answer("What is the parental leave?", [shelf.passage(passage)], shelf, embedder)
    assert quotes == ["Everybody may stay at home with a new child for sixteen weeks."]


def test_bracketed_numbers_of_a_document_are_not_shown_as_citations(embedder: Embedder) -> None:
    shelf = Shelf()
    text = "Parental leave is 16 weeks,[3] paid in full.[4]"
    shown, quotes, _ = answer("How many weeks of parental leave do I get?", [shelf.passage(text)], shelf, embedder)
    assert shown == "Parental leave is 16 weeks, paid in full. [1]"
    assert quotes == [text]
