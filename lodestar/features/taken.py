"""The positive events as small integers, some entities at a time: what sequences and counts are made of, in bounded memory.

One reading deals them out to files, one per range of users and one per range of items, each of which fits into memory.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar import schema

FILES = "taken_files"
EVENTS_AT_ONCE, BATCH_ROWS = 1_000_000, 250_000
NAMES = {schema.USER_ID: "user_rows", schema.ITEM_ID: "item_rows"}  # the number of each id, and how many events it has
NUMBERS = {schema.USER_ID: "user_row", schema.ITEM_ID: "item_row"}
TYPES = tuple(sorted(schema.POSITIVE))
ROW = np.dtype([(NUMBERS[schema.USER_ID], "i4"), (NUMBERS[schema.ITEM_ID], "i4"), ("time", "i8"), ("known", "i8"), ("type", "u1")])
PLACED = np.dtype([*ROW.descr, ("place", "i8")])
Rows = NDArray[np.void]  # of ROW: numbers of user and item, µs, and a place in TYPES


def encode(database: Any, folder: Path) -> None:
    """Read `positive` and `items`, and deal the events out: users are numbered as they first appear, items as in the catalogue."""
    user, item = schema.USER_ID, schema.ITEM_ID
    database.execute(f"""
        CREATE TABLE {NAMES[user]} AS SELECT {user}, (row_number() OVER (ORDER BY first) - 1)::INTEGER AS {NUMBERS[user]}, events
        FROM (SELECT {user}, min(file_row_number) AS first, count(*) AS events FROM positive GROUP BY {user}) ORDER BY first""")
    database.execute(f"""
        CREATE TABLE {NAMES[item]} AS
        SELECT {item}, (row_number() OVER (ORDER BY file_row_number) - 1)::INTEGER AS {NUMBERS[item]}, coalesce(events, 0) AS events
        FROM items LEFT JOIN (SELECT {item}, count(*) AS events FROM positive GROUP BY {item}) USING ({item}) ORDER BY file_row_number""")
    database.execute(f"CREATE TABLE {FILES} (entity VARCHAR, file VARCHAR)")
    files = {entity: _ranges(database, entity, folder) for entity in NAMES}
    types = ", ".join(f"'{kind}'" for kind in TYPES)
    batches = database.execute(f"""
        SELECT {NUMBERS[user]}, {NUMBERS[item]}, epoch_us({schema.EVENT_TIME}) AS time, epoch_us({schema.INGESTED_AT}) AS known,
            (list_position([{types}], {schema.EVENT_TYPE}) - 1)::UTINYINT AS type, file_row_number AS place
        FROM positive JOIN {NAMES[user]} USING ({user}) JOIN {NAMES[item]} USING ({item})""").to_arrow_reader(BATCH_ROWS)
    for batch in batches:
        rows = np.empty(len(batch), dtype=PLACED)
        for name in PLACED.fields or ():
            rows[name] = batch[name].to_numpy()
        for entity, ranges in files.items():
            _deal(rows, rows[NUMBERS[entity]], ranges)


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
    for (file,) in database.execute(f"SELECT file FROM {FILES} WHERE entity = ? ORDER BY rowid", [entity]).fetchall():
        if Path(file).is_file():
            rows = np.fromfile(file, dtype=PLACED)
            if (np.diff(rows["place"]) < 0).any():
                rows = rows[np.argsort(rows["place"])]
            yield rows[list(ROW.names or ())]
