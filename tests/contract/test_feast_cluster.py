"""The cluster's form, with a real PostgreSQL for the registry, Redis for values and S3 for tables."""

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from feast import FeatureStore
from feast.feature_view import FeatureViewState
from feast.infra.registry.sql import feature_views

from feature_repo import store
from lodestar import schema
from lodestar.errors import UsageError
from lodestar.schema.store_keys import TRAINING_SET
from tests.contract.conftest import publish
from tests.ports import free_port
from tests.unit.test_features import built

REPOSITORY = Path(store.__file__).parent
USERS = [f"u{place}" for place in range(5)]
Another = Callable[[], FeatureStore]


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The address of a database in a server of its own, which PostgreSQL does not let root run."""
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    owner = "postgres" if os.getuid() == 0 else getpass.getuser()
    as_owner = ["setpriv", "--reuid", owner, "--regid", owner, "--clear-groups"] if os.getuid() == 0 else []
    folder, port = Path(tempfile.mkdtemp(prefix="lodestar-postgresql-")), free_port()
    shutil.chown(folder, owner)
    quiet: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*as_owner, programs / "initdb", "--auth=trust", "--no-sync", "--username=feast", folder / "data"], check=True, **quiet)
    options = ["-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    control: list[str | Path] = [*as_owner, programs / "pg_ctl", "--pgdata", folder / "data", "--wait"]
    subprocess.run([*control, "--options", " ".join(options), "start"], check=True, **quiet)
    try:
        yield f"postgresql+psycopg://feast@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "--mode=immediate", "stop"], check=True, **quiet)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("features"), [(user, f"i{step % 7}", 3600 * step) for user in USERS for step in range(9)])


@pytest.fixture(autouse=True)
def cluster(registry: str, redis: str, features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pod's environment says."""
    for name, value in {"LODESTAR_REGISTRY": registry, "LODESTAR_REDIS": redis, "LODESTAR_FEATURES": str(features)}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def another(cluster: None) -> Iterator[Another]:
    """Opens stores as other processes do, which apply nothing."""
    opened: list[FeatureStore] = []

    def open_one() -> FeatureStore:
        opened.append(FeatureStore(repo_path=str(REPOSITORY), fs_yaml_file=REPOSITORY / store.CLUSTER))
        return opened[-1]

    yield open_one
    for found in opened:
        store.close(found)


def recent(found: FeatureStore) -> list[list[str]]:
    service = found.get_feature_service(schema.RETRIEVAL_SERVICE)
    answer = found.get_online_features(features=service, entity_rows=[{schema.USER_ID: user} for user in USERS]).to_dict()
    return [list(items or ()) for items in answer[schema.RECENT_ITEMS]]


def test_what_is_published_is_found_by_another_process(features: Path, another: Another) -> None:
    publish(features, in_redis=True)
    sequences = pd.read_parquet(features / "data" / f"{schema.USER_SEQUENCE_VIEW}.parquet").set_index(schema.USER_ID)
    assert recent(another()) == [list(items) for items in sequences.loc[USERS, schema.RECENT_ITEMS]]
    assert not (features / "online" / "registry.db").exists()
    joined = store.join(another(), pd.read_parquet(features / store.LABELS))
    pd.testing.assert_frame_equal(joined, pd.read_parquet(features / TRAINING_SET))


def test_what_is_applied_again_changes_nothing(features: Path) -> None:
    listed = []
    for _ in range(2):
        with store.opened(features, in_redis=True) as found:
            views = sorted(found.list_feature_views(), key=lambda view: str(view.name))
            listed.append([(view.name, view.current_version_number, view.features, view.materialization_intervals) for view in views])
    assert listed[0] == listed[1] != []


def test_values_are_served_while_new_ones_are_written(features: Path, another: Another) -> None:
    publish(features, in_redis=True)
    found = another()
    view = found.get_feature_view(schema.USER_SEQUENCE_VIEW)
    view.state = FeatureViewState.MATERIALIZING
    content = view.to_proto()
    content.spec.project = found.project
    registry: Any = found.registry
    with registry.write_engine.begin() as connection:  # as a process leaves it that is at it, or was killed
        is_view = feature_views.c.feature_view_name == schema.USER_SEQUENCE_VIEW
        connection.execute(feature_views.update().where(is_view).values(feature_view_proto=content.SerializeToString()))
    assert all(recent(another()))
    strict = another()
    strict.config.registry.serve_features_while_materializing = False
    with pytest.raises(ValueError, match="in state 'MATERIALIZING'"):
        recent(strict)


def test_tables_on_s3_are_joined_as_those_of_a_folder(
    features: Path, bucket: str, another: Another, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(features, in_redis=True)
    for path in (features / "data").iterdir():
        boto3.client("s3").upload_file(str(path), bucket.removeprefix("s3://"), f"features/data/{path.name}")
    monkeypatch.setenv("LODESTAR_FEATURES", f"{bucket}/features")
    joined = store.join(another(), pd.read_parquet(features / store.LABELS))
    pd.testing.assert_frame_equal(joined, pd.read_parquet(features / TRAINING_SET))


def test_a_folder_of_tables_that_is_not_named_is_asked_for(features: Path, another: Another, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.opened(features, in_redis=True):
        monkeypatch.delenv("LODESTAR_FEATURES")
        with pytest.raises(UsageError, match="LODESTAR_FEATURES"):
            store.join(another(), pd.read_parquet(features / store.LABELS))
