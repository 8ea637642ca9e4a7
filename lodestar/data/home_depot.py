"""Home Depot's search relevance: a product's title, what someone searched for, and how well raters found that they match, 1 to 3.

Nobody is known by name: each query is a visitor of its own, and a judged pair is a rating with its query's text. `source` keeps the
fold, which holds whole queries. Only the order of the file is known.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.data.dataset import DataSet, constant, moments, one
from lodestar.data.delimited import read_delimited
from lodestar.data.source import Source, whole

FILE = "query_title_relevance.csv.gz"
UID, TITLE, QUERY, RELEVANCE, FOLD = "product_uid", "product_title", "search_term", "relevance", "fold"
REPEATED = "the same product again"
SCALE = "relevance lies on 1–3, within the scale of ratings"


def find(folder: Path) -> DataSet | None:
    path = folder / FILE
    if not path.is_file():
        return None
    tables = {schema.EVENTS.name: one(_judgements, path), schema.ITEMS.name: one(_products, path)}
    return DataSet(tables=tables, files=(path,), order_only=True)


def _judgements(path: Path) -> Source:
    source = read_delimited(path, {UID, QUERY, RELEVANCE, FOLD})
    found = source.read()
    count = len(found)
    query = found[QUERY].combine_chunks().dictionary_encode()
    visitors = pa.array([f"query-{number}" for number in query.indices.to_pylist()], pa.string())
    columns = {
        schema.USER_ID: visitors,
        schema.ITEM_ID: found[UID],
        schema.EVENT_TYPE: constant(schema.EventType.RATING, count),
        schema.EVENT_TIME: moments(pa.array(np.arange(count))),
        schema.QUERY_ID: visitors,
        schema.QUERY_TEXT: found[QUERY],
        schema.RATING: found[RELEVANCE],
        schema.SOURCE: pa.array([f"fold-{fold}" for fold in found[FOLD].to_pylist()], pa.string()),
    }
    return replace(source, names=tuple(columns), columns=tuple(columns), batches=whole(pa.table(columns)), notes=(SCALE,))


def _products(path: Path) -> Source:
    """Each product once; the file repeats it with every query."""
    source = read_delimited(path, {UID, TITLE})
    found = source.read()
    places = found[UID].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.sort(np.unique(places, return_index=True)[1])
    rows = found.take(pa.array(first)).select([UID, TITLE]).rename_columns([schema.ITEM_ID, schema.TITLE])
    return Source(
        file=source.file,
        names=tuple(rows.column_names),
        columns=tuple(rows.column_names),
        batches=whole(rows),
        lines=lambda asked: source.lines([int(first[row]) for row in asked]),
        left_out={REPEATED: len(found) - len(rows)},
    )
