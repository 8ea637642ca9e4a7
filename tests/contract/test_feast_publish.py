"""A release that is killed leaves what was there, is never read half made, and made again is as if it had not been killed."""

import json
import multiprocessing
import os
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

from components.release.local_release import release_locally
from feature_repo import store
from lodestar import schema
from lodestar.bundle import bundle
from lodestar.errors import EnvironmentFault
from lodestar.schema.store_keys import TRAINING_SET
from lodestar.schema.time_units import SECOND_US
from serving.features.feature_client import GenerationMissing, Histories, SqliteFeatureClient, StoreUnavailable
from tests.contract.conftest import generation_of, publish
from tests.factories import EPOCH_US, small_bundle
from tests.unit.test_features import built

USERS = [f"u{place}" for place in range(30)]
NUM_KILLS = 5
FIRST, SECOND, THIRD = (f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3))
Tables = dict[str, list[tuple[Any, ...]]]


def made(folder: Path, seed: int) -> tuple[Path, Path]:
    """A bundle and the features that it was trained on."""
    rng = np.random.default_rng(seed)
    features = built(folder, [(user, f"i{rng.integers(20)}", int(rng.integers(72 * 3600))) for user in USERS for _ in range(6)])
    store.write_training_set(features)
    return small_bundle(folder / "bundle", features=generation_of(features)), features


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return made(tmp_path_factory.mktemp("before"), 0)


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of another day."""
    return made(tmp_path_factory.mktemp("after"), 1)


def content(folder: Path) -> Tables:
    with sqlite3.connect(folder / "current" / "online" / "online.db") as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {name: sorted(database.execute(f'SELECT * FROM "{name}"')) for name in names}
    database.close()
    return found


def histories(client: SqliteFeatureClient) -> Histories:
    return uvloop.run(client.histories(USERS))


def opened(folder: Path) -> SqliteFeatureClient:
    """As a process is that starts now: the bundle, and the store of the bundle's generation.

    Where a release comes between the two it is refused by E551, never served of two halves, and its supervisor starts it again.
    """
    generation = bundle.load(folder / "current" / "bundle").info.features
    try:
        return SqliteFeatureClient(folder / "current" / "online" / "online.db", generation=generation)
    except EnvironmentFault as fault:
        if fault.code != "E551" or bundle.load(folder / "current" / "bundle").info.features == generation:
            raise
        return opened(folder)


def read(folder: Path) -> Histories:
    client = opened(folder)
    try:
        return histories(client)
    finally:
        uvloop.run(client.close())


def test_a_release_that_is_killed_at_any_time_is_never_read_by_half(
    before: tuple[Path, Path], after: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, halfway = tmp_path / "whole", tmp_path / "halfway"
    for folder in (whole, halfway):
        release_locally(*before, folder, FIRST)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["feature_repo.store", "feature_repo.services", "feature_repo.stores.offline_store", "feature_repo.stores.sqlite_store"]
    )
    whole_s = released_s(processes, after, whole)
    old, new = read(halfway), read(whole)
    assert old != new
    client = opened(halfway)
    exits = []
    for share in np.random.default_rng(0).uniform(0.2, 1.0, NUM_KILLS):
        release = processes.Process(target=release_locally, args=(*after, halfway, SECOND))
        release.start()
        end = time.monotonic() + share * whole_s
        while release.is_alive() and time.monotonic() < end:
            assert histories(client) == old  # of the generation that it began with
            assert read(halfway) in (old, new)
        release.kill()
        release.join()
        exits.append(release.exitcode)
        assert read(halfway) in (old, new)
    assert -signal.SIGKILL in exits
    release_locally(*after, halfway, SECOND)
    assert histories(client) == old
    uvloop.run(client.close())
    assert (read(halfway), content(halfway)) == (new, content(whole))
    assert sorted(path.name for path in halfway.rglob("*")) == sorted(path.name for path in whole.rglob("*"))


def released_s(processes: Any, wanted: tuple[Path, Path], folder: Path) -> float:
    """How long a release takes here, so that kills come while it is at work; the first one also waits for imports."""
    for _ in range(2):
        started = time.monotonic()
        release = processes.Process(target=release_locally, args=(*wanted, folder, SECOND))
        release.start()
        release.join()
        assert release.exitcode == 0
    return time.monotonic() - started


def test_a_process_goes_on_with_its_generation_and_the_next_one_takes_up_the_new(
    before: tuple[Path, Path], after: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release_locally(*before, tmp_path, FIRST)
    client, old = opened(tmp_path), read(tmp_path)
    release_locally(*after, tmp_path, SECOND)
    assert (histories(client), histories(client)) == (old, old)
    assert caplog.text.count(f"now holds generation {generation_of(after[1])}") == 1
    assert read(tmp_path) != old
    release_locally(*before, tmp_path, THIRD)  # data that are again as they were
    assert (histories(client), read(tmp_path)) == (old, old)
    uvloop.run(client.close())


def test_a_store_of_another_generation_than_the_bundle_is_refused(before: tuple[Path, Path], tmp_path: Path) -> None:
    release_locally(*before, tmp_path, FIRST)
    path = tmp_path / "current" / "online" / "online.db"
    with pytest.raises(EnvironmentFault, match=f"E551.*{generation_of(before[1])}.*trained on {'f' * 16}"):
        SqliteFeatureClient(path, generation="f" * 16)
    with sqlite3.connect(path, isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        client = SqliteFeatureClient(path, generation="f" * 16)  # which cannot tell yet
        with pytest.raises(StoreUnavailable, match="locked"):
            histories(client)
        writer.execute("ROLLBACK")
    writer.close()
    with pytest.raises(GenerationMissing, match="E551"):
        histories(client)


def test_an_older_run_replaces_nothing_and_says_so(before: tuple[Path, Path], after: tuple[Path, Path], tmp_path: Path) -> None:
    release_locally(*after, tmp_path, SECOND)
    found = os.readlink(tmp_path / "current")
    with pytest.raises(EnvironmentFault, match=f"E565.*{SECOND[:10]}.*{FIRST[:10]}"):
        release_locally(*before, tmp_path, FIRST)
    assert release_locally(*after, tmp_path, FIRST) == str(tmp_path / found / "bundle")  # which is there already
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [Path(found).name]


def test_the_same_again_from_an_older_run_lets_no_other_older_one_in(
    before: tuple[Path, Path], after: tuple[Path, Path], tmp_path: Path
) -> None:
    for started_at in (SECOND, FIRST):
        made = release_locally(*before, tmp_path, started_at)
    with pytest.raises(EnvironmentFault, match="E565"):
        release_locally(*after, tmp_path, FIRST)
    assert (tmp_path / "current" / "bundle").resolve() == Path(made).resolve()
    release_locally(*before, tmp_path, THIRD)
    assert json.loads((tmp_path / "current" / "release.json").read_text()) == {"started_at": THIRD}


def test_of_many_releases_the_current_and_the_one_before_stay(before: tuple[Path, Path], tmp_path: Path) -> None:
    names = []
    for number, dim in enumerate((8, 16, 24)):
        one = small_bundle(tmp_path / f"bundle {dim}", dim=dim, features=generation_of(before[1]))
        names.append(Path(release_locally(one, before[1], tmp_path / "out", f"2026-01-01T0{number}:00:00Z")).parent.name)
    assert sorted(path.name for path in (tmp_path / "out" / "releases").iterdir()) == sorted(names[1:])
    assert json.loads((tmp_path / "out" / "current" / "release.json").read_text()) == {"started_at": "2026-01-01T02:00:00Z"}


def test_what_is_no_link_of_ours_is_left_alone(before: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    with pytest.raises(EnvironmentFault, match="E563"):
        release_locally(*before, tmp_path, FIRST)
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_what_counts_now_is_published_and_not_what_will_be_left_of_it(tmp_path: Path) -> None:
    an_hour_ago = int(time.time()) - EPOCH_US // SECOND_US - 3600
    folder = built(tmp_path, [(user, f"i{place % 20}", an_hour_ago + place) for place, user in enumerate(USERS * 6)])
    publish(folder)
    with store.opened(folder) as found:
        online = store.read_online(found, schema.RANK_SERVICE, [{schema.USER_ID: USERS[0], schema.ITEM_ID: "i0"}])
    (events_1d,), (interactions_1d,) = online.values["events_1d"], online.values["interactions_1d"]
    assert min(events_1d, interactions_1d) > 0


def test_a_training_set_takes_its_place_at_once_and_what_a_killed_one_left_goes(before: tuple[Path, Path], tmp_path: Path) -> None:
    features = shutil.copytree(before[1], tmp_path / "features")
    (features / f"{store.STAGING}x").mkdir()
    (features / f"{store.STAGING}x" / "half").write_bytes(b"")
    (features / TRAINING_SET).write_bytes(b"of another day")
    store.write_training_set(features)
    ours, theirs = (pd.read_parquet(folder / TRAINING_SET) for folder in (features, before[1]))
    pd.testing.assert_frame_equal(ours, theirs)
    assert sorted(path.name for path in features.iterdir()) == sorted(path.name for path in before[1].iterdir())
