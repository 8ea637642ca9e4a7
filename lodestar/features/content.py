"""Items' texts and pictures as vectors: those that `item_content` brings, and for texts without any our own."""

from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.features import text

ITEMS_AT_ONCE = 10_000
EMBEDDED, OURS = "embedded_rows", [schema.ITEM_ID, "vector", "moment", "known"]
VIEWS = {schema.TEXT_EMBEDDING_VIEW: "text", schema.IMAGE_EMBEDDING_VIEW: "image"}  # and the kind of content that each is about


def rows(database: Any, view: str) -> str:
    """SQL of the view's rows."""
    encoder = database.execute(encoders(view)).fetchone()
    return _our_own(database, view) if has_none(view, encoder) else brought(view, encoder)


def encoders(view: str) -> str:
    """SQL of (encoder, version): vectors of one can be compared, and where there are several, that of the most items is taken."""
    return f"""
        SELECT {schema.ENCODER}, {schema.ENCODER_VERSION} {_given(view)} GROUP BY {schema.ENCODER}, {schema.ENCODER_VERSION}
        ORDER BY count(DISTINCT {schema.ITEM_ID}) DESC, {schema.ENCODER}, {schema.ENCODER_VERSION} DESC LIMIT 1"""


def has_none(view: str, encoder: tuple[str, str] | None) -> bool:
    """Are there texts, and no vectors of them?"""
    return encoder is None and VIEWS[view] == "text"


def brought(view: str, encoder: tuple[str, str] | None) -> str:
    """SQL of the vectors that came with the data, of one encoder; none where there is none."""
    vector, name = (feature.name for feature in schema.VIEWS[view].features)
    chosen, version = (str(one).replace("'", "''") for one in encoder or ("", ""))
    return f"""
        SELECT {schema.ITEM_ID}, list_transform({schema.EMBEDDING}, value -> value::FLOAT) AS {vector},
            {schema.ENCODER} || '@' || {schema.ENCODER_VERSION} AS {name},
            {schema.INGESTED_AT} AS {schema.FEATURE_TIME}, {schema.INGESTED_AT} AS {schema.KNOWN_TIME}
        {_given(view)} AND {schema.ENCODER} = '{chosen}' AND {schema.ENCODER_VERSION} = '{version}' ORDER BY {schema.ITEM_ID}"""


def words() -> str:
    """SQL of (item_id, words, moment, known): all titles, categories, tags and descriptions."""
    lists = [f"array_to_string({column}, ' ')" for column in (schema.CATEGORY_PATH, schema.TAGS)]
    texts = f"concat_ws(' ', {', '.join([schema.TITLE, *lists, schema.DESCRIPTION])})"
    return f"""
        SELECT {schema.ITEM_ID}, {texts} AS words, {schema.UPDATED_AT} AS moment, {schema.INGESTED_AT} AS known
        FROM items ORDER BY {schema.ITEM_ID}"""


def embedded(batch: "pa.RecordBatch") -> "pa.Table":
    """Rows of `words` with vectors of our own in the words' place."""
    found = text.embed(batch["words"].to_pylist())
    offsets = pa.array(np.arange(0, found.size + 1, text.DIM, dtype=np.int32))
    vectors = pa.ListArray.from_arrays(offsets, pa.array(found.ravel()))
    return pa.table([batch[schema.ITEM_ID], vectors, batch["moment"], batch["known"]], names=OURS)


def ours(view: str) -> str:
    """SQL of the view's rows from a relation of its name that holds what `embedded` makes."""
    vector, encoder = (feature.name for feature in schema.VIEWS[view].features)
    return f"""
        SELECT {schema.ITEM_ID}, vector AS {vector}, '{text.ENCODER}' AS {encoder}, moment AS {schema.FEATURE_TIME},
            known AS {schema.KNOWN_TIME}
        FROM {view}"""


def _our_own(database: Any, view: str) -> str:
    """The vectors in a table, some items at a time."""
    database.execute(f"CREATE TABLE {view} ({schema.ITEM_ID} VARCHAR, vector FLOAT[], moment TIMESTAMPTZ, known TIMESTAMPTZ)")
    for batch in database.cursor().execute(words()).to_arrow_reader(ITEMS_AT_ONCE):
        database.register(EMBEDDED, embedded(batch))
        database.execute(f"INSERT INTO {view} SELECT * FROM {EMBEDDED}")
        database.unregister(EMBEDDED)
    return ours(view)


def _given(view: str) -> str:
    return f"FROM item_content WHERE {schema.KIND} = '{VIEWS[view]}' AND {schema.EMBEDDING} IS NOT NULL"
