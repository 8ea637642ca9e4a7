"""Ratings table of the features, and its ratings as arrays for rating models."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lodestar import schema
from lodestar.config import DataConfig
from lodestar.data.split.rating_triples import RatingTriples
from lodestar.data.split.splits import training_cutoffs
from lodestar.errors import DataError
from lodestar.features.asof.history import to_microseconds
from lodestar.features.batch.feature_set import DATA, FeatureSet
from lodestar.schema.store_keys import RATINGS
from lodestar.schema.time_units import SECOND_US


def query() -> str:
    """SQL of the ratings table: every rating event of a catalogue item, ratings that were changed later included."""
    columns = ", ".join((schema.USER_ID, schema.ITEM_ID, schema.RATING, schema.EVENT_TIME))
    return f"SELECT {columns} FROM positive WHERE {schema.RATING} IS NOT NULL"


def read(features: FeatureSet) -> RatingTriples:
    """Read the ratings sorted by time, with user and item indices; of several of one user and item the latest, on a tie the highest.

    DataError E151 where the features have no ratings table.
    """
    file = features.root / DATA / f"{RATINGS}.parquet"
    if not file.exists():
        raise DataError(
            "E151", f"there is no {DATA}/{file.name} in {features.root}", remedy="Build the features again: `lodestar run` does."
        )
    table = pq.ParquetFile(file).read()  # `read_table` would import pandas
    interactions = features.interactions
    user, item = (
        pc.index_in(table[name], value_set=pa.array(ids, pa.string())).to_numpy().astype(np.int64)
        for name, ids in ((schema.USER_ID, interactions.users), (schema.ITEM_ID, interactions.items))
    )
    time_s = to_microseconds(table[schema.EVENT_TIME]) // SECOND_US
    value = table[schema.RATING].to_numpy().astype(np.float64)
    order = np.lexsort((value, time_s, item, user))
    is_last = np.append((np.diff(user[order]) != 0) | (np.diff(item[order]) != 0), True)[: len(order)]
    kept = order[is_last]
    kept = kept[np.argsort(time_s[kept], kind="stable")]
    return RatingTriples(user=user[kept], item=item[kept], value=value[kept], time_s=time_s[kept])


def train_test_ratings(features: FeatureSet, config: DataConfig) -> tuple[RatingTriples, RatingTriples]:
    """Ratings before and from the test cutoff: the time of each user's last item (leave-one-out), or the cutoff of the whole log."""
    ratings, test = read(features), features.split(config).test
    cutoffs_us = training_cutoffs(features.interactions.num_users, test, by_time=config.split == "time")
    is_train = ratings.time_s * SECOND_US < cutoffs_us[ratings.user]
    return ratings.part(is_train), ratings.part(~is_train)
