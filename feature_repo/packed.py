"""Feast's Redis online store, with a view's values for an entity in one piece of bytes: 100 entities are one MGET, and little to decode.

Feast keeps a hash per entity with a protobuf message per feature, reads times before it writes and then writes without looking again,
and gives what is too old. Here a script compares times and writes in one step, so that nothing older replaces what is newer, of equal
event times the one that became known last stays, and what has outlived its view's time to live is not there (see `lodestar.schema.packed`).
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from feast import FeatureView, types
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.Value_pb2 import Value
from pydantic import model_validator

from feature_repo.moments import EPOCH, MICROSECOND, microseconds
from lodestar.schema.packed import LISTS, TEXTS, Layout, from_json, happened_us, signature_of
from lodestar.schema.places import layout_key, row_key

ROWS_AT_ONCE, GRACE_US = 1000, 60_000_000
GLOB = re.compile(rb"[*?\[\]\\]")  # what has a meaning in a pattern of keys
# The kind of each of Feast's types, and where its message holds the value.
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
# Feast's options that ask for another way to write or read, and what is meant where they are left alone.
UNUSED = {"redis_type": "redis", "client": "redis", "key_ttl_seconds": None, "skip_dedup": False}
# Lua's numbers are exact for microseconds until the year 2255.
KEEP_NEWEST = """
for i, key in ipairs(KEYS) do
    local held = redis.call('GETRANGE', key, 4, 19)
    local newer = true
    if #held == 16 then
        local happened, known = struct.unpack('<i8i8', held)
        local now_happened, now_known = struct.unpack('<i8i8', string.sub(ARGV[i], 5, 20))
        newer = now_happened > happened or (now_happened == happened and now_known >= known)
    end
    if newer and ARGV[#KEYS + i] == '0' then redis.call('SET', key, ARGV[i]) end
    if newer and ARGV[#KEYS + i] ~= '0' then redis.call('SET', key, ARGV[i], 'PXAT', ARGV[#KEYS + i]) end
end
"""


class PackedRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's, without what would be ignored or would break in the middle of a write: keys of one script lie on one node."""

    type: Literal["feature_repo.packed.PackedRedisOnlineStore"] = "feature_repo.packed.PackedRedisOnlineStore"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _takes_no_other_way(self) -> "PackedRedisOnlineStoreConfig":
        for option, meant in UNUSED.items():
            if getattr(self, option) != meant:
                raise ValueError(f"online_store.{option}: {getattr(self, option)} is not for this store; leave it out")
        return self


class PackedRedisOnlineStore(RedisOnlineStore):
    """Values of the types in KINDS; ValueError where a view has another."""

    _read_features_per_fv = OnlineStore._read_features_per_fv  # Feast's Redis store reads its own hashes here, past `online_read`
    _read_features_per_fv_async = OnlineStore._read_features_per_fv_async

    def online_write_batch(
        self, config: Any, table: FeatureView, data: list[Any], progress: Callable[[int], Any] | None, *_: Any, **__: Any
    ) -> None:
        """Rows of a thousand at a time; a killed writer leaves whole rows, and the same again ends as if nothing had happened."""
        client, layout = self._get_client(config.online_store), layout_of(table)
        client.set(layout_key(config.project, table.name, layout.signature), layout.to_json())
        keep = client.register_script(KEEP_NEWEST)
        for start in range(0, len(data), ROWS_AT_ONCE):
            rows = data[start : start + ROWS_AT_ONCE]
            keys = [_key(config, table, key) for key, _, _, _ in rows]
            packed = [_row(layout, table, values, happened, known) for _, values, happened, known in rows]
            keep(keys=keys, args=[*packed, *(_forgotten_ms(layout, row) for row in packed)])
            if progress:
                progress(len(rows))

    async def online_write_batch_async(self, *args: Any, **options: Any) -> None:
        await asyncio.to_thread(self.online_write_batch, *args, **options)

    def online_read(
        self, config: Any, table: FeatureView, entity_keys: list[Any], requested_features: list[str] | None = None, *_: Any, **__: Any
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        client = self._get_client(config.online_store)
        rows = client.mget([_key(config, table, key) for key in entity_keys]) if entity_keys else []
        layouts = {layout.signature: layout for layout in [layout_of(table)]}
        if others := {signature_of(row) for row in rows if row is not None} - layouts.keys():
            held = client.mget([layout_key(config.project, table.name, signature) for signature in sorted(others)])
            layouts |= {layout.signature: layout for layout in map(from_json, filter(None, held))}
        return [_as_feast_has_it(table, layouts, row, requested_features) for row in rows]

    async def online_read_async(self, *args: Any, **options: Any) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        return await asyncio.to_thread(self.online_read, *args, **options)

    def update(self, config: Any, tables_to_delete: Any, *_: Any, **__: Any) -> None:
        """What `feast apply` does: the values of views that are gone go."""
        for table in tables_to_delete:
            self.delete_table(config, table)

    def teardown(self, config: Any, tables: Sequence[FeatureView], entities: Any) -> None:
        for table in tables:
            self.delete_table(config, table)

    def delete_table(self, config: Any, table: FeatureView) -> None:
        client = self._get_client(config.online_store)
        for prefix in (row_key(config.project, table.name, b""), layout_key(config.project, table.name, b"")):
            found = client.scan_iter(match=GLOB.sub(rb"\\\g<0>", prefix) + b"*", count=ROWS_AT_ONCE)
            while keys := list(islice(found, ROWS_AT_ONCE)):
                client.unlink(*keys)


def layout_of(table: FeatureView) -> Layout:
    """ValueError where the view has a value of a type that is not kept."""
    for field in table.features:
        if field.dtype not in KINDS:
            raise ValueError(f"{table.name}.{field.name} is of the type {field.dtype}, which this online store does not keep")
    return Layout(
        names=tuple(field.name for field in table.features),
        kinds=tuple(KINDS[field.dtype][0] for field in table.features),
        ttl_us=table.ttl // MICROSECOND if table.ttl else 0,
    )


def _key(config: Any, table: FeatureView, entity: Any) -> bytes:
    """Where an entity's row lies: by its id if that is one text, by Feast's own bytes otherwise."""
    (first, *others) = entity.entity_values
    if not others and first.WhichOneof("val") == "string_val":
        return row_key(config.project, table.name, first.string_val.encode())
    return row_key(config.project, table.name, serialize_entity_key(entity, config.entity_key_serialization_version))


def _row(layout: Layout, table: FeatureView, values: dict[str, Value], happened: datetime, known: datetime | None) -> bytes:
    found = [_plain(values[field.name], KINDS[field.dtype]) if field.name in values else None for field in table.features]
    return layout.pack(found, microseconds(happened), microseconds(known))


def _forgotten_ms(layout: Layout, row: bytes) -> int:
    """When Redis may forget a row: a little after it has become too old by our clock; 0 is never."""
    return max(1, (happened_us(row) + layout.ttl_us + GRACE_US) // 1000) if layout.ttl_us else 0


def _plain(value: Value, kind: tuple[str, str]) -> Any:
    if value.WhichOneof("val") != kind[1]:
        return None
    found = getattr(value, kind[1])
    return list(found.val) if kind[0] in (*LISTS, TEXTS) else found


def _as_feast_has_it(
    table: FeatureView, layouts: Mapping[bytes, Layout], row: bytes | None, wanted: list[str] | None
) -> tuple[datetime | None, dict[str, Value] | None]:
    """Nothing where there is no row, or one that is too old; a value is null where the row was written before the view had it."""
    layout = None if row is None else layouts.get(signature_of(row))
    if row is None or layout is None or layout.is_expired(row, time.time_ns() // 1000):
        return None, None
    found = {(name, kind): value for name, kind, value in zip(layout.names, layout.kinds, layout.unpack(row), strict=True)}
    fields = {field.name: KINDS[field.dtype] for field in table.features}
    values = {name: _message(found.get((name, fields[name][0])), fields[name]) for name in wanted or fields}
    return EPOCH + happened_us(row) * MICROSECOND, values


def _message(value: Any, kind: tuple[str, str]) -> Value:
    message = Value()
    if value is None:
        return message
    if kind[0] in (*LISTS, TEXTS):
        getattr(message, kind[1]).val.extend(value)
        if not value:
            getattr(message, kind[1]).SetInParent()
    else:
        setattr(message, kind[1], value)
    return message
