"""Codec between Feast's protobuf messages and packed rows (`lodestar.schema.packed`), one row for each view and entity."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from feast import FeatureView, types
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores.time_us import MICROSECOND, microseconds, to_datetime
from lodestar.schema.packed import LISTS, TEXTS, Layout, event_us, signature_of

# The packed kind of each of Feast's types, and the field of its message.
KINDS: dict[Any, tuple[str, str]] = {
    types.Float32: ("f4", "float_val"),
    types.Float64: ("f8", "double_val"),
    types.Int32: ("i4", "int32_val"),
    types.Int64: ("i8", "int64_val"),
    types.Bool: ("bool", "bool_val"),
    types.String: ("text", "string_val"),
    types.Bytes: ("bytes", "bytes_val"),
    types.UnixTimestamp: ("i8", "unix_timestamp_val"),
    types.Array(types.Float32): ("f4s", "float_list_val"),
    types.Array(types.Float64): ("f8s", "double_list_val"),
    types.Array(types.Int32): ("i4s", "int32_list_val"),
    types.Array(types.Int64): ("i8s", "int64_list_val"),
    types.Array(types.String): ("texts", "string_list_val"),
}
Messages = dict[str, Value]


class Row(NamedTuple):
    """A packed row: entity key, content, event time and known time (UTC µs)."""

    entity: bytes
    content: bytes
    event_us: int
    known_us: int


def layout_of(view: FeatureView) -> Layout:
    """The packed layout of a feature view; ValueError if a feature has an unsupported type."""
    for field in view.features:
        if field.dtype not in KINDS:
            raise ValueError(f"{view.name}.{field.name} is of the type {field.dtype}, which this online store does not support")
    return Layout(
        names=tuple(field.name for field in view.features),
        kinds=tuple(KINDS[field.dtype][0] for field in view.features),
        ttl_us=view.ttl // MICROSECOND if view.ttl else 0,
    )


def entity_bytes(config: Any, entity: Any) -> bytes:
    """The key of an entity: its id if that is one string, Feast's serialised key otherwise."""
    (first, *others) = entity.entity_values
    if not others and first.WhichOneof("val") == "string_val":
        return bytes(first.string_val.encode())
    return bytes(serialize_entity_key(entity, config.entity_key_serialization_version))


def from_messages(config: Any, view: FeatureView, data: Sequence[tuple[Any, Messages, datetime, datetime | None]]) -> list[Row]:
    """Pack the rows of an online write of Feast."""
    layout = layout_of(view)
    fields = [(field.name, KINDS[field.dtype]) for field in view.features]
    found = []
    for entity, values, event_time, known_time in data:
        plain = [_plain(values[name], kind) if name in values else None for name, kind in fields]
        times_us = microseconds(event_time), microseconds(known_time)
        found.append(Row(entity_bytes(config, entity), layout.pack(plain, *times_us), *times_us))
    return found


def from_table(view: FeatureView, key: str, rows: Any, event_us: Sequence[int], known_us: Sequence[int]) -> list[Row]:
    """Pack the rows of an Arrow table with the features as columns and one string key, without Feast's messages."""
    layout = layout_of(view)
    columns = [rows[name].to_pylist() for name in layout.names]
    entities = rows[key].to_pylist()
    values: Any = zip(*columns, strict=True) if columns else [()] * len(rows)
    return [
        Row(entity.encode(), layout.pack(plain, *times_us), *times_us)
        for entity, plain, times_us in zip(entities, values, zip(event_us, known_us, strict=True), strict=True)
    ]


def to_messages(
    view: FeatureView, layouts: Mapping[bytes, Layout], row: bytes | None, wanted: list[str] | None
) -> tuple[datetime | None, Messages | None]:
    """Unpack a row into event time and messages; (None, None) without a row or past its TTL; null for features newer than the row."""
    layout = None if row is None else layouts.get(signature_of(row))
    if row is None or layout is None or layout.is_expired(row, time.time_ns() // 1000):
        return None, None
    found = {(name, kind): value for name, kind, value in zip(layout.names, layout.kinds, layout.unpack(row), strict=True)}
    fields = {field.name: KINDS[field.dtype] for field in view.features}
    values = {name: _message(found.get((name, fields[name][0])), fields[name]) for name in wanted or fields}
    return to_datetime(event_us(row)), values


def _plain(value: Value, kind: tuple[str, str]) -> Any:
    if value.WhichOneof("val") != kind[1]:
        return None
    found = getattr(value, kind[1])
    return list(found.val) if kind[0] in {*LISTS, TEXTS} else found


def _message(value: Any, kind: tuple[str, str]) -> Value:
    message = Value()
    if value is None:
        return message
    if kind[0] in {*LISTS, TEXTS}:
        getattr(message, kind[1]).val.extend(value)
        if not value:
            getattr(message, kind[1]).SetInParent()
    else:
        setattr(message, kind[1], value)
    return message
