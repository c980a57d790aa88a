"""Rows of markdown tables with the names of their columns."""

from chains.tables import table_at, tables

TEXT = "Before.\n\n| Country | Days |\n|:---|---:|\n| Germany | 28 |\n| a \\| b | 30 | more |\n\n| no | table |\n"


def test_a_row_is_told_with_the_names_of_its_columns() -> None:
    [table] = tables(TEXT)
    assert table.names == ("Country", "Days")
    assert table.header is not None
    assert TEXT[slice(*table.header)] == "| Country | Days |"
    assert table.tell("| Germany | 28 |") == "Country: Germany; Days: 28"
    assert table.tell("| Germany |  |") == "Country: Germany"
    assert table.tell("| a \\| b | 30 | more |") == "Country: a | b; Days: 30; more"


def test_a_row_belongs_to_the_table_it_stands_in() -> None:
    [table] = found = tables(TEXT)
    assert table_at(found, TEXT.index("| Germany")) == table
    assert table_at(found, TEXT.index("| a ")) == table
    assert table_at(found, TEXT.index("| no |")) is None
    assert table_at(found, TEXT.index("| Country")) is None


def test_a_table_that_was_cut_has_its_header_above_the_passage() -> None:
    lead = "Title > Heading\n| Name | Value |\n|---|---|\n"
    [table] = tables("| c | 3 |\n| d | 4 |\n\nAnd text.", lead)
    assert (table.names, table.header, table.body) == (("Name", "Value"), None, (0, 20))
    assert tables("And text.", lead) == []
    assert tables("| c | 3 |\n", "Title\n") == []
