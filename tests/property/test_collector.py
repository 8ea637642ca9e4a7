"""The collector and the batch validate alike: what one accepts the other accepts, and both reject the same rows with the same codes.

Cells that cannot be read and that their rows do not need are null in both, and counted alike.
"""

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.ingest import validate
from lodestar.data.readers.collector_parts import new_part
from lodestar.schema import Kind
from serving.collector.intake import Intake, rows_of
from serving.requests import InvalidRequest

TIMESTAMP = "2024-01-01T12:00:00Z"
EVENT = {
    schema.USER_ID: "u1",
    schema.EVENT_TYPE: "view",
    schema.EVENT_TIME: TIMESTAMP,
    schema.ITEM_ID: "i1",
    schema.SESSION_ID: "s1",
    schema.TARGET_USER_ID: "u2",
    schema.QUERY_ID: "q1",
    schema.QUERY_TEXT: "red shoes",
    schema.REQUEST_ID: "r1",
    schema.POSITION: 1,
    schema.SURFACE: "home",
    schema.DEVICE: "phone",
    schema.VALUE: 1.5,
    schema.CURRENCY: "EUR",
    schema.RATING: 4.5,
    schema.DWELL_S: 10,
    schema.PROGRESS: 0.5,
    schema.SOURCE: "mail",
    schema.ATTRS: {"colour": "red", "size": 38},
}
IMPRESSION = {
    schema.USER_ID: "u1",
    schema.ITEM_ID: "i1",
    schema.POSITION: 1,
    schema.SHOWN_AT: TIMESTAMP,
    schema.SURFACE: "home",
    schema.MODEL_DIGEST: "d",
    schema.ARM: "control",
    schema.PROPENSITY: 0.5,
    schema.FEATURE_HASH: "h",
    schema.SESSION_ID: "s1",
    schema.QUERY_TEXT: "red shoes",
    schema.SCORE: 0.1,
    schema.RETRIEVER: "personal",
    schema.IS_SPONSORED: False,
}
WHOLE = {schema.EVENTS: EVENT, schema.IMPRESSIONS: IMPRESSION}
OWN_NAME = {schema.EVENTS: schema.EVENT_ID, schema.IMPRESSIONS: schema.REQUEST_ID}
NUMBERS = (
    "1",
    " 2 ",
    "+3",
    "-1",
    "4.0",
    "4.5",
    ".5",
    "5.",
    "1e2",
    "1E-3",
    "1e400",
    "nan",
    "NaN",
    "inf",
    "1_000",
    "٣",
    "0x1",
    "9" * 18,
    "9" * 19,
)
LARGE = (2.0**52 - 0.5, 2.0**52, -(2.0**52), 2.0**53 + 2, 1e16, 1e22, 1e300, 2**52, 2**53 + 1, "9007199254740993.0", "9007199254740993")
ODD: Mapping[Kind, tuple[Any, ...]] = {
    Kind.ID: ("nan", "None", "<NA>", " ", "\t", "\u3000", " x ", "x" * 128, "x" * 129, "é" * 64, "é" * 65, 5, 5.5, True, 2**64 - 1),
    Kind.TEXT: (*schema.EventType, " view ", "VIEW", "veiw", "\u00a0", "\n", "x" * 8192, "x" * 8193, "é" * 4097 + " ", "a\0b", 5, False),
    Kind.TIME: (
        *(
            "2024-01-01",
            "2024-01-01T12:00:00",
            "2024-01-01 12:00",
            "2024-02-30T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T24:00:00.0Z",
            "2024-01-01T24:00:00.0000009Z",
        ),
        *("2024-01-01T24:00:01Z", "2024-01-01T23:59:60Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+01:00"),
        *(
            "2024-01-01 12:00:00 UTC",
            "2024-01-01 12:00:00UTC",
            "2024-01-01T12:00:00+05:60",
            "2024-01-01T12:00:00+99:00",
            "3024-01-01T00:00:00Z",
        ),
        *(
            "2024-01-01T12:00:00-0530",
            " 2024-01-01T12:00:00+05 ",
            "2024-01-01T12:00:00.123456789Z",
            "2024-W01-1T00:00:00Z",
            "٢024-01-01T00:00:00Z",
        ),
        *("1899-12-31T23:59:59.999999Z", "1900-01-01T00:00:00Z", "1899-12-31T23:00:00-01:00", "2199-12-31T23:59:59Z"),
        *("2200-01-01T00:00:00Z", "2200-01-01T00:59:59+01:00", "9999-12-31T23:59:59Z", "-001-01-01T00:00:00Z"),
        *("2024-01-01t12:00:00Z", "2024-01-01T12:00Z", "2024-13-01T00:00:00Z", "2024-01-01T12:00:00,5Z", True, 1.5),
    ),
    Kind.FLOAT: (*NUMBERS, "-0", "-1e400", -0.0, 1e308, 5e-324, 0, 1, 5, 5.0001, 1e300, True),
    Kind.INT: (*NUMBERS, 0, 3.0, 3.5, -0.0, 1e15, 1e22, 10**18 - 1, 10**18, 2**64 - 1, False),
    Kind.BOOL: ("true", " T ", "Yes", "0.0", "2", "", 1, 0, 1.0, 2),
    Kind.STRING_MAP: (
        *({str(number): 1 for number in range(64)}, {str(number): 1 for number in range(65)}, {"a": "x" * 8192}),
        *('{"a": 1, "a": 2}', '{"a" : 1, "b": "\\":"}', '{"a": 1, "\\u0061": 2}', json.dumps({"a": "x" * 8192})),
        *({"a": 2.0**53}, {"a": 1, "b": -1e22}, '{"a": 9007199254740993.0}', '{"a": "9007199254740993.0"}', {"a": 2**53 + 1}),
        *({}, '{"a": "b"}', " {} ", "{", "[]", "text", 5, True),
    ),
}


def odd_values(column: schema.Column) -> st.SearchStrategy[Any]:
    """A value that may be good or bad; a count from 1970 is not among them, since a file's counts share one unit."""
    plain = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
    floats = st.floats(allow_nan=False, allow_infinity=False)
    numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), floats, st.floats(2.0**51, 2.0**54), st.sampled_from(LARGE))
    chosen = st.sampled_from(ODD[column.kind])
    return st.one_of(chosen, chosen, plain) if column.kind is Kind.TIME else st.one_of(chosen, chosen, plain, numbers)


@st.composite
def odd_rows(draw: st.DrawFn, table: schema.Table) -> list[dict[str, Any]]:
    """Few enough for the report to name each bad one."""
    made = []
    for number in range(draw(st.integers(1, 5))):
        row: dict[str, Any] = {OWN_NAME[table]: f"odd{number}", **WHOLE[table]}
        columns = [column for column in table.columns if column.name in row and column.name != OWN_NAME[table]]
        for column in draw(st.lists(st.sampled_from(columns), min_size=1, max_size=3, unique=True)):
            row[column.name] = draw(odd_values(column))
        if table is schema.EVENTS and draw(st.booleans()):
            row[schema.EVENT_TYPE] = draw(st.sampled_from([str(kind) for kind in schema.EventType]))
        made.append(row)
    return made


class Outcome(NamedTuple):
    """The code of each bad row, and the number of cells of the others that are null since they cannot be read, by column and code."""

    refused: dict[int, str]
    nulled: dict[tuple[str, str], int]


def by_batch(table: schema.Table, rows: Sequence[Any]) -> Outcome:
    """What `lodestar data ingest` finds in rows of a collector's part beside one that is good."""
    good = [{schema.EVENT_ID: f"e{user}", **EVENT, schema.USER_ID: f"u{user}"} for user in range(5)]
    now = {schema.INGESTED_AT: datetime.now(UTC).isoformat()}
    with TemporaryDirectory() as folder:
        landed(folder, schema.EVENTS, [{**row, **now} for row in good])
        landed(folder, table, [{**row, **now} for row in rows])
        report = validate(folder)
    ours = report.tables[table.name]
    found = {int(re.search(r"line (\d+)", place)[1]) - 1: code for code, places in ours.offenders.items() for place in places}  # type: ignore[index]
    assert sum(ours.dropped.values()) == len(found)
    cells = [one for one in report.findings if one.table == table.name and one.places and one.code not in {"E116", "E126"}]
    return Outcome(found, {(one.column, one.code): one.count for one in cells})


def landed(folder: str, table: schema.Table, rows: Sequence[Any]) -> None:
    lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    Path(folder, table.name).mkdir(exist_ok=True)
    Path(folder, table.name, f"{new_part()}.jsonl.gz").write_bytes(gzip.compress(lines))


def by_collector(table: schema.Table, rows: Sequence[Any]) -> Outcome:
    found = Intake(table).take(rows)
    return Outcome({place: fault.code for place, fault in found.rejected}, dict(found.nulled))


@pytest.mark.parametrize("table", WHOLE, ids=lambda table: table.name)
@settings(max_examples=25)
@given(data=st.data())
def test_the_same_rows_are_refused_by_the_same_codes(table: schema.Table, data: st.DataObject) -> None:
    rows = data.draw(odd_rows(table))
    assert by_collector(table, rows) == by_batch(table, rows)


@pytest.mark.parametrize(
    "timestamps",
    [
        (1_700_000_000, 0, -5, "1700000000", 99_999_999_999),
        (1_700_000_000_000, 99_999_999_999_999),
        (1_700_000_000_000_000, 10**17 - 1),
        (1_700_000_000_000_000_000, 10**17, 10**19),
    ],
)
def test_counts_since_1970_are_parsed_alike(timestamps: Sequence[Any]) -> None:
    rows = [{**EVENT, schema.EVENT_ID: f"odd{number}", schema.EVENT_TIME: timestamp} for number, timestamp in enumerate(timestamps)]
    assert by_collector(schema.EVENTS, rows) == by_batch(schema.EVENTS, rows)


@pytest.mark.parametrize("table", WHOLE, ids=lambda table: table.name)
@settings(max_examples=8)
@given(data=st.data())
def test_rows_of_a_part_are_accepted_by_the_batch(table: schema.Table, data: st.DataObject) -> None:
    """Whatever was sent: counted times beside written ones, nested values, fields that nobody knows."""
    anything = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(0, 2**40), st.text(max_size=3)), lambda inner: st.lists(inner, max_size=2)
    )
    rows = data.draw(odd_rows(table))
    for row in rows:
        row[data.draw(st.sampled_from([name for name in row if name != OWN_NAME[table]]))] = data.draw(anything)
        row["unknown"] = data.draw(anything)
    accepted = Intake(table).take([*rows, {**WHOLE[table], OWN_NAME[table]: "good"}])
    with TemporaryDirectory() as folder:
        good = Intake(schema.EVENTS).take([{**EVENT, schema.USER_ID: f"u{user}", schema.EVENT_ID: f"e{user}"} for user in range(5)])
        parts = {schema.EVENTS: good.lines, table: (good.lines if table is schema.EVENTS else b"") + accepted.lines}
        for name, lines in parts.items():
            Path(folder, name.name).mkdir()  # as landed: a collector does not know the arms that a dataset declares
            Path(folder, name.name, f"{new_part()}.jsonl.gz").write_bytes(gzip.compress(lines))
        report = validate(folder).tables[table.name]
    others = good.num_rows if table is schema.EVENTS else 0
    assert (report.rows_kept, report.dropped) == (accepted.num_rows + others, {})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"user_id": "u1", "user_id": "u2"}', "E173"),
        (b'{"user_id" : "u1", "user_id":"u2"}', "E173"),
        (b'{"user_id": "u1", "user\\u005fid": "u2"}', "E173"),
        (b'{"attrs": {"a": 1, "a": 2}}', "E173"),
        (b'{"query_text": "\\":\\":"}', ""),
        (b'{"query_text": "a" , "source"\t:"b"}', ""),
    ],
)
def test_an_object_that_names_a_key_twice_is_rejected_by_both(text: bytes, code: str) -> None:
    row = orjson.dumps({**EVENT, schema.EVENT_ID: "odd", schema.INGESTED_AT: TIMESTAMP})
    names = orjson.loads(text)
    body = orjson.dumps({name: value for name, value in orjson.loads(row).items() if name not in names})[:-1] + b"," + text[1:]
    sent = rows_of(body)
    assert {fault.code for _, fault in Intake(schema.EVENTS).take(sent.rows, rejections=sent.rejections).rejected} == {
        *([code] if code else [])
    }
    with TemporaryDirectory() as folder:
        landed(
            folder,
            schema.EVENTS,
            [{**EVENT, schema.EVENT_ID: f"e{user}", schema.USER_ID: f"u{user}", schema.INGESTED_AT: TIMESTAMP} for user in range(5)],
        )
        Path(folder, schema.EVENTS.name, f"{new_part()}.jsonl.gz").write_bytes(gzip.compress(body + b"\n"))
        found = validate(folder)
    # What an object within a row says is the batch's only to read: there its cell is null, here its row is refused.
    nulled = {"attrs"} if code and "attrs" in names else set()
    assert {one.column for one in found.findings if one.places} == nulled
    assert found.tables[schema.EVENTS.name].dropped == ({code: 1} if code and not nulled else {})


@pytest.mark.parametrize("depth", [62, 63, 300, 1000, 1023])
@pytest.mark.parametrize("name", ["unknown", schema.QUERY_TEXT, schema.ATTRS])
def test_what_is_nested_deeply_is_refused_and_not_failed_at(name: str, depth: int) -> None:
    others = {column: value for column, value in EVENT.items() if column != name}
    body = orjson.dumps(others)[:-1] + b',"' + name.encode() + b'":' + b"[" * depth + b"]" * depth + b"}"
    try:
        sent = rows_of(body)
        found = Intake(schema.EVENTS).take(sent.rows, rejections=sent.rejections)
        codes = [*(fault.code for _, fault in found.rejected), *(code for _, code in found.nulled)]
    except InvalidRequest as refused:
        codes = [refused.code]
    assert codes == (["E441"] if depth >= 63 else [] if name == "unknown" else ["E107"])


def test_years_are_bounded_alike() -> None:
    timestamps = [datetime(rules.FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(rules.LAST_YEAR, 12, 31, 23, 59, 59, 999_999, UTC)]
    assert [(timestamp - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for timestamp in timestamps] == [
        rules.EARLIEST_US,
        rules.LATEST_US,
    ]
