"""Feature generations in Redis: begun, filled, complete, current.

A predictor reads the rows of its bundle's generation only. A generation that is being filled, or was superseded, expires by its TTL a day
after the last predictor read it (`serving.features.feature_client` extends the TTL), so a killed run leaves no orphans; the current
generation does not expire.
"""

from collections.abc import Sequence
from typing import Any

from lodestar import schema
from lodestar.errors import EnvironmentFault
from lodestar.schema.store_keys import COMPLETE, FILLING, KEPT_S, STATE, current_key, generations_key, rows_key

# KEYS: the rows of each view, then the set of generations. ARGV: STATE, FILLING, KEPT_S, the generation.
BEGIN = """
for i = 1, #KEYS - 1 do
    local is_new = redis.call('HSETNX', KEYS[i], ARGV[1], ARGV[2]) == 1
    if is_new or redis.call('TTL', KEYS[i]) >= 0 then redis.call('EXPIRE', KEYS[i], ARGV[3]) end
end
redis.call('SADD', KEYS[#KEYS], ARGV[4])
"""
# KEYS: the rows of each view. ARGV: STATE, COMPLETE, FILLING.
FINISH = """
for _, key in ipairs(KEYS) do
    if redis.call('HEXISTS', key, ARGV[1]) == 0 then return 0 end
end
for _, key in ipairs(KEYS) do
    local state = redis.call('HGET', key, ARGV[1])
    if string.sub(state, 1, #ARGV[3]) == ARGV[3] then redis.call('HSET', key, ARGV[1], ARGV[2] .. string.sub(state, #ARGV[3] + 1)) end
end
return 1
"""
# KEYS: the current generation, the set of generations. ARGV: the generation, the start of its run, KEPT_S, and for each view the prefix and
# suffix of a generation in the key of its rows. Returns nothing, and changes nothing, where the generation lacks rows of a view.
# Lua's numbers are exact for microseconds until the year 2255.
MAKE_CURRENT = """
local held = redis.call('HMGET', KEYS[1], 'generation', 'started_us')
if held[2] and tonumber(held[2]) > tonumber(ARGV[2]) and held[1] ~= ARGV[1] then return held[1] end
for i = 4, #ARGV, 2 do
    if redis.call('EXISTS', ARGV[i] .. ARGV[1] .. ARGV[i + 1]) == 0 then return false end
end
local newest = ARGV[2]
if held[1] == ARGV[1] and held[2] and tonumber(held[2]) > tonumber(newest) then newest = held[2] end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'started_us', newest)
local generations = redis.call('SMEMBERS', KEYS[2])
table.insert(generations, '') -- rows pushed before any was published
for _, generation in ipairs(generations) do
    local is_there = generation == ARGV[1]
    for i = 4, #ARGV, 2 do
        local key = ARGV[i] .. generation .. ARGV[i + 1]
        local left_s = redis.call('TTL', key)
        if left_s ~= -2 then is_there = true end
        if generation == ARGV[1] then redis.call('PERSIST', key) elseif left_s == -1 then redis.call('EXPIRE', key, ARGV[3]) end
    end
    if not is_there then redis.call('SREM', KEYS[2], generation) end
end
return ARGV[1]
"""


def removed(generation: str) -> EnvironmentFault:
    """EnvironmentFault E554: rows of a generation were removed while it was filled, or before it was current."""
    message = f"rows of generation {generation} were removed from the online store while it was published"
    return EnvironmentFault("E554", message, remedy="Publish again; give Redis more memory if it evicts keys.")


class Generations:
    """The generations of a Feast project, by a client of the `redis` package, whose errors are passed on."""

    def __init__(self, client: Any, project: str, views: Sequence[str] = tuple(schema.VIEWS)) -> None:
        self._client, self._project, self._views = client, project, views

    def live(self) -> list[str]:
        """Live generations, to each of which a push is written; [""] if none was published."""
        found = sorted(one.decode() for one in self._client.smembers(generations_key(self._project)))
        return found or [""]

    def current(self) -> str:
        """The current generation, published by the run that started last; empty if there is none."""
        found = self._client.hget(current_key(self._project), "generation")
        return found.decode() if found else ""

    def begin(self, generation: str) -> None:
        """Begin to fill a generation: pushes reach it, and predictors read it once it is finished, or still if it is complete already."""
        keys = [*self._keys(generation), generations_key(self._project)]
        self._client.eval(BEGIN, len(keys), *keys, STATE, FILLING, KEPT_S, generation)

    def finish(self, generation: str) -> None:
        """Mark a generation as complete; EnvironmentFault E554 if rows were removed meanwhile."""
        keys = self._keys(generation)
        if not self._client.eval(FINISH, len(keys), *keys, STATE, COMPLETE, FILLING):
            raise removed(generation)

    def abandon(self, generation: str) -> None:
        """Delete the rows of an unfinished generation at once; a complete one is kept."""
        for key in self._keys(generation):
            if (self._client.hget(key, STATE) or b"").startswith(FILLING):
                self._client.unlink(key)

    def make_current(self, generation: str, started_us: int) -> str:
        """Make a generation current, unless a run that started later (UTC µs) has published another; return the current one.

        It no longer expires; the others expire a day after the last predictor has read them. EnvironmentFault E554 if it lacks rows.
        """
        around = [part for view in self._views for part in rows_key(self._project, "\0", view).split(b"\0")]
        keys = current_key(self._project), generations_key(self._project)
        found: bytes | None = self._client.eval(MAKE_CURRENT, len(keys), *keys, generation, started_us, KEPT_S, *around)
        if found is None:
            raise removed(generation)
        return found.decode()

    def _keys(self, generation: str) -> list[bytes]:
        return [rows_key(self._project, generation, view) for view in self._views]
