"""Content embeddings of items: text and image vectors from `item_content`, or hashed n-gram vectors for text without any."""

from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.features.text import text

ITEMS_AT_ONCE = 10_000
EMBEDDED, OURS = "embedded_rows", [schema.ITEM_ID, "vector", "updated_at", "known"]
VIEWS = {schema.TEXT_EMBEDDING_VIEW: "text", schema.IMAGE_EMBEDDING_VIEW: "image"}  # the kind of content of each view


def rows(database: Any, view: str) -> str:
    """SQL of an embedding view's rows: provided vectors of one encoder, or hashed n-gram vectors of item text."""
    encoder = database.execute(encoders(view)).fetchone()
    return _write_hashed_vectors(database, view) if has_none(view, encoder) else provided_vectors_sql(view, encoder)


def encoders(view: str) -> str:
    """SQL of (encoder, version) with vectors of the most items: only vectors of one encoder can be compared."""
    return f"""
        SELECT {schema.ENCODER}, {schema.ENCODER_VERSION} {_content_sql(view)} GROUP BY {schema.ENCODER}, {schema.ENCODER_VERSION}
        ORDER BY count(DISTINCT {schema.ITEM_ID}) DESC, {schema.ENCODER}, {schema.ENCODER_VERSION} DESC LIMIT 1"""


def has_none(view: str, encoder: tuple[str, str] | None) -> bool:
    """Whether a view is of text and no text vectors were provided."""
    return encoder is None and VIEWS[view] == "text"


def provided_vectors_sql(view: str, encoder: tuple[str, str] | None) -> str:
    """SQL of the provided vectors of one encoder, (name, version); no rows where it is None."""
    vector, name = (feature.name for feature in schema.VIEWS[view].features)
    chosen, version = (str(one).replace("'", "''") for one in encoder or ("", ""))
    return f"""
        SELECT {schema.ITEM_ID}, list_transform({schema.EMBEDDING}, value -> value::FLOAT) AS {vector},
            {schema.ENCODER} || '@' || {schema.ENCODER_VERSION} AS {name},
            {schema.INGESTED_AT} AS {schema.FEATURE_TIME}, {schema.INGESTED_AT} AS {schema.KNOWN_TIME}
        {_content_sql(view)} AND {schema.ENCODER} = '{chosen}' AND {schema.ENCODER_VERSION} = '{version}' ORDER BY {schema.ITEM_ID}"""


def words() -> str:
    """SQL of (item_id, words, updated_at, known): each item's title, categories, tags and description in one text, and both times."""
    lists = [f"array_to_string({column}, ' ')" for column in (schema.CATEGORY_PATH, schema.TAGS)]
    texts = f"concat_ws(' ', {', '.join([schema.TITLE, *lists, schema.DESCRIPTION])})"
    return f"""
        SELECT {schema.ITEM_ID}, {texts} AS words, {schema.UPDATED_AT} AS updated_at, {schema.INGESTED_AT} AS known
        FROM items ORDER BY {schema.ITEM_ID}"""


def embed_words(batch: "pa.RecordBatch") -> "pa.Table":
    """Rows of `words` with the text replaced by its hashed n-gram vector, [DIM]."""
    found = text.embed(batch["words"].to_pylist())
    offsets = pa.array(np.arange(0, found.size + 1, text.DIM, dtype=np.int32))
    vectors = pa.ListArray.from_arrays(offsets, pa.array(found.ravel()))
    return pa.table([batch[schema.ITEM_ID], vectors, batch["updated_at"], batch["known"]], names=OURS)


def hashed_vectors_sql(view: str) -> str:
    """SQL of a view's rows over a relation of its name with the rows of `embed_words`."""
    vector, encoder = (feature.name for feature in schema.VIEWS[view].features)
    return f"""
        SELECT {schema.ITEM_ID}, vector AS {vector}, '{text.ENCODER}' AS {encoder}, updated_at AS {schema.FEATURE_TIME},
            known AS {schema.KNOWN_TIME}
        FROM {view}"""


def _write_hashed_vectors(database: Any, view: str) -> str:
    """Write hashed vectors into a table of the view's name, some items at a time; returns the SQL of its rows."""
    database.execute(f"CREATE TABLE {view} ({schema.ITEM_ID} VARCHAR, vector FLOAT[], updated_at TIMESTAMPTZ, known TIMESTAMPTZ)")
    for batch in database.cursor().execute(words()).to_arrow_reader(ITEMS_AT_ONCE):
        database.register(EMBEDDED, embed_words(batch))
        database.execute(f"INSERT INTO {view} SELECT * FROM {EMBEDDED}")
        database.unregister(EMBEDDED)
    return hashed_vectors_sql(view)


def _content_sql(view: str) -> str:
    return f"FROM item_content WHERE {schema.KIND} = '{VIEWS[view]}' AND {schema.EMBEDDING} IS NOT NULL"
