"""Bring a generation of features online: into a file beside the bundle that reads it, or into the Redis that LODESTAR_REDIS names.

What is known now goes there. Who serves another generation is not disturbed: a file is filled where nobody reads it yet, and in Redis the
rows of each generation lie apart and are read only when all of them are there.
"""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.generations import removed
from feature_repo.store import ONLINE, opened
from lodestar.errors import EnvironmentFault
from lodestar.progress import Progress
from lodestar.schema.places import GENERATION

if TYPE_CHECKING:
    from feast import FeatureStore

BEFORE_ALL = datetime(1970, 1, 2, tzinfo=UTC)


def fill_file(features: Path, folder: Path) -> None:
    """Make `online/online.db` with its registry in a folder; it is not to be read before this returns."""
    (folder / ONLINE).mkdir(parents=True)
    with Progress("bring features online", 2) as progress, opened(features, state=folder) as store:
        progress.advance()
        _materialise(store)
        _online(store).name(store.config, (features / GENERATION).read_text())
        progress.advance()


def fill_redis(features: Path) -> None:
    """Bring the generation to Redis; predictors of its bundle read it from the moment at which all rows are there.

    What was filled before is filled again, so a Redis that was flushed has everything afterwards. EnvironmentFault E553 where Redis does
    not take it, E554 where rows go away meanwhile.
    """
    import redis

    generation = (features / GENERATION).read_text()
    with Progress("bring features online", 3) as progress, _in_redis(features) as store:
        progress.advance()
        generations = _online(store).generations(store.config)
        try:
            generations.begin(generation)
            with _told(generation):
                _materialise(store)
            progress.advance()
            generations.finish(generation)
        except BaseException:  # SIGTERM is one; a Redis that is full has room again
            with contextlib.suppress(redis.RedisError):
                generations.abandon(generation)
            raise
        progress.advance()


@contextlib.contextmanager
def _told(generation: str) -> Iterator[None]:
    """E554 where rows are not there to be written to: Redis evicted them, or a run that brings the same ones has given up."""
    try:
        yield
    except EnvironmentFault as error:
        raise (removed(generation) if error.code == "E552" else error) from error


def make_current(features: Path, started_us: int) -> str:
    """Make the generation the one that Feast reads, unless a run that started later (UTC µs) has published; the one that it reads then.

    Other generations go a day after the last predictor has read them.
    """
    with _in_redis(features) as store:
        found: str = _online(store).generations(store.config).make_current((features / GENERATION).read_text(), started_us)
        return found


def _materialise(store: "FeatureStore") -> None:
    with contextlib.redirect_stdout(sys.stderr):  # Feast tells of its work there
        store.materialize(BEFORE_ALL, datetime.now(UTC))  # counts have rows for the hours at which they will fall


def _online(store: "FeatureStore") -> Any:
    return store._get_provider().online_store  # Feast has no public way to it


@contextlib.contextmanager
def _in_redis(features: Path) -> "Iterator[FeatureStore]":
    """The folder of the tables is read only; a registry that is no database is made for this and thrown away."""
    import redis

    with tempfile.TemporaryDirectory(prefix="lodestar-registry-") as folder:
        try:
            Path(folder, ONLINE).mkdir()
            with opened(features, in_redis=True, state=Path(folder)) as store:
                yield store
        except redis.RedisError as error:
            remedy = "Check LODESTAR_REDIS and that Redis has memory left, then publish again: what is served stays as it was."
            raise EnvironmentFault("E553", f"the online store does not take the features ({error})", remedy=remedy) from error
