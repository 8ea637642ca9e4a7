"""Request body to JSON lines of a part: decode rows, validate them, and give events without an id a content hash."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from lodestar import schema
from lodestar.data.contract.rules import KEY_TWICE
from lodestar.process.safe_text import shorten
from serving import requests
from serving.collector import duplicate_keys
from serving.collector.row_error import Rejection
from serving.collector.validator import LATEST_AFTER, EventValidator
from serving.requests import InvalidRequest

MAX_ROWS = 1000
ID_BYTES = 12
TABLES = (schema.EVENTS, schema.IMPRESSIONS)
TWICE = "the object names a key twice"
TOO_DEEP = "the row is nested too deeply"
NO_REJECTIONS: Mapping[int, Rejection] = MappingProxyType({})


class IntakeResult(NamedTuple):
    """Valid rows as JSON lines, rejections with the row's index in the request, and names of fields outside the contract.

    `nulled` counts cells of valid rows that could not be read and were left out, by field and code.
    """

    lines: bytes
    num_rows: int
    rejected: list[tuple[int, Rejection]]
    ignored: frozenset[str]
    nulled: Counter[tuple[str, str]]


class Sent(NamedTuple):
    """Decoded rows of a request, and rejections of rows that cannot be decoded, by row index."""

    rows: list[Any]
    rejections: Mapping[int, Rejection]


class Intake:
    """Validates rows of one table, events or impressions, and encodes them as lines of a part."""

    def __init__(self, table: schema.Table) -> None:
        self._validator = EventValidator(table)
        self._has_ids = schema.EVENT_ID in table.names

    def take(self, rows: Sequence[Any], names: Sequence[str] = (), rejections: Mapping[int, Rejection] = NO_REJECTIONS) -> IntakeResult:
        """Validate and encode rows, in their order.

        An event without an id gets its entry of `names`, or without `names` a hash of its content, so that a retry is idempotent. Rows in
        `rejections` (by index) are not validated again. InvalidRequest E441 if a row is nested too deeply.
        """
        now = datetime.now(UTC)
        ingested_at, latest = now.isoformat(timespec="microseconds"), now + LATEST_AFTER
        lines: list[bytes] = []
        rejected: list[tuple[int, Rejection]] = []
        result: dict[str, Any] | Rejection | None
        ignored: frozenset[str] = frozenset()
        nulled: Counter[tuple[str, str]] = Counter()
        for index, row in enumerate(rows):
            result = rejections.get(index) if rejections else None
            if result is None:
                has_id = type(row) is not dict or row.get(schema.EVENT_ID) is not None
                row_with_id = row if has_id else self._with_id(row, names[index] if names else None)
                result = self._validator.row(row_with_id, latest, ingested_at, nulled)
            if type(result) is dict:
                lines.append(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE))
                ignored |= self._validator.ignored(row)
            elif isinstance(result, Rejection):
                rejected.append((index, result))
        if rejected or ignored or nulled:
            _check_depth(rows)
        return IntakeResult(b"".join(lines), len(lines), rejected, ignored, nulled)

    def _with_id(self, row: dict[str, Any], name: str | None) -> dict[str, Any]:
        if not self._has_ids:
            return row
        return {**row, schema.EVENT_ID: name or content_id(orjson.dumps(row, option=orjson.OPT_SORT_KEYS))}


def content_id(content: bytes) -> str:
    """A deterministic event id: BLAKE2b of the content, 24 hex digits; a collision is likely among 2^48 contents."""
    return hashlib.blake2b(content, digest_size=ID_BYTES).hexdigest()


def rows_of(body: bytes) -> Sent:
    """Decode the rows of a body: one JSON object, an array of objects, or an object on each line (NDJSON).

    InvalidRequest E104 if the body is not UTF-8, E440 if it is not JSON, E201 if it has no rows, E413 for more than MAX_ROWS.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        lines = _lines_of(body, error)
        rows = [row for _, row in lines]
        rejections = {index: one for index, (line, row) in enumerate(lines) for one in _duplicate_keys(line, [row]).values()}
    else:
        rows = found if isinstance(found, list) else [found]
        rejections = _duplicate_keys(body, rows)
    if not rows:
        raise InvalidRequest(requests.NO_ROWS, "", "there are no rows")
    if len(rows) > MAX_ROWS:
        raise InvalidRequest(requests.TOO_LARGE, "", f"a request has at most {MAX_ROWS:,} rows, got {len(rows):,}")
    return Sent(rows, rejections)


def unfit(text: bytes, row: Any) -> Rejection | None:
    """The rejection of a decoded row that is nested too deeply (E441) or names a key twice in its text (E173); None if neither."""
    if duplicate_keys.is_too_deep([row]):
        return Rejection(requests.TOO_DEEP, "", TOO_DEEP)
    if duplicate_keys.may_have_duplicate_keys(text, row) and duplicate_keys.rows_with_duplicate_keys(text):
        return Rejection(KEY_TWICE, "", TWICE)
    return None


def _check_depth(rows: Sequence[Any]) -> None:
    """InvalidRequest E441 if a row is nested too deeply; rows that were kept with all their fields cannot be."""
    if duplicate_keys.is_too_deep(list(rows)):
        raise InvalidRequest(requests.TOO_DEEP, "", TOO_DEEP)


def _duplicate_keys(text: bytes, rows: list[Any]) -> dict[int, Rejection]:
    """Rejections (E173) of the rows of a text that name a key twice, by row index; InvalidRequest E441 if a row is too deep to check."""
    if len(rows) > MAX_ROWS:
        return {}
    if not duplicate_keys.may_have_duplicate_keys(text, rows):
        return {}
    _check_depth(rows)
    return dict.fromkeys(duplicate_keys.rows_with_duplicate_keys(text), Rejection(KEY_TWICE, "", TWICE))


def _lines_of(body: bytes, error: orjson.JSONDecodeError) -> list[tuple[bytes, Any]]:
    try:
        body.decode()
    except UnicodeDecodeError as undecoded:
        raise InvalidRequest(requests.NOT_UTF8, "", f"byte {undecoded.start:,} of the body is not UTF-8") from undecoded
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) < 2 or len(lines) > MAX_ROWS:
        raise _not_json(error, len(lines)) from error
    try:
        return [(line, orjson.loads(line)) for line in lines]
    except orjson.JSONDecodeError as undecoded:
        raise _not_json(undecoded, len(lines)) from undecoded


def _not_json(error: orjson.JSONDecodeError, num_lines: int) -> InvalidRequest:
    if num_lines > MAX_ROWS:
        return InvalidRequest(requests.TOO_LARGE, "", f"a request has at most {MAX_ROWS:,} rows, got {num_lines:,} lines")
    return InvalidRequest(requests.NOT_JSON, "", f"the body is neither JSON nor a JSON object on each line: {shorten(str(error), 200)}")
