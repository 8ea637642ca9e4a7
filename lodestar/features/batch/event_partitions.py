"""Partition events by entity into files of integer rows, from which sequences and counts are built in bounded memory.

One pass over a view of events writes its rows to one file per range of users, items or queries, each of which fits into memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.features.batch.feedback_events import FEEDBACK, SEARCHES, SIGN
from lodestar.schema.arrays import Int, Int64, Integers, Longs, Shaped

FILES = "partition_files"
EVENTS_AT_ONCE, BATCH_ROWS = 600_000, 200_000
# Tables of each id's number and count of events.
NAMES = {schema.USER_ID: "user_rows", schema.ITEM_ID: "item_rows", schema.QUERY: "query_rows"}
NUMBERS = {schema.USER_ID: "user_row", schema.ITEM_ID: "item_row", schema.QUERY: "query_row"}
# Entities that the events of each view are partitioned by.
PARTITION_KEYS = {FEEDBACK: (schema.USER_ID, schema.ITEM_ID), SEARCHES: (schema.QUERY,)}
TYPES = tuple(sorted({*schema.POSITIVE, schema.EventType.SEARCH}))
REFUSED, NEUTRAL = len(TYPES), len(TYPES) + 1  # in place of the type of an event that is not positive
NOT_POSITIVE = 1 << 62  # added to the position of an event that is not positive, so that it comes later than all that are
COLUMNS = [("time", "i8"), ("known", "i8"), ("type", "u1")]  # UTC µs, and an index into TYPES, REFUSED or NEUTRAL
Rows = NDArray[np.void]  # of `row_dtype`


def row_dtype(entities: Sequence[str]) -> np.dtype[np.void]:
    """Numpy dtype of a row: the number of each entity (int32), then COLUMNS."""
    return np.dtype([*((NUMBERS[entity], "i4") for entity in entities), *COLUMNS])


def partition_events(database: Any, folder: Path, events_view: str) -> None:
    """Partition the rows of a view of events into files in `folder`.

    Items are numbered in catalogue order, others as they first appear in a positive event, those without one last.
    """
    entities = PARTITION_KEYS[events_view]
    for entity in entities:
        database.execute(_numbering_sql(entity, events_view))
    database.execute(f"CREATE TABLE IF NOT EXISTS {FILES} (entity VARCHAR, file VARCHAR)")
    files = {entity: _ranges(database, entity, folder) for entity in entities}
    types = ", ".join(f"'{event_type}'" for event_type in TYPES)
    batches = database.execute(f"""
        SELECT {", ".join(NUMBERS[entity] for entity in entities)}, epoch_us({schema.EVENT_TIME}) AS time,
            epoch_us({schema.INGESTED_AT}) AS known,
            (CASE {SIGN} WHEN 1 THEN list_position([{types}], {schema.EVENT_TYPE}) - 1 WHEN -1 THEN {REFUSED} ELSE {NEUTRAL} END)::UTINYINT
            AS type, file_row_number
        FROM {events_view} {" ".join(f"JOIN {NAMES[entity]} USING ({entity})" for entity in entities)}""").to_arrow_reader(BATCH_ROWS)
    for batch in batches:
        rows = np.empty(len(batch), dtype=_positioned_dtype(entities))
        for name in rows.dtype.names or ():
            rows[name] = batch[name].to_numpy()
        for entity, ranges in files.items():
            _partition(rows, rows[NUMBERS[entity]], ranges)


def _positioned_dtype(entities: Sequence[str]) -> np.dtype[np.void]:
    return np.dtype([*row_dtype(entities).descr, ("file_row_number", "i8")])


def _numbering_sql(entity: str, events_view: str) -> str:
    number = f"(row_number() OVER (ORDER BY file_row_number) - 1)::INTEGER AS {NUMBERS[entity]}"
    first = f"min(file_row_number + CASE {SIGN} WHEN 1 THEN 0 ELSE {NOT_POSITIVE} END) AS file_row_number"
    counts = f"{first}, count(*) FILTER ({SIGN} = 1) AS events, count(*) AS all_events"
    entity_counts = f"SELECT {entity}, {counts} FROM {events_view} GROUP BY {entity}"
    if entity == schema.ITEM_ID:
        entity_counts = f"""
            SELECT {entity}, items.file_row_number, coalesce(counted.events, 0) AS events,
                coalesce(counted.all_events, 0) AS all_events
            FROM items LEFT JOIN ({entity_counts}) AS counted USING ({entity})"""
    return f"CREATE TABLE {NAMES[entity]} AS SELECT {entity}, {number}, events, all_events FROM ({entity_counts}) ORDER BY file_row_number"


def _ranges(database: Any, entity: str, folder: Path) -> Mapping[Path, int]:
    """One file per range of entities, with the number of its first entity.

    A range ends with the entity that fills another EVENTS_AT_ONCE events: it has fewer than two times as many, and more only by the events
    of one entity.
    """
    counts = database.execute(f"SELECT all_events FROM {NAMES[entity]} ORDER BY {NUMBERS[entity]}").fetchnumpy()["all_events"]
    starts = np.flatnonzero(np.diff(np.cumsum(counts) // EVENTS_AT_ONCE, prepend=-1))
    files = {folder / f"{entity}-{index}": int(start) for index, start in enumerate(starts)}
    for file in files:
        database.execute(f"INSERT INTO {FILES} VALUES (?, ?)", [entity, str(file)])
    return files


def _partition(rows: Rows, key: NDArray[np.int32], ranges: Mapping[Path, int]) -> None:
    file_index = np.searchsorted(list(ranges.values()), key, side="right") - 1
    order = np.argsort(file_index.astype(np.uint16), kind="stable")
    bounds = np.searchsorted(file_index[order], np.arange(len(ranges) + 1))
    for file, start, end in zip(ranges, bounds[:-1], bounds[1:], strict=True):
        if start < end:
            with file.open("ab") as content:
                content.write(rows.take(order[start:end]).tobytes())


def sort_by_number(numbers: Int[Integers, " rows"]) -> Int64[Longs, " rows"]:
    """Stable order of rows by their entity's number, 0 to 2³² - 1; rows of an entity keep their order."""
    # numpy sorts 16-bit integers by radix, wider ones by comparison: five times slower where numbers are in no order.
    offsets = (numbers - numbers.min(initial=np.iinfo(numbers.dtype).max)).astype(np.uint32)
    order = np.argsort(offsets.astype(np.uint16), kind="stable")
    high = (offsets >> 16).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")] if high.any() else order


def ids(database: Any, entity: str, *, positive: bool = False) -> Any:
    """Ids of an entity in the order of their numbers, as an Arrow array; with `positive`, of those with a positive event only."""
    which = "WHERE events > 0" if positive else ""
    found = database.execute(f"SELECT {entity} FROM {NAMES[entity]} {which} ORDER BY {NUMBERS[entity]}").to_arrow_table()
    return found[entity].combine_chunks()


def chunks(database: Any, entity: str) -> Iterator[Shaped[Rows, "_"]]:
    """Events of one range of entities after another, each with all events of its entities, in the order of the log."""
    entities = next(entities for entities in PARTITION_KEYS.values() if entity in entities)
    for (file,) in database.execute(f"SELECT file FROM {FILES} WHERE entity = ? ORDER BY rowid", [entity]).fetchall():
        if Path(file).is_file():
            rows = np.fromfile(file, dtype=_positioned_dtype(entities))
            if (np.diff(rows["file_row_number"]) < 0).any():
                rows = rows.take(np.argsort(rows["file_row_number"], kind="stable"))
            yield rows[list(row_dtype(entities).names or ())]
