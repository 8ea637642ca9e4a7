"""Packed rows of a feature view in Redis, as `feature_repo.stores.redis_store` writes them, read without Feast."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.schema.arrays import Doubles, Float64, Int64, Longs
from lodestar.schema.packed import NULL_BITMAP_OFFSET, NUMBERS, SIGNATURE, Layout, from_json, signature_of
from lodestar.schema.store_keys import COMPLETE, STATE, layout_key, rows_key
from lodestar.schema.time_units import NEVER
from serving.features.redis import Command, Redis

Row = bytes | None
KNOWN_AT = NULL_BITMAP_OFFSET - 8  # in a row, the second of two times


class NoGeneration(ValueError):
    """The store does not hold the complete generation: it was never published there, or was flushed."""


class PackedView:
    """A feature view of one generation in Redis, read by entity.

    OSError if Redis does not answer, ValueError if a row is truncated, NoGeneration if the generation is not complete.
    """

    def __init__(self, redis: Redis, view: str, generation: str = "") -> None:
        self._redis, self._view, self._generation = redis, view, generation
        self._key = rows_key(schema.FEAST_PROJECT, generation, view)
        self._layouts: dict[bytes, Layout] = {}

    async def values(self, entities: Sequence[str], name: str) -> list[Any]:
        """One feature of each entity, None if it has no value."""
        return [None if row is None else self.layout(row).value(row, name) for row in await self.rows(entities)]

    async def numbers(self, entities: Sequence[str], names: Sequence[str]) -> "Numbers":
        """Numeric features of each entity, decoded together."""
        return decode_numbers(self._layouts, await self.rows(entities), names)

    def with_layout(self, row: Row) -> tuple[Layout, bytes] | None:
        """A row that was read, with its layout; None without a row."""
        return None if row is None else (self.layout(row), row)

    def layout(self, row: bytes) -> Layout:
        """The layout of a row that was read."""
        return self._layouts[signature_of(row)]

    async def rows(self, entities: Sequence[str]) -> list[Row]:
        """The row of each entity, None if it is missing, past its TTL, or of an unknown layout."""
        fields = [entity.encode() for entity in entities]
        rows = await self._execute(
            ("HMGET", self._key, *fields, STATE), len(fields) + 1
        )  # in one command, so that rows and state are consistent
        if not (rows.pop() or b"").startswith(COMPLETE) and self._generation:
            raise NoGeneration(f"it has no rows of generation {self._generation}")
        signatures = _signatures(rows)
        if unknown := signatures - self._layouts.keys():
            keys = [layout_key(schema.FEAST_PROJECT, self._view, one) for one in sorted(unknown)]
            texts = await self._execute(("MGET", *keys), len(keys))
            self._layouts |= {layout.signature: layout for layout in map(from_json, filter(None, texts))}
        if all(one in self._layouts and not self._layouts[one].ttl_us for one in signatures):
            return rows
        now_us = time.time_ns() // 1000
        return [None if row is None or self._is_expired(row, now_us) else row for row in rows]

    async def _execute(self, command: Command, count: int) -> list[Row]:
        (found,) = await self._redis.execute(command)
        if not isinstance(found, list) or len(found) != count:
            raise ValueError("the reply is not that of a Redis")
        return found

    def _is_expired(self, row: bytes, now_us: int) -> bool:
        layout = self._layouts.get(signature_of(row))
        return layout is None or layout.is_expired(row, now_us)


class Numbers(NamedTuple):
    """Numeric features, [rows, names], NaN if missing or not numeric, and UTC µs at which each row became known, NEVER without a row."""

    values: Float64[Doubles, "rows names"]
    known_us: Int64[Longs, " rows"]

    def part(self, row: int) -> "Numbers":
        """One row, as shape [1, names]."""
        return Numbers(self.values[row : row + 1], self.known_us[row : row + 1])


def decode_numbers(layouts: Mapping[bytes, Layout], rows: Sequence[Row], names: Sequence[str]) -> Numbers:
    """Decode numeric features of packed rows, NaN without a row; ValueError if a row is truncated."""
    found = Numbers(np.full((len(rows), len(names)), np.nan), np.full(len(rows), NEVER))
    for signature in _signatures(rows):  # more than one while a view changes
        indices = [index for index, row in enumerate(rows) if row is not None and row.startswith(signature)]
        found.values[indices], found.known_us[indices] = _numbers(
            layouts[signature], [rows[index] or b"" for index in indices], tuple(names)
        )
    return found


def _signatures(rows: Sequence[Row]) -> set[bytes]:
    return {row[: SIGNATURE.size] for row in rows if row is not None}


class _Column(NamedTuple):
    """Numeric features of one kind: offsets of their bytes in a row, and their indices in the requested names."""

    kind: str
    bytes_at: NDArray[np.intp]
    wanted: NDArray[np.intp]
    bits: NDArray[np.intp]  # in the null bitmap


@lru_cache
def _columns(layout: Layout, names: tuple[str, ...]) -> list[_Column]:
    widths = [4 if kind not in NUMBERS else np.dtype(kind).itemsize for kind in layout.kinds]
    starts = np.cumsum([layout.fixed_at, *widths])
    columns = [layout.names.index(name) if name in layout.names else -1 for name in names]
    found = []
    for kind in NUMBERS:
        wanted = np.array([index for index, column in enumerate(columns) if column >= 0 and layout.kinds[column] == kind], dtype=np.intp)
        bits = np.array(columns, dtype=np.intp)[wanted]
        bytes_at = (starts[bits][:, None] + np.arange(np.dtype(kind).itemsize)).ravel()
        found.append(_Column(kind, bytes_at, wanted, bits))
    return [column for column in found if len(column.wanted)]


def _numbers(layout: Layout, rows: Sequence[bytes], names: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Decode the fixed parts of all rows as one byte matrix, all numbers of a kind together."""
    size = layout.rest_at
    heads = b"".join([row[:size] for row in rows])
    if len(heads) != len(rows) * size:
        raise ValueError(f"a row of {', '.join(layout.names)} is truncated")
    content = np.frombuffer(heads, dtype=np.uint8).reshape(len(rows), size)
    is_null = np.unpackbits(content[:, NULL_BITMAP_OFFSET : layout.fixed_at], axis=1, bitorder="little").view(bool)
    found = np.full((len(rows), len(names)), np.nan)
    for kind, bytes_at, wanted, bits in _columns(layout, names):
        found[:, wanted] = np.where(is_null[:, bits], np.nan, content.take(bytes_at, axis=1).view(kind))
    return found, content[:, KNOWN_AT:NULL_BITMAP_OFFSET].copy().view("<i8")[:, 0]
