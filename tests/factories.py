"""Builders that tests share: small tables with only what a test says about them."""

from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data.tables import arrow_schema

EPOCH_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
SECOND_US = 1_000_000


def table(of: schema.Table, **columns: list[Any]) -> pa.Table:
    """A table of the contract with the given columns; the others are empty."""
    count = len(next(iter(columns.values())))
    shape = arrow_schema(of)
    arrays = [pa.array(columns.get(field.name, [None] * count), pa.int64() if _is_time(field) else field.type) for field in shape]
    return pa.table(arrays, names=shape.names).cast(shape)


def events(*rows: tuple[str, str, int], event_type: str = "view") -> pa.Table:
    """Events of (user, item, second)."""
    users, items, seconds = zip(*rows, strict=True) if rows else ((), (), ())
    return table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(len(rows))],
        user_id=list(users),
        item_id=list(items),
        event_type=[event_type] * len(rows),
        event_time=[EPOCH_US + second * SECOND_US for second in seconds],
    )


def items(*names: str) -> pa.Table:
    """A catalogue of items that are called as their ids."""
    return table(schema.ITEMS, item_id=list(names), title=list(names))


def _is_time(field: pa.Field) -> bool:
    return bool(pa.types.is_timestamp(field.type))
