"""Rows of a feature view, as `feature_repo.packed` writes them to Redis, read without Feast."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.schema.packed import NULLS_AT, NUMBERS, SIGNATURE, Layout, from_json, known_us, signature_of
from lodestar.schema.places import COMPLETE, STATE, layout_key, rows_key
from serving.redis import Command, Redis

Row = bytes | None
KNOWN_AT = NULLS_AT - 8  # in a row, the second of two times


class NoGeneration(ValueError):
    """The store has not all rows of the generation that is asked for: none was published to it, or they were flushed."""


class PackedView:
    """A view of one generation, of which values are read by entity.

    OSError where Redis does not answer, ValueError where a row is cut, NoGeneration where the generation is not there as a whole.
    """

    def __init__(self, redis: Redis, view: str, generation: str = "") -> None:
        self._redis, self._view, self._generation = redis, view, generation
        self._key = rows_key(schema.FEAST_PROJECT, generation, view)
        self._layouts: dict[bytes, Layout] = {}

    async def values(self, entities: Sequence[str], name: str) -> list[Any]:
        """One value of each entity, None where there is none."""
        rows = await self._rows(entities)
        return [None if row is None else self._layouts[signature_of(row)].value(row, name) for row in rows]

    async def known(self, entities: Sequence[str], names: Sequence[str]) -> list[tuple[list[Any], int] | None]:
        """Some values of each, with the moment (UTC µs) at which its row became known; None where there is no row."""
        rows = await self._rows(entities)
        return [None if row is None else (_values(self._layouts[signature_of(row)], row, names), known_us(row)) for row in rows]

    async def numbers(self, entities: Sequence[str], names: Sequence[str]) -> "Numbers":
        """Some numbers of each entity, decoded together."""
        return decoded(self._layouts, await self._rows(entities), names)

    async def _rows(self, entities: Sequence[str]) -> list[Row]:
        """The row of each entity, None where it is not there, too old, or of a layout that nobody has written down."""
        fields = [entity.encode() for entity in entities]
        rows = await self._got(("HMGET", self._key, *fields, STATE), len(fields) + 1)  # in one command, so the rows are of the state
        if not (rows.pop() or b"").startswith(COMPLETE) and self._generation:
            raise NoGeneration(f"it has no rows of generation {self._generation}")
        signatures = _signatures(rows)
        if unknown := signatures - self._layouts.keys():
            keys = [layout_key(schema.FEAST_PROJECT, self._view, one) for one in sorted(unknown)]
            texts = await self._got(("MGET", *keys), len(keys))
            self._layouts |= {layout.signature: layout for layout in map(from_json, filter(None, texts))}
        if all(one in self._layouts and not self._layouts[one].ttl_us for one in signatures):
            return rows
        now_us = time.time_ns() // 1000
        return [None if row is None or self._is_out(row, now_us) else row for row in rows]

    async def _got(self, command: Command, count: int) -> list[Row]:
        (found,) = await self._redis.ask(command)
        if not isinstance(found, list) or len(found) != count:
            raise ValueError("what answers is no Redis")
        return found

    def _is_out(self, row: bytes, now_us: int) -> bool:
        layout = self._layouts.get(signature_of(row))
        return layout is None or layout.is_expired(row, now_us)


class Numbers(NamedTuple):
    """Values (rows, names), NaN where there is none or where it is no number, and when each row became known, UTC µs, 0 for none."""

    values: NDArray[np.float64]
    known_us: NDArray[np.int64]

    def part(self, row: int) -> "Numbers":
        """One row."""
        return Numbers(self.values[row : row + 1], self.known_us[row : row + 1])


def decoded(layouts: Mapping[bytes, Layout], rows: Sequence[Row], names: Sequence[str]) -> Numbers:
    """Some numbers of each row; ValueError where a row is cut."""
    found = Numbers(np.full((len(rows), len(names)), np.nan), np.zeros(len(rows), dtype=np.int64))
    for signature in _signatures(rows):  # more than one while a view changes
        places = [place for place, row in enumerate(rows) if row is not None and row.startswith(signature)]
        found.values[places], found.known_us[places] = _numbers(layouts[signature], [rows[place] or b"" for place in places], tuple(names))
    return found


def _values(layout: Layout, row: bytes, names: Sequence[str]) -> list[Any]:
    return [layout.value(row, name) for name in names]


def _signatures(rows: Sequence[Row]) -> set[bytes]:
    return {row[: SIGNATURE.size] for row in rows if row is not None}


class _Column(NamedTuple):
    """Numbers of one kind: where their bytes lie in a row, and which of the numbers asked for they are."""

    kind: str
    bytes_at: NDArray[np.intp]
    wanted: NDArray[np.intp]
    bits: NDArray[np.intp]  # of the nulls


@lru_cache
def _columns(layout: Layout, names: tuple[str, ...]) -> list[_Column]:
    widths = [4 if kind not in NUMBERS else np.dtype(kind).itemsize for kind in layout.kinds]
    starts = np.cumsum([layout.fixed_at, *widths])
    places = [layout.names.index(name) if name in layout.names else -1 for name in names]
    found = []
    for kind in NUMBERS:
        wanted = np.array([at for at, place in enumerate(places) if place >= 0 and layout.kinds[place] == kind], dtype=np.intp)
        bits = np.array(places, dtype=np.intp)[wanted]
        bytes_at = (starts[bits][:, None] + np.arange(np.dtype(kind).itemsize)).ravel()
        found.append(_Column(kind, bytes_at, wanted, bits))
    return [column for column in found if len(column.wanted)]


def _numbers(layout: Layout, rows: Sequence[bytes], names: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The fixed part of all rows as a matrix of bytes, out of which the numbers of each kind are taken together."""
    size = layout.rest_at
    heads = b"".join([row[:size] for row in rows])
    if len(heads) != len(rows) * size:
        raise ValueError(f"a row of {', '.join(layout.names)} is cut")
    content = np.frombuffer(heads, dtype=np.uint8).reshape(len(rows), size)
    is_null = np.unpackbits(content[:, NULLS_AT : layout.fixed_at], axis=1, bitorder="little").view(bool)
    found = np.full((len(rows), len(names)), np.nan)
    for kind, bytes_at, wanted, bits in _columns(layout, names):
        found[:, wanted] = np.where(is_null[:, bits], np.nan, content.take(bytes_at, axis=1).view(kind))
    return found, content[:, KNOWN_AT:NULLS_AT].copy().view("<i8")[:, 0]
