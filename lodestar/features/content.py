"""Items' texts and pictures as vectors: those that `item_content` brings, and for texts without any our own."""

from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.features import text

ITEMS_AT_ONCE = 50_000
EMBEDDED = "embedded_rows"
VIEWS = {schema.TEXT_EMBEDDING_VIEW: "text", schema.IMAGE_EMBEDDING_VIEW: "image"}  # and the kind of content that each is about


def rows(database: Any, view: str) -> str:
    """SQL of the view's rows. Vectors of one encoder can be compared: where there are several, that of the most items is taken."""
    kind = VIEWS[view]
    given = f"FROM item_content WHERE {schema.KIND} = '{kind}' AND {schema.EMBEDDING} IS NOT NULL"
    chosen = database.execute(f"""
        SELECT {schema.ENCODER}, {schema.ENCODER_VERSION} {given} GROUP BY ALL
        ORDER BY count(DISTINCT {schema.ITEM_ID}) DESC, {schema.ENCODER}, {schema.ENCODER_VERSION} DESC LIMIT 1""").fetchone()
    if chosen is None and kind == "text":
        return _our_own(database, view)
    vector, encoder = (feature.name for feature in schema.VIEWS[view].features)
    name, version = (str(one).replace("'", "''") for one in chosen or ("", ""))
    return f"""
        SELECT {schema.ITEM_ID}, list_transform({schema.EMBEDDING}, value -> value::FLOAT) AS {vector},
            {schema.ENCODER} || '@' || {schema.ENCODER_VERSION} AS {encoder},
            {schema.INGESTED_AT} AS {schema.FEATURE_TIME}, {schema.INGESTED_AT} AS {schema.KNOWN_TIME}
        {given} AND {schema.ENCODER} = '{name}' AND {schema.ENCODER_VERSION} = '{version}' ORDER BY {schema.ITEM_ID}"""


def _our_own(database: Any, view: str) -> str:
    """The vectors of all titles, categories, tags and descriptions, in a table, some items at a time."""
    vector, encoder = (feature.name for feature in schema.VIEWS[view].features)
    database.execute(f"CREATE TABLE {view} ({schema.ITEM_ID} VARCHAR, {vector} FLOAT[], moment TIMESTAMPTZ, known TIMESTAMPTZ)")
    batches = (
        database.cursor()
        .execute(f"""
        SELECT {schema.ITEM_ID}, {_words()} AS words, {schema.UPDATED_AT} AS moment, {schema.INGESTED_AT} AS known
        FROM items ORDER BY {schema.ITEM_ID}""")
        .to_arrow_reader(ITEMS_AT_ONCE)
    )
    for batch in batches:
        embedded = text.embed(batch["words"].to_pylist())
        offsets = pa.array(np.arange(0, embedded.size + 1, text.DIM, dtype=np.int32))
        vectors = pa.ListArray.from_arrays(offsets, pa.array(embedded.ravel()))
        database.register(EMBEDDED, pa.table([batch[schema.ITEM_ID], vectors, batch["moment"], batch["known"]], names=list("abcd")))
        database.execute(f"INSERT INTO {view} SELECT * FROM {EMBEDDED}")
        database.unregister(EMBEDDED)
    return f"""
        SELECT {schema.ITEM_ID}, {vector}, '{text.ENCODER}' AS {encoder}, moment AS {schema.FEATURE_TIME}, known AS {schema.KNOWN_TIME}
        FROM {view}"""


def _words() -> str:
    lists = [f"array_to_string({column}, ' ')" for column in (schema.CATEGORY_PATH, schema.TAGS)]
    return f"concat_ws(' ', {', '.join([schema.TITLE, *lists, schema.DESCRIPTION])})"
