"""Feast online store in Redis with packed rows: all values of a view and entity in one string, so 100 entities are one HMGET.

Feast's own store has a hash per entity with a protobuf message per feature, writes without an atomic check of times, and returns expired
values. Here one hash holds the rows of a view and generation (`feature_repo.stores.generations`), and a Lua script compares times and
writes atomically: within a generation an older row never replaces a newer one, of equal event times the one with the later known time
stays, and rows past the view's TTL are not returned (see `lodestar.schema.packed`).
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from feast import FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.Value_pb2 import Value
from pydantic import model_validator

from feature_repo.stores import row_codec
from feature_repo.stores.generations import Generations
from feature_repo.stores.row_codec import Row, layout_of
from feature_repo.stores.time_us import microseconds, to_datetime
from lodestar.errors import EnvironmentFault
from lodestar.schema.packed import from_json, signature_of
from lodestar.schema.store_keys import STATE, layout_key, rows_key

ROWS_AT_ONCE = 1000
# Seconds, unless the connection string says others. The client itself has none: a Redis that went silent held up a publish for ever.
TIMEOUTS_S = {"socket_connect_timeout": 10, "socket_timeout": 60}
GLOB = re.compile(rb"[*?\[\]\\]")  # special characters of a key pattern
# Feast's options that this store does not support, with their defaults.
UNUSED = {"redis_type": "redis", "client": "redis", "key_ttl_seconds": None, "skip_dedup": False}
# KEYS: the rows of a view. ARGV: the field that exists if its generation does, or an empty string; then entities and rows in turns.
# Lua's numbers are exact for microseconds until the year 2255.
KEEP_NEWEST = """
if ARGV[1] ~= '' and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 2, #ARGV, 2 do
    local held = redis.call('HGET', KEYS[1], ARGV[i])
    local newer = true
    if held and #held >= 20 then
        local event_us, known_us = struct.unpack('<i8i8', string.sub(held, 5, 20))
        local new_event_us, new_known_us = struct.unpack('<i8i8', string.sub(ARGV[i + 1], 5, 20))
        newer = new_event_us > event_us or (new_event_us == event_us and new_known_us >= known_us)
    end
    if newer then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1
"""
# KEYS: the rows of a view. ARGV: the field of its state, and the time (UTC µs) up to which its table is materialised.
FILLED = """
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state then redis.call('HSET', KEYS[1], ARGV[1], string.match(state, '%a+') .. ' ' .. ARGV[2]) end
"""


class PackedRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's options of its Redis store, without those that this store does not support, such as a cluster."""

    type: Literal["feature_repo.stores.redis_store.PackedRedisOnlineStore"] = "feature_repo.stores.redis_store.PackedRedisOnlineStore"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _reject_unused_options(self) -> "PackedRedisOnlineStoreConfig":
        for option, default in UNUSED.items():
            if getattr(self, option) != default:
                raise ValueError(f"online_store.{option}: {getattr(self, option)} is not supported by this store; remove it")
        return self


class PackedRedisOnlineStore(RedisOnlineStore):
    """Packed rows of the types in `row_codec.KINDS`; ValueError for a view with another type."""

    _read_features_per_fv = OnlineStore._read_features_per_fv  # Feast's Redis store reads its own hashes here, past `online_read`
    _read_features_per_fv_async = OnlineStore._read_features_per_fv_async

    @staticmethod
    def _parse_connection_string(connection_string: str) -> tuple[list[dict[str, str]], dict[str, Any]]:
        nodes, options = RedisOnlineStore._parse_connection_string(connection_string)
        return nodes, TIMEOUTS_S | options

    def online_write_batch(
        self, config: Any, table: FeatureView, data: list[Any], progress: Callable[[int], Any] | None, *_: Any, **__: Any
    ) -> None:
        """Pack Feast's messages and write them to every live generation, as a push of new values does; `progress` is called once.

        ValueError if a feature of the view has an unsupported type.
        """
        self.write_rows(config, table, row_codec.from_messages(config, table, data))
        if progress:
            progress(len(data))

    def write_rows(self, config: Any, view: FeatureView, rows: Sequence[Row], generation: str = "") -> None:
        """Write rows to a generation, or to each live one; EnvironmentFault E552 if the named generation does not exist.

        Batches of a thousand; a killed writer leaves whole rows, and the same write again completes them.
        """
        client, layout = self._get_client(config.online_store), layout_of(view)
        client.set(layout_key(config.project, view.name, layout.signature), layout.to_json())
        keep = client.register_script(KEEP_NEWEST)
        for one in [generation] if generation else self.generations(config).live():
            for start in range(0, len(rows), ROWS_AT_ONCE):
                args = [part for row in rows[start : start + ROWS_AT_ONCE] for part in (row.entity, row.content)]
                is_there = keep(keys=[rows_key(config.project, one, view.name)], args=[STATE if one else b"", *args])
                if generation and not is_there:
                    message = f"the online store has no {view.name} of generation {generation}, whose tables these are"
                    raise EnvironmentFault("E552", message, remedy="Name the tables of a generation that is served, or publish this one.")

    def since(self, config: Any, view: FeatureView, generation: str, start: datetime) -> datetime:
        """The time from which a generation is to be materialised: its own progress, or `start` of Feast's registry if that is earlier."""
        state = self._get_client(config.online_store).hget(rows_key(config.project, generation, view.name), STATE)
        _, _, until_us = (state or b"").decode().partition(" ")
        return min(start, to_datetime(int(until_us))) if until_us else start

    def filled(self, config: Any, view: FeatureView, generation: str, until: datetime) -> None:
        """Record the time up to which a generation's view is materialised."""
        key = rows_key(config.project, generation, view.name)
        self._get_client(config.online_store).eval(FILLED, 1, key, STATE, microseconds(until))

    def generations(self, config: Any) -> Generations:
        """The feature generations of the project in this Redis, over the store's connection."""
        return Generations(self._get_client(config.online_store), config.project)

    async def online_write_batch_async(self, *args: Any, **options: Any) -> None:
        """`online_write_batch` in a thread, so that it does not block the event loop."""
        await asyncio.to_thread(self.online_write_batch, *args, **options)

    def online_read(
        self, config: Any, table: FeatureView, entity_keys: list[Any], requested_features: list[str] | None = None, *_: Any, **__: Any
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Event time and values of each entity in the current generation, in order; (None, None) without a row within its TTL."""
        client = self._get_client(config.online_store)
        key = rows_key(config.project, self.generations(config).current(), table.name)
        found = client.hmget(key, [row_codec.entity_bytes(config, entity) for entity in entity_keys]) if entity_keys else []
        layouts = {layout.signature: layout for layout in [layout_of(table)]}
        if others := {signature_of(row) for row in found if row is not None} - layouts.keys():
            held = client.mget([layout_key(config.project, table.name, signature) for signature in sorted(others)])
            layouts |= {layout.signature: layout for layout in map(from_json, filter(None, held))}
        return [row_codec.to_messages(table, layouts, row, requested_features) for row in found]

    async def online_read_async(self, *args: Any, **options: Any) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """`online_read` in a thread, so that it does not block the event loop."""
        return await asyncio.to_thread(self.online_read, *args, **options)

    def update(self, config: Any, tables_to_delete: Any, *_: Any, **__: Any) -> None:
        """Delete the rows of removed views; called by `feast apply`."""
        for table in tables_to_delete:
            self.delete_table(config, table)

    def teardown(self, config: Any, tables: Sequence[FeatureView], entities: Any) -> None:
        """Delete the views' rows of all live generations, and their layouts; the current generation stays recorded."""
        for table in tables:
            self.delete_table(config, table)

    def delete_table(self, config: Any, table: FeatureView) -> None:
        """Delete a view's rows in every generation, and its layouts."""
        client, generations = self._get_client(config.online_store), self.generations(config)
        client.unlink(*(rows_key(config.project, one, table.name) for one in {*generations.live(), ""}))
        prefix = GLOB.sub(rb"\\\g<0>", layout_key(config.project, table.name, b""))
        for key in list(client.scan_iter(match=prefix + b"*", count=ROWS_AT_ONCE)):
            client.unlink(key)
