"""Training-serving skew check: rebuild the features of logged requests as training would, and compare them bit by bit.

Serving logs per response the history and the counts from the online store, and the time as of which each was known. Training's code
rebuilds both from the events known by then; they must be equal.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lodestar import schema
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError, Location, UsageError
from lodestar.features.batch import event_partitions, sequences
from lodestar.features.batch.duckdb_views import connect_for, rules_of
from lodestar.features.batch.event_partitions import Rows
from lodestar.monitoring.skew_counts import Key, Values, rebuild_counts
from lodestar.progress import Progress
from lodestar.schema.arrays import Int64, Longs
from lodestar.schema.feedback import Feedback
from lodestar.schema.time_units import NEVER

EMPTY_HISTORY = "nothing"


class ServedFeatures(NamedTuple):
    """Features of a request as served: user, time as of which they were known (UTC µs), history, its time gaps, a ranker's counts.

    `gaps_s` is empty unless the model is time-aware. `generation` is the feature generation they were read from, whose scale the counts
    have; empty where the log names none.
    """

    user: str
    known_us: int
    items: tuple[str, ...]
    gaps_s: tuple[float, ...] = ()
    counts: tuple[tuple[Key, Values], ...] = ()
    generation: str = ""


class RebuiltHistory(NamedTuple):
    """A history as training builds it: items, oldest first, and the seconds since the previous one of each."""

    items: tuple[str, ...]
    gaps_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Skew of a request: a feature whose served value differs from the one rebuilt from the log."""

    request_id: str
    user: str
    feature: str
    served: str
    history: str

    def __str__(self) -> str:
        return f"request {self.request_id} of {self.user}: {self.feature} was served as {self.served}, and history gives {self.history}"


@dataclass(frozen=True, kw_only=True)
class SkewReport:
    """Result of a skew check: number of requests, the first difference of each that differs, and the age of served features.

    The age is the time from `known_us` to the response, median and maximum, over requests with a history.
    """

    requests: int
    differences: tuple[Difference, ...]
    median_age: timedelta
    oldest: timedelta

    @property
    def identical(self) -> int:
        """Number of requests without skew."""
        return self.requests - len(self.differences)


@dataclass(frozen=True, kw_only=True)
class Log:
    """Feature log: requests in parallel, each with the index of its features in `vectors`, which are stored once."""

    vectors: list[ServedFeatures] = field(default_factory=list)
    request: list[str] = field(default_factory=list)
    vector: "array[int]" = field(default_factory=lambda: array("q"))
    shown_us: "array[int]" = field(default_factory=lambda: array("q"))

    def since(self, last: timedelta) -> Int64[Longs, " rows"]:
        """Indices of the requests within `last` of the newest one."""
        shown_us = np.asarray(self.shown_us, dtype=np.int64)
        return np.flatnonzero(shown_us.max(initial=NEVER) - shown_us <= last // timedelta(microseconds=1))

    def generations(self, last: timedelta) -> set[str]:
        """Feature generations of the requests within `last` of the newest one."""
        served = np.asarray(self.vector, dtype=np.int64)[self.since(last)]
        return {self.vectors[place].generation for place in np.unique(served)}


def read(files: Sequence[Path]) -> Log:
    """Read feature logs (JSON lines); DataError E101 or E109 names the file and line that is no row of one, E201 is for no rows."""
    log, known = Log(), dict[ServedFeatures, int]()
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                request, shown_us, vector = _parse_row(line, Location(file=file.name, line=number))
                if vector not in known:
                    known[vector] = len(log.vectors)
                    log.vectors.append(vector)
                log.request.append(request)
                log.vector.append(known[vector])
                log.shown_us.append(shown_us)
    if not log.request:
        raise DataError("E201", "the feature log has no rows", remedy="Serve with --feature-log, and test it after requests.")
    return log


def _parse_row(line: bytes, place: Location) -> tuple[str, int, ServedFeatures]:
    """Request id, response time (UTC µs) and features of a line of a feature log; DataError E101 or E109."""
    try:
        row = json.loads(line.decode())
        shown = datetime.fromisoformat(row[schema.SHOWN_AT])
        counts = tuple(_parse_counts(*one) for one in row.get(schema.COUNTS, ()))
        items, gaps_s = tuple(map(str, row[schema.RECENT_ITEMS])), tuple(map(float, row.get(schema.RECENT_GAPS_S, ())))
        generation = str(row.get(schema.FEATURE_GENERATION, ""))
        vector = ServedFeatures(str(row[schema.USER_ID]), int(row[schema.KNOWN_US]), items, gaps_s, counts, generation)
        return str(row[schema.REQUEST_ID]), _to_us(shown), vector
    except KeyError as error:
        raise DataError("E101", f"there is no {error.args[0]}", remedy="Give the log that --feature-log wrote.", place=place) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(
            "E109", f"this is no row of a feature log ({error})", remedy="Give the log that --feature-log wrote.", place=place
        ) from error


def _parse_counts(view: str, entity: str, known_us: int, values: Sequence[float]) -> tuple[Key, Values]:
    found = tuple(map(float, values))
    if view not in schema.VIEWS or len(found) != len(schema.VIEWS[view].counts):
        raise ValueError(f"{view!r} has no {len(found)} counts")
    return Key(view, str(entity), int(known_us)), found


def _to_us(timestamp: datetime) -> int:
    if timestamp.tzinfo is None:
        raise ValueError(f"{timestamp.isoformat()} names no time zone")
    return (timestamp - datetime.fromtimestamp(0, timestamp.tzinfo)) // timedelta(microseconds=1)


def check_skew(log: Log, tables: Mapping[str, Tables], last: timedelta, scales: Mapping[str, Mapping[str, float]]) -> SkewReport:
    """Compare the served features of requests within `last` of the newest one with features rebuilt as of the same times.

    `tables` maps each feature generation of `log.generations` to its tables, `scales` to the scale of its counts (`scalers.json`), which is
    used only if counts were served. UsageError where counts were served from a generation that `scales` lacks.
    """
    requests = log.since(last)
    served = np.asarray(log.vector, dtype=np.int64)[requests]
    wanted = [log.vectors[place] for place in np.unique(served)]
    history, counts = {}, {}
    for generation, vectors in _by_generation(wanted).items():
        history[generation] = dict(_rebuilt_histories(tables[generation], vectors))
        keys = [key for vector in vectors for key, _ in vector.counts]
        counts[generation] = rebuild_counts(tables[generation], keys, _scale(scales, generation)) if keys else {}
    shown_us = np.asarray(log.shown_us, dtype=np.int64)[requests]
    differences, ages_us = [], []
    for request, place, shown_at_us in zip(requests, served, shown_us, strict=True):
        vector = log.vectors[place]
        past = history[vector.generation][vector.user, vector.known_us]
        different = _difference(vector, past, int(shown_at_us)) or _count_difference(vector, counts[vector.generation], int(shown_at_us))
        if different is not None:
            differences.append(Difference(request_id=log.request[request], user=vector.user, **different))
        if vector.items:
            ages_us.append(int(shown_at_us) - vector.known_us)
    ages = np.maximum(ages_us or [0], 0)
    return SkewReport(
        requests=len(requests),
        differences=tuple(differences),
        median_age=timedelta(microseconds=int(np.median(ages))),
        oldest=timedelta(microseconds=int(ages.max())),
    )


def _by_generation(wanted: Sequence[ServedFeatures]) -> dict[str, list[ServedFeatures]]:
    vectors: dict[str, list[ServedFeatures]] = {}
    for vector in wanted:
        vectors.setdefault(vector.generation, []).append(vector)
    return vectors


def _scale(scales: Mapping[str, Mapping[str, float]], generation: str) -> Mapping[str, float]:
    if generation not in scales:
        given = ", ".join(scales) or "none"
        raise UsageError(
            f"counts were served from feature generation {generation or 'without a name'}, and --features gives {given}; "
            "add --features with the folder of that generation's features"
        )
    return scales[generation]


def _difference(vector: ServedFeatures, history: RebuiltHistory, shown_us: int) -> dict[str, str] | None:
    """The first feature of a request that differs, as served and as rebuilt; None without a difference."""
    if vector.known_us > shown_us:
        return {"feature": schema.KNOWN_US, "served": str(vector.known_us), "history": f"at most {shown_us}, when it was shown"}
    found = _first(schema.RECENT_ITEMS, vector.items, history.items)
    return found or (_first(schema.RECENT_GAPS_S, vector.gaps_s, history.gaps_s) if vector.gaps_s else None)


def _first(feature: str, served: Sequence[Any], history: Sequence[Any]) -> dict[str, str] | None:
    """The first element of two lists that differs; None where they are equal."""
    if served == history:
        return None
    place = next(
        (place for place, pair in enumerate(zip(served, history, strict=False)) if pair[0] != pair[1]), min(len(served), len(history))
    )
    values = [repr(items[place]) if place < len(items) else EMPTY_HISTORY for items in (served, history)]
    return {"feature": f"{feature}[{place}]", "served": values[0], "history": values[1]}


def _count_difference(vector: ServedFeatures, history: Mapping[Key, Values], shown_us: int) -> dict[str, str] | None:
    """The first count feature that differs; None without a difference."""
    for key, served in vector.counts:
        if key.known_us > shown_us:
            feature = f"{schema.KNOWN_US} of {key.entity}"
            return {"feature": feature, "served": str(key.known_us), "history": f"at most {shown_us}, when it was shown"}
        for name, ours, theirs in zip(schema.VIEWS[key.view].count_names, served, history[key], strict=True):
            if ours != theirs:
                return {"feature": f"{name} of {key.entity}", "served": repr(ours), "history": repr(theirs)}
    return None


def _rebuilt_histories(tables: Tables, wanted: Sequence[ServedFeatures]) -> Iterator[tuple[tuple[str, int], RebuiltHistory]]:
    """Rebuilt histories, by user and the time as of which they are known."""
    known_times_us: dict[str, set[int]] = {}
    for vector in wanted:
        known_times_us.setdefault(vector.user, set()).add(vector.known_us)
    with connect_for(tables, schema.USER_ID, list(known_times_us)) as database, Progress("check skew", len(known_times_us)) as progress:
        users, items = event_partitions.ids(database, schema.USER_ID), event_partitions.ids(database, schema.ITEM_ID)
        rules = rules_of(database)
        for events in event_partitions.chunks(database, schema.USER_ID):
            for rows in _by_user(events):
                user = users[int(rows[event_partitions.NUMBERS[schema.USER_ID]][0])].as_py()
                for known_us in known_times_us.pop(user):
                    yield (user, known_us), _history_of(rows[rows["known"] <= known_us], users, items, rules)
                progress.advance()
        for user, unmatched_us in known_times_us.items():  # users without an event
            yield from (((user, known_us), RebuiltHistory((), ())) for known_us in unmatched_us)
            progress.advance()


def _by_user(events: Rows) -> Iterator[Rows]:
    user = events[event_partitions.NUMBERS[schema.USER_ID]]
    events = events[np.argsort(user, kind="stable")]
    starts = np.flatnonzero(np.diff(events[event_partitions.NUMBERS[schema.USER_ID]]))
    yield from np.split(events, starts + 1)


def _history_of(rows: Rows, users: Any, items: Any, rules: Feedback) -> RebuiltHistory:
    rebuilt_rows = sequences.recent(sequences.select(rows, rules), users, items)
    if len(rebuilt_rows) == 0:
        return RebuiltHistory((), ())
    return RebuiltHistory(*(tuple(rebuilt_rows[name][0].as_py()) for name in (schema.RECENT_ITEMS, schema.RECENT_GAPS_S)))
