"""Mappers that Spark workers run on Arrow batches, with the same feature code as the DuckDB build."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lodestar import schema
from lodestar.features.asof.history import STAMP
from lodestar.features.batch import count_tables, duckdb_views, event_partitions, sequences, user_filters, windows
from lodestar.features.batch.feedback_events import SIGN
from lodestar.features.batch.sequences import ITEM, USER
from lodestar.features.text import content
from lodestar.schema import View
from lodestar.schema.feedback import Feedback
from lodestar.schema.time_units import HOUR_US

FILE_ROW_NUMBER, FIRST, NTH = "file_row_number", "first_position", "nth"
IS_KEPT, CUT = "is_kept", "is_cut"
INTERACTION_COLUMNS = {
    schema.USER_ID: "string",
    schema.ITEM_ID: "string",
    "time": "bigint",
    "known": "bigint",
    "type": "int",
    IS_KEPT: "boolean",
    FIRST: "bigint",
    NTH: "int",
}
Mapper = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def whole_groups(batches: Iterable[pa.RecordBatch], key: str) -> Iterator[pa.Table]:
    """Regroup batches, in which the rows of a key are adjacent, into tables that hold all rows of their keys."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows == 0:
            continue
        is_last = pc.equal(batch.column(key), batch.column(key)[batch.num_rows - 1]).to_numpy(zero_copy_only=False)
        start = int(np.argmax(is_last))
        if start > 0 or (pending and pending[-1].column(key)[pending[-1].num_rows - 1] != batch.column(key)[0]):
            yield from _as_table([*pending, batch.slice(0, start)])
            pending = []
        pending.append(batch.slice(start))
    yield from _as_table(pending)


def _as_table(batches: Sequence[pa.RecordBatch]) -> Iterator[pa.Table]:
    if any(batch.num_rows for batch in batches):
        yield pa.Table.from_batches(batches).combine_chunks()


def _dictionary_encode(column: Any) -> tuple[Any, Any]:
    """Dictionary encoding: indices from 0 in the order values first appear, and the values."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary


def _types(rows: pa.Table) -> Any:
    """Type codes of events: their type, or REFUSED or NEUTRAL by their sign."""
    sign = rows[SIGN].to_numpy()
    types = pc.fill_null(pc.index_in(rows[schema.EVENT_TYPE], value_set=pa.array(event_partitions.TYPES)), 0).to_numpy()
    return np.where(sign > 0, types, np.where(sign < 0, event_partitions.REFUSED, event_partitions.NEUTRAL)).astype(np.uint8)


def with_query_key(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Mapper from search texts to (text, normalised query)."""
    for batch in batches:
        yield duckdb_views.with_query_key(batch)


def counter(view: View) -> Mapper:
    """Mapper from all events of entities to a view's counts at every hour at which one may change."""

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in whole_groups(batches, view.entity):
            key, ids = _dictionary_encode(rows[view.entity])
            ends, enters = windows.event_hours(rows["time"].to_numpy(), rows["known"].to_numpy())
            keys, hours, counts = windows.windowed_counts(view.counts, key.astype(np.int64), ends, enters, _types(rows))
            columns = [ids.take(pa.array(keys)), *(pa.array(values.astype(np.int32)) for values in (hours, *counts))]
            yield pa.RecordBatch.from_arrays(columns, names=[view.entity, "hour", *view.count_names])

    return count


def scaler(view: View, scale: Mapping[str, float]) -> Mapper:
    """Mapper from counts to scaled counts, the model's input."""

    def scale_counts(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = [batch.column(view.entity)]
            for name in view.count_names:
                columns.append(pa.array(count_tables.scale_column(batch.column(name).to_numpy(), scale[name])))
            hour_start = pa.array(batch.column("hour").to_numpy().astype(np.int64) * HOUR_US).cast(STAMP)
            names = [view.entity, *view.count_names, schema.FEATURE_TIME, schema.KNOWN_TIME]
            yield pa.RecordBatch.from_arrays([*columns, hour_start, hour_start], names=names)

    return scale_counts


def _rows(table: pa.Table) -> tuple[event_partitions.Rows, Any, Any]:
    """All events of users as integer rows, with the ids of user and item numbers."""
    user, users = _dictionary_encode(table[schema.USER_ID])
    item, items = _dictionary_encode(table[schema.ITEM_ID])
    return _numbered(table, user, item), users, items


def _numbered(table: pa.Table, user: Any, item: Any) -> event_partitions.Rows:
    """Events as integer rows with these numbers of users and items."""
    rows = np.empty(len(table), dtype=event_partitions.row_dtype((schema.USER_ID, schema.ITEM_ID)))
    rows[USER], rows[ITEM] = user, item
    rows["time"], rows["known"], rows["type"] = table["time"].to_numpy(), table["known"].to_numpy(), _types(table)
    return rows


def sequence_rows(rules: Feedback) -> Mapper:
    """Mapper from all events of users to rows of the user sequence view."""

    def sequences_of(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in whole_groups(batches, schema.USER_ID):
            rows, users, items = _rows(table)
            yield from sequences.recent(sequences.select(rows, rules), users, items).to_batches()

    return sequences_of


def filter_rows(rules: Feedback) -> Mapper:
    """Mapper from all events of users, with the catalogue's item numbers, to rows of the user filter view, and CUT."""

    def filters_of(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in whole_groups(batches, schema.USER_ID):
            user, users = _dictionary_encode(table[schema.USER_ID])
            events = sequences.select(_numbered(table, user, table[ITEM].to_numpy()), rules)
            found, is_cut = user_filters.rows(events, users, rules)
            yield from found.append_column(CUT, pa.array(is_cut)).to_batches()

    return filters_of


def interaction_rows(rules: Feedback) -> Mapper:
    """Mapper from all events of users to those that are interactions (IS_KEPT) or filter beside them

    FIRST is the position of the user's first positive event, later than all for a user without one; NTH the order of rows.
    """

    def interactions_of(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in whole_groups(batches, schema.USER_ID):
            rows, users, items = _rows(table)
            first_position = np.full(len(users), np.iinfo(np.int64).max)
            is_positive = rows["type"] < len(event_partitions.TYPES)
            position = table[FILE_ROW_NUMBER].to_numpy() + np.where(is_positive, 0, event_partitions.NOT_POSITIVE)
            np.minimum.at(first_position, rows[USER], position)
            events = sequences.select(rows, rules)
            found = np.concatenate([events.kept, events.filters])
            is_kept = np.arange(len(found)) < len(events.kept)
            columns = [
                users.take(pa.array(found[USER])),
                items.take(pa.array(found[ITEM])),
                *(pa.array(found[name]) for name in ("time", "known")),
                pa.array(found["type"].astype(np.int32)),
                pa.array(is_kept),
                pa.array(first_position[found[USER]]),
                pa.array(np.arange(len(found), dtype=np.int32)),
            ]
            yield pa.RecordBatch.from_arrays(columns, names=list(INTERACTION_COLUMNS))

    return interactions_of


def embed_words(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Mapper from item text to hashed n-gram vectors."""
    for batch in batches:
        yield from content.embed_words(batch).to_batches()
