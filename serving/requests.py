"""Request validation: an invalid request is refused with a code, the field and a message (4xx), never with a 500."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl

import orjson

from lodestar import schema
from lodestar.error_codes import http_status
from lodestar.process.safe_text import shorten
from lodestar.schema import ids

USER, SESSION, K, EXCLUDE, SURFACE = "user", "session", "k", "exclude", "surface"
FIELDS = (USER, SESSION, K, EXCLUDE, SURFACE)
INSTANCES = "instances"
DEFAULT_K, MAX_K = 10, 1000
MAX_EXCLUDED, MAX_INSTANCES, MAX_FIELDS = 1000, 256, 16
MAX_TOTAL_K = 10_000  # of all lists of a request together: each is scored, encoded and logged
SURFACES = re.compile(r"[A-Za-z0-9_-]{1,32}")
HOME = "home"
MAX_CONTAINERS, MAX_DEPTH = 20_000, 32
CONTAINER_BYTES = 2  # the least that a list or an object takes in a JSON text
# Twenty digits are enough for the message about a number that is too large.
WHOLE_NUMBER = re.compile(r"(-?)0*([0-9]{1,20})[0-9]*")

# Codes of the data contract where they fit a request; codes from E400 are those of requests. Their HTTP status is in `error_codes`.
MISSING, OUT_OF_RANGE, INVALID_ID, NOT_UTF8, WRONG_TYPE, KEY_TWICE = "E101", "E102", "E103", "E104", "E107", "E173"
NOT_HTTP, NO_KEY, NO_SUCH_THING, NO_SUCH_METHOD, TOO_SLOW = "E400", "E401", "E404", "E405", "E408"
TOO_LARGE, URL_TOO_LONG, TOO_MANY, HEAD_TOO_LARGE, INTERNAL = "E413", "E414", "E429", "E431", "E500"
NOT_JSON, TOO_DEEP, TOO_MANY_VALUES, PIPELINED, BUSY = "E440", "E441", "E442", "E443", "E444"
NOT_STORED_NOW, UNKNOWN_FIELD, DISCONNECTED, NO_ROWS = "E445", "E446", "E447", "E201"


class InvalidRequest(Exception):
    """An invalid request: error code, the field (empty for the request as a whole) and message; the code has the HTTP status."""

    def __init__(self, code: str, field: str, message: str) -> None:
        self.code, self.field, self.message, self.status = code, field, message, http_status(code)
        super().__init__(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecommendRequest:
    """A request for the top `k` items for a user on a surface, without the excluded items."""

    user: Annotated[str, "user id; an unknown one gets the cold-start list; of a visitor without one, `session` in its place"]
    k: Annotated[int, f"length of the list, 1–{MAX_K:,}; shorter where fewer items are left"] = DEFAULT_K
    exclude: Annotated[
        tuple[str, ...], f"ids of items to leave out, at most {MAX_EXCLUDED:,}; in a query separated by commas, or given several times"
    ] = ()
    surface: Annotated[str, "where the list is shown, for the impression log: 1–32 letters, digits, _ and -"] = HOME


def from_query(query: bytes) -> RecommendRequest:
    """Decode `user=…&k=…&exclude=a,b&surface=home`, percent-encoded UTF-8; InvalidRequest E104 if not UTF-8, E173 for a field twice.

    `exclude` may come several times: each is then one id, whatever commas it has.
    """
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidRequest(NOT_UTF8, "", "the query is not percent-encoded UTF-8") from error
    except ValueError as error:
        raise InvalidRequest(TOO_MANY_VALUES, "", f"a query has at most {MAX_FIELDS} fields") from error
    values: dict[str, Any] = dict(given)
    excluded = [value for name, value in given if name == EXCLUDE]
    if len(values) < len(given) - max(0, len(excluded) - 1):
        raise InvalidRequest(KEY_TWICE, "", f"a query names each field once, but {EXCLUDE}")
    if K in values and (number := WHOLE_NUMBER.fullmatch(values[K])):
        values[K] = int(number[1] + number[2])
    if EXCLUDE in values:
        values[EXCLUDE] = [item for item in (excluded if len(excluded) > 1 else excluded[0].split(",")) if item]
    return from_object(values, "")


def from_body(body: bytes) -> list[RecommendRequest]:
    """Decode the `instances` of a v1 request: objects such as `{"user": "u1", "k": 10}`, or plain user ids."""
    given = json_object(body)
    if INSTANCES not in given:
        raise InvalidRequest(MISSING, INSTANCES, f'the body needs {INSTANCES}, such as {{"{INSTANCES}": [{{"{USER}": "u1", "{K}": 10}}]}}')
    instances = given[INSTANCES]
    if not isinstance(instances, list):
        raise InvalidRequest(WRONG_TYPE, INSTANCES, f"{INSTANCES} is a list")
    check_count(len(instances), INSTANCES)
    queries = [
        from_object({USER: instance} if isinstance(instance, str) else instance, f"{INSTANCES}[{index}]")
        for index, instance in enumerate(instances)
    ]
    check_total_k(queries, INSTANCES)
    return queries


def json_object(body: bytes) -> dict[str, Any]:
    """Decode a body as a JSON object; the number of containers is checked before parsing, their depth after.

    InvalidRequest E440 if it is not JSON, E107 if it is not an object, E442 for too many containers, E441 if nested too deeply.
    """
    containers = count_containers(body)
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(NOT_JSON, "", f"the body is not JSON: {shorten(str(error), 200)}") from error
    check_depth(given, containers)
    if not isinstance(given, dict):
        raise InvalidRequest(WRONG_TYPE, "", "the body is a JSON object")
    return given


def count_containers(body: bytes) -> int:
    """An upper bound on the lists and objects of a JSON text; InvalidRequest E442 above MAX_CONTAINERS, since parsing blocks others."""
    containers = body.count(b"[") + body.count(b"{")
    if containers > MAX_CONTAINERS:
        raise InvalidRequest(TOO_MANY_VALUES, "", f"the body has at most {MAX_CONTAINERS:,} lists and objects, got {containers:,}")
    return containers


def check_depth(value: Any, containers: int) -> None:
    """InvalidRequest E441 if lists and objects are nested more than `MAX_DEPTH` levels deep."""
    level = [value] if containers > MAX_DEPTH else []
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    raise InvalidRequest(TOO_DEEP, "", f"lists and objects of a body are nested at most {MAX_DEPTH} levels deep")


def from_object(given: Any, path: str) -> RecommendRequest:
    """Decode one query object; `path` is its field path in errors."""
    if not isinstance(given, dict):
        raise InvalidRequest(WRONG_TYPE, path, f'an object such as {{"{USER}": "u1", "{K}": 10}} is needed')
    at = f"{path}." if path else ""
    unknown = sorted(set(given) - {*FIELDS})
    if unknown:
        field = shorten(str(unknown[0]))
        raise InvalidRequest(UNKNOWN_FIELD, at + field, f"there is no field {field!r}; there are {', '.join(FIELDS[:-1])} and {FIELDS[-1]}")
    if (USER in given) == (SESSION in given):
        raise InvalidRequest(MISSING, at + USER, f"{USER} is needed, or {SESSION} in its place")
    return RecommendRequest(
        user=identifier(given[USER], at + USER) if USER in given else _user_of_session(given[SESSION], at + SESSION),
        k=check_k(given.get(K, DEFAULT_K), at + K),
        exclude=_excluded(given.get(EXCLUDE, ()), at + EXCLUDE),
        surface=_surface(given.get(SURFACE, HOME), at + SURFACE),
    )


def identifier(value: Any, field: str) -> str:
    """Check an id of 1–128 bytes, by the contract's rule: what a request names is logged, and the log is read as a table.

    InvalidRequest E107 if it is not a text, or a number whose last digits are cut off, E103 if it is empty, of spaces only, too long, or a
    text that stands for null, such as `null`.
    """
    if not isinstance(value, str):
        raise InvalidRequest(WRONG_TYPE, field, f"{field} is a text")
    if ids.is_too_long(value):
        raise InvalidRequest(INVALID_ID, field, f"{field} has at most {schema.MAX_ID_BYTES} bytes")
    if not ids.is_id(value):
        raise _no_id(ids.normalise(value), field)
    return value


def _no_id(normal: str, field: str) -> InvalidRequest:
    if not normal:
        return InvalidRequest(INVALID_ID, field, f"{field} is empty")
    if normal in ids.NULLS:
        return InvalidRequest(INVALID_ID, field, f"{field} is {normal!r}, which stands for no value: leave it out, or send the id")
    return InvalidRequest(WRONG_TYPE, field, f"{field} is {normal!r}, whose last digits are cut off: send all digits")


def _user_of_session(value: Any, field: str) -> str:
    """The user that stands for a session, whose id is shorter than others, as the user's is an id too."""
    user = ids.user_of_session(identifier(value, field))
    if ids.is_too_long(user):
        raise InvalidRequest(INVALID_ID, field, f"{field} has at most {schema.MAX_ID_BYTES - len(ids.SESSION_PREFIX)} bytes")
    return user


def check_k(value: Any, field: str) -> int:
    """Check a list length, 1–1,000; InvalidRequest E107 or E102."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(WRONG_TYPE, field, f"{field} is a whole number")
    if not 1 <= value <= MAX_K:
        raise InvalidRequest(OUT_OF_RANGE, field, f"{field} lies in 1–{MAX_K:,}, got {shorten(str(value))}")
    return value


def check_count(count: int, field: str) -> None:
    """InvalidRequest E102 unless a request holds 1–256 queries."""
    if not 1 <= count <= MAX_INSTANCES:
        raise InvalidRequest(OUT_OF_RANGE, field, f"{field} holds 1–{MAX_INSTANCES} queries, got {count:,}")


def check_total_k(queries: Sequence[RecommendRequest], field: str) -> None:
    """InvalidRequest E102 if the lists of a request are longer than MAX_TOTAL_K in all."""
    total_k = sum(query.k for query in queries)
    if total_k > MAX_TOTAL_K:
        raise InvalidRequest(OUT_OF_RANGE, field, f"the lists of a request have at most {MAX_TOTAL_K:,} positions in all, got {total_k:,}")


def _excluded(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(WRONG_TYPE, field, f"{field} is a list of item ids")
    if len(value) > MAX_EXCLUDED:
        raise InvalidRequest(OUT_OF_RANGE, field, f"{field} names at most {MAX_EXCLUDED:,} items, got {len(value):,}")
    return tuple(dict.fromkeys((*value, *map(ids.normalise, value))))


def _surface(value: Any, field: str) -> str:
    if not isinstance(value, str) or not SURFACES.fullmatch(value) or value in ids.NULLS:
        raise InvalidRequest(WRONG_TYPE, field, f"{field} is a word of at most 32 letters, digits, '-' and '_', and none for null")
    return value
