"""Register a folder of feature tables with Feast, fill its online store, and join the training set as it was known at each moment."""

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodestar import schema
from lodestar.errors import DataError
from lodestar.progress import Progress

if TYPE_CHECKING:
    from feast import FeatureStore

ONLINE = "online"
TRAINING_SET = "training_set.parquet"
LABELS = "data/labels.parquet"
LAPTOP, CLUSTER = "feature_store.yaml", "feature_store.redis.yaml"
BEFORE_ALL = datetime(1970, 1, 2, tzinfo=UTC)
AFTER_ALL = datetime(2100, 1, 1, tzinfo=UTC)


def publish(features: Path, *, in_redis: bool = False) -> None:
    """Write `online/` and `training_set.parquet` into the folder; publishing it again replaces both.

    What is known now goes to `online/online.db`, or to the Redis that LODESTAR_REDIS names (HOST:PORT), where nothing newer is replaced.
    """
    shutil.rmtree(features / ONLINE, ignore_errors=True)
    (features / ONLINE).mkdir()
    with Progress("publish features", 3) as progress, opened(features, in_redis=in_redis) as store:
        progress.advance()
        store.materialize(BEFORE_ALL, AFTER_ALL)
        progress.advance()
        joined = join(store, _labels())
        joined.to_parquet(TRAINING_SET, index=False)
        progress.advance()


@contextlib.contextmanager
def opened(features: Path, *, in_redis: bool = False) -> "Iterator[FeatureStore]":
    """A store with the definitions applied; Feast looks for tables in the working folder, so this is it until the end."""
    from feast import FeatureStore
    from feast.repo_config import load_repo_config

    from feature_repo import entities, services, views

    with contextlib.chdir(features), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = FeatureStore(config=load_repo_config(features, Path(__file__).with_name(CLUSTER if in_redis else LAPTOP)))
        store.apply(
            [
                *(entities.user, entities.item),
                *(views.user_profile, views.user_activity, views.user_sequence, views.item_profile, views.item_stats),
                *(services.retrieval, services.rank),
            ]
        )
        yield store


def join(store: "FeatureStore", labels: Any) -> Any:
    """The labels with the ranking features that were known at their moment; DataError E160 unless every row comes back once."""
    service = store.get_feature_service(schema.RANK_SERVICE)
    job = store.get_historical_features(entity_df=labels, features=service, filter_by_created_timestamp=True)
    joined = job.to_df().sort_values("row_id", ignore_index=True)
    if len(joined) != len(labels) or not (joined["row_id"].to_numpy() == labels["row_id"].to_numpy()).all():
        message = f"the as-of join returned {len(joined)} rows for {len(labels)}"
        raise DataError("E160", message, remedy="Check the offline store: Feast's default one drops rows, DuckDB keeps them.")
    return joined


def _labels() -> Any:
    import pandas as pd

    return pd.read_parquet(LABELS)
