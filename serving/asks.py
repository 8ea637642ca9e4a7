"""What a caller asks for, checked: a request that breaks a rule is refused with a code, the field and a sentence, never with a 500."""

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
MOST_SURFACE_BYTES = 32
HOME = "home"
UNPROCESSABLE = 422

# The data contract's codes where they say the same of a request; those from E400 are a request's own.
MISSING, OUT_OF_RANGE, EMPTY_ID, NOT_UTF8, WRONG_TYPE = "E101", "E102", "E103", "E104", "E107"
NOT_HTTP, NOT_JSON, NO_SUCH_THING, NO_SUCH_METHOD, TOO_LARGE, INTERNAL = "E400", "E401", "E404", "E405", "E413", "E500"


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
        given = dict(parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
    except UnicodeDecodeError as error:
        raise Refused(NOT_UTF8, "", "the query is not percent-encoded UTF-8") from error
    except ValueError as error:
        raise Refused(OUT_OF_RANGE, "", f"a query has at most {MOST_FIELDS} fields") from error
    values: dict[str, Any] = dict(given)
    if K in given:
        values[K] = _whole_number(given[K])
    if EXCLUDE in given:
        values[EXCLUDE] = [item for item in given[EXCLUDE].split(",") if item]
    return from_object(values, "")


def from_body(body: bytes) -> list[Ask]:
    """The `instances` of a v1 request: objects such as `{"user": "u1", "k": 10}`, or plain user ids."""
    given = json_object(body)
    if INSTANCES not in given:
        raise Refused(MISSING, INSTANCES, f'the body needs {INSTANCES}, such as {{"{INSTANCES}": [{{"{USER}": "u1", "{K}": 10}}]}}')
    instances = given[INSTANCES]
    if not isinstance(instances, list):
        raise Refused(WRONG_TYPE, INSTANCES, f"{INSTANCES} is a list")
    check_count(instances, INSTANCES)
    return [
        from_object({USER: instance} if isinstance(instance, str) else instance, f"{INSTANCES}[{place}]")
        for place, instance in enumerate(instances)
    ]


def json_object(body: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(NOT_JSON, "", f"the body is not JSON: {shorten(str(error), 200)}") from error
    if not isinstance(given, dict):
        raise Refused(WRONG_TYPE, "", "the body is a JSON object")
    return given


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
    size = len(value.encode("utf-8", "surrogatepass")) if len(value) <= schema.MAX_ID_BYTES else len(value)
    if size == 0:
        raise Refused(EMPTY_ID, field, f"{field} is empty")
    if size > schema.MAX_ID_BYTES:
        raise Refused(OUT_OF_RANGE, field, f"{field} has at most {schema.MAX_ID_BYTES} bytes, got {size:,} or more")
    return value


def check_k(value: Any, field: str) -> int:
    """A list's length."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(WRONG_TYPE, field, f"{field} is a whole number")
    if not 1 <= value <= MOST_K:
        raise Refused(OUT_OF_RANGE, field, f"{field} lies in 1–{MOST_K:,}, got {shorten(str(value))}")
    return value


def check_count(instances: list[Any], field: str) -> None:
    if not 1 <= len(instances) <= MOST_INSTANCES:
        raise Refused(OUT_OF_RANGE, field, f"{field} holds 1–{MOST_INSTANCES} asks, got {len(instances):,}")


def _whole_number(text: str) -> int | str:
    """The number, or the text itself where it is none; twelve digits say enough of what is too large."""
    return int(text[:12]) if text.isascii() and text.removeprefix("-").isdigit() else text


def _excluded(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise Refused(WRONG_TYPE, field, f"{field} is a list of item ids")
    if len(value) > MOST_EXCLUDED:
        raise Refused(OUT_OF_RANGE, field, f"{field} names at most {MOST_EXCLUDED:,} items, got {len(value):,}")
    return tuple(value)


def _surface(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.replace("-", "").replace("_", "").isalnum() or len(value.encode()) > MOST_SURFACE_BYTES:
        raise Refused(WRONG_TYPE, field, f"{field} is a word of at most {MOST_SURFACE_BYTES} letters, digits, '-' and '_'")
    return value
