"""Outliers among events: values beyond declared or fitted bounds, and users with more events in a minute than a person has.

Bounds are fitted on the earliest events only, the part that trains, and kept in the tables' manifest: later events are held to them and do
not move them. Whatever a rule does is counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from lodestar import schema
from lodestar.data.contract.cells.sql import quoted
from lodestar.data.contract.checks import CheckedTable
from lodestar.data.contract.defaults import checked_name
from lodestar.schema.time_units import MINUTE_US

EVENTS_PER_MINUTE = "events_per_minute"  # in place of a column: events of one user in one minute
_EVENTS = checked_name(schema.EVENTS)


@dataclass(frozen=True, kw_only=True)
class OutlierRule:
    """Bounds of a number column of events, or of events of one user in one minute, and what is done with what lies beyond.

    `quantile` replaces `high` by that quantile of the earliest share `fitted_on` of the events. keep: it is only counted. clip: the value
    becomes the bound; of a minute's events the first ones stay. drop: the row is left out; of such a minute every one.
    """

    low: float | None = None
    high: float | None = None
    quantile: float | None = None
    fitted_on: float = 0.8
    action: Literal["keep", "clip", "drop"] = "drop"


def apply(
    database: Any, checked: CheckedTable, rules: Mapping[str, OutlierRule], fitted: Mapping[str, float]
) -> tuple[CheckedTable, dict[str, float]]:
    """Apply rules by column to the validated events; returns their table with what was dropped and noted, and the fitted bounds by column.

    `fitted` are bounds that an earlier ingest fitted, which hold on.
    """
    bounds = dict(fitted)
    dropped, notes = dict(checked.dropped), list(checked.notes)
    for name, rule in rules.items():
        if name == EVENTS_PER_MINUTE:
            count, left_out = _limit_minutes(database, checked, rule)
        elif name in checked.columns:
            if rule.quantile is not None and name not in bounds:
                bounds |= _fit(database, name, rule)
            count, left_out = _limit_values(database, name, replace(rule, high=bounds.get(name, rule.high)))
        else:
            notes.append(f"outliers.{name}: no file has the column, so there is nothing to hold to it")
            continue
        if left_out:
            dropped[f"outlier of {name}"] = left_out
        notes.append(f"{count:,} outliers of {name} ({_bounds(rule, bounds.get(name, rule.high))}), {_DONE[rule.action]}")
    return replace(checked, dropped=dict(sorted(dropped.items())), notes=tuple(notes)), bounds


_DONE = {"keep": "kept", "clip": "clipped", "drop": "left out"}


def _bounds(rule: OutlierRule, high: float | None) -> str:
    parts = [f"below {rule.low:g}" if rule.low is not None else "", f"above {high:g}" if high is not None else ""]
    return " or ".join(part for part in parts if part)


def _fit(database: Any, name: str, rule: OutlierRule) -> dict[str, float]:
    """The upper bound of a column on the earliest events; nothing where none of them has a value."""
    time, value = quoted(schema.EVENT_TIME), quoted(name)
    (bound,) = database.execute(f"""
        SELECT quantile_cont({value}, {rule.quantile}) FROM {_EVENTS}
        WHERE {time} <= (SELECT quantile_disc({time}, {rule.fitted_on}) FROM {_EVENTS})""").fetchone()
    return {} if bound is None else {name: float(bound)}


def _limit_values(database: Any, name: str, rule: OutlierRule) -> tuple[int, int]:
    """Number of values beyond the bounds, and of rows left out for it."""
    value = quoted(name)
    beyond = [f"{value} < {rule.low}" if rule.low is not None else "", f"{value} > {rule.high}" if rule.high is not None else ""]
    condition = " OR ".join(part for part in beyond if part)
    if not condition:
        return 0, 0
    (count,) = database.execute(f"SELECT count(*) FROM {_EVENTS} WHERE {condition}").fetchone()
    if rule.action == "clip":
        low = f"greatest({value}, {rule.low})" if rule.low is not None else value
        database.execute(
            f"UPDATE {_EVENTS} SET {value} = {f'least({low}, {rule.high})' if rule.high is not None else low} WHERE {condition}"
        )
    if rule.action == "drop":
        database.execute(f"DELETE FROM {_EVENTS} WHERE {condition}")
    return int(count), int(count) if rule.action == "drop" else 0


def _limit_minutes(database: Any, checked: CheckedTable, rule: OutlierRule) -> tuple[int, int]:
    """Number of events beyond the limit of a user's minute, and of rows left out for it."""
    who = [quoted(name) for name in (schema.USER_ID, schema.SESSION_ID) if name in checked.columns]
    minute = f"coalesce({', '.join([*who, 'NULL'])}), {quoted(schema.EVENT_TIME)} // {MINUTE_US}"
    place = "count(*)" if rule.action == "drop" else "row_number()"
    order = "" if rule.action == "drop" else f" ORDER BY {quoted(schema.EVENT_TIME)}, row"
    rows = f"SELECT row FROM {_EVENTS} QUALIFY {place} OVER (PARTITION BY {minute}{order}) > {rule.high}"
    (count,) = database.execute(f"SELECT count(*) FROM ({rows})").fetchone()
    if rule.action == "keep" or not count:
        return int(count), 0
    database.execute(f"DELETE FROM {_EVENTS} WHERE row IN ({rows})")
    return int(count), int(count)
