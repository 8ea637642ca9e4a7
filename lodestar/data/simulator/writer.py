"""Write the simulator's arrays as the contract's tables, in Parquet row groups of bounded size."""

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
from lodestar.data.simulator import names
from lodestar.data.simulator.sessions import Action, Actions, Slates
from lodestar.data.simulator.world import LIST_LENGTH, Items, Users
from lodestar.data.tables.tables import arrow_schema, file_name
from lodestar.schema.arrays import Integer
from lodestar.schema.time_units import SECOND_US

FLUSH_ROWS = 250_000
WRITTEN = (schema.USERS, schema.ITEMS, schema.EVENTS, schema.IMPRESSIONS)
LAG_US = 2 * SECOND_US  # from event time to ingestion time
CURRENCY, LANGUAGE, ITEM_TYPE, POLICY, ARM = "EUR", "en", "product", "simulated-policy", "control"
HOME, SEARCH, PRODUCT = 0, 1, 2
SURFACES = pa.array(["home", "search", "product"])
DEVICES = pa.array(["mobile", "desktop", "tablet"])
COUNTRIES = ("DE", "FR", "IT", "ES", "NL")
ACTS = {
    Action.SEARCH: schema.EventType.SEARCH,
    Action.CLICK: schema.EventType.CLICK,
    Action.VIEW: schema.EventType.VIEW,
    Action.ADD_TO_CART: schema.EventType.ADD_TO_CART,
    Action.PURCHASE: schema.EventType.PURCHASE,
}
Columns = dict[str, Any]


class LogWriter:
    """Open files of the four tables; added sessions are buffered and written a row group at a time, each sorted by time."""

    def __init__(self, folder: Path, shop: Items) -> None:
        self.shop = shop
        self.nouns = names.topics(shop.num_topics)
        self.queries = pa.array([f"{style} {noun}" for _, noun in self.nouns for style in names.STYLES])
        self._actions: list[Actions] = []
        self._lists: list[Slates] = []
        self._num_buffered = self._num_events = 0
        self._stack = ExitStack()
        self._files = {table.name: self._open(folder, table) for table in WRITTEN}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def add(self, lists: Slates, events: list[Actions]) -> None:
        """Buffer a round of sessions, and write a row group once there are FLUSH_ROWS rows."""
        self._lists.append(lists)
        self._actions += events
        self._num_buffered += len(lists.user) * LIST_LENGTH + sum(len(rows.act) for rows in events)
        if self._num_buffered >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the buffered sessions."""
        if self._num_buffered:
            self._write(schema.EVENTS, self._events(_concatenate_sorted(Actions, self._actions)))
            self._write(schema.IMPRESSIONS, self._impressions(_concatenate_sorted(Slates, self._lists)))
        self._actions, self._lists, self._num_buffered = [], [], 0

    def write_items(self, rng: np.random.Generator) -> None:
        """Write the items table."""
        shop, count = self.shop, len(self.shop.topic)
        category = [list(self.nouns[topic]) for topic in shop.topic.tolist()]
        columns = {
            schema.ITEM_ID: item_ids(np.arange(count)),
            schema.ITEM_TYPE: _constant(ITEM_TYPE, count),
            schema.TITLE: names.titles([noun for _, noun in self.nouns], shop.topic, shop.style, rng),
            schema.DESCRIPTION: self._descriptions(),
            schema.IS_ACTIVE: np.ones(count, dtype=np.bool_),
            schema.CATEGORY_PATH: category,
            schema.TAGS: [[list(names.STYLES)[style]] for style in shop.style.tolist()],
            schema.PRICE: shop.price,
            schema.CURRENCY: _constant(CURRENCY, count),
            schema.STOCK: rng.integers(1, 200, count),
            schema.LANGUAGE: _constant(LANGUAGE, count),
            **dict.fromkeys((schema.CREATED_AT, schema.UPDATED_AT, schema.AVAILABLE_FROM), shop.created_us),
            schema.INGESTED_AT: shop.created_us + LAG_US,
        }
        self._write(schema.ITEMS, columns)

    def write_users(self, users: Users, rng: np.random.Generator) -> None:
        """Write the users table, FLUSH_ROWS rows at a time."""
        count = len(users.created_us)
        for first in range(0, count, FLUSH_ROWS):
            self._write(schema.USERS, self._users(users, slice(first, min(first + FLUSH_ROWS, count)), rng))

    def _users(self, users: Users, rows: slice, rng: np.random.Generator) -> Columns:
        created_us = users.created_us[rows]
        count = len(created_us)
        top_topics = users.favourites[rows][np.arange(count)[:, None], np.argsort(-users.early[rows], axis=1)[:, :2]]
        return {
            schema.USER_ID: user_ids(np.arange(rows.start, rows.stop)),
            **dict.fromkeys((schema.CREATED_AT, schema.UPDATED_AT), created_us),
            schema.INGESTED_AT: created_us + LAG_US,
            schema.CONSENT_PERSONALISE: np.ones(count, dtype=np.bool_),
            schema.CONSENT_SOCIAL: rng.random(count) < 0.5,
            schema.IS_MINOR: np.zeros(count, dtype=np.bool_),
            schema.COUNTRY: pa.array(COUNTRIES).take(pa.array(rng.integers(0, len(COUNTRIES), count))),
            schema.LANGUAGE: _constant(LANGUAGE, count),
            schema.BIRTH_YEAR: rng.integers(1950, 2007, count),
            schema.INTERESTS: [sorted({self.nouns[topic][0] for topic in pair}) for pair in top_topics.tolist()],
        }

    def _descriptions(self) -> list[str]:
        shop, styles = self.shop, list(names.STYLES)
        next_topics = shop.next_topics[shop.topic, shop.style, 1:]
        nouns = [noun for _, noun in self.nouns]
        return [
            f"A {styles[style]} {nouns[topic]} for {self.nouns[topic][0]}. Goes well with: {', '.join(nouns[other] for other in others)}."
            for style, topic, others in zip(shop.style.tolist(), shop.topic.tolist(), next_topics.tolist(), strict=True)
        ]

    def _events(self, rows: Actions) -> Columns:
        is_click, is_search = rows.act == Action.CLICK, rows.act == Action.SEARCH
        from_list, paid = is_click | is_search, rows.act >= Action.ADD_TO_CART
        is_search_result = from_list & (rows.query >= 0)
        number = self._num_events + np.arange(len(rows.act))
        self._num_events += len(number)
        surface = np.where(is_search_result, SEARCH, np.where(is_click, HOME, PRODUCT))
        return {
            schema.EVENT_ID: _format_ids("e", number, 10),
            schema.USER_ID: user_ids(rows.user),
            schema.EVENT_TYPE: _take_texts(pa.array([ACTS[act].value for act in Action]), rows.act),
            schema.EVENT_TIME: rows.time,
            schema.INGESTED_AT: rows.time + LAG_US,
            schema.ITEM_ID: _where(~is_search, item_ids(np.maximum(rows.item, 0))),
            schema.SESSION_ID: _format_ids("s", rows.session, 9),
            schema.QUERY_ID: _where(is_search_result, _format_ids("q", rows.session, 9)),
            schema.QUERY_TEXT: _take_texts(self.queries, rows.query, is_search_result),
            schema.REQUEST_ID: _where(from_list, _format_ids("r", rows.session, 9)),
            schema.POSITION: pa.array(rows.position + 1, mask=~is_click),
            schema.SURFACE: _take_texts(SURFACES, surface),
            schema.DEVICE: _take_texts(DEVICES, rows.user % len(DEVICES)),
            schema.VALUE: pa.array(self.shop.price[rows.item], mask=~paid),
            schema.CURRENCY: _take_texts(pa.array([CURRENCY]), np.zeros(len(number), dtype=np.int64), paid),
        }

    def _impressions(self, lists: Slates) -> Columns:
        count = lists.item.size
        session, time, query = (
            np.repeat(lists.session, LIST_LENGTH),
            np.repeat(lists.time, LIST_LENGTH),
            np.repeat(lists.query, LIST_LENGTH),
        )
        return {
            schema.REQUEST_ID: _format_ids("r", session, 9),
            schema.USER_ID: user_ids(np.repeat(lists.user, LIST_LENGTH)),
            schema.ITEM_ID: item_ids(lists.item.ravel()),
            schema.POSITION: np.tile(np.arange(1, LIST_LENGTH + 1), len(lists.user)),
            schema.SHOWN_AT: time,
            schema.INGESTED_AT: time + LAG_US,
            schema.SURFACE: _take_texts(SURFACES, np.where(query >= 0, SEARCH, HOME)),
            schema.MODEL_DIGEST: _constant(POLICY, count),
            schema.ARM: _constant(ARM, count),
            schema.PROPENSITY: lists.propensity.ravel(),
            schema.FEATURE_HASH: _constant(schema.HASH, count),
            schema.SESSION_ID: _format_ids("s", session, 9),
            schema.QUERY_TEXT: _take_texts(self.queries, query, query >= 0),
            schema.SCORE: lists.utility.ravel(),
            schema.IS_SPONSORED: np.zeros(count, dtype=np.bool_),
        }

    def _open(self, folder: Path, table: schema.Table) -> "pq.ParquetWriter":
        return self._stack.enter_context(pq.ParquetWriter(folder / file_name(table), arrow_schema(table), compression="zstd"))

    def _write(self, table: schema.Table, columns: Columns) -> None:
        shape, count = arrow_schema(table), len(next(iter(columns.values())))
        arrays = [_to_arrow(columns[field.name], field) if field.name in columns else pa.nulls(count, field.type) for field in shape]
        self._files[table.name].write_table(pa.table(arrays, schema=shape))


def user_ids(rows: Integer[NDArray[np.integer[Any]], " rows"]) -> "pa.Array":
    """Ids of users by their row, counted from 0: u000001, u000002, …"""
    return _format_ids("u", rows + 1, 6)


def item_ids(rows: Integer[NDArray[np.integer[Any]], " rows"]) -> "pa.Array":
    """Ids of items by their row, counted from 0: i000001, i000002, …"""
    return _format_ids("i", rows + 1, 6)


def _format_ids(prefix: str, numbers: NDArray[np.integer[Any]], digits: int) -> "pa.Array":
    """Ids of a prefix and a number with leading zeros, built without a string object per row."""
    digits = max(digits, len(str(int(numbers.max(initial=0)))))
    width = digits + 1
    text = np.full((len(numbers), width), ord(prefix), dtype=np.uint8)
    remainder = numbers.astype(np.int64)
    for digit in range(digits, 0, -1):
        remainder, text[:, digit] = remainder // 10, remainder % 10 + ord("0")
    ends = np.arange(len(numbers) + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(text))


def _take_texts(texts: "pa.Array", which: NDArray[np.integer[Any]], is_valid: NDArray[np.bool_] | None = None) -> "pa.Array":
    return texts.take(pa.array(which, mask=None if is_valid is None else ~is_valid))


def _where(is_valid: NDArray[np.bool_], values: "pa.Array") -> "pa.Array":
    return pc.if_else(pa.array(is_valid), values, None)


def _constant(text: str, count: int) -> "pa.Array":
    return pa.array([text]).take(pa.array(np.zeros(count, dtype=np.int64)))


def _to_arrow(values: Any, field: "pa.Field") -> "pa.Array":
    if isinstance(values, pa.Array):
        return values if values.type == field.type else values.cast(field.type)
    via = pa.int64() if pa.types.is_timestamp(field.type) else field.type
    return pa.array(values, via).cast(field.type)


def _concatenate_sorted(kind: type[Any], parts: list[Any]) -> Any:
    """The parts concatenated and sorted by time."""
    columns = {entry.name: np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(kind)}
    order = np.argsort(columns["time"], kind="stable")
    return kind(**{name: values[order] for name, values in columns.items()})
