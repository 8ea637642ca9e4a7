"""The simulated shop as the contract's tables, written as it happens: arrays in, Parquet row groups of bounded size out."""

from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data import words
from lodestar.data.sessions import Act, Acts, Lists
from lodestar.data.tables import arrow_schema, file_name
from lodestar.data.world import LIST_LENGTH, SECOND_US, Goods, People

FLUSH_ROWS = 250_000
WRITTEN = (schema.USERS, schema.ITEMS, schema.EVENTS, schema.IMPRESSIONS)
LAG_US = 2 * SECOND_US  # from what happens to when it is known
CURRENCY, LANGUAGE, ITEM_TYPE, POLICY, ARM = "EUR", "en", "product", "simulated-policy", "control"
HOME, SEARCH, PRODUCT = 0, 1, 2
SURFACES = pa.array(["home", "search", "product"])
DEVICES = pa.array(["mobile", "desktop", "tablet"])
COUNTRIES = ("DE", "FR", "IT", "ES", "NL")
ACTS = {
    Act.SEARCH: schema.EventType.SEARCH,
    Act.CLICK: schema.EventType.CLICK,
    Act.VIEW: schema.EventType.VIEW,
    Act.ADD_TO_CART: schema.EventType.ADD_TO_CART,
    Act.PURCHASE: schema.EventType.PURCHASE,
}
Columns = dict[str, Any]


class LogWriter:
    """Open files of the four tables; what was added reaches them a row group at a time, each sorted by time."""

    def __init__(self, folder: Path, shop: Goods) -> None:
        self.shop = shop
        self.nouns = words.topics(shop.num_topics)
        self.queries = pa.array([f"{style} {noun}" for _, noun in self.nouns for style in words.STYLES])
        self._acts: list[Acts] = []
        self._lists: list[Lists] = []
        self._num_waiting = self._num_events = 0
        self._stack = ExitStack()
        self._files = {table.name: self._open(folder, table) for table in WRITTEN}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def add(self, lists: Lists, acts: list[Acts]) -> None:
        """Keep a round of sessions, and write when enough rows have come together."""
        self._lists.append(lists)
        self._acts += acts
        self._num_waiting += len(lists.user) * LIST_LENGTH + sum(len(rows.act) for rows in acts)
        if self._num_waiting >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._num_waiting:
            self._write(schema.EVENTS, self._events(_joined(Acts, self._acts)))
            self._write(schema.IMPRESSIONS, self._impressions(_joined(Lists, self._lists)))
        self._acts, self._lists, self._num_waiting = [], [], 0

    def write_items(self, chance: np.random.Generator) -> None:
        shop, count = self.shop, len(self.shop.topic)
        category = [list(self.nouns[topic]) for topic in shop.topic.tolist()]
        columns = {
            schema.ITEM_ID: item_ids(np.arange(count)),
            schema.ITEM_TYPE: _constant(ITEM_TYPE, count),
            schema.TITLE: words.titles([noun for _, noun in self.nouns], shop.topic, shop.style, chance),
            schema.DESCRIPTION: self._descriptions(),
            schema.IS_ACTIVE: np.ones(count, dtype=np.bool_),
            schema.CATEGORY_PATH: category,
            schema.TAGS: [[list(words.STYLES)[style]] for style in shop.style.tolist()],
            schema.PRICE: shop.price,
            schema.CURRENCY: _constant(CURRENCY, count),
            schema.STOCK: chance.integers(1, 200, count),
            schema.LANGUAGE: _constant(LANGUAGE, count),
            **dict.fromkeys((schema.CREATED_AT, schema.UPDATED_AT, schema.AVAILABLE_FROM), shop.created_us),
            schema.INGESTED_AT: shop.created_us + LAG_US,
        }
        self._write(schema.ITEMS, columns)

    def write_users(self, people: People, chance: np.random.Generator) -> None:
        count = len(people.created_us)
        for first in range(0, count, FLUSH_ROWS):
            self._write(schema.USERS, self._users(people, slice(first, min(first + FLUSH_ROWS, count)), chance))

    def _users(self, people: People, rows: slice, chance: np.random.Generator) -> Columns:
        created_us = people.created_us[rows]
        count = len(created_us)
        liked = people.favourites[rows][np.arange(count)[:, None], np.argsort(-people.early[rows], axis=1)[:, :2]]
        return {
            schema.USER_ID: user_ids(np.arange(rows.start, rows.stop)),
            **dict.fromkeys((schema.CREATED_AT, schema.UPDATED_AT), created_us),
            schema.INGESTED_AT: created_us + LAG_US,
            schema.CONSENT_PERSONALISE: np.ones(count, dtype=np.bool_),
            schema.CONSENT_SOCIAL: chance.random(count) < 0.5,
            schema.IS_MINOR: np.zeros(count, dtype=np.bool_),
            schema.COUNTRY: pa.array(COUNTRIES).take(pa.array(chance.integers(0, len(COUNTRIES), count))),
            schema.LANGUAGE: _constant(LANGUAGE, count),
            schema.BIRTH_YEAR: chance.integers(1950, 2007, count),
            schema.INTERESTS: [sorted({self.nouns[topic][0] for topic in pair}) for pair in liked.tolist()],
        }

    def _descriptions(self) -> list[str]:
        shop, styles = self.shop, list(words.STYLES)
        near = shop.next_topics[shop.topic, shop.style, 1:]
        nouns = [noun for _, noun in self.nouns]
        return [
            f"A {styles[style]} {nouns[topic]} for {self.nouns[topic][0]}. Goes well with: {', '.join(nouns[other] for other in others)}."
            for style, topic, others in zip(shop.style.tolist(), shop.topic.tolist(), near.tolist(), strict=True)
        ]

    def _events(self, rows: Acts) -> Columns:
        is_click, is_search = rows.act == Act.CLICK, rows.act == Act.SEARCH
        from_list, paid = is_click | is_search, rows.act >= Act.ADD_TO_CART
        asked = from_list & (rows.query >= 0)
        number = self._num_events + np.arange(len(rows.act))
        self._num_events += len(number)
        surface = np.where(asked, SEARCH, np.where(is_click, HOME, PRODUCT))
        return {
            schema.EVENT_ID: _numbered("e", number, 10),
            schema.USER_ID: user_ids(rows.user),
            schema.EVENT_TYPE: _chosen(pa.array([ACTS[act].value for act in Act]), rows.act),
            schema.EVENT_TIME: rows.time,
            schema.INGESTED_AT: rows.time + LAG_US,
            schema.ITEM_ID: _where(~is_search, item_ids(np.maximum(rows.item, 0))),
            schema.SESSION_ID: _numbered("s", rows.session, 9),
            schema.QUERY_ID: _where(asked, _numbered("q", rows.session, 9)),
            schema.QUERY_TEXT: _chosen(self.queries, rows.query, asked),
            schema.REQUEST_ID: _where(from_list, _numbered("r", rows.session, 9)),
            schema.POSITION: pa.array(rows.position + 1, mask=~is_click),
            schema.SURFACE: _chosen(SURFACES, surface),
            schema.DEVICE: _chosen(DEVICES, rows.user % len(DEVICES)),
            schema.VALUE: pa.array(self.shop.price[rows.item], mask=~paid),
            schema.CURRENCY: _chosen(pa.array([CURRENCY]), np.zeros(len(number), dtype=np.int64), paid),
        }

    def _impressions(self, lists: Lists) -> Columns:
        count = lists.item.size
        session, time, query = (
            np.repeat(lists.session, LIST_LENGTH),
            np.repeat(lists.time, LIST_LENGTH),
            np.repeat(lists.query, LIST_LENGTH),
        )
        return {
            schema.REQUEST_ID: _numbered("r", session, 9),
            schema.USER_ID: user_ids(np.repeat(lists.user, LIST_LENGTH)),
            schema.ITEM_ID: item_ids(lists.item.ravel()),
            schema.POSITION: np.tile(np.arange(1, LIST_LENGTH + 1), len(lists.user)),
            schema.SHOWN_AT: time,
            schema.INGESTED_AT: time + LAG_US,
            schema.SURFACE: _chosen(SURFACES, np.where(query >= 0, SEARCH, HOME)),
            schema.MODEL_DIGEST: _constant(POLICY, count),
            schema.ARM: _constant(ARM, count),
            schema.PROPENSITY: lists.propensity.ravel(),
            schema.FEATURE_HASH: _constant(schema.HASH, count),
            schema.SESSION_ID: _numbered("s", session, 9),
            schema.QUERY_TEXT: _chosen(self.queries, query, query >= 0),
            schema.SCORE: lists.favour.ravel(),
            schema.IS_SPONSORED: np.zeros(count, dtype=np.bool_),
        }

    def _open(self, folder: Path, table: schema.Table) -> "pq.ParquetWriter":
        return self._stack.enter_context(pq.ParquetWriter(folder / file_name(table), arrow_schema(table), compression="zstd"))

    def _write(self, table: schema.Table, columns: Columns) -> None:
        shape, count = arrow_schema(table), len(next(iter(columns.values())))
        arrays = [_typed(columns[field.name], field) if field.name in columns else pa.nulls(count, field.type) for field in shape]
        self._files[table.name].write_table(pa.table(arrays, schema=shape))


def user_ids(rows: NDArray[np.integer[Any]]) -> "pa.Array":
    return _numbered("u", rows + 1, 6)


def item_ids(rows: NDArray[np.integer[Any]]) -> "pa.Array":
    return _numbered("i", rows + 1, 6)


def _numbered(prefix: str, numbers: NDArray[np.integer[Any]], digits: int) -> "pa.Array":
    """The prefix and the number with leading zeros, made without a string object per row."""
    digits = max(digits, len(str(int(numbers.max(initial=0)))))
    width = digits + 1
    text = np.full((len(numbers), width), ord(prefix), dtype=np.uint8)
    left = numbers.astype(np.int64)
    for place in range(digits, 0, -1):
        left, text[:, place] = left // 10, left % 10 + ord("0")
    ends = np.arange(len(numbers) + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(text))


def _chosen(texts: "pa.Array", which: NDArray[np.integer[Any]], is_there: NDArray[np.bool_] | None = None) -> "pa.Array":
    return texts.take(pa.array(which, mask=None if is_there is None else ~is_there))


def _where(is_there: NDArray[np.bool_], values: "pa.Array") -> "pa.Array":
    return pc.if_else(pa.array(is_there), values, None)


def _constant(text: str, count: int) -> "pa.Array":
    return pa.array([text]).take(pa.array(np.zeros(count, dtype=np.int64)))


def _typed(values: Any, field: "pa.Field") -> "pa.Array":
    if isinstance(values, pa.Array):
        return values if values.type == field.type else values.cast(field.type)
    via = pa.int64() if pa.types.is_timestamp(field.type) else field.type
    return pa.array(values, via).cast(field.type)


def _joined(kind: type[Any], parts: list[Any]) -> Any:
    """The parts in a row, in the order of time."""
    whole = {entry.name: np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(kind)}
    order = np.argsort(whole["time"], kind="stable")
    return kind(**{name: values[order] for name, values in whole.items()})
