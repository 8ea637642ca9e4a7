"""The skew proof: is what a model was asked with what history gives, to the bit?

Serving logs of each answer the items and the counts that the store gave, and the moment as of which it knew each. From the events that
were known by then, what training is made of is made again, by the same code, and must be the same.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.tables import Tables
from lodestar.errors import DataError, Place, UsageError
from lodestar.features import sequences, taken
from lodestar.features.relations import opened_for
from lodestar.features.skew_counts import Key, Values, rebuilt
from lodestar.features.taken import Rows
from lodestar.progress import Progress

NOTHING = "nothing"


class Vector(NamedTuple):
    """What was served: to whom, as of when, which items, the seconds between them where a model looks at time, and a ranker's counts.

    `generation` is the feature generation that all of it was read from, on whose scale counts are; empty where the log names none.
    """

    user: str
    known_us: int
    items: tuple[str, ...]
    gaps_s: tuple[float, ...] = ()
    counts: tuple[tuple[Key, Values], ...] = ()
    generation: str = ""


class Past(NamedTuple):
    """A history as training has it: items, and the seconds since the one before each."""

    items: tuple[str, ...]
    gaps_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A feature of a request that history gives another value for."""

    request_id: str
    user: str
    feature: str
    served: str
    history: str

    def __str__(self) -> str:
        return f"request {self.request_id} of {self.user}: {self.feature} was served as {self.served}, and history gives {self.history}"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How many requests were looked at, those that differ, and how old what was served was: the median and the oldest."""

    requests: int
    differences: tuple[Difference, ...]
    median_age: timedelta
    oldest: timedelta

    @property
    def identical(self) -> int:
        return self.requests - len(self.differences)


@dataclass(frozen=True, kw_only=True)
class Log:
    """Requests in parallel, and the vectors that they were answered with; most users are served one vector many times."""

    vectors: list[Vector] = field(default_factory=list)
    request: list[str] = field(default_factory=list)
    vector: "array[int]" = field(default_factory=lambda: array("q"))
    shown_us: "array[int]" = field(default_factory=lambda: array("q"))

    def since(self, last: timedelta) -> NDArray[np.int64]:
        """Which requests lie in the last hours of the log."""
        shown_us = np.asarray(self.shown_us, dtype=np.int64)
        return np.flatnonzero(shown_us >= shown_us.max(initial=0) - last // timedelta(microseconds=1))

    def generations(self, last: timedelta) -> set[str]:
        """The feature generations that requests of the last hours were answered from."""
        served = np.asarray(self.vector, dtype=np.int64)[self.since(last)]
        return {self.vectors[place].generation for place in np.unique(served)}


def read(files: Sequence[Path]) -> Log:
    """Proof logs as JSON lines; DataError E101 or E107 names the line that is none."""
    log, known = Log(), dict[Vector, int]()
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                request, shown_us, vector = _parsed(line, Place(file=file.name, line=number))
                if vector not in known:
                    known[vector] = len(log.vectors)
                    log.vectors.append(vector)
                log.request.append(request)
                log.vector.append(known[vector])
                log.shown_us.append(shown_us)
    return log


def _parsed(line: bytes, place: Place) -> tuple[str, int, Vector]:
    try:
        row = json.loads(line)
        shown = datetime.fromisoformat(row[schema.SHOWN_AT])
        counts = tuple(_counted(*one) for one in row.get(schema.COUNTS, ()))
        items, gaps_s = tuple(map(str, row[schema.RECENT_ITEMS])), tuple(map(float, row.get(schema.RECENT_GAPS_S, ())))
        generation = str(row.get(schema.FEATURE_GENERATION, ""))
        vector = Vector(str(row[schema.USER_ID]), int(row[schema.KNOWN_US]), items, gaps_s, counts, generation)
        return str(row[schema.REQUEST_ID]), _us(shown), vector
    except KeyError as error:
        raise DataError("E101", f"there is no {error.args[0]}", remedy="Give the log that --proof wrote.", place=place) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(
            "E107", f"this is no row of a proof log ({error})", remedy="Give the log that --proof wrote.", place=place
        ) from error


def _counted(view: str, entity: str, known_us: int, values: Sequence[float]) -> tuple[Key, Values]:
    found = tuple(map(float, values))
    if view not in schema.VIEWS or len(found) != len(schema.VIEWS[view].counts):
        raise ValueError(f"{view!r} has no {len(found)} counts")
    return Key(view, str(entity), int(known_us)), found


def _us(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} names no time zone")
    return (moment - datetime.fromtimestamp(0, moment.tzinfo)) // timedelta(microseconds=1)


def prove(log: Log, found: Mapping[str, Tables], last: timedelta, scales: Mapping[str, Mapping[str, float]]) -> Proof:
    """Compare what the requests of the last hours were served with what their generation's tables give as of the same moments.

    `found` has the tables of each feature generation of `log.generations`, and `scales` those of the counts (`scalers.json`); without
    counts in the log they are not looked at. UsageError where counts were served of a generation that is none of them.
    """
    requests = log.since(last)
    served = np.asarray(log.vector, dtype=np.int64)[requests]
    wanted = [log.vectors[place] for place in np.unique(served)]
    history, counts = {}, {}
    for generation, vectors in _by_generation(wanted).items():
        history[generation] = dict(_rebuilt(found[generation], vectors))
        keys = [key for vector in vectors for key, _ in vector.counts]
        counts[generation] = rebuilt(found[generation], keys, _scale(scales, generation)) if keys else {}
    shown_us = np.asarray(log.shown_us, dtype=np.int64)[requests]
    differences, ages_us = [], []
    for request, place, moment_us in zip(requests, served, shown_us, strict=True):
        vector = log.vectors[place]
        past = history[vector.generation][vector.user, vector.known_us]
        different = _difference(vector, past, int(moment_us)) or _miscounted(vector, counts[vector.generation], int(moment_us))
        if different is not None:
            differences.append(Difference(request_id=log.request[request], user=vector.user, **different))
        if vector.known_us:
            ages_us.append(int(moment_us) - vector.known_us)
    ages = np.maximum(ages_us or [0], 0)
    return Proof(
        requests=len(requests),
        differences=tuple(differences),
        median_age=timedelta(microseconds=int(np.median(ages))),
        oldest=timedelta(microseconds=int(ages.max())),
    )


def _by_generation(wanted: Sequence[Vector]) -> dict[str, list[Vector]]:
    vectors: dict[str, list[Vector]] = {}
    for vector in wanted:
        vectors.setdefault(vector.generation, []).append(vector)
    return vectors


def _scale(scales: Mapping[str, Mapping[str, float]], generation: str) -> Mapping[str, float]:
    if generation not in scales:
        given = ", ".join(scales) or "none"
        raise UsageError(
            f"counts were served of feature generation {generation or 'without a name'}, and --features gives {given}; "
            "add --features with the folder of that generation's features"
        )
    return scales[generation]


def _difference(vector: Vector, history: Past, shown_us: int) -> dict[str, str] | None:
    """The first feature that differs, as it was served and as history has it."""
    if vector.known_us > shown_us:
        return {"feature": schema.KNOWN_US, "served": str(vector.known_us), "history": f"at most {shown_us}, when it was shown"}
    found = _first(schema.RECENT_ITEMS, vector.items, history.items)
    return found or (_first(schema.RECENT_GAPS_S, vector.gaps_s, history.gaps_s) if vector.gaps_s else None)


def _first(feature: str, served: Sequence[Any], history: Sequence[Any]) -> dict[str, str] | None:
    """The first of a list that differs."""
    if served == history:
        return None
    place = next(
        (place for place, pair in enumerate(zip(served, history, strict=False)) if pair[0] != pair[1]), min(len(served), len(history))
    )
    values = [repr(items[place]) if place < len(items) else NOTHING for items in (served, history)]
    return {"feature": f"{feature}[{place}]", "served": values[0], "history": values[1]}


def _miscounted(vector: Vector, history: Mapping[Key, Values], shown_us: int) -> dict[str, str] | None:
    """The first count that differs."""
    for key, served in vector.counts:
        if key.known_us > shown_us:
            feature = f"{schema.KNOWN_US} of {key.entity}"
            return {"feature": feature, "served": str(key.known_us), "history": f"at most {shown_us}, when it was shown"}
        for count, ours, theirs in zip(schema.VIEWS[key.view].counts, served, history[key], strict=True):
            if ours != theirs:
                return {"feature": f"{count.name} of {key.entity}", "served": repr(ours), "history": repr(theirs)}
    return None


def _rebuilt(found: Tables, wanted: Sequence[Vector]) -> Iterator[tuple[tuple[str, int], Past]]:
    """By user and moment, what training has."""
    moments: dict[str, set[int]] = {}
    for vector in wanted:
        moments.setdefault(vector.user, set()).add(vector.known_us)
    with opened_for(found, schema.USER_ID, list(moments)) as database, Progress("prove features", len(moments)) as progress:
        users, items = taken.names(database, schema.USER_ID), taken.names(database, schema.ITEM_ID)
        for events in taken.chunks(database, schema.USER_ID):
            for rows in _by_user(events):
                user = users[int(rows[taken.NUMBERS[schema.USER_ID]][0])].as_py()
                for known_us in moments.pop(user):
                    yield (user, known_us), _past(rows[rows["known"] <= known_us], users, items)
                progress.advance()
        for user, never in moments.items():  # nothing is known of them
            yield from (((user, known_us), Past((), ())) for known_us in never)
            progress.advance()


def _by_user(events: Rows) -> Iterator[Rows]:
    user = events[taken.NUMBERS[schema.USER_ID]]
    events = events[np.argsort(user, kind="stable")]
    starts = np.flatnonzero(np.diff(events[taken.NUMBERS[schema.USER_ID]]))
    yield from np.split(events, starts + 1)


def _past(rows: Rows, users: Any, items: Any) -> Past:
    if len(rows) == 0:
        return Past((), ())
    made = sequences.recent(sequences.first_of_each(rows), users, items)
    return Past(*(tuple(made[name][0].as_py()) for name in (schema.RECENT_ITEMS, schema.RECENT_GAPS_S)))
