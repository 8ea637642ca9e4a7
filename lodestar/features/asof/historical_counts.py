"""Historical count features of users and items, joined as of given timestamps from a folder of features.

The same rows as Feast's feature service `rank_v1` retrieves, without Feast.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.features.asof import asof
from lodestar.features.asof.history import STAMP, FeatureSource
from lodestar.features.batch.feature_set import DATA
from lodestar.schema.arrays import Float32, Floats, Int64, Longs

TIMESTAMP = "timestamp"


def counts(
    features: Path, view: str, entities: Sequence[str], timestamps_us: Int64[Longs, " entities"]
) -> Float32[Floats, "entities counts"]:
    """Count features of a view, joined as of one timestamp (UTC µs) per entity, [entities, counts]; 0 where none was known."""
    view_schema = schema.VIEWS[view]
    names = view_schema.count_names
    source = FeatureSource(
        files=[str(features / DATA / f"{view}.parquet")],
        filesystem=None,
        keys={view_schema.entity: view_schema.entity},
        features={name: name for name in names},
        time=schema.FEATURE_TIME,
        known=schema.KNOWN_TIME,
        ttl_us=0,
    )
    entity_rows = pa.table({view_schema.entity: pa.array(entities, pa.string()), TIMESTAMP: pa.array(timestamps_us).cast(STAMP)})
    joined = asof.join(entity_rows, TIMESTAMP, [source], only_known=True)
    return np.stack([joined[name].fill_null(0.0).to_numpy() for name in names], axis=1)
