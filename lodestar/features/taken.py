"""Events as small integers, some entities at a time: what sequences and counts are made of, in bounded memory.

One reading of a relation deals it out to files, one per range of users, of items or of queries, each of which fits into memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar import schema

FILES = "taken_files"
EVENTS_AT_ONCE, BATCH_ROWS = 600_000, 200_000
NAMES = {schema.USER_ID: "user_rows", schema.ITEM_ID: "item_rows", schema.QUERY: "query_rows"}  # the number of each id, and its events
NUMBERS = {schema.USER_ID: "user_row", schema.ITEM_ID: "item_row", schema.QUERY: "query_row"}
POSITIVE, ASKED = "positive", "asked"
DEALT = {POSITIVE: (schema.USER_ID, schema.ITEM_ID), ASKED: (schema.QUERY,)}  # by whom each relation is dealt out
TYPES = tuple(sorted({*schema.POSITIVE, schema.EventType.SEARCH}))
COLUMNS = [("time", "i8"), ("known", "i8"), ("type", "u1")]  # µs, and a place in TYPES
Rows = NDArray[np.void]  # of `row_of`


def row_of(entities: Sequence[str]) -> np.dtype[np.void]:
    """A row's columns: the number of each entity, and COLUMNS."""
    return np.dtype([*((NUMBERS[entity], "i4") for entity in entities), *COLUMNS])


def encode(database: Any, folder: Path, relation: str) -> None:
    """Read a relation and deal its rows out: items are numbered as in the catalogue `items`, the rest as they first appear."""
    entities = DEALT[relation]
    for entity in entities:
        database.execute(_numbered(entity, relation))
    database.execute(f"CREATE TABLE IF NOT EXISTS {FILES} (entity VARCHAR, file VARCHAR)")
    files = {entity: _ranges(database, entity, folder) for entity in entities}
    types = ", ".join(f"'{kind}'" for kind in TYPES)
    batches = database.execute(f"""
        SELECT {", ".join(NUMBERS[entity] for entity in entities)}, epoch_us({schema.EVENT_TIME}) AS time,
            epoch_us({schema.INGESTED_AT}) AS known, (list_position([{types}], {schema.EVENT_TYPE}) - 1)::UTINYINT AS type,
            file_row_number AS place
        FROM {relation} {" ".join(f"JOIN {NAMES[entity]} USING ({entity})" for entity in entities)}""").to_arrow_reader(BATCH_ROWS)
    for batch in batches:
        rows = np.empty(len(batch), dtype=_placed(entities))
        for name in rows.dtype.names or ():
            rows[name] = batch[name].to_numpy()
        for entity, ranges in files.items():
            _deal(rows, rows[NUMBERS[entity]], ranges)


def _placed(entities: Sequence[str]) -> np.dtype[np.void]:
    return np.dtype([*row_of(entities).descr, ("place", "i8")])


def _numbered(entity: str, relation: str) -> str:
    number = f"(row_number() OVER (ORDER BY place) - 1)::INTEGER AS {NUMBERS[entity]}"
    counted = f"SELECT {entity}, min(file_row_number) AS place, count(*) AS events FROM {relation} GROUP BY {entity}"
    if entity == schema.ITEM_ID:
        counted = f"""
            SELECT {entity}, items.file_row_number AS place, coalesce(counted.events, 0) AS events
            FROM items LEFT JOIN ({counted}) AS counted USING ({entity})"""
    return f"CREATE TABLE {NAMES[entity]} AS SELECT {entity}, {number}, events FROM ({counted}) ORDER BY place"


def _ranges(database: Any, entity: str, folder: Path) -> Mapping[Path, int]:
    """A file for each range of entities, of which the first one's number is given.

    None has many more events than are held at once, unless one entity alone has: those are held together.
    """
    counts = database.execute(f"SELECT events FROM {NAMES[entity]} ORDER BY {NUMBERS[entity]}").fetchnumpy()["events"]
    starts = np.flatnonzero(np.diff(np.cumsum(counts) // EVENTS_AT_ONCE, prepend=-1))
    files = {folder / f"{entity}-{place}": int(start) for place, start in enumerate(starts)}
    for file in files:
        database.execute(f"INSERT INTO {FILES} VALUES (?, ?)", [entity, str(file)])
    return files


def _deal(rows: Rows, key: NDArray[np.int32], ranges: Mapping[Path, int]) -> None:
    place = np.searchsorted(list(ranges.values()), key, side="right") - 1
    order = np.argsort(place.astype(np.uint16), kind="stable")
    bounds = np.searchsorted(place[order], np.arange(len(ranges) + 1))
    for file, start, end in zip(ranges, bounds[:-1], bounds[1:], strict=True):
        if start < end:
            with file.open("ab") as content:
                content.write(rows[order[start:end]].tobytes())


def names(database: Any, entity: str) -> Any:
    """The ids of an entity by their numbers, as an Arrow array."""
    found = database.execute(f"SELECT {entity} FROM {NAMES[entity]} ORDER BY {NUMBERS[entity]}").to_arrow_table()
    return found[entity].combine_chunks()


def chunks(database: Any, entity: str) -> Iterator[Rows]:
    """The events of one range of entities after the other, in the order of the log."""
    entities = next(entities for entities in DEALT.values() if entity in entities)
    for (file,) in database.execute(f"SELECT file FROM {FILES} WHERE entity = ? ORDER BY rowid", [entity]).fetchall():
        if Path(file).is_file():
            rows = np.fromfile(file, dtype=_placed(entities))
            if (np.diff(rows["place"]) < 0).any():
                rows = rows[np.argsort(rows["place"])]
            yield rows[list(row_of(entities).names or ())]
