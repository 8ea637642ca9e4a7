"""Random files through random declarations: every row is kept or counted by a rule, and nothing but a coded error stops a reading."""

import contextlib
import json
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from lodestar.data.declaration.parse import parse
from lodestar.data.ingest import append
from lodestar.errors import DataError, LodestarError

TEXTS = st.sampled_from(
    ["", "a", "b", "pv", "ping", "buy", "u1", "u2", "5.0", "1700000000", "x-1", "x-0 y-1", "[1, 2]", "nan", '"', ",", "é", " "]
)


def _mostly(*good: str) -> st.SearchStrategy[str]:
    """Good values, and one in six that may be anything."""
    return st.integers(0, 5).flatmap(lambda number: st.sampled_from(good) if number else TEXTS)


ROWS = st.lists(
    st.tuples(
        _mostly("u1", "u2", "u3"),
        _mostly("i1", "i2-x", "i3"),
        _mostly("pv", "ping", "buy", "view"),
        _mostly("1700000000", "1700000060", "1700009999"),
        _mostly("x-1", "x y", "[1, 2]"),
    ),
    min_size=1,
    max_size=30,
)
NAMES = ("who", "what", "kind", "at", "more")
EXTRAS = st.sampled_from(
    [
        "",
        "only = { kind = ['pv', 'buy'] }",
        "explode = 'more'",
        "explode = { column = 'more', into = 'one', separator = '-' }",
        "latest = 'at'",
        "null = ['a', 'nan']",
    ]
)
TOPS = st.sampled_from(
    ["", "order = 'row'", "order = ['at', 'kind']", "outliers.events_per_minute = { high = 1, rule = 'clip' }", "quoting = 'none'"]
)
TIMES = st.sampled_from(["'at'", "{ column = 'at', time_unit = 's' }", "{ column = 'at', time_format = '%Y' , time_zone = 'UTC' }"])


def _csv(rows: list[tuple[str, ...]]) -> str:
    quoted = [",".join('"' + value.replace('"', '""') + '"' for value in row) for row in rows]
    return "\n".join([",".join(NAMES), *quoted]) + "\n"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, extra=EXTRAS, top=TOPS, time=TIMES, is_json=st.booleans())
def test_every_row_of_a_declared_file_is_kept_or_counted(
    rows: list[tuple[str, ...]], extra: str, top: str, time: str, is_json: bool
) -> None:
    suffix = "jsonl" if is_json else "csv"
    content = "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in rows) if is_json else _csv(rows)
    declaration = f"""
        {top}
        event_types = {{ pv = "view", ping = "ignore", buy = "like" }}
        [events]
        files = "log.{suffix}"
        {extra}
        user_id = "who"
        item_id = {{ column = "what", split = "-", part = 1 }}
        event_type = {{ column = "kind", default = "view" }}
        event_time = {time}
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"log.{suffix}").write_text(content)
        Path(folder, "dataset.toml").write_text(declaration)
        try:
            report = append(folder, Path(folder, "tables"), quarantine=True).tables["events"]
        except LodestarError as error:
            event(f"refused: {error.code}")
            return
    event("kept" if report.rows_kept else "none kept")
    assert report.rows_in == report.rows_kept + sum(report.dropped.values())
    if "explode" not in extra:
        assert report.rows_in == len(rows)


KEYS = st.sampled_from(
    ["files", "user_id", "delimiter", "columns", "order", "event_type", "explode", "join", "latest", "null", "header", "x"]
)
SIMPLE = st.one_of(st.text(max_size=8), st.integers(-3, 10), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
INNER = st.one_of(SIMPLE, st.lists(SIMPLE, max_size=3), st.dictionaries(KEYS, SIMPLE, max_size=3))
VALUES = st.one_of(INNER, st.lists(INNER, max_size=3), st.dictionaries(KEYS, INNER, max_size=3))
TABLES = st.dictionaries(
    st.one_of(KEYS, st.sampled_from(["events", "items", "users", "feedback", "outliers", "recognise"])), VALUES, max_size=5
)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


@settings(max_examples=300, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200), TABLES.map(lambda t: "\n".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in t.items()).encode())
    )
)
def test_any_declaration_is_parsed_or_refused_with_a_code(content: bytes) -> None:
    with contextlib.suppress(DataError):
        parse(content)
