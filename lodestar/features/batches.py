"""What Spark's workers run: features of entities on Arrow batches, by the code that makes them on one machine."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lodestar import schema
from lodestar.features import content, relations, sequences, taken, windows
from lodestar.schema import View

PLACE, FIRST, NTH = "file_row_number", "first_place", "nth"
Mapper = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def whole(batches: Iterable[pa.RecordBatch], key: str) -> Iterator[pa.Table]:
    """The same rows in tables that hold every row of each key in them; rows of a key lie together."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows == 0:
            continue
        is_last = pc.equal(batch.column(key), batch.column(key)[batch.num_rows - 1]).to_numpy(zero_copy_only=False)
        start = int(np.argmax(is_last))
        if start > 0 or (waiting and waiting[-1].column(key)[waiting[-1].num_rows - 1] != batch.column(key)[0]):
            yield from _together([*waiting, batch.slice(0, start)])
            waiting = []
        waiting.append(batch.slice(start))
    yield from _together(waiting)


def _together(batches: Sequence[pa.RecordBatch]) -> Iterator[pa.Table]:
    if any(batch.num_rows for batch in batches):
        yield pa.Table.from_batches(batches).combine_chunks()


def _coded(column: Any) -> tuple[Any, Any]:
    """Numbers from 0 in the order in which values appear, and the values."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.indices.to_numpy(), coded.dictionary


def _types(rows: pa.Table) -> Any:
    return pc.index_in(rows[schema.EVENT_TYPE], value_set=pa.array(taken.TYPES)).to_numpy().astype(np.uint8)


def keyed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Texts that were searched for, each with the query that it is."""
    for batch in batches:
        yield relations.keyed(batch)


def counter(view: View) -> Mapper:
    """Events of whole entities become the view's counts at every hour at which one may change."""

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in whole(batches, view.entity):
            key, names = _coded(rows[view.entity])
            ends = rows["time"].to_numpy() // windows.HOUR_US + 1
            enters = np.maximum(ends, -(-rows["known"].to_numpy() // windows.HOUR_US))
            keys, hours, counts = windows.counted(view.counts, key.astype(np.int64), ends, enters, _types(rows))
            columns = [names.take(pa.array(keys)), *(pa.array(values.astype(np.int32)) for values in (hours, *counts))]
            yield pa.RecordBatch.from_arrays(columns, names=[view.entity, "hour", *(one.name for one in view.counts)])

    return count


def scaler(view: View, scale: Mapping[str, float]) -> Mapper:
    """Counts become what a model is given."""

    def given(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = [batch.column(view.entity)]
            for one in view.counts:
                counts = batch.column(one.name).to_numpy()
                found, at = np.unique(counts, return_inverse=True)
                shares = [min(1.0, math.log(1 + n) / math.log(1 + scale[one.name])) for n in found.tolist()]
                columns.append(pa.array(np.array(shares, dtype=np.float32)[at]))
            moment = pa.array(batch.column("hour").to_numpy().astype(np.int64) * windows.HOUR_US).cast(sequences.STAMP)
            names = [view.entity, *(one.name for one in view.counts), schema.FEATURE_TIME, schema.KNOWN_TIME]
            yield pa.RecordBatch.from_arrays([*columns, moment, moment], names=names)

    return given


def _rows(table: pa.Table) -> tuple[taken.Rows, Any, Any]:
    """Events of whole users as numbers, and what the numbers of users and items stand for."""
    user, users = _coded(table[schema.USER_ID])
    item, items = _coded(table[schema.ITEM_ID])
    rows = np.empty(len(table), dtype=taken.row_of((schema.USER_ID, schema.ITEM_ID)))
    rows[taken.NUMBERS[schema.USER_ID]], rows[taken.NUMBERS[schema.ITEM_ID]] = user, item
    rows["time"], rows["known"], rows["type"] = table["time"].to_numpy(), table["known"].to_numpy(), _types(table)
    return rows, users, items


def recent(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Events of whole users become rows of their sequences."""
    for table in whole(batches, schema.USER_ID):
        rows, users, items = _rows(table)
        yield from sequences.recent(sequences.first_of_each(rows), users, items).to_batches()


def firsts(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of each user the first event on each item: numbered in order, and with the place of the user's first event in the log."""
    for table in whole(batches, schema.USER_ID):
        rows, users, items = _rows(table)
        place = np.full(len(users), np.iinfo(np.int64).max)
        np.minimum.at(place, rows[taken.NUMBERS[schema.USER_ID]], table[PLACE].to_numpy())
        firsts = sequences.first_of_each(rows)
        user, item = firsts[taken.NUMBERS[schema.USER_ID]], firsts[taken.NUMBERS[schema.ITEM_ID]]
        columns = [users.take(pa.array(user)), items.take(pa.array(item)), pa.array(firsts["time"]), pa.array(place[user])]
        nth = pa.array(np.arange(len(firsts), dtype=np.int32))
        yield pa.RecordBatch.from_arrays([*columns, nth], names=[schema.USER_ID, schema.ITEM_ID, "time", FIRST, NTH])


def embedded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Items' words become vectors."""
    for batch in batches:
        yield from content.embedded(batch).to_batches()
