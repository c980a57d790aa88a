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


def test_what_only_says_the_question_again_is_no_answer(embedder: Embedder) -> None:
    shelf = Shelf()
    text = "```sh\nmake run\n```\n\nThis installs the packages and indexes the documents."
    [quote] = answer("What does make run do?", [shelf.passage(text)], shelf, embedder)[1][-1:]
    assert quote == "This installs the packages and indexes the documents."
    yes = "The office is open on Sundays. It has a kitchen."
    assert answer("Is the office open on Sundays?", [shelf.passage(yes)], shelf, embedder)[1] == [yes[:30]]


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


LEAVE_BY_COUNTRY = (
    "Employees can take leave.\n\n"
    "| Country | Days | Carry over |\n|---|---|---|\n| Germany | 28 | 5 |\n| France | 30 | 3 |\n\n"
    "1. Ask your manager.\n2. Fill in form V-7.\n3. Wait for approval.\n"
)


def test_a_row_of_a_table_answers_with_the_names_of_its_columns(embedder: Embedder) -> None:
    shelf = Shelf()
    passages = [shelf.passage(LEAVE_BY_COUNTRY, heading=["Vacation policy"])]
    text, quotes, draft = answer("How many vacation days are there in France?", passages, shelf, embedder)
    assert text == "| Country | Days | Carry over | [1]\n| France | 30 | 3 | [2]"
    assert quotes == ["| Country | Days | Carry over |", "| France | 30 | 3 |"]
    assert (draft.claims, draft.supported, draft.dropped) == (1, 1, 0)


def test_the_names_of_the_columns_alone_are_no_answer(embedder: Embedder) -> None:
    shelf = Shelf()
    passages = [shelf.passage(LEAVE_BY_COUNTRY, heading=["Vacation policy"])]
    for question in ("Country, days, carry over?", "What are the days by country?"):
        *_, last = answer(question, passages, shelf, embedder)[1]
        assert last != "| Country | Days | Carry over |"


def test_a_row_is_understood_by_a_header_that_stands_above_its_passage(embedder: Embedder) -> None:
    shelf = Shelf()
    rows = "| Ghent | 12 |\n| Porto | 40 |\n"
    lead = "Offices\n| City | Parking spaces |\n|---|---|\n"
    passages = [shelf.passage(rows, before="| City | Parking spaces |\n|---|---|\n", embed_text=lead + rows)]
    text, quotes, _ = answer("How many parking spaces are there in Porto?", passages, shelf, embedder)
    assert (text, quotes) == ("| Porto | 40 | [1]", ["| Porto | 40 |"])


def test_how_something_is_done_is_told_with_all_its_steps(embedder: Embedder) -> None:
    shelf = Shelf()
    passages = [shelf.passage(LEAVE_BY_COUNTRY, heading=["Vacation policy"])]
    text, quotes, _ = answer("How do I request vacation?", passages, shelf, embedder)
    assert quotes == ["1. Ask your manager.\n2. Fill in form V-7.\n3. Wait for approval."]
    assert text == f"{quotes[0]} [1]"
