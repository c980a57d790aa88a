"""What a quote must hold for a claim to be cited with it."""

import pytest

from chains.citations import find_quote, supports, without_markers
from tests.chains.passages import Shelf


@pytest.mark.parametrize(
    ("quote", "claim", "expected"),
    [
        # names
        ("The office in Oslo opens at 8.", "The office in Bergen opens at 8.", False),
        ("the OSLO office opens at 8.", "The office in Oslo opens at 8.", True),
        ("Berlin is the capital.", "Paris is the capital.", False),
        ("Marie Curie discovered radium in Paris.", "Pierre Curie discovered radium in Paris.", False),
        ("Marie Curie discovered radium in Paris.", "Radium was discovered in Paris by Marie Curie.", True),
        ("Submit the travel form to HR.", "Hand the travel form to HR.", True),
        ("Travel is paid by HR.", "According to the handbook, travel is paid by HR.", True),
        ("Die Elternzeit beträgt 16 Wochen.", "Die Dauer der Elternzeit beträgt 16 Wochen.", True),
        # dates
        ("The law was signed on 3 May 2021.", "The law was signed on 2021-05-03.", True),
        ("The law was signed on 2021-05-03.", "The law was signed on May 3, 2021.", True),
        ("The law was signed on 03.05.2021.", "The law was signed on May 3rd, 2021.", True),
        ("The law was signed on 3 May 2021.", "The law was signed in 2021.", True),
        ("The law was signed on 3 May 2021.", "The law was signed in May 2021.", True),
        ("In 2021, the law was signed on 3 May.", "The law was signed on 3 May 2021.", True),
        ("The law was signed on 3 May 2021.", "The law was signed on 5 March 2021.", False),
        ("The law was signed on 3 May 2021.", "The law was signed in 2022.", False),
        ("The law was signed in May.", "The law was signed in June.", False),
        ("The law was signed in May 2021.", "The law was signed on 3 May 2021.", False),
        ("The law was signed on 3/5/2021.", "The law was signed on 3 May 2021.", False),
        # figures
        ("The fund holds 1,200 euros.", "The fund holds 1200 euros.", True),
        ("The fund holds 1\u202f200 euros.", "The fund holds 1,200 euros.", True),
        ("Leave is twelve weeks.", "Leave is 12 weeks.", True),
        ("Leave is 12 weeks.", "Leave is twelve weeks.", True),
        ("Leave is 12 weeks.", "Leave is eleven weeks.", False),
        ("Leave is one week.", "Leave is 1 week.", True),
        ("There is a 16-week leave.", "The leave is 16 weeks.", True),
        ("Rent rose by 5%.", "Rent rose by 5 percent.", True),
        ("Rent rose by 5 per cent.", "Rent rose by 5 %.", True),
        ("Rent rose by 5 euros.", "Rent rose by 5%.", False),
        ("Leave is 3-5 weeks.", "Leave is 3 to 5 weeks.", True),
        ("The office opens at 08:00.", "The office opens at 8.", True),
        ("The fund holds twenty-five euros.", "The fund holds 25 euros.", True),
        # yes and no
        ("Dogs are allowed in the office.", "Dogs are not allowed in the office.", False),
        ("Dogs aren't allowed in the office.", "Dogs are allowed in the office.", False),
        ("Never share your password.", "You must not share your password.", True),
        ("Dogs are welcome, but cats are not.", "Dogs are welcome.", True),
        ("Dogs are welcome, but cats are not.", "Cats are welcome.", False),
        ("Dogs are welcome, but cats are not.", "Dogs are welcome, but cats are not.", True),
        ("The leave is not only long but paid in full.", "The leave is paid in full.", True),
        ("See No. 5 of the leave rules.", "The leave rules have a No. 5.", True),
        ("Can I bring dogs? No.", "You can bring dogs.", False),
        ("Can I bring dogs? No, dogs are not allowed.", "Dogs are not allowed.", True),
        ("Hunde sind nicht erlaubt.", "Hunde sind erlaubt.", False),
        # what states nothing
        ("Is parental leave 16 weeks?", "Parental leave is 16 weeks.", False),
        ("Parental leave is 16 weeks.", "So it is.", False),
        ("Parental leave is 16 weeks.", "", False),
    ],
)
def test_a_quote_supports_what_it_says(quote: str, claim: str, expected: bool) -> None:
    assert supports(quote, claim) is expected


def test_what_stands_above_names_what_the_quote_calls_it() -> None:
    passage = Shelf().passage("It opens at 8 and closes at 17.", heading=["Offices 2024", "Oslo"], title="Acme")
    assert find_quote("Acme Oslo opens at 8 and closes at 17 in 2024.", passage) is not None
    assert find_quote("Acme Bergen opens at 8 and closes at 17.", passage) is None
    assert find_quote("It opens at 8 and closes at 17 in 2025.", passage) is None


def test_a_word_that_the_passage_writes_small_is_no_name() -> None:
    passage = Shelf().passage("All staff are employees. Staff get 16 weeks of leave.")
    assert find_quote("Employees get 16 weeks of leave.", passage) is not None
    assert find_quote("Pensioners get 16 weeks of leave.", passage) is None


def test_a_faq_pair_supports_with_its_answer() -> None:
    text = "Reset of the password\nOpen Settings and press Reset."
    passage = Shelf().passage(text, kind="faq", answer_start=22)
    assert find_quote("The forgotten password has a reset.", passage) is None
    found = find_quote("Open Settings, press Reset.", passage)
    assert found is not None
    assert text[slice(*found)] == "Open Settings and press Reset."


def test_a_typeset_passage_is_quoted_by_its_paragraphs() -> None:
    text = (
        "Parental leave\n"
        "Everybody who has worked here for a year may take sixteen weeks of\nparental leave, paid in full.\n"
        "Sick leave\nStay at home.\n"
    )
    found = find_quote("Parental leave is 16 weeks, paid in full.", Shelf().passage(text, format="pdf"))
    assert found is not None
    assert text[slice(*found)].startswith("Everybody")


def test_a_claim_about_a_list_is_quoted_with_all_of_it() -> None:
    text = "Bring with you:\n\n- 5 pens\n- 6 sheets\n- 7 lamps\n- 8 boots\n\nWe begin at 8."
    found = find_quote("Bring 5 pens, 6 sheets, 7 lamps and 8 boots.", Shelf().passage(text))
    assert found is not None
    assert text[slice(*found)] == "Bring with you:\n\n- 5 pens\n- 6 sheets\n- 7 lamps\n- 8 boots"


def test_a_page_without_full_stops_is_not_quoted_whole() -> None:
    text = " ".join(f"line {number} of the table" for number in range(200)) + " ends with 77 apples"
    found = find_quote("The table ends with 77 apples.", Shelf().passage(text))
    assert found is not None
    assert found[1] - found[0] <= 600
    assert text[found[0]] != " "


@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        ("Oslo has 700,000 people.[3]", False, "Oslo has 700,000 people."),
        ("So it was [12, 13] and is.", False, "So it was and is."),
        ("Read `argv[1]` first [2].", False, "Read `argv[ 1 ]` first."),
        ("x = a[1]", True, "x = a[ 1 ]"),
        ("a list [of words]", False, "a list [of words]"),
    ],
)
def test_bracketed_numbers_of_a_document_are_no_citations(text: str, code: bool, shown: str) -> None:
    assert without_markers(text, code=code) == shown
