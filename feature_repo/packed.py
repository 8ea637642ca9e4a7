"""Feast's Redis online store, with a view's values for an entity in one piece of bytes: 100 entities are one HMGET, and little to decode.

Feast keeps a hash per entity with a protobuf message per feature, reads times before it writes and then writes without looking again,
and gives what is too old. Here a hash holds the rows of a view and of a generation (`feature_repo.generations`), and a script compares
times and writes in one step: within a generation nothing older replaces what is newer, of equal event times the one that became known
last stays, and what has outlived its view's time to live is not given (see `lodestar.schema.packed`).
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

from feature_repo import rows
from feature_repo.generations import Generations
from feature_repo.moments import microseconds, moment
from feature_repo.rows import Row, layout_of
from lodestar.errors import EnvironmentFault
from lodestar.schema.packed import from_json, signature_of
from lodestar.schema.places import STATE, layout_key, rows_key

ROWS_AT_ONCE = 1000
GLOB = re.compile(rb"[*?\[\]\\]")  # what has a meaning in a pattern of keys
# Feast's options that ask for another way to write or read, and what is meant where they are left alone.
UNUSED = {"redis_type": "redis", "client": "redis", "key_ttl_seconds": None, "skip_dedup": False}
# KEYS: the rows of a view. ARGV: the field that is there where its generation is, or nothing; then entities and rows in turns.
# Lua's numbers are exact for microseconds until the year 2255.
KEEP_NEWEST = """
if ARGV[1] ~= '' and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 2, #ARGV, 2 do
    local held = redis.call('HGET', KEYS[1], ARGV[i])
    local newer = true
    if held and #held >= 20 then
        local happened, known = struct.unpack('<i8i8', string.sub(held, 5, 20))
        local now_happened, now_known = struct.unpack('<i8i8', string.sub(ARGV[i + 1], 5, 20))
        newer = now_happened > happened or (now_happened == happened and now_known >= known)
    end
    if newer then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1
"""
# KEYS: the rows of a view. ARGV: the field of its state, and until when (UTC µs) its table has been brought online.
FILLED = """
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state then redis.call('HSET', KEYS[1], ARGV[1], string.match(state, '%a+') .. ' ' .. ARGV[2]) end
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
        """Pack Feast's messages and write them to every live generation, as a push of new values does; `progress` is called once.

        ValueError where a feature of the view is of a type that this store does not keep.
        """
        self.write_rows(config, table, rows.from_messages(config, table, data))
        if progress:
            progress(len(data))

    def write_rows(self, config: Any, table: FeatureView, content: Sequence[Row], generation: str = "") -> None:
        """To a generation, or to each that is live; EnvironmentFault E552 where the named one is not there.

        A thousand at a time; a killed writer leaves whole rows, and the same again ends as if nothing had happened.
        """
        client, layout = self._get_client(config.online_store), layout_of(table)
        client.set(layout_key(config.project, table.name, layout.signature), layout.to_json())
        keep = client.register_script(KEEP_NEWEST)
        for one in [generation] if generation else self.generations(config).live():
            for start in range(0, len(content), ROWS_AT_ONCE):
                args = [part for row in content[start : start + ROWS_AT_ONCE] for part in (row.entity, row.content)]
                is_there = keep(keys=[rows_key(config.project, one, table.name)], args=[STATE if one else b"", *args])
                if generation and not is_there:
                    message = f"the online store has no {table.name} of generation {generation}, whose tables these are"
                    raise EnvironmentFault("E552", message, remedy="Name the tables of a generation that is served, or publish this one.")

    def since(self, config: Any, table: FeatureView, generation: str, start: datetime) -> datetime:
        """From when on a generation's rows are still to be brought, where Feast's registry, which knows none, says `start`."""
        state = self._get_client(config.online_store).hget(rows_key(config.project, generation, table.name), STATE)
        _, _, until_us = (state or b"").decode().partition(" ")
        return min(start, moment(int(until_us))) if until_us else start

    def filled(self, config: Any, table: FeatureView, generation: str, until: datetime) -> None:
        """Note until when a generation's rows of a view have been brought."""
        key = rows_key(config.project, generation, table.name)
        self._get_client(config.online_store).eval(FILLED, 1, key, STATE, microseconds(until))

    def generations(self, config: Any) -> Generations:
        """The feature generations of the project in this Redis, over the connection that the store has."""
        return Generations(self._get_client(config.online_store), config.project)

    async def online_write_batch_async(self, *args: Any, **options: Any) -> None:
        """`online_write_batch` in a thread, so that Redis' answers do not hold up the event loop."""
        await asyncio.to_thread(self.online_write_batch, *args, **options)

    def online_read(
        self, config: Any, table: FeatureView, entity_keys: list[Any], requested_features: list[str] | None = None, *_: Any, **__: Any
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Of the generation that is current."""
        client = self._get_client(config.online_store)
        key = rows_key(config.project, self.generations(config).current(), table.name)
        found = client.hmget(key, [rows.entity_bytes(config, entity) for entity in entity_keys]) if entity_keys else []
        layouts = {layout.signature: layout for layout in [layout_of(table)]}
        if others := {signature_of(row) for row in found if row is not None} - layouts.keys():
            held = client.mget([layout_key(config.project, table.name, signature) for signature in sorted(others)])
            layouts |= {layout.signature: layout for layout in map(from_json, filter(None, held))}
        return [rows.to_messages(table, layouts, row, requested_features) for row in found]

    async def online_read_async(self, *args: Any, **options: Any) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """`online_read` in a thread, so that Redis' answers do not hold up the event loop."""
        return await asyncio.to_thread(self.online_read, *args, **options)

    def update(self, config: Any, tables_to_delete: Any, *_: Any, **__: Any) -> None:
        """What `feast apply` does: the values of views that are gone go."""
        for table in tables_to_delete:
            self.delete_table(config, table)

    def teardown(self, config: Any, tables: Sequence[FeatureView], entities: Any) -> None:
        """Delete the views' rows of all live generations, and their layouts; which generation is current stays written."""
        for table in tables:
            self.delete_table(config, table)

    def delete_table(self, config: Any, table: FeatureView) -> None:
        """Of every generation, with its layouts."""
        client, generations = self._get_client(config.online_store), self.generations(config)
        client.unlink(*(rows_key(config.project, one, table.name) for one in {*generations.live(), ""}))
        prefix = GLOB.sub(rb"\\\g<0>", layout_key(config.project, table.name, b""))
        for key in list(client.scan_iter(match=prefix + b"*", count=ROWS_AT_ONCE)):
            client.unlink(key)
