"""Feast's Redis online store, with a view's values for an entity in one piece of bytes: 100 entities are one MGET, and little to decode.

Feast keeps a hash per entity with a protobuf message per feature, reads times before it writes and then writes without looking again,
and gives what is too old. Here a script compares times and writes in one step, so that nothing older replaces what is newer, of equal
event times the one that became known last stays, and what has outlived its view's time to live is not there (see `lodestar.schema.packed`).
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from feast import FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.Value_pb2 import Value
from pydantic import model_validator

from feature_repo import rows
from feature_repo.rows import Row, layout_of
from lodestar.schema.packed import Layout, from_json, signature_of
from lodestar.schema.places import layout_key, row_key

ROWS_AT_ONCE, GRACE_US = 1000, 60_000_000
GLOB = re.compile(rb"[*?\[\]\\]")  # what has a meaning in a pattern of keys
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
        self.write_rows(config, table, rows.from_messages(config, table, data))
        if progress:
            progress(len(data))

    def write_rows(self, config: Any, table: FeatureView, content: Sequence[Row]) -> None:
        """A thousand at a time; a killed writer leaves whole rows, and the same again ends as if nothing had happened."""
        client, layout = self._get_client(config.online_store), layout_of(table)
        client.set(layout_key(config.project, table.name, layout.signature), layout.to_json())
        keep = client.register_script(KEEP_NEWEST)
        for start in range(0, len(content), ROWS_AT_ONCE):
            part = content[start : start + ROWS_AT_ONCE]
            keys = [row_key(config.project, table.name, row.entity) for row in part]
            keep(keys=keys, args=[*(row.content for row in part), *(_forgotten_ms(layout, row) for row in part)])

    async def online_write_batch_async(self, *args: Any, **options: Any) -> None:
        await asyncio.to_thread(self.online_write_batch, *args, **options)

    def online_read(
        self, config: Any, table: FeatureView, entity_keys: list[Any], requested_features: list[str] | None = None, *_: Any, **__: Any
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        client = self._get_client(config.online_store)
        keys = [row_key(config.project, table.name, rows.entity_bytes(config, entity)) for entity in entity_keys]
        found = client.mget(keys) if keys else []
        layouts = {layout.signature: layout for layout in [layout_of(table)]}
        if others := {signature_of(row) for row in found if row is not None} - layouts.keys():
            held = client.mget([layout_key(config.project, table.name, signature) for signature in sorted(others)])
            layouts |= {layout.signature: layout for layout in map(from_json, filter(None, held))}
        return [rows.to_messages(table, layouts, row, requested_features) for row in found]

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


def _forgotten_ms(layout: Layout, row: Row) -> int:
    """When Redis may forget a row: a little after it has become too old by our clock; 0 is never."""
    return max(1, (row.happened_us + layout.ttl_us + GRACE_US) // 1000) if layout.ttl_us else 0
