"""The counts of users and items that were known at moments, from a folder of features: what Feast's `rank_v1` joins, without Feast."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.features import asof
from lodestar.features.history import History
from lodestar.features.store import DATA

STAMP = pa.timestamp("us", tz="UTC")
MOMENT = "moment"

Moments = NDArray[np.int64]  # UTC µs
Floats = NDArray[np.float32]


def counts(features: Path, view: str, entities: Sequence[str], moments: Moments) -> Floats:
    """Of each entity the counts of a view as they were known at its moment, [entities, counts]; 0 where nothing was."""
    declared = schema.VIEWS[view]
    names = [count.name for count in declared.counts]
    history = History(
        files=[str(features / DATA / f"{view}.parquet")],
        filesystem=None,
        keys={declared.entity: declared.entity},
        features={name: name for name in names},
        time=schema.FEATURE_TIME,
        known=schema.KNOWN_TIME,
        ttl_us=0,
    )
    asked = pa.table({declared.entity: pa.array(entities, pa.string()), MOMENT: pa.array(moments).cast(STAMP)})
    found = asof.join(asked, MOMENT, [history], only_known=True)
    return np.stack([found[name].fill_null(0.0).to_numpy() for name in names], axis=1)
