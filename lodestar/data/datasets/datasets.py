"""Public data sets by their folder layout: MovieLens-100K, Open Bandit, Home Depot, ASSISTments and interaction sequences.

Their files become the contract's columns and are validated like any other. Where only the order of a user's interactions is known,
position n has the time n seconds after 2000-01-01, which keeps the order and is recognisable as artificial.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lodestar import schema
from lodestar.data.dataset import DataSet, Open, constant, single_file, times_from_order
from lodestar.data.datasets import assistments, home_depot, open_bandit
from lodestar.data.readers.file_names import stem
from lodestar.data.readers.options import ReadOptions
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source, single_batch
from lodestar.errors import DataError, Location

RATINGS, FILMS, GENRES = "u.data", "u.item", "u.genre"
INTERACTIONS, FILM = "interactions", "video"
FILM_COLUMNS = (schema.ITEM_ID, schema.TITLE, "released", "released_on_video", "address")
PLAIN_GENRES, PLAIN_ATTRIBUTES = "genres", "attribute_ids"


def find(folder: Path) -> DataSet | None:
    """The public data set in a folder, None where its layout is unknown."""
    if (folder / RATINGS).is_file():
        return _movielens_100k(folder)
    logged = open_bandit.find(folder) or home_depot.find(folder) or assistments.find(folder)
    if logged is not None:
        return logged
    interactions = by_name(folder, INTERACTIONS)
    is_ordered = interactions is not None and not {schema.EVENT_TIME, schema.EVENT_TYPE} & set(read(interactions, ()).names)
    return _sequences(interactions, by_name(folder, schema.ITEMS.name)) if interactions and is_ordered else None


def by_name(folder: Path, name: str) -> Path | None:
    """The folder's first file of that name with any readable suffix, None without one."""
    return next((path for path in sorted(folder.iterdir()) if path.is_file() and stem(path.name) == name), None)


def _movielens_100k(folder: Path) -> DataSet:
    columns = (schema.USER_ID, schema.ITEM_ID, schema.RATING, schema.EVENT_TIME)
    ratings = ReadOptions(columns=columns, delimiter="\t")
    return DataSet(
        tables={
            schema.EVENTS.name: single_file(read, folder / RATINGS, columns, ratings),
            schema.ITEMS.name: single_file(_movies, folder),
        },
        paths=(folder / RATINGS, folder / FILMS, folder / GENRES),
    )


def _movies(folder: Path) -> Source:
    """Items of MovieLens-100K: titles and genres, which are columns of 0 and 1 in the order of u.genre."""
    listed = read(folder / GENRES, {"genre"}, ReadOptions(columns=("genre", "index"), delimiter="|"))
    genres = listed.read()["genre"].to_pylist()
    options = ReadOptions(columns=(*FILM_COLUMNS, *genres), delimiter="|", encoding="latin1")
    source = read(folder / FILMS, {schema.ITEM_ID, schema.TITLE, *genres}, options)
    found = source.read()
    marked = [pc.if_else(pc.equal(found[genre], "1"), genre, "") for genre in genres]
    path = pc.utf8_trim(pc.replace_substring_regex(pc.binary_join_element_wise(*marked, "|"), r"\|+", "|"), "|")
    rows = found.select([schema.ITEM_ID, schema.TITLE]).append_column(schema.CATEGORY_PATH, path)
    rows = rows.append_column(schema.ITEM_TYPE, constant(FILM, len(rows)))
    return _replace_rows(source, rows, FILM_COLUMNS[2:])


def _sequences(interactions: Path, items: Path | None) -> DataSet:
    tables: dict[str, Open] = {schema.EVENTS.name: single_file(_sequence_events, interactions)}
    if items is not None:
        tables[schema.ITEMS.name] = single_file(_sequence_items, items)
    return DataSet(tables=tables, paths=tuple(path for path in (interactions, items) if path), order_only=True)


def _sequence_events(path: Path) -> Source:
    """View events in the order of their position column, or of the file without one."""
    source = read(path, {schema.USER_ID, schema.ITEM_ID, schema.POSITION})
    rows = source.read()
    if schema.USER_ID in rows.column_names:
        times = times_from_order(_positions(source.file, rows))
        rows = rows.append_column(schema.EVENT_TIME, times)
    rows = rows.append_column(schema.EVENT_TYPE, constant(schema.EventType.VIEW, len(rows)))
    rows = rows.select([name for name in rows.column_names if name != schema.POSITION])
    unused = [name for name in source.names if name not in (*rows.column_names, schema.POSITION)]
    return _replace_rows(source, rows, unused)


def _replace_rows(source: Source, rows: "pa.Table", unused: Sequence[str]) -> Source:
    """The source with its rows replaced by as many others in the same order; `left` are the names of unused columns."""
    columns = tuple(rows.column_names)
    return replace(source, batches=single_batch(rows), columns=columns, names=(*columns, *unused))


def _positions(file: str, rows: "pa.Table") -> "pa.Array":
    if schema.POSITION in rows.column_names:
        try:
            return rows[schema.POSITION].cast(pa.int64())
        except pa.ArrowInvalid as error:
            place = Location(file=file, column=schema.POSITION)
            raise DataError("E107", f"a position is no whole number ({error})", remedy="Write 0, 1, 2, ….", place=place) from error
    user = rows[schema.USER_ID].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.argsort(user, kind="stable")
    starts = np.searchsorted(user[order], user[order])
    positions = np.empty(len(user), np.int64)
    positions[order] = np.arange(len(user)) - starts
    return pa.array(positions)


def _sequence_items(path: Path) -> Source:
    """Items of a data set of sequences: titles and genres, or numbered attributes as tags."""
    source = read(path, {*schema.ITEMS.names, PLAIN_GENRES, PLAIN_ATTRIBUTES})
    rows = source.read()
    names = rows.column_names
    renamed = {PLAIN_GENRES: schema.CATEGORY_PATH, PLAIN_ATTRIBUTES: schema.TAGS}
    rows = rows.rename_columns([renamed.get(name, name) for name in names])
    if PLAIN_ATTRIBUTES in names:
        index = rows.column_names.index(schema.TAGS)
        rows = rows.set_column(index, schema.TAGS, pc.replace_substring(rows[schema.TAGS], " ", "|"))
    if PLAIN_GENRES in names:
        rows = rows.append_column(schema.ITEM_TYPE, constant(FILM, len(rows)))
    unused = [name for name in source.names if name not in names]
    return _replace_rows(source, rows, unused)
