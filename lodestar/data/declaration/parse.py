"""Parse a `dataset.toml` into a declaration; all of its faults come in one error, each with the path of its key."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lodestar import schema
from lodestar.data.contract.outliers import EVENTS_PER_MINUTE, OutlierRule
from lodestar.data.declaration.model import COLUMN_SOURCES, LEFT_OUT, ColumnSource, Declaration, FeedbackSection, TableSource
from lodestar.errors import DataError, Location
from lodestar.process.safe_text import shorten
from lodestar.process.suggestions import listed, suggestion
from lodestar.schema.events import EventType
from lodestar.schema.feedback import BINARY, WEIGHTS, Feedback
from lodestar.schema.time_units import DAY_US, SECOND_US

KEYS = "Correct it; docs/reference/declaration.md has every key."  # remedy of a declaration's faults
MAX_BYTES = 1 << 20
MAX_FAULTS = 20
_OF_PYDANTIC = {COLUMN_SOURCES, "str", "int", "float"}  # steps of a path that are fields of ours or branches of a union


def read(path: Path) -> Declaration:
    """The declaration in a file; DataError E141 where it cannot be read, is no TOML, or has an unknown key or a wrong value."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _fault(path.name, f"the declaration cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise _fault(path.name, f"the declaration has more than {MAX_BYTES:,} bytes")
    return parse(content, path.name)


def parse(content: bytes, name: str = "dataset.toml") -> Declaration:
    """The declaration in the content of a file called `name`; DataError E141 as `read`."""
    try:
        values = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _fault(name, f"the declaration is no TOML in UTF-8 ({error})") from error
    try:
        declaration = Declaration.model_validate(_tuples(values))
    except ValidationError as error:
        raise _faults(name, [_message(one) for one in error.errors(include_url=False)]) from error
    except RecursionError as error:
        raise _fault(name, "the declaration is nested too deeply") from error
    if faults := [*_unknown_columns(declaration), *_unknown_types(declaration), *_contradictions(declaration)]:
        raise _faults(name, faults)
    try:
        feedback_of(declaration)
    except ValueError as error:
        raise _fault(name, f"the declaration contradicts itself: feedback.{error}") from error
    return declaration


def feedback_of(declaration: Declaration) -> Feedback | None:
    """The rules of feedback that a declaration gives, None where it says nothing of them; ValueError, which names the field, as there."""
    section = declaration.feedback
    if declaration.rating_scale is None and section == FeedbackSection():
        return None
    given: dict[str, Any] = {
        "positive": {EventType(kind): float(weight) for kind, weight in weights_of(section).items()} or None,
        "negative": None if section.negative is None else tuple(map(EventType, section.negative)),
        "seen": None if section.seen is None else tuple(map(EventType, section.seen)),
        "domain": section.domain or None,
        "consumption": section.consumption or None,
        "repeat_gap_s": None if section.repeat_gap_days is None else float(section.repeat_gap_days) * DAY_US / SECOND_US,
        "rating_positive_from": section.rating_positive_from,
        "rating_negative_to": section.rating_negative_to,
    }
    low, high = map(float, declaration.rating_scale or schema.RATING_SCALE)
    defaults = _binary(low) if section.protocol else {}
    return Feedback.on_scale(low, high, **defaults | {name: value for name, value in given.items() if value is not None})


def _binary(low: float) -> dict[str, Any]:
    """Fields of the rules by which every event counts alike, for ratings from `low`."""
    return {
        "positive": BINARY.positive,
        "negative": BINARY.negative,
        "seen": BINARY.seen,
        "rating_positive_from": low,
        "rating_negative_to": low - 1,
    }


def outlier_rules(declaration: Declaration) -> dict[str, OutlierRule]:
    """The rules for outliers that a declaration gives, by column."""
    return {
        name: OutlierRule(
            low=None if one.low is None else float(one.low),
            high=None if one.high is None else float(one.high),
            quantile=one.quantile,
            fitted_on=one.fitted_on,
            action=one.rule,
        )
        for name, one in declaration.outliers.items()
    }


def weights_of(section: FeedbackSection) -> dict[str, float]:
    """The weight of each positive type; of types that are only named the default one, empty where nothing is said of them."""
    if isinstance(section.positive, dict):
        return {kind: float(weight) for kind, weight in section.positive.items()}
    return {kind: WEIGHTS[EventType(kind)] for kind in section.positive}


def _tuples(value: Any) -> Any:
    """TOML's arrays as tuples, which do not change."""
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _message(error: Any) -> str:
    """One fault of pydantic's: the path of its key, what is wrong, and the value."""
    path = ".".join(str(part) for part in error["loc"] if part not in _OF_PYDANTIC and not re.search(r"[\[(-]", str(part)))
    if error["type"] == "extra_forbidden":
        return f"{path}: there is no such key{suggestion(str(error['loc'][-1]), _names_at(error['loc']))}"
    if error["type"] == "missing":
        return f"{path} is missing"
    if error["type"] == "value_error":
        return f"{path}: {error['msg'].removeprefix('Value error, ')}"
    return f"{path}: {shorten(repr(error['input']))} should be {error['msg'].removeprefix('Input should be ')}"


def _names_at(place: tuple[Any, ...]) -> list[str]:
    """Names of the keys that are known where an unknown one stands."""
    model: type[BaseModel] | None = Declaration
    for part in place[:-1]:
        if model is Declaration and part in schema.TABLES:
            model = TableSource
        elif isinstance(part, str) and model is TableSource and part not in TableSource.model_fields:
            model = ColumnSource
    return [*model.model_fields] if model else []


def _unknown_columns(declaration: Declaration) -> list[str]:
    """Keys of a table's section that are neither options nor columns of the contract."""
    faults = []
    for table in schema.TABLES.values():
        known = [*table.names, *TableSource.model_fields]
        for source in declaration.sources(table):
            for name in source.column_sources:
                if name not in table.names:
                    faults.append(f"{table.name}.{name}: {table.name} have no such column, nor is it an option{suggestion(name, known)}")
    return faults


def _unknown_types(declaration: Declaration) -> list[str]:
    """Event types that the contract does not have."""
    known = [str(kind) for kind in schema.EventType]
    named = {f"event_types.{value}": kind for value, kind in declaration.event_types.items() if kind != LEFT_OUT}
    if declaration.event_type:
        named["event_type"] = declaration.event_type
    feedback = declaration.feedback
    for key in ("positive", "negative", "seen"):
        named |= {f"feedback.{key}[{kind}]": kind for kind in getattr(feedback, key) or ()}
    return [
        f"{key}: there is no event type {kind!r}{suggestion(kind, known)}; there are:\n{listed(known)}"
        for key, kind in named.items()
        if kind not in known
    ]


def _contradictions(declaration: Declaration) -> list[str]:
    """Values that are well formed and cannot be meant."""
    faults = []
    if declaration.rating_scale and not declaration.rating_scale[0] < declaration.rating_scale[1]:
        faults.append("rating_scale: the lowest rating comes first, then the highest")
    numbers = [column.name for column in schema.EVENTS.columns if column.kind in {schema.Kind.FLOAT, schema.Kind.INT}]
    for name, outliers in declaration.outliers.items():
        if name not in {*numbers, EVENTS_PER_MINUTE}:
            faults.append(f"outliers.{name}: events have no such number{suggestion(name, [*numbers, EVENTS_PER_MINUTE])}")
        elif name == EVENTS_PER_MINUTE and (outliers.high is None or outliers.low is not None):
            faults.append(f"outliers.{name}: give high, the most events of a user in a minute")
    return faults


def _fault(name: str, message: str) -> DataError:
    return DataError("E141", message, remedy=KEYS, place=Location(file=name))


def _faults(name: str, messages: list[str]) -> DataError:
    shown = dict.fromkeys(messages[:MAX_FAULTS])
    more = f"\n… and {len(messages) - MAX_FAULTS} more" if len(messages) > MAX_FAULTS else ""
    return _fault(name, "the declaration has faults:\n" + "\n".join(shown) + more)
