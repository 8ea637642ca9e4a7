"""From what was sent to lines for a part: rows are found in a body, judged, given an id where they have none, and written as JSON."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from lodestar import schema
from lodestar.errors import shorten
from serving import asks
from serving.asks import Refused
from serving.collect import keys
from serving.collect.judge import LATEST_AFTER, Fault, Judge
from serving.collect.row_error import KEY_TWICE, WRONG_TYPE

MOST_ROWS = 1000
ID_BYTES = 12
TABLES = (schema.EVENTS, schema.IMPRESSIONS)
TWICE = "the object names a key twice"
TOO_DEEP = "the row is nested too deeply"
NO_FAULTS: Mapping[int, Fault] = MappingProxyType({})


class Taken(NamedTuple):
    """What became of rows: the good ones as lines, the bad ones by their place, and fields that are not of the contract."""

    lines: bytes
    num_rows: int
    refused: list[tuple[int, Fault]]
    ignored: frozenset[str]


class Sent(NamedTuple):
    """Rows as they were sent, and why some cannot be read as rows, by their place."""

    rows: list[Any]
    faults: Mapping[int, Fault]


class Intake:
    """Takes the rows of one table."""

    def __init__(self, table: schema.Table) -> None:
        self._judge = Judge(table)
        self._has_ids = schema.EVENT_ID in table.names

    def take(self, rows: Sequence[Any], names: Sequence[str] = (), faults: Mapping[int, Fault] = NO_FAULTS) -> Taken:
        """Rows as they came, and what names one that has no id: without `names` its content, so that sending it again changes nothing.

        Those with `faults` are not looked at. Refused (E107) where a row is nested too deeply to be looked at.
        """
        now = datetime.now(UTC)
        said_at, latest = now.isoformat(timespec="microseconds"), now + LATEST_AFTER
        lines: list[bytes] = []
        refused: list[tuple[int, Fault]] = []
        judged: dict[str, Any] | Fault | None
        ignored: frozenset[str] = frozenset()
        for place, row in enumerate(rows):
            judged = faults.get(place) if faults else None
            if judged is None:
                has_id = type(row) is not dict or row.get(schema.EVENT_ID) is not None
                judged = self._judge.row(row if has_id else self._named(row, names[place] if names else None), latest, said_at)
            if type(judged) is dict:
                lines.append(orjson.dumps(judged, option=orjson.OPT_APPEND_NEWLINE))
                ignored |= self._judge.ignored(row)
            elif isinstance(judged, Fault):
                refused.append((place, judged))
        if refused or ignored:
            _check_depth(rows)
        return Taken(b"".join(lines), len(lines), refused, ignored)

    def _named(self, row: dict[str, Any], name: str | None) -> dict[str, Any]:
        if not self._has_ids:
            return row
        return {**row, schema.EVENT_ID: name or name_of(orjson.dumps(row, option=orjson.OPT_SORT_KEYS))}


def name_of(content: bytes) -> str:
    """An id that the same content gives again; of 2^48 contents two are likely to share one."""
    return hashlib.blake2b(content, digest_size=ID_BYTES).hexdigest()


def rows_of(body: bytes) -> Sent:
    """The rows of a body: one JSON object, an array of them, or an object on each line; Refused where it is none of these."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        lines = _lines_of(body, error)
        rows = [row for _, row in lines]
        faults = {place: fault for place, (line, row) in enumerate(lines) for fault in _twice(line, [row]).values()}
    else:
        rows = found if isinstance(found, list) else [found]
        faults = _twice(body, rows)
    if not rows:
        raise Refused(asks.MISSING, "", "there are no rows")
    if len(rows) > MOST_ROWS:
        raise Refused(asks.TOO_LARGE, "", f"a request has at most {MOST_ROWS:,} rows, got {len(rows):,}", status=413)
    return Sent(rows, faults)


def unfit(text: bytes, row: Any) -> Fault | None:
    """Why a row cannot be taken for what the text says of which it was read, None where it can."""
    if keys.is_deep([row]):
        return Fault(WRONG_TYPE, "", TOO_DEEP)
    if keys.may_name_twice(text, row) and keys.rows_that_name_twice(text):
        return Fault(KEY_TWICE, "", TWICE)
    return None


def _check_depth(rows: Sequence[Any]) -> None:
    """Refused where a row is nested too deeply; of rows that are taken with all their fields none is."""
    if keys.is_deep(list(rows)):
        raise Refused(WRONG_TYPE, "", TOO_DEEP)


def _twice(text: bytes, rows: list[Any]) -> dict[int, Fault]:
    """The rows of a text that name a key twice; Refused where one should look closer, and a row is so deep that nobody does."""
    if len(rows) > MOST_ROWS:
        return {}
    if not keys.may_name_twice(text, rows):
        return {}
    _check_depth(rows)
    return dict.fromkeys(keys.rows_that_name_twice(text), Fault(KEY_TWICE, "", TWICE))


def _lines_of(body: bytes, error: orjson.JSONDecodeError) -> list[tuple[bytes, Any]]:
    try:
        body.decode()
    except UnicodeDecodeError as fault:
        raise Refused(asks.NOT_UTF8, "", f"byte {fault.start:,} of the body is not UTF-8") from fault
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) < 2 or len(lines) > MOST_ROWS:
        raise _not_json(error, len(lines)) from error
    try:
        return [(line, orjson.loads(line)) for line in lines]
    except orjson.JSONDecodeError as fault:
        raise _not_json(fault, len(lines)) from fault


def _not_json(error: orjson.JSONDecodeError, num_lines: int) -> Refused:
    if num_lines > MOST_ROWS:
        return Refused(asks.TOO_LARGE, "", f"a request has at most {MOST_ROWS:,} rows, got {num_lines:,} lines", status=413)
    return Refused(asks.NOT_JSON, "", f"the body is neither JSON nor a JSON object on each line: {shorten(str(error), 200)}")
