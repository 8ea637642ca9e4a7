"""What was known of entities at moments: each asked-for row gets the newest row of its entity that was known by then.

A row counts at a moment if it happened and had become known by then and is not older than the time to live. The newest by event time wins;
of equal times the one that became known last; of those the one that lies last. Files are read a batch at a time, so memory holds what is
asked and answered, and of a history of any length one row group's keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lodestar.errors import DataError, UsageError
from lodestar.features.history import NEVER, NONE, History, Ints, microseconds, taken

PACKED_BITS = 63
BATCH_ROWS = 65_536  # fit into a processor's cache
ROWS_AT_ONCE = 20_000


def join(asked: Any, moment: str, histories: Sequence[History], *, only_known: bool) -> Any:
    """A table's rows, every one once and in their order, with what was known at each one's `moment`; null where nothing was.

    `only_known` leaves out what became known after the moment; without it that time only decides between equal event times.
    DataError E107 where keys cannot be compared, UsageError where a feature has the name of a column that is there already.
    """
    moment_us = microseconds(asked[moment])
    for history in histories:
        if twice := set(history.features) & set(asked.column_names):
            raise UsageError(f"{sorted(twice)} are columns and features at once: rename the columns, or ask for full feature names")
        entity, numbering = _numbered(asked, history)
        newest = _Newest(entity, moment_us)
        oldest_us = max(newest.first_us - history.ttl_us, NEVER) if history.ttl_us else NEVER
        for batch in _batches(history, numbering):
            newest.take(batch.until(newest.last_us, since_us=oldest_us, only_known=only_known))
        places = newest.places(history.ttl_us)
        for name, column in zip(history.features, taken(history, list(history.features.values()), places), strict=True):
            asked = asked.append_column(name, column)
    return asked


def latest(history: History, start_us: int, end_us: int) -> Any:
    """The newest row of every entity among those whose time lies within the bounds: keys, features, and both times."""
    parts = list(latest_parts(history, start_us, end_us))
    return pa.concat_tables(parts)


def latest_parts(history: History, start_us: int, end_us: int) -> Iterator[Any]:
    """The same some rows at a time, in the order of the files; at least one table, which may have no row."""
    keys, columns = list(history.keys.values()), history.columns
    asked = _entities(history, keys)
    entity, numbering = _numbered(asked.rename_columns(list(history.keys)), history)
    newest = _Newest(entity, np.full(len(asked), end_us))
    for batch in _batches(history, numbering):
        newest.take(batch.until(newest.last_us, since_us=start_us, only_known=False))
    places = newest.places(0)
    places = np.sort(places[places != NONE])
    for start in range(0, max(1, len(places)), ROWS_AT_ONCE):
        yield pa.table(dict(zip(columns, taken(history, columns, places[start : start + ROWS_AT_ONCE]), strict=True)))


def _entities(history: History, keys: list[str]) -> Any:
    """Every entity that has a row, once."""
    found = [history.schema().empty_table().select(keys)]
    for _, _, file, group in history.groups():
        found.append(file.read_row_group(group, keys, use_threads=False).group_by(keys).aggregate([]))
    return pa.concat_tables(found).group_by(keys).aggregate([])


@dataclass(frozen=True, kw_only=True)
class _Numbering:
    """Entities as numbers: the values of each key, and behind each further key the combinations that occur."""

    values: tuple[Any, ...]
    combinations: tuple[Ints, ...]

    def of(self, columns: Sequence[Any], count: int) -> Ints:
        """The number of each row's keys, -1 where one is null or not among the values."""
        return self.numbers([_index(column, values) for column, values in zip(columns, self.values, strict=True)], count)

    def numbers(self, parts: Sequence[Ints], count: int) -> Ints:
        """The same from where each key stands among its values; without keys all rows are of one entity."""
        number = parts[0] if parts else np.zeros(count, dtype=np.int64)
        for place, part in enumerate(parts[1:], start=1):
            both = number.astype(np.int64) * len(self.values[place]) + part
            number = np.where((number == NONE) | (part == NONE), NONE, both)
            if place <= len(self.combinations):
                number = _found(number, self.combinations[place - 1])
        return number


def _numbered(asked: Any, history: History) -> tuple[Ints, _Numbering]:
    """The asked-for entities' numbers, and what gives rows of the files the same."""
    schema = history.schema()
    columns = [_encoded(asked[name], schema.field(column).type, name) for name, column in history.keys.items()]
    parts = [column.indices.fill_null(NONE).to_numpy(zero_copy_only=False) for column in columns]
    numbering = _Numbering(values=tuple(column.dictionary for column in columns), combinations=())
    for count in range(2, len(columns) + 1):
        number = np.unique(numbering.numbers(parts[:count], len(asked)))
        numbering = _Numbering(values=numbering.values, combinations=(*numbering.combinations, number[number != NONE]))
    return numbering.numbers(parts, len(asked)), numbering


def _encoded(column: Any, kind: Any, name: str) -> Any:
    """A key as the files have it, each value once and where it occurs."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    try:
        return column.cast(kind).combine_chunks().dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        message = f"{name} has the type {column.type} and the feature's rows have {kind}"
        raise DataError("E107", message, remedy="Give keys of one type.") from error


def _index(column: Any, values: Any) -> Ints:
    if not pa.types.is_dictionary(column.type):
        return np.asarray(pc.index_in(column, value_set=values).fill_null(NONE).to_numpy(), dtype=np.int32)
    parts = [np.empty(0, dtype=np.int32)]
    for chunk in column.chunks:
        known = pc.index_in(chunk.dictionary, value_set=values).fill_null(NONE).to_numpy()
        parts.append(np.append(known, np.int32(NONE))[chunk.indices.fill_null(NONE).to_numpy()])  # what is null is the last, at -1
    return np.concatenate(parts)


def _found(number: Ints, ordered: Ints) -> Ints:
    """Where each number stands among ordered ones, -1 where it does not."""
    if len(ordered) == 0:
        return np.full(len(number), NONE)
    at = np.minimum(np.searchsorted(ordered, number), len(ordered) - 1)
    return np.where(ordered[at] == number, at, NONE)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Rows that lie together: the entity's number, when it happened, became known and counts from, and the place in the files."""

    entity: Ints
    time_us: Ints
    known_us: Ints
    since_us: Ints
    place: Ints

    def until(self, last_us: Ints, *, since_us: int, only_known: bool) -> "_Batch":
        """Rows that happened since a moment and by the last one of their entity and, if it must be, had become known by that too.

        The last moments are by the entity's number, and behind them that of rows without one.
        """
        begins_us = np.maximum(self.time_us, self.known_us) if only_known else self.time_us
        counts = (begins_us <= last_us[self.entity]) & (self.time_us >= max(since_us, NEVER + 1))
        if only_known:
            counts &= self.known_us > NEVER
        kept = np.flatnonzero(counts)
        parts = (self.entity, self.time_us, self.known_us, begins_us, self.place)
        entity, time_us, known_us, begins_us, place = (part[kept] for part in parts)
        return _Batch(entity=entity, time_us=time_us, known_us=known_us, since_us=begins_us, place=place)


def _batches(history: History, numbering: _Numbering) -> Iterator[_Batch]:
    schema, keys = history.schema(), list(history.keys.values())
    texts = [key for key in keys if pa.types.is_string(schema.field(key).type)]
    times = list(dict.fromkeys([history.time, history.known or history.time]))
    for start, stop, file, group in history.groups(as_numbers=texts):
        content = file.read_row_group(group, keys, use_threads=False)
        entity, done = numbering.of([content[key] for key in keys], stop - start), 0
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=times, use_threads=False):
            time_us, known_us = (microseconds(batch.column(name)) for name in (times[0], times[-1]))
            end = done + len(batch)
            place = np.arange(start + done, start + end)
            yield _Batch(entity=entity[done:end], time_us=time_us, known_us=known_us, since_us=time_us, place=place)
            done = end


class _Newest:
    """The newest row so far for each asked-for row, as batches come in the order of their places.

    Asked-for rows stand in order of entity and moment. A row counts from the first of them that is not before it to the entity's last, so
    it is noted at that first one alone if it is the newest there, and at the end what is noted holds until something newer is.
    """

    def __init__(self, entity: Ints, moment_us: Ints) -> None:
        self._count = len(entity)
        self.last_us = np.full(int(entity.max(initial=NONE)) + 2, NEVER)  # the last is that of no entity
        asker = np.flatnonzero((entity != NONE) & (moment_us > NEVER))
        entity, moment_us = entity[asker], moment_us[asker]
        np.maximum.at(self.last_us, entity, moment_us)
        latest_us = int(moment_us.max(initial=NEVER))
        self.first_us = int(moment_us.min(initial=latest_us))
        span, bits = latest_us - self.first_us, int(entity.max(initial=0)).bit_length()
        # Where moments lie too far apart to share a word with an entity, their ranks do.
        self._moments_us = np.unique(moment_us) if span.bit_length() + bits > PACKED_BITS else None
        self._shift = np.uint64((span if self._moments_us is None else len(self._moments_us)).bit_length())
        wanted = self._packed(entity, moment_us)
        order = np.argsort(wanted)
        self._asker, self._wanted, self._moment_us = asker[order], wanted[order], moment_us[order]
        ends = np.cumsum(np.bincount(entity, minlength=len(self.last_us)))
        self._starts, self._lasts = np.append(0, ends[:-1]), ends - 1
        self._time_us, self._known_us = np.full(len(asker), NEVER), np.full(len(asker), NEVER)
        self._place = np.full(len(asker), NONE)

    def take(self, rows: _Batch) -> None:
        at = self._first(rows.entity, rows.since_us)
        before_us = self._time_us[at]
        np.maximum.at(self._time_us, at, rows.time_us)
        row = np.flatnonzero(rows.time_us == self._time_us[at])
        at, is_newer = at[row], rows.time_us[row] > before_us[row]
        self._known_us[at[is_newer]] = NEVER
        known_us = rows.known_us[row]
        np.maximum.at(self._known_us, at, known_us)
        best = np.flatnonzero(known_us == self._known_us[at])
        np.maximum.at(self._place, at[best], rows.place[row[best]])

    def _first(self, entity: Ints, since_us: Ints) -> Ints:
        """Where the first asked-for row is that is not before each moment, of entities whose last one is not."""
        at = self._starts[entity]
        several = np.flatnonzero(at < self._lasts[entity])
        packed = self._packed(entity[several], since_us[several])
        order = np.argsort(packed)  # searched in this order, neighbours lie in the same cache lines
        at[several[order]] = np.searchsorted(self._wanted, packed[order])
        return at

    def places(self, ttl_us: int) -> Ints:
        """The place of the row that holds for each asked-for row, -1 where none does."""
        noted = np.flatnonzero(self._place != NONE)
        noted = noted[_ordered(self._time_us[noted], self._known_us[noted], self._place[noted])]
        highest = (self._wanted >> self._shift).astype(np.int64) * (len(noted) + 1)
        highest[noted] += np.arange(1, len(noted) + 1)
        held = np.maximum.accumulate(highest) % (len(noted) + 1) - 1
        asked = np.flatnonzero(held != NONE)
        at = noted[held[asked]]
        if ttl_us:
            is_fresh = self._time_us[at] >= self._moment_us[asked] - ttl_us
            asked, at = asked[is_fresh], at[is_fresh]
        found = np.full(self._count, NONE)
        found[self._asker[asked]] = self._place[at]
        return found

    def _packed(self, entity: Ints, time_us: Ints) -> NDArray[np.uint64]:
        """An entity's number and the first asked-for moment that is not before a time, in one word that sorts as both."""
        if self._moments_us is None:
            since = np.maximum(time_us, self.first_us) - self.first_us
        else:
            since = np.searchsorted(self._moments_us, time_us)
        packed = entity.astype(np.uint64)
        packed <<= self._shift
        packed |= since.view(np.uint64)
        return packed


def _ordered(time_us: Ints, known_us: Ints, place: Ints) -> Ints:
    """In order of happening, becoming known and place; sorting by all three takes five times as long."""
    order = np.argsort(time_us)
    ordered = time_us[order]
    is_tie = ordered[1:] == ordered[:-1]
    if is_tie.any():
        tied = np.flatnonzero(np.append(is_tie, False) | np.append(False, is_tie))
        rows = order[tied]
        order[tied] = rows[np.lexsort((place[rows], known_us[rows], time_us[rows]))]
    return order
