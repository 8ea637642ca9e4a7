"""Well-known data sets as their folders lie: their files become the contract's columns, and then pass the same checks as any other.

Where a set gives only the order of a user's interactions, position n happens n seconds after 2000-01-01: true to the order, and
plainly no real time.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lodestar import schema
from lodestar.data import assistments, home_depot, open_bandit
from lodestar.data.dataset import DataSet, Open, constant, moments, one
from lodestar.data.delimited import Dialect, read_delimited
from lodestar.data.readers import SUFFIXES, read
from lodestar.data.source import Source, whole
from lodestar.errors import DataError, Place

RATINGS, FILMS, GENRES = "u.data", "u.item", "u.genre"
INTERACTIONS, FILM = "interactions", "video"
FILM_COLUMNS = (schema.ITEM_ID, schema.TITLE, "released", "released_on_video", "address")
PLAIN_GENRES, PLAIN_ATTRIBUTES = "genres", "attribute_ids"


def find(folder: Path) -> DataSet | None:
    """The data set that a folder holds, None where it is none that is known."""
    if (folder / RATINGS).is_file():
        return _movielens_100k(folder)
    logged = open_bandit.find(folder) or home_depot.find(folder) or assistments.find(folder)
    if logged is not None:
        return logged
    interactions = named(folder, INTERACTIONS)
    return _sequences(interactions, named(folder, schema.ITEMS.name)) if interactions else None


def named(folder: Path, name: str) -> Path | None:
    """The folder's file of that name, whatever its kind; with several kinds the first of SUFFIXES."""
    return next((folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()), None)


def _movielens_100k(folder: Path) -> DataSet:
    columns = (schema.USER_ID, schema.ITEM_ID, schema.RATING, schema.EVENT_TIME)
    ratings = Dialect(names=columns, delimiter="\t")
    return DataSet(
        tables={
            schema.EVENTS.name: one(read_delimited, folder / RATINGS, columns, ratings),
            schema.ITEMS.name: one(_films, folder),
        },
        files=(folder / RATINGS, folder / FILMS, folder / GENRES),
    )


def _films(folder: Path) -> Source:
    """Titles and genres; each genre is a column of 0 and 1, in the order of its own file."""
    listed = read_delimited(folder / GENRES, {"genre"}, Dialect(names=("genre", "index"), delimiter="|"))
    genres = listed.read()["genre"].to_pylist()
    dialect = Dialect(names=(*FILM_COLUMNS, *genres), delimiter="|", encoding="latin1")
    source = read_delimited(folder / FILMS, {schema.ITEM_ID, schema.TITLE, *genres}, dialect)
    found = source.read()
    marked = [pc.if_else(pc.equal(found[genre], "1"), genre, "") for genre in genres]
    path = pc.utf8_trim(pc.replace_substring_regex(pc.binary_join_element_wise(*marked, "|"), r"\|+", "|"), "|")
    rows = found.select([schema.ITEM_ID, schema.TITLE]).append_column(schema.CATEGORY_PATH, path)
    rows = rows.append_column(schema.ITEM_TYPE, constant(FILM, len(rows)))
    return _with(source, rows, FILM_COLUMNS[2:])


def _sequences(interactions: Path, items: Path | None) -> DataSet:
    tables: dict[str, Open] = {schema.EVENTS.name: one(_ordered, interactions)}
    if items is not None:
        tables[schema.ITEMS.name] = one(_described, items)
    return DataSet(tables=tables, files=tuple(path for path in (interactions, items) if path), order_only=True)


def _ordered(path: Path) -> Source:
    """Views in the order of their position, or of the file where there is no such column."""
    source = read(path, {schema.USER_ID, schema.ITEM_ID, schema.POSITION})
    rows = source.read()
    if schema.USER_ID in rows.column_names:
        times = moments(_positions(source.file, rows))
        rows = rows.append_column(schema.EVENT_TIME, times)
    rows = rows.append_column(schema.EVENT_TYPE, constant(schema.EventType.VIEW, len(rows)))
    rows = rows.select([name for name in rows.column_names if name != schema.POSITION])
    left = [name for name in source.names if name not in (*rows.column_names, schema.POSITION)]
    return _with(source, rows, left)


def _with(source: Source, rows: "pa.Table", left: Sequence[str]) -> Source:
    """The source with other rows in place of its own, as many and in the same order."""
    columns = tuple(rows.column_names)
    return replace(source, batches=whole(rows), columns=columns, names=(*columns, *left))


def _positions(file: str, rows: "pa.Table") -> "pa.Array":
    if schema.POSITION in rows.column_names:
        try:
            return rows[schema.POSITION].cast(pa.int64())
        except pa.ArrowInvalid as error:
            place = Place(file=file, column=schema.POSITION)
            raise DataError("E107", f"a position is no whole number ({error})", remedy="Write 0, 1, 2, ….", place=place) from error
    user = rows[schema.USER_ID].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.argsort(user, kind="stable")
    starts = np.searchsorted(user[order], user[order])
    positions = np.empty(len(user), np.int64)
    positions[order] = np.arange(len(user)) - starts
    return pa.array(positions)


def _described(path: Path) -> Source:
    """The catalogue beside sequences: titles and genres, or numbered attributes as tags."""
    source = read(path, {*schema.ITEMS.names, PLAIN_GENRES, PLAIN_ATTRIBUTES})
    rows = source.read()
    names = rows.column_names
    renamed = {PLAIN_GENRES: schema.CATEGORY_PATH, PLAIN_ATTRIBUTES: schema.TAGS}
    rows = rows.rename_columns([renamed.get(name, name) for name in names])
    if PLAIN_ATTRIBUTES in names:
        place = rows.column_names.index(schema.TAGS)
        rows = rows.set_column(place, schema.TAGS, pc.replace_substring(rows[schema.TAGS], " ", "|"))
    if PLAIN_GENRES in names:
        rows = rows.append_column(schema.ITEM_TYPE, constant(FILM, len(rows)))
    left = [name for name in source.names if name not in names]
    return _with(source, rows, left)
