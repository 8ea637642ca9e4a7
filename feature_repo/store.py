"""Register a folder of feature tables with Feast, join the training set as it was known at each moment, and read what is online."""

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
from lodestar.schema.places import TRAINING_SET

if TYPE_CHECKING:
    from feast import FeatureStore

ONLINE = "online"
ASIDE = ".joining."
LABELS = "data/labels.parquet"
LAPTOP, REDIS, CLUSTER = "feature_store.yaml", "feature_store.redis.yaml", "feature_store.cluster.yaml"
REGISTRY = "LODESTAR_REGISTRY"
LOGIN = "LODESTAR_REDIS_LOGIN"  # `username=…,password=…`: apart from where Redis is, since it is a secret
TIMESTAMP = "__ts"  # how Feast calls the time of a value, in whole seconds, 0 where there is none


def write_training_set(features: Path) -> None:
    """Write `training_set.parquet` into the folder, as a whole and at once; no online store is touched.

    DataError E160 unless every label comes back once.
    """
    for left in features.glob(f"{ASIDE}*"):  # of one that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=ASIDE, dir=features) as name:
        aside = Path(name)
        (aside / ONLINE).mkdir()
        with opened(features, state=aside) as store:
            join(store, _labels(features)).to_parquet(aside / TRAINING_SET, index=False)
        (aside / TRAINING_SET).replace(features / TRAINING_SET)


@contextlib.contextmanager
def opened(features: Path, *, in_redis: bool = False, state: Path | None = None) -> "Iterator[FeatureStore]":
    """A store with the definitions applied; what it keeps in files lies in the folder of the tables, or in `state`.

    With Redis the registry is the database that LODESTAR_REGISTRY names, if it names one; LODESTAR_REDIS_LOGIN says who asks.
    """
    with _without_torch():
        from feast import FeatureStore

    form = LAPTOP if not in_redis else CLUSTER if os.environ.get(REGISTRY) else REDIS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = FeatureStore(repo_path=str((state or features).absolute()), fs_yaml_file=Path(__file__).with_name(form))
        store.config.offline_store.root = str(features.absolute())
        if in_redis and os.environ.get(LOGIN):
            store.config.online_store.connection_string += f",{os.environ[LOGIN]}"
        try:
            store.apply(definitions())
            yield store
        finally:
            close(store)


@contextlib.contextmanager
def _without_torch() -> "Iterator[None]":
    """Feast imports torch wherever it is installed, to give tensors: half a gigabyte that nothing here uses."""
    if {"torch", "feast"} & sys.modules.keys():
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # what makes an import of it fail
    try:
        yield
    finally:
        del sys.modules["torch"]


def close(store: "FeatureStore") -> None:
    """Give connections back, those to the registry's database too, which Feast keeps."""
    asyncio.run(store.close())
    if hasattr(store.registry, "write_engine"):
        store.registry.write_engine.dispose()


def definitions() -> list[Any]:
    """What `feast apply` finds in this folder: entities, views and services."""
    from feast import Entity, FeatureService
    from feast.base_feature_view import BaseFeatureView

    from feature_repo import entities, services, views

    kinds = (Entity, BaseFeatureView, FeatureService)
    return [found for module in (entities, views, services) for found in vars(module).values() if isinstance(found, kinds)]


def join(store: "FeatureStore", labels: Any) -> Any:
    """The labels with the ranking features that were known at their moment, and defaults where nothing was.

    DataError E160 unless every row comes back once.
    """
    service = store.get_feature_service(schema.RANK_SERVICE)
    joined = store.get_historical_features(entity_df=labels, features=service, filter_by_created_timestamp=True).to_df()
    if len(joined) != len(labels) or not (joined["row_id"].to_numpy() == labels["row_id"].to_numpy()).all():
        message = f"the as-of join returned {len(joined)} rows for {len(labels)}"
        raise DataError("E160", message, remedy="Use the offline store of feature_store.yaml: Feast's default one drops rows.")
    asked = [feature.name for view in service.feature_view_projections for feature in view.features]  # and not what a cross is made from
    defaults = {name: schema.DEFAULTS[name] for name in asked if schema.DEFAULTS.get(name) is not None}
    return joined[[*labels.columns, *asked]].fillna(defaults)


@dataclass(frozen=True, kw_only=True)
class OnlineValues:
    """A list for each feature, one value for each entity asked for; `num_expired` are not given because they are too old.

    Where there is no value it is the feature's default, as in a training set.
    """

    values: dict[str, list[Any]]
    num_expired: int


def read_online(store: "FeatureStore", service: str, entities: Sequence[dict[str, Any]], at: datetime | None = None) -> OnlineValues:
    """What an as-of join would find at a moment, or now: Feast keeps a value online for ever, whatever its view's time to live.

    Online times are in whole seconds, and so is the limit.
    """
    found = store.get_feature_service(service)
    answer = store.get_online_features(features=found, entity_rows=list(entities)).to_dict(include_event_timestamps=True)
    now_s = int((at or datetime.now(UTC)).timestamp())
    values = {name: list(column) for name, column in answer.items() if not name.endswith(TIMESTAMP)}
    num_expired = 0
    for name, ttl_s in _limits(store, found).items():
        for place, time_s in enumerate(answer[name + TIMESTAMP]):
            if values[name][place] is not None and time_s + ttl_s < now_s:
                values[name][place] = None
                num_expired += 1
    values = {name: [schema.DEFAULTS.get(name) if value is None else value for value in column] for name, column in values.items()}
    return OnlineValues(values=values, num_expired=num_expired)


def _limits(store: "FeatureStore", service: Any) -> dict[str, float]:
    """The time to live in seconds of each feature that has one."""
    limits_s = {view.name: view.ttl.total_seconds() for view in store.list_feature_views() if view.ttl}
    projections = [found for found in service.feature_view_projections if found.name in limits_s]
    return {feature.name: limits_s[found.name] for found in projections for feature in found.features}


def _labels(features: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(features / LABELS)
