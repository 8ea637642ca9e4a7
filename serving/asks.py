"""What a caller asks for, checked: a request that breaks a rule is refused with a code, the field and a sentence, never with a 500."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from lodestar import schema
from lodestar.errors import shorten

USER, K, EXCLUDE, SURFACE = "user", "k", "exclude", "surface"
INSTANCES = "instances"
DEFAULT_K, MOST_K = 10, 1000
MOST_EXCLUDED, MOST_INSTANCES, MOST_FIELDS = 1000, 256, 16
MOST_PLACES = 10_000  # of all lists of a request together: each is scored, encoded and logged
SURFACES = re.compile(r"[A-Za-z0-9_-]{1,32}")
HOME = "home"
UNPROCESSABLE = 422
MOST_CONTAINERS, MOST_DEPTH = 20_000, 32
# Twenty digits say enough of a number that is too large.
WHOLE_NUMBER = re.compile(r"(-?)0*([0-9]{1,20})[0-9]*")

# The data contract's codes where they say the same of a request; those from E400 are a request's own.
MISSING, OUT_OF_RANGE, EMPTY_ID, NOT_UTF8, WRONG_TYPE = "E101", "E102", "E103", "E104", "E107"
NOT_HTTP, NOT_JSON, NO_SUCH_THING, NO_SUCH_METHOD = "E400", "E401", "E404", "E405"
TOO_LARGE, TOO_MANY, HEAD_TOO_LARGE, INTERNAL = "E413", "E429", "E431", "E500"
TOO_SLOW, PIPELINED, BUSY, TOO_DEEP, TOO_MANY_VALUES = "E408", "E409", "E410", "E411", "E412"


class Refused(Exception):
    """A request that cannot be answered; `field` is where the fault lies, empty where it is the request as a whole."""

    def __init__(self, code: str, field: str, message: str, *, status: int = UNPROCESSABLE) -> None:
        self.code, self.field, self.message, self.status = code, field, message, status
        super().__init__(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """The best `k` items for a user on a surface, without those excluded."""

    user: str
    k: int = DEFAULT_K
    exclude: tuple[str, ...] = ()
    surface: str = HOME


def from_query(query: bytes) -> Ask:
    """`user=…&k=…&exclude=a,b&surface=home`, percent-encoded UTF-8."""
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except UnicodeDecodeError as error:
        raise Refused(NOT_UTF8, "", "the query is not percent-encoded UTF-8") from error
    except ValueError as error:
        raise Refused(OUT_OF_RANGE, "", f"a query has at most {MOST_FIELDS} fields") from error
    values: dict[str, Any] = dict(given)
    if len(values) < len(given):
        raise Refused(OUT_OF_RANGE, "", "a query names each field once")
    if K in values and (number := WHOLE_NUMBER.fullmatch(values[K])):
        values[K] = int(number[1] + number[2])
    if EXCLUDE in values:
        values[EXCLUDE] = [item for item in values[EXCLUDE].split(",") if item]
    return from_object(values, "")


def from_body(body: bytes) -> list[Ask]:
    """The `instances` of a v1 request: objects such as `{"user": "u1", "k": 10}`, or plain user ids."""
    given = json_object(body)
    if INSTANCES not in given:
        raise Refused(MISSING, INSTANCES, f'the body needs {INSTANCES}, such as {{"{INSTANCES}": [{{"{USER}": "u1", "{K}": 10}}]}}')
    instances = given[INSTANCES]
    if not isinstance(instances, list):
        raise Refused(WRONG_TYPE, INSTANCES, f"{INSTANCES} is a list")
    check_count(len(instances), INSTANCES)
    asks = [
        from_object({USER: instance} if isinstance(instance, str) else instance, f"{INSTANCES}[{place}]")
        for place, instance in enumerate(instances)
    ]
    check_places(asks, INSTANCES)
    return asks


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds, its containers counted before it is parsed and their depth checked after.

    Refused (422) with E401 where it is not JSON, E107 where it is no object, E412 where containers are too many, E411 where too deep.
    """
    containers = count_containers(body)
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(NOT_JSON, "", f"the body is not JSON: {shorten(str(error), 200)}") from error
    check_depth(given, containers)
    if not isinstance(given, dict):
        raise Refused(WRONG_TYPE, "", "the body is a JSON object")
    return given


def count_containers(body: bytes) -> int:
    """How many lists and objects JSON may have at most; Refused where those are so many that reading them would hold up others."""
    containers = body.count(b"[") + body.count(b"{")
    if containers > MOST_CONTAINERS:
        raise Refused(TOO_MANY_VALUES, "", f"the body has at most {MOST_CONTAINERS:,} lists and objects, got {containers:,}")
    return containers


def check_depth(value: Any, containers: int) -> None:
    """No more than `MOST_DEPTH` of the lists and objects of a value within each other."""
    level = [value] if containers > MOST_DEPTH else []
    for _ in range(MOST_DEPTH + 1):
        if not level:
            return
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    raise Refused(TOO_DEEP, "", f"lists and objects of a body lie at most {MOST_DEPTH} deep in each other")


def from_object(given: Any, place: str) -> Ask:
    """One ask; `place` names it in errors."""
    if not isinstance(given, dict):
        raise Refused(WRONG_TYPE, place, f'an object such as {{"{USER}": "u1", "{K}": 10}} is needed')
    at = f"{place}." if place else ""
    unknown = sorted(set(given) - {USER, K, EXCLUDE, SURFACE})
    if unknown:
        field = shorten(str(unknown[0]))
        raise Refused(WRONG_TYPE, at + field, f"there is no field {field!r}; there are {USER}, {K}, {EXCLUDE} and {SURFACE}")
    if USER not in given:
        raise Refused(MISSING, at + USER, f"{USER} is needed")
    return Ask(
        user=identifier(given[USER], at + USER),
        k=check_k(given.get(K, DEFAULT_K), at + K),
        exclude=_excluded(given.get(EXCLUDE, ()), at + EXCLUDE),
        surface=_surface(given.get(SURFACE, HOME), at + SURFACE),
    )


def identifier(value: Any, field: str) -> str:
    """An id of 1–128 bytes."""
    if not isinstance(value, str):
        raise Refused(WRONG_TYPE, field, f"{field} is a text")
    if not value:
        raise Refused(EMPTY_ID, field, f"{field} is empty")
    if len(value) > schema.MAX_ID_BYTES or len(value.encode()) > schema.MAX_ID_BYTES:
        raise Refused(OUT_OF_RANGE, field, f"{field} has at most {schema.MAX_ID_BYTES} bytes")
    return value


def check_k(value: Any, field: str) -> int:
    """A list's length."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(WRONG_TYPE, field, f"{field} is a whole number")
    if not 1 <= value <= MOST_K:
        raise Refused(OUT_OF_RANGE, field, f"{field} lies in 1–{MOST_K:,}, got {shorten(str(value))}")
    return value


def check_count(count: int, field: str) -> None:
    """How many asks a request holds."""
    if not 1 <= count <= MOST_INSTANCES:
        raise Refused(OUT_OF_RANGE, field, f"{field} holds 1–{MOST_INSTANCES} asks, got {count:,}")


def check_places(asks: Sequence[Ask], field: str) -> None:
    """How many places a request's lists have in all."""
    places = sum(ask.k for ask in asks)
    if places > MOST_PLACES:
        raise Refused(OUT_OF_RANGE, field, f"the lists of a request have at most {MOST_PLACES:,} places in all, got {places:,}")


def _excluded(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise Refused(WRONG_TYPE, field, f"{field} is a list of item ids")
    if len(value) > MOST_EXCLUDED:
        raise Refused(OUT_OF_RANGE, field, f"{field} names at most {MOST_EXCLUDED:,} items, got {len(value):,}")
    return tuple(value)


def _surface(value: Any, field: str) -> str:
    if not isinstance(value, str) or not SURFACES.fullmatch(value):
        raise Refused(WRONG_TYPE, field, f"{field} is a word of at most 32 letters, digits, '-' and '_'")
    return value
