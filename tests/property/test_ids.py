"""The normal form of ids is one, in Python and in SQL: it is stable, and two numbers that differ stay two.

What is an id is one rule at all doors: a request to the predictor, a row sent to the collector, and a row of a file.
"""

from urllib.parse import urlencode

import duckdb
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lodestar import schema
from lodestar.data.contract.cells import id_sql
from lodestar.engine.recommender import PERSONAL, Recommendation
from lodestar.schema import ids
from serving.impressions import ImpressionList
from serving.requests import InvalidRequest, from_body, from_query
from tests.property.test_collector import IMPRESSION, by_batch, by_collector

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


LENGTHS = st.tuples(st.sampled_from(["x", "é", "\U0001f600"]), st.integers(25, 135)).map(lambda pair: pair[0] * pair[1])
DOORS = st.one_of(SPACED, LENGTHS)


def is_accepted(field: str, value: str) -> bool:
    """Whether the predictor takes a user or session, in a query and in a body alike."""
    codes = []
    for decode, request in ((from_query, urlencode({field: value}).encode()), (from_body, orjson.dumps({"instances": [{field: value}]}))):
        try:
            decode(request)
            codes.append("")
        except InvalidRequest as refused:
            codes.append(refused.code)
    assert codes in [[code] * 2 for code in ("", "E103", "E107")]
    return codes[0] == ""


@settings(max_examples=8)
@given(texts=st.lists(DOORS, min_size=1, max_size=5))
@example(texts=["null", "NaN", "<NA>", "1.23e+12", " "])
def test_an_id_is_one_at_all_doors(texts: list[str]) -> None:
    no_session = {**IMPRESSION, schema.SESSION_ID: None}
    rows = [{**no_session, schema.REQUEST_ID: f"odd{number}", schema.USER_ID: text} for number, text in enumerate(texts)]
    refused = {number for number, text in enumerate(texts) if not ids.is_id(text)}
    assert (set(by_collector(schema.IMPRESSIONS, rows).refused), set(by_batch(schema.IMPRESSIONS, rows).refused)) == (refused, refused)
    assert all(ids.is_id(text) for text in texts if is_accepted("user", text))
    assert all(is_accepted("user", text) for text in texts if ids.is_id(text) and not ids.is_too_long(text))


@settings(max_examples=8)
@given(texts=st.lists(DOORS, min_size=1, max_size=5), surface=st.sampled_from(["home", *ids.NULL_TEXTS]))
@example(texts=["null", "x" * 120, "x" * 121], surface="home")
@example(texts=["u1"], surface="null")
def test_what_the_predictor_takes_and_logs_is_a_row_of_the_contract(texts: list[str], surface: str) -> None:
    rows = [orjson.loads(logged("good", "u1", "home"))]
    for field in ("user", "session"):
        for number, text in enumerate(texts):
            try:
                request = from_query(urlencode({field: text, "surface": surface}).encode())
            except InvalidRequest:
                continue
            rows.append(orjson.loads(logged(f"{field}{number}", request.user, request.surface)))
    assert by_batch(schema.IMPRESSIONS, rows) == ({}, {})


def logged(request: str, user: str, surface: str) -> bytes:
    item = Recommendation(item_id="i1", title="", category="", score=1.0, position=1, retriever=PERSONAL)
    return ImpressionList(
        request_id=request, user=user, surface=surface, model_digest="d1", arm="control", feature_hash="f1", items=[item]
    ).rows()
