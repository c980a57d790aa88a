"""Without a model, a question that leans on the conversation is searched together with the one before it."""

from langchain_core.messages import AIMessage, HumanMessage

from chains.condense import condense_without_model

HISTORY = [HumanMessage("How long is parental leave in Norway?"), AIMessage("16 weeks.")]


def test_without_history_the_question_is_searched_as_it_is() -> None:
    assert condense_without_model("And in Sweden?", []) == "And in Sweden?"


def test_a_question_that_points_back_is_searched_with_the_one_before_it() -> None:
    assert condense_without_model("Is it paid?", HISTORY) == "How long is parental leave in Norway? Is it paid?"


def test_a_question_that_stands_alone_is_searched_alone() -> None:
    question = "Which documents must new employees bring to the office in Oslo?"
    assert condense_without_model(question, HISTORY) == question
