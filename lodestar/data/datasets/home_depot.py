"""Home Depot search relevance reader: product titles, search queries and relevance ratings of 1 to 3.

There are no user ids: each query is a user of its own, and each rated pair a rating event with its query's text. `source` keeps the fold,
which holds whole queries. There are no times, only the order of the file.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.data.dataset import DataSet, constant, single_file, times_from_order
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source, single_batch

FILE = "query_title_relevance.csv.gz"
UID, TITLE, QUERY, RELEVANCE, FOLD = "product_uid", "product_title", "search_term", "relevance", "fold"
REPEATED = "the same product again"
SCALE = "relevance lies on 1–3, within the scale of ratings"


def find(folder: Path) -> DataSet | None:
    """Home Depot search relevance in a folder with its file, None where it is not there."""
    path = folder / FILE
    if not path.is_file():
        return None
    tables = {schema.EVENTS.name: single_file(_ratings, path), schema.ITEMS.name: single_file(_products, path)}
    return DataSet(tables=tables, paths=(path,), order_only=True)


def _ratings(path: Path) -> Source:
    """Rating events: the relevance of each pair of query and product."""
    source = read(path, {UID, QUERY, RELEVANCE, FOLD})
    found = source.read()
    count = len(found)
    query = found[QUERY].combine_chunks().dictionary_encode()
    visitors = pa.array([f"query-{number}" for number in query.indices.to_pylist()], pa.string())
    columns = {
        schema.USER_ID: visitors,
        schema.ITEM_ID: found[UID],
        schema.EVENT_TYPE: constant(schema.EventType.RATING, count),
        schema.EVENT_TIME: times_from_order(pa.array(np.arange(count))),
        schema.QUERY_ID: visitors,
        schema.QUERY_TEXT: found[QUERY],
        schema.RATING: found[RELEVANCE],
        schema.SOURCE: pa.array([f"fold-{fold}" for fold in found[FOLD].to_pylist()], pa.string()),
    }
    return replace(source, names=tuple(columns), columns=tuple(columns), batches=single_batch(pa.table(columns)), notes=(SCALE,))


def _products(path: Path) -> Source:
    """Items: each product once; the file repeats it for every query."""
    source = read(path, {UID, TITLE})
    found = source.read()
    product_index = found[UID].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.sort(np.unique(product_index, return_index=True)[1])
    rows = found.take(pa.array(first)).select([UID, TITLE]).rename_columns([schema.ITEM_ID, schema.TITLE])
    return Source(
        file=source.file,
        names=tuple(rows.column_names),
        columns=tuple(rows.column_names),
        batches=single_batch(rows),
        lines=lambda requested: source.lines([int(first[row]) for row in requested]),
        skipped_rows={REPEATED: len(found) - len(rows)},
    )
