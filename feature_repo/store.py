"""The Feast store of a feature folder: apply the definitions, build the training set by an as-of join, and read online features."""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodestar import schema
from lodestar.errors import DataError
from lodestar.process.environment_variables import FEAST_REGISTRY, REDIS_LOGIN
from lodestar.progress import activity
from lodestar.schema.store_keys import TRAINING_SET

if TYPE_CHECKING:
    from feast import FeatureStore

ONLINE = "online"
STAGING = ".joining."
LABELS = "data/labels.parquet"
LAPTOP, REDIS, CLUSTER = "feature_store.yaml", "feature_store.redis.yaml", "feature_store.cluster.yaml"
TIMESTAMP = "__ts"  # suffix of a feature's time in Feast's response, in whole seconds, 0 for none


def write_training_set(features: Path) -> None:
    """Write `training_set.parquet` into the folder atomically, by an as-of join of the labels; no online store is touched.

    DataError E160 unless the join returns every label once.
    """
    for orphan in features.glob(f"{STAGING}*"):  # of a killed run
        shutil.rmtree(orphan, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=features) as name, activity("joining the training set"):
        staging = Path(name)
        (staging / ONLINE).mkdir()
        with opened(features, state=staging) as store:
            join(store, _labels(features)).to_parquet(staging / TRAINING_SET, index=False)
        (staging / TRAINING_SET).replace(features / TRAINING_SET)


@contextlib.contextmanager
def opened(features: Path, *, in_redis: bool = False, state: Path | None = None) -> "Iterator[FeatureStore]":
    """A Feast store with the definitions applied; its files are in the folder of the tables, or in `state`.

    With `in_redis` the registry is the database of LODESTAR_REGISTRY, if that is set; LODESTAR_REDIS_LOGIN holds the Redis login.
    """
    with _without_torch():
        from feast import FeatureStore

    config_file = LAPTOP if not in_redis else CLUSTER if os.environ.get(FEAST_REGISTRY) else REDIS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = FeatureStore(repo_path=str((state or features).absolute()), fs_yaml_file=Path(__file__).with_name(config_file))
        store.config.offline_store.root = str(features.absolute())
        if in_redis and os.environ.get(REDIS_LOGIN):
            store.config.online_store.connection_string += f",{os.environ[REDIS_LOGIN]}"
        try:
            store.apply(definitions())
            yield store
        finally:
            close(store)


@contextlib.contextmanager
def _without_torch() -> "Iterator[None]":
    """Import Feast without torch, which it loads wherever it is installed: half a gigabyte of memory that is not used."""
    if {"torch", "feast"} & sys.modules.keys():
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes its import fail
    try:
        yield
    finally:
        del sys.modules["torch"]


def close(store: "FeatureStore") -> None:
    """Close connections, also those to the registry's database, which Feast keeps open."""
    asyncio.run(store.close())
    if hasattr(store.registry, "write_engine"):
        store.registry.write_engine.dispose()


def definitions() -> list[Any]:
    """All Feast objects of this folder, as `feast apply` finds them: entities, views and services."""
    from feast import Entity, FeatureService
    from feast.base_feature_view import BaseFeatureView

    from feature_repo import entities, services, views

    kinds = (Entity, BaseFeatureView, FeatureService)
    return [found for module in (entities, views, services) for found in vars(module).values() if isinstance(found, kinds)]


def join(store: "FeatureStore", labels: Any) -> Any:
    """The training set: labels with the ranking features as of their time, and defaults for missing ones.

    DataError E160 unless the join returns every row once.
    """
    service = store.get_feature_service(schema.RANK_SERVICE)
    joined = store.get_historical_features(entity_df=labels, features=service, filter_by_created_timestamp=True).to_df()
    if len(joined) != len(labels) or not (joined["row_id"].to_numpy() == labels["row_id"].to_numpy()).all():
        message = f"the as-of join returned {len(joined)} rows for {len(labels)}"
        raise DataError("E160", message, remedy="Use the offline store of feature_store.yaml: Feast's default one drops rows.")
    names = [feature.name for view in service.feature_view_projections for feature in view.features]  # without the inputs of crosses
    defaults = {name: schema.DEFAULTS[name] for name in names if schema.DEFAULTS.get(name) is not None}
    return joined[[*labels.columns, *names]].fillna(defaults)


@dataclass(frozen=True, kw_only=True)
class OnlineValues:
    """Online feature values, by feature name, one for each requested entity; missing ones are the feature's default, as in training.

    `num_expired` counts values past their TTL, which are missing too.
    """

    values: dict[str, list[Any]]
    num_expired: int


def read_online(store: "FeatureStore", service: str, entities: Sequence[dict[str, Any]], at: datetime | None = None) -> OnlineValues:
    """Read online features with TTL at a time (default: now), as an as-of join would: Feast itself returns expired values.

    Online times are in whole seconds, and so is the TTL.
    """
    found = store.get_feature_service(service)
    response = store.get_online_features(features=found, entity_rows=list(entities)).to_dict(include_event_timestamps=True)
    now_s = int((at or datetime.now(UTC)).timestamp())
    values = {name: list(column) for name, column in response.items() if not name.endswith(TIMESTAMP)}
    num_expired = 0
    for name, ttl_s in _ttls(store, found).items():
        for row, time_s in enumerate(response[name + TIMESTAMP]):
            if values[name][row] is not None and time_s + ttl_s < now_s:
                values[name][row] = None
                num_expired += 1
    values = {name: [schema.DEFAULTS.get(name) if value is None else value for value in column] for name, column in values.items()}
    return OnlineValues(values=values, num_expired=num_expired)


def _ttls(store: "FeatureStore", service: Any) -> dict[str, float]:
    """The TTL in seconds of each feature that has one."""
    ttls_s = {view.name: view.ttl.total_seconds() for view in store.list_feature_views() if view.ttl}
    projections = [found for found in service.feature_view_projections if found.name in ttls_s]
    return {feature.name: ttls_s[found.name] for found in projections for feature in found.features}


def _labels(features: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(features / LABELS)
