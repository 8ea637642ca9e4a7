"""Vectors of items: those that were provided, of one encoder, and our own of texts that have none."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lodestar import schema
from lodestar.config import DataConfig, Recipe
from lodestar.data.tables import tables
from lodestar.features.batch.build import build_features
from lodestar.features.text import text
from lodestar.schema.time_units import SECOND_US
from tests.factories import EPOCH_US, table

RECIPE = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1))
ITEMS = [f"i{number}" for number in range(5)]
Rows = list[dict[str, Any]]


def built(folder: Path, provided: Rows) -> dict[str, dict[str, dict[str, Any]]]:
    """By view and item, the rows of embeddings of five items, one of which has a description and tags."""
    timestamps = [EPOCH_US] * len(ITEMS)
    items = table(
        schema.ITEMS,
        item_id=ITEMS,
        title=["Red lamp", "Blue lamp", "Boot", "Sock", ""],
        category_path=[["home", "lamps"], None, [], ["shoes"], None],
        tags=[["warm"], None, None, None, None],
        description=["A lamp for reading.", None, None, None, None],
        **dict.fromkeys(("created_at", "updated_at", "ingested_at"), timestamps),
    )
    columns: dict[str, list[Any]] = {
        name: [row.get(name) for row in provided] for name in ("item_id", "kind", "encoder", "encoder_version", "embedding")
    }
    known = [row.get("known", EPOCH_US) for row in provided]
    about: dict[str, list[Any]] = {
        "dim": [len(row["embedding"] or []) for row in provided],
        "content_hash": ["h"] * len(provided),
        "ingested_at": known,
    }
    events = table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(10)],
        user_id=[f"u{number % 2}" for number in range(10)],
        item_id=[ITEMS[number % 5] for number in range(10)],
        event_type=["view"] * 10,
        event_time=[EPOCH_US + number * SECOND_US for number in range(10)],
        ingested_at=[EPOCH_US + number * SECOND_US for number in range(10)],
    )
    source = folder / "tables"
    source.mkdir(parents=True)
    tables.write({"events": events, "items": items, "item_content": table(schema.ITEM_CONTENT, **columns, **about)}, source)
    build_features(source, folder / "features", RECIPE)
    views = (schema.TEXT_EMBEDDING_VIEW, schema.IMAGE_EMBEDDING_VIEW)
    files = {view: pq.read_table(folder / "features" / "data" / f"{view}.parquet").to_pylist() for view in views}
    return {view: {row[schema.ITEM_ID]: row for row in rows} for view, rows in files.items()}


def provided(item: str, encoder: str, vector: list[float] | None, kind: str = "text", **other: Any) -> dict[str, Any]:
    return {"item_id": item, "kind": kind, "encoder": encoder, "encoder_version": "1", "embedding": vector, **other}


def test_texts_without_a_vector_get_ours_of_all_that_they_say(tmp_path: Path) -> None:
    found = built(tmp_path, [])[schema.TEXT_EMBEDDING_VIEW]
    words = ["Red lamp home lamps warm A lamp for reading.", "Blue lamp", "Boot", "Sock shoes", ""]
    assert [found[item]["text_embedding"] for item in ITEMS] == text.embed(words).tolist()
    assert {row["text_encoder"] for row in found.values()} == {text.ENCODER}
    assert not np.any(found["i4"]["text_embedding"])


def test_provided_vectors_are_of_the_encoder_that_knows_most_items(tmp_path: Path) -> None:
    rows = [
        provided("i0", "big", [1.0, 0.0]),
        provided("i1", "big", [0.0, 1.0]),
        provided("i0", "a", [0.5, 0.5]),
        provided("i2", "big", None),
    ]
    found = built(tmp_path, rows)[schema.TEXT_EMBEDDING_VIEW]
    assert {item: (row["text_embedding"], row["text_encoder"]) for item, row in found.items()} == {
        "i0": ([1.0, 0.0], "big@1"),
        "i1": ([0.0, 1.0], "big@1"),
    }


def test_a_picture_has_the_vector_that_was_provided_since_when_it_was_known(tmp_path: Path) -> None:
    later = EPOCH_US + 60 * SECOND_US
    found = built(tmp_path, [provided("i3", "eye", [3.0, 4.0, 5.0], kind="image", known=later)])
    (row,) = found[schema.IMAGE_EMBEDDING_VIEW].values()
    assert (row[schema.ITEM_ID], row["image_embedding"], row["image_encoder"]) == ("i3", [3.0, 4.0, 5.0], "eye@1")
    assert {int(row[name].timestamp()) for name in (schema.FEATURE_TIME, schema.KNOWN_TIME)} == {later // SECOND_US}
    assert len(found[schema.TEXT_EMBEDDING_VIEW]) == len(ITEMS)


def test_a_shop_without_pictures_has_no_rows_of_them(tmp_path: Path) -> None:
    assert built(tmp_path, [])[schema.IMAGE_EMBEDDING_VIEW] == {}
