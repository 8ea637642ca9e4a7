"""Point-in-time (as-of) join: each entity row gets the latest feature row of its entity that was known at its timestamp.

A feature row is valid at a timestamp if its event time and its known (created) time are not later and it is not older than the TTL. The
latest event time wins; ties go to the latest known time, then to the last row of the files. Files are read a batch at a time: memory holds
the entity rows, their results and the keys of one row group, whatever the length of the source.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lodestar.errors import DataError
from lodestar.features.asof.history import NEVER, NONE, FeatureSource, take, to_microseconds
from lodestar.schema.arrays import Int, Integers

PACKED_BITS = 63
BATCH_ROWS = 65_536  # fits into a processor's cache
ROWS_AT_ONCE = 20_000


def join(entity_rows: Any, time_column: str, sources: Sequence[FeatureSource], *, only_known: bool) -> Any:
    """Append the sources' features to entity rows, as of each row's `time_column`; order is kept, null where no feature row is valid.

    `only_known` leaves out feature rows that became known after the timestamp; without it the known time only breaks ties of event time.
    DataError E107 where key types cannot be compared, E173 where a feature has the name of a column of the entity rows.
    """
    timestamp_us = to_microseconds(entity_rows[time_column])
    for source in sources:
        if twice := set(source.features) & set(entity_rows.column_names):
            remedy = "Rename the columns, or ask for full feature names."
            raise DataError("E173", f"{sorted(twice)} are columns and features at once", remedy=remedy)
        entity, numbering = _number_entities(entity_rows, source)
        latest_rows = _LatestRows(entity, timestamp_us)
        oldest_us = max(latest_rows.first_us - source.ttl_us, NEVER) if source.ttl_us else NEVER
        for batch in _batches(source, numbering):
            latest_rows.update(batch.valid(latest_rows.last_us, since_us=oldest_us, only_known=only_known))
        positions = latest_rows.positions(source.ttl_us)
        for name, column in zip(source.features, take(source, list(source.features.values()), positions), strict=True):
            entity_rows = entity_rows.append_column(name, column)
    return entity_rows


def latest(source: FeatureSource, start_us: int, end_us: int) -> Any:
    """Latest row of every entity with an event time within the bounds (UTC µs, inclusive): keys, features and both times, one table."""
    parts = list(latest_parts(source, start_us, end_us))
    return pa.concat_tables(parts)


def latest_parts(source: FeatureSource, start_us: int, end_us: int) -> Iterator[Any]:
    """Latest rows as in `latest`, in tables of at most ROWS_AT_ONCE rows in file order; at least one table, which may have no row."""
    keys, columns = list(source.keys.values()), source.columns
    entity_rows = _entities(source, keys)
    entity, numbering = _number_entities(entity_rows.rename_columns(list(source.keys)), source)
    latest_rows = _LatestRows(entity, np.full(len(entity_rows), end_us))
    for batch in _batches(source, numbering):
        latest_rows.update(batch.valid(latest_rows.last_us, since_us=start_us, only_known=False))
    positions = latest_rows.positions(0)
    positions = np.sort(positions[positions != NONE])
    for start in range(0, max(1, len(positions)), ROWS_AT_ONCE):
        yield pa.table(dict(zip(columns, take(source, columns, positions[start : start + ROWS_AT_ONCE]), strict=True)))


def _entities(source: FeatureSource, keys: list[str]) -> Any:
    """The distinct entity keys of a source."""
    found = [source.schema().empty_table().select(keys)]
    for _, _, file, group in source.groups():
        found.append(file.read_row_group(group, keys, use_threads=False).group_by(keys).aggregate([]))
    return pa.concat_tables(found).group_by(keys).aggregate([])


@dataclass(frozen=True, kw_only=True)
class _EntityNumbering:
    """Entity keys as integers: the values of each key column, and the combinations that occur up to each further one, sorted."""

    values: tuple[Any, ...]
    combinations: tuple[Int[Integers, "_"], ...]

    def encode(self, columns: Sequence[Any], count: int) -> Int[Integers, "{count}"]:
        """The entity number of each of `count` rows, -1 where a key is null or unknown."""
        return self.combine([_key_index(column, values) for column, values in zip(columns, self.values, strict=True)], count)

    def combine(self, parts: Sequence[Int[Integers, "{count}"]], count: int) -> Int[Integers, "{count}"]:
        """The entity number of each row from the index of each key among its values; without keys all rows are of one entity."""
        number = parts[0] if parts else np.zeros(count, dtype=np.int64)
        for position, part in enumerate(parts[1:], start=1):
            both = number.astype(np.int64) * len(self.values[position]) + part
            number = np.where((number == NONE) | (part == NONE), NONE, both)
            if position <= len(self.combinations):
                number = _positions_among(number, self.combinations[position - 1])
        return number


def _number_entities(entity_rows: Any, source: FeatureSource) -> tuple[Integers, _EntityNumbering]:
    """The entity number of each entity row, and the numbering that encodes rows of the files alike."""
    schema = source.schema()
    columns = [_dictionary_encode(entity_rows[name], schema.field(column).type, name) for name, column in source.keys.items()]
    parts = [column.indices.fill_null(NONE).to_numpy(zero_copy_only=False) for column in columns]
    numbering = _EntityNumbering(values=tuple(column.dictionary for column in columns), combinations=())
    for count in range(2, len(columns) + 1):
        number = np.unique(numbering.combine(parts[:count], len(entity_rows)))
        numbering = _EntityNumbering(values=numbering.values, combinations=(*numbering.combinations, number[number != NONE]))
    return numbering.combine(parts, len(entity_rows)), numbering


def _dictionary_encode(column: Any, kind: Any, name: str) -> Any:
    """A key column cast to the type of the files, dictionary-encoded."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    try:
        return column.cast(kind).combine_chunks().dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        message = f"{name} has the type {column.type}, the feature source has {kind}"
        raise DataError("E107", message, remedy="Give keys of one type.") from error


def _key_index(column: Any, values: Any) -> Integers:
    """The index of each key among the values, -1 where it is null or not among them."""
    if not pa.types.is_dictionary(column.type):
        return np.asarray(pc.index_in(column, value_set=values).fill_null(NONE).to_numpy(), dtype=np.int32)
    parts = [np.empty(0, dtype=np.int32)]
    for chunk in column.chunks:
        known = pc.index_in(chunk.dictionary, value_set=values).fill_null(NONE).to_numpy()
        parts.append(
            np.append(known, np.int32(NONE))[chunk.indices.fill_null(NONE).to_numpy()]
        )  # a null key has index -1: the appended NONE
    return np.concatenate(parts)


def _positions_among(number: Integers, ordered: Integers) -> Integers:
    """The index of each number in a sorted array, -1 where it is not in it."""
    if len(ordered) == 0:
        return np.full(len(number), NONE)
    at = np.minimum(np.searchsorted(ordered, number), len(ordered) - 1)
    return np.where(ordered[at] == number, at, NONE)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Adjacent feature rows as arrays in parallel: entity number, event time, known time, valid from (UTC µs), position in the files."""

    entity: Int[Integers, " rows"]
    time_us: Int[Integers, " rows"]
    known_us: Int[Integers, " rows"]
    since_us: Int[Integers, " rows"]
    position: Int[Integers, " rows"]

    def valid(self, last_us: Int[Integers, " entities_and_one"], *, since_us: int, only_known: bool) -> "_Batch":
        """Rows with an event time from `since_us` to the last timestamp of their entity, and known by that if `only_known`.

        `last_us` is by entity number; its last element is for rows without an entity (-1).
        """
        begins_us = np.maximum(self.time_us, self.known_us) if only_known else self.time_us
        counts = (begins_us <= last_us[self.entity]) & (self.time_us >= max(since_us, NEVER + 1))
        if only_known:
            counts &= self.known_us > NEVER
        kept = np.flatnonzero(counts)
        parts = (self.entity, self.time_us, self.known_us, begins_us, self.position)
        entity, time_us, known_us, begins_us, position = (part[kept] for part in parts)
        return _Batch(entity=entity, time_us=time_us, known_us=known_us, since_us=begins_us, position=position)


def _batches(source: FeatureSource, numbering: _EntityNumbering) -> Iterator[_Batch]:
    """Rows of a source in batches, in the order of the files; rows are valid from their event time."""
    schema, keys = source.schema(), list(source.keys.values())
    texts = [key for key in keys if pa.types.is_string(schema.field(key).type)]
    times = list(dict.fromkeys([source.time, source.known or source.time]))
    for start, stop, file, group in source.groups(as_numbers=texts):
        content = file.read_row_group(group, keys, use_threads=False)
        entity, done = numbering.encode([content[key] for key in keys], stop - start), 0
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=times, use_threads=False):
            time_us, known_us = (to_microseconds(batch.column(name)) for name in (times[0], times[-1]))
            end = done + len(batch)
            position = np.arange(start + done, start + end)
            yield _Batch(entity=entity[done:end], time_us=time_us, known_us=known_us, since_us=time_us, position=position)
            done = end


class _LatestRows:
    """Running as-of join: the latest feature row for each entity row, from batches in the order of the files.

    Entity rows are sorted by entity and timestamp. A feature row is valid from the first of them that is not before it to the entity's
    last, so it is stored at that first one only, if it is the latest there; `positions` carries it forward until a later one.
    """

    def __init__(self, entity: Int[Integers, " entity_rows"], timestamp_us: Int[Integers, " entity_rows"]) -> None:
        self._count = len(entity)
        self.last_us = np.full(int(entity.max(initial=NONE)) + 2, NEVER)  # the last element: rows without an entity
        entity_row = np.flatnonzero((entity != NONE) & (timestamp_us > NEVER))
        entity, timestamp_us = entity[entity_row], timestamp_us[entity_row]
        np.maximum.at(self.last_us, entity, timestamp_us)
        latest_us = int(timestamp_us.max(initial=NEVER))
        self.first_us = int(timestamp_us.min(initial=latest_us))
        span, bits = latest_us - self.first_us, int(entity.max(initial=0)).bit_length()
        # Timestamps whose span does not fit into one word with the entity number are replaced by their ranks.
        self._timestamps_us = np.unique(timestamp_us) if span.bit_length() + bits > PACKED_BITS else None
        self._shift = np.uint64((span if self._timestamps_us is None else len(self._timestamps_us)).bit_length())
        keys = self._pack(entity, timestamp_us)
        order = np.argsort(keys)
        self._row, self._keys, self._timestamp_us = entity_row[order], keys[order], timestamp_us[order]
        ends = np.cumsum(np.bincount(entity, minlength=len(self.last_us)))
        self._starts, self._lasts = np.append(0, ends[:-1]), ends - 1
        self._time_us, self._known_us = np.full(len(entity_row), NEVER), np.full(len(entity_row), NEVER)
        self._position = np.full(len(entity_row), NONE)

    def update(self, rows: _Batch) -> None:
        """Store those rows of the next batch that are later than the ones stored so far."""
        at = self._first(rows.entity, rows.since_us)
        before_us = self._time_us[at]
        np.maximum.at(self._time_us, at, rows.time_us)
        row = np.flatnonzero(rows.time_us == self._time_us[at])
        at, is_newer = at[row], rows.time_us[row] > before_us[row]
        self._known_us[at[is_newer]] = NEVER
        known_us = rows.known_us[row]
        np.maximum.at(self._known_us, at, known_us)
        best = np.flatnonzero(known_us == self._known_us[at])
        np.maximum.at(self._position, at[best], rows.position[row[best]])

    def _first(self, entity: Integers, since_us: Integers) -> Integers:
        """The index of the first entity row that is not before each time, for entities whose last one is not before it."""
        at = self._starts[entity]
        several = np.flatnonzero(at < self._lasts[entity])
        packed = self._pack(entity[several], since_us[several])
        order = np.argsort(packed)  # sorted queries hit the same cache lines
        at[several[order]] = np.searchsorted(self._keys, packed[order])
        return at

    def positions(self, ttl_us: int) -> Int[Integers, " entity_rows"]:
        """The position of the latest valid feature row for each entity row, -1 where there is none within the TTL (0: no TTL)."""
        stored = np.flatnonzero(self._position != NONE)
        stored = stored[_sorted_order(self._time_us[stored], self._known_us[stored], self._position[stored])]
        highest = (self._keys >> self._shift).astype(np.int64) * (len(stored) + 1)
        highest[stored] += np.arange(1, len(stored) + 1)
        carried = np.maximum.accumulate(highest) % (len(stored) + 1) - 1
        matched = np.flatnonzero(carried != NONE)
        at = stored[carried[matched]]
        if ttl_us:
            is_fresh = self._time_us[at] >= self._timestamp_us[matched] - ttl_us
            matched, at = matched[is_fresh], at[is_fresh]
        positions = np.full(self._count, NONE)
        positions[self._row[matched]] = self._position[at]
        return positions

    def _pack(self, entity: Integers, time_us: Integers) -> NDArray[np.uint64]:
        """Entity number (high bits) and time offset or rank (low bits) in one word, so that sorting it sorts by both."""
        if self._timestamps_us is None:
            since = np.maximum(time_us, self.first_us) - self.first_us
        else:
            since = np.searchsorted(self._timestamps_us, time_us)
        packed = entity.astype(np.uint64)
        packed <<= self._shift
        packed |= since.view(np.uint64)
        return packed


def _sorted_order(time_us: Integers, known_us: Integers, position: Integers) -> Integers:
    """Sort order by event time, known time and position; only ties are sorted by all three, which is five times as fast."""
    order = np.argsort(time_us)
    ordered = time_us[order]
    is_tie = ordered[1:] == ordered[:-1]
    if is_tie.any():
        tied = np.flatnonzero(np.append(is_tie, False) | np.append(False, is_tie))
        rows = order[tied]
        order[tied] = rows[np.lexsort((position[rows], known_us[rows], time_us[rows]))]
    return order
