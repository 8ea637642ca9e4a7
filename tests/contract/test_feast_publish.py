"""A publication that is killed leaves what was there, is never read half made, and made again is as if it had not been killed."""

import multiprocessing
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvloop

from feature_repo import store
from lodestar import schema
from lodestar.schema.places import TRAINING_SET
from serving.features import Histories, SqliteFeatures
from tests.factories import EPOCH_US, SECOND_US
from tests.unit.test_features import built

USERS = [f"u{place}" for place in range(30)]
NUM_KILLS = 5
Tables = dict[str, list[tuple[Any, ...]]]


def tables(folder: Path, seed: int) -> Path:
    chance = np.random.default_rng(seed)
    return built(folder, [(user, f"i{chance.integers(20)}", int(chance.integers(72 * 3600))) for user in USERS for _ in range(6)])


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder."""
    folder = tables(tmp_path_factory.mktemp("before"), 0)
    store.publish(folder)
    return folder


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of another day, published without a break."""
    folder = tables(tmp_path_factory.mktemp("after"), 1)
    store.publish(folder)
    return folder


@pytest.fixture
def halfway(before: Path, after: Path, tmp_path: Path) -> Path:
    """The published folder with the other day's tables in it, yet to be published."""
    folder = shutil.copytree(before, tmp_path / "features")
    shutil.rmtree(folder / "data")
    shutil.copytree(after / "data", folder / "data")
    return folder


def content(folder: Path) -> Tables:
    with sqlite3.connect(folder / "online" / "online.db") as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {name: sorted(database.execute(f'SELECT * FROM "{name}"')) for name in names}
    database.close()
    return found


def histories(client: SqliteFeatures) -> Histories:
    return uvloop.run(client.histories(USERS))


def read(folder: Path) -> Histories:
    client = SqliteFeatures(folder / "online" / "online.db")
    try:
        return histories(client)
    finally:
        uvloop.run(client.close())


def test_a_publication_that_is_killed_at_any_moment_is_never_read_by_half(before: Path, after: Path, halfway: Path) -> None:
    old, new = read(before), read(after)
    assert old != new
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["feature_repo.store", "feature_repo.services", "feature_repo.offline", "feature_repo.online"])
    whole_s = published_s(processes, shutil.copytree(halfway, halfway.with_name("whole")))
    client = SqliteFeatures(halfway / "online" / "online.db")
    exits = []
    for share in np.random.default_rng(0).uniform(0.2, 1.0, NUM_KILLS):
        publication = processes.Process(target=store.publish, args=(halfway,))
        publication.start()
        end = time.monotonic() + share * whole_s
        while publication.is_alive() and time.monotonic() < end:
            assert histories(client) in (old, new)
        publication.kill()
        publication.join()
        exits.append(publication.exitcode)
        assert read(halfway) in (old, new)
    assert -signal.SIGKILL in exits
    uvloop.run(client.close())
    store.publish(halfway)
    assert content(halfway) == content(after)
    assert read(halfway) == new
    ours, unbroken = (pd.read_parquet(folder / TRAINING_SET) for folder in (halfway, after))
    pd.testing.assert_frame_equal(ours, unbroken)
    assert sorted(path.name for path in halfway.iterdir()) == sorted(path.name for path in after.iterdir())


def published_s(processes: Any, folder: Path) -> float:
    """How long a publication takes here, so that kills come while it is at work; the first one also waits for imports."""
    for _ in range(2):
        started = time.monotonic()
        publication = processes.Process(target=store.publish, args=(folder,))
        publication.start()
        publication.join()
        assert publication.exitcode == 0
    return time.monotonic() - started


def test_what_counts_now_is_published_and_not_what_will_be_left_of_it(tmp_path: Path) -> None:
    an_hour_ago = int(time.time()) - EPOCH_US // SECOND_US - 3600
    folder = built(tmp_path, [(user, f"i{place % 20}", an_hour_ago + place) for place, user in enumerate(USERS * 6)])
    store.publish(folder)
    with store.opened(folder) as opened:
        online = store.read_online(opened, schema.RANK_SERVICE, [{schema.USER_ID: USERS[0], schema.ITEM_ID: "i0"}])
    (events_1d,), (taken_1d,) = online.values["events_1d"], online.values["taken_1d"]
    assert min(events_1d, taken_1d) > 0


def test_what_an_earlier_publication_left_and_this_one_does_not_make_goes(halfway: Path, after: Path) -> None:
    (halfway / "online" / "online.db-journal").write_bytes(b"")
    (halfway / store.ASIDE).mkdir()
    (halfway / store.ASIDE / "half").write_bytes(b"")
    store.publish(halfway)
    assert sorted(path.name for path in (halfway / "online").iterdir()) == ["online.db", "registry.db"]
    assert not (halfway / store.ASIDE).exists()
    assert content(halfway) == content(after)
