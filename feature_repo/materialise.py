"""Materialise a feature generation into the online store: a SQLite file beside its bundle, or the Redis of LODESTAR_REDIS.

The rows as of now are written. Predictors of other generations are not disturbed: a file is filled before anything reads it, and in Redis
each generation has its own keys, which are read only when they are complete.
"""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.store import ONLINE, opened
from feature_repo.stores.generations import removed
from lodestar.errors import EnvironmentFault
from lodestar.progress import Progress
from lodestar.schema.store_keys import GENERATION

if TYPE_CHECKING:
    from feast import FeatureStore

EARLIEST = datetime.min.replace(tzinfo=UTC)  # 0001-01-01, the earliest time that the contract has


def materialise_sqlite(features: Path, folder: Path) -> None:
    """Write `online/online.db` and its registry into a folder, which must not be read before this returns."""
    (folder / ONLINE).mkdir(parents=True)
    with Progress("materialise features", 2) as progress, opened(features, state=folder) as store:
        progress.advance()
        _materialise(store)
        _online(store).name(store.config, (features / GENERATION).read_text())
        progress.advance()


def materialise_redis(features: Path) -> None:
    """Write the generation to Redis; predictors of its bundle read it once it is complete.

    Existing rows are written again, so that a flushed Redis is complete afterwards. EnvironmentFault E553 if Redis refuses the writes, E554
    if rows are removed meanwhile.
    """
    import redis

    generation = (features / GENERATION).read_text()
    with Progress("materialise features", 3) as progress, _in_redis(features) as store:
        progress.advance()
        generations = _online(store).generations(store.config)
        try:
            generations.begin(generation)
            with _removed_generation_errors(generation):
                _materialise(store)
            progress.advance()
            generations.finish(generation)
        except BaseException:  # SIGTERM included; frees the memory of a full Redis
            with contextlib.suppress(redis.RedisError):
                generations.abandon(generation)
            raise
        progress.advance()


@contextlib.contextmanager
def _removed_generation_errors(generation: str) -> Iterator[None]:
    """Turn E552 into E554: Redis evicted the rows, or another run of the same generation has abandoned them."""
    try:
        yield
    except EnvironmentFault as error:
        raise (removed(generation) if error.code == "E552" else error) from error


def make_current(features: Path, started_us: int) -> str:
    """Make the generation current, unless a run that started later (`started_us`, UTC µs) has published; return the current one.

    Other generations expire a day after the last predictor has read them.
    """
    with _in_redis(features) as store:
        found: str = _online(store).generations(store.config).make_current((features / GENERATION).read_text(), started_us)
        return found


def _materialise(store: "FeatureStore") -> None:
    with contextlib.redirect_stdout(sys.stderr):  # Feast prints its progress there
        store.materialize(EARLIEST, datetime.now(UTC))  # counts also have rows for future hours, at which they fall


def _online(store: "FeatureStore") -> Any:
    return store._get_provider().online_store  # Feast has no public accessor


@contextlib.contextmanager
def _in_redis(features: Path) -> "Iterator[FeatureStore]":
    """The feature store with Redis online; the folder of the tables is not written, and a file registry is temporary."""
    import redis

    with tempfile.TemporaryDirectory(prefix="lodestar-registry-") as folder:
        try:
            Path(folder, ONLINE).mkdir()
            with opened(features, in_redis=True, state=Path(folder)) as store:
                yield store
        except redis.RedisError as error:
            remedy = "Check LODESTAR_REDIS and that Redis has memory left, then publish again: serving is unchanged."
            raise EnvironmentFault("E553", f"the online store refuses the features ({error})", remedy=remedy) from error
