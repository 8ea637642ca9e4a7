"""The normal form of ids is one, in Python and in SQL: it is stable, and two numbers that differ stay two."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestar.data.contract.cells import id_sql
from lodestar.schema import ids

NUMBERS = st.one_of(
    st.from_regex(r"-?[0-9]{1,17}(\.[0-9]{1,4})?([eE]\+?[0-9]{1,2})?", fullmatch=True),
    st.from_regex(r"[1-9]\.[0-9]{1,14}[eE]\+?[0-9]{1,2}", fullmatch=True),
    st.integers(0, 10**16).map(lambda number: f"{number}.0"),
    st.floats(0, 1e16).map(repr),
)
TEXTS = st.one_of(NUMBERS, st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.sampled_from(ids.NULL_TEXTS))
SPACED = st.tuples(st.text(st.sampled_from(ids.SPACES), max_size=2), TEXTS, st.text(st.sampled_from(ids.SPACES), max_size=2)).map("".join)


@given(texts=st.lists(SPACED, min_size=1, max_size=50))
def test_sql_and_python_agree(texts: list[str]) -> None:
    trimmed = f"trim(text, {id_sql.spaces()})"
    read = f"SELECT {trimmed} AS text FROM unnest(?) AS one(text)"
    query = f"SELECT id, {id_sql.is_shortened('id')} FROM (SELECT {id_sql.normalised('text')} AS id FROM ({read}))"
    with duckdb.connect() as database:
        found = database.execute(query, [texts]).fetchall()
    assert found == [(id_, ids.is_shortened(id_)) for id_ in map(ids.normalise, texts)]


@given(text=SPACED)
def test_a_normal_form_is_its_own(text: str) -> None:
    assert ids.normalise(ids.normalise(text)) == ids.normalise(text)


@given(first=st.integers(0, 10**15 - 1), second=st.integers(0, 10**15 - 1))
def test_two_numbers_stay_two_however_they_are_written(first: int, second: int) -> None:
    written = {form: {ids.normalise(form.format(float(number))) for number in (first, second)} for form in ("{!r}", "{:.1f}", "{:.3f}")}
    assert all(forms == {str(first), str(second)} for forms in written.values())


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (" u1", "u1"),
        ("\tu1\u00a0", "u1"),
        ("5.000", "5"),
        ("-5.0", "-5"),
        ("1234567890125.0", "1234567890125"),
        ("1.234567890125E12", "1234567890125"),
        ("1.234567890125e+12", "1234567890125"),
        ("1.23e+12", "1.23e+12"),
        ("1.0E7", "10000000"),
        ("1.2E3", "1.2E3"),
        ("1e10", "1e10"),
        ("05.0", "05.0"),
        ("5.", "5."),
        ("5.5", "5.5"),
        ("9007199254740993.0", "9007199254740993.0"),
    ],
)
def test_only_what_is_surely_the_same_is_made_one(text: str, normal: str) -> None:
    assert ids.normalise(text) == normal


def test_a_number_whose_digits_may_be_cut_off_is_told_apart() -> None:
    assert [ids.is_shortened(text) for text in ("1.23e+12", "1.23457E+12", "1.234567890125e+12", "1.5e+00", "1.2E9")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_spaces_are_those_of_python() -> None:
    separators = {chr(code) for code in range(0x1C, 0x20)}
    assert set(ids.SPACES) == {chr(code) for code in range(0x110000) if chr(code).isspace()} - separators
