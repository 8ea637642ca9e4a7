"""Who rated what, how and when: a table beside the views, and what rating models are given of it."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lodestar import schema
from lodestar.config import DataConfig
from lodestar.data.cells import Cells
from lodestar.data.splits import last_moments
from lodestar.errors import DataError
from lodestar.features.history import microseconds
from lodestar.features.store import DATA, FeatureSet
from lodestar.schema.places import RATINGS

SECOND_US = 1_000_000


def query() -> str:
    """SQL of the table: every rating of an item of the catalogue, those that were changed later among them."""
    columns = ", ".join((schema.USER_ID, schema.ITEM_ID, schema.RATING, schema.EVENT_TIME))
    return f"SELECT {columns} FROM positive WHERE {schema.RATING} IS NOT NULL"


def read(found: FeatureSet) -> Cells:
    """In order of time, by the rows of users and items; of several ratings of an item by a user the last, and of one moment the highest.

    DataError E151 where the features have no such table.
    """
    file = found.root / DATA / f"{RATINGS}.parquet"
    if not file.exists():
        raise DataError("E151", f"there is no {DATA}/{file.name} in {found.root}", remedy="Build the features again: `lodestar run` does.")
    table = ds.dataset(file).to_table()
    taken = found.interactions
    user, item = (
        pc.index_in(table[name], value_set=pa.array(ids, pa.string())).to_numpy().astype(np.int64)
        for name, ids in ((schema.USER_ID, taken.users), (schema.ITEM_ID, taken.items))
    )
    time_s = microseconds(table[schema.EVENT_TIME]) // SECOND_US
    value = table[schema.RATING].to_numpy().astype(np.float64)
    order = np.lexsort((value, time_s, item, user))
    is_last = np.append((np.diff(user[order]) != 0) | (np.diff(item[order]) != 0), True)[: len(order)]
    kept = order[is_last]
    kept = kept[np.argsort(time_s[kept], kind="stable")]
    return Cells(user=user[kept], item=item[kept], value=value[kept], time_s=time_s[kept])


def parted(found: FeatureSet, config: DataConfig) -> tuple[Cells, Cells]:
    """The ratings of before the test, and those of the test: from each user's last item on, or from the moment that cuts the log."""
    cells, test = read(found), found.split(config).test
    until = last_moments(found.interactions.num_users, test, by_time=config.split == "time")
    is_known = cells.time_s * SECOND_US < until[cells.user]
    return cells.part(is_known), cells.part(~is_known)
