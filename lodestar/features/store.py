"""What build_features leaves for training, evaluation and serving; the sequences are read with numpy alone.

sequences.npz   interactions as arrays, the users' ids and the catalogue
data/*.parquet  feature tables, for Feast; and who rated what
training_set.parquet  labels with what was known at their moments
scalers.json    how raw statistics became numbers in 0–1
generation      what all of these are called together
built_from      the digest of the tables that they were built from
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lodestar import arrays, catalogue, schema
from lodestar.arrays import Arrays, Growing, pack, packed, unpack
from lodestar.catalogue import Catalogue
from lodestar.config import DataConfig
from lodestar.data.interactions import Interactions
from lodestar.data.splits import Split, split
from lodestar.errors import DataError
from lodestar.schema.places import GENERATION

if TYPE_CHECKING:
    import pyarrow as pa


SEQUENCES = "sequences.npz"
DATA = "data"
SCALERS = "scalers.json"
DIGEST_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Interactions, and the catalogue whose rows they count in, in the folder `root`.

    `digest` is the feature generation, 16 hex digits: it names these and all tables beside them (`lodestar.features.generation`).
    """

    root: Path
    interactions: Interactions
    items: Catalogue
    digest: str

    def split(self, config: DataConfig) -> Split:
        return split(self.interactions, config)


def save(taken: Interactions, items: Catalogue, folder: Path) -> None:
    """Write the sequences into a folder."""
    columns: Arrays = {"user": taken.user, "item": taken.item, "time": taken.time}
    arrays.save(folder / SEQUENCES, {**columns, **pack(schema.USER_ID, taken.users), **items.arrays()})


def save_columns(columns: Mapping[str, Growing], users: "pa.StringArray", items: Catalogue, folder: Path) -> None:
    """The same of very many, which need not be in memory."""
    arrays.save(folder / SEQUENCES, {**columns, **pack_column(schema.USER_ID, users), **items.arrays()})


def pack_column(name: str, column: "pa.StringArray") -> Arrays:
    """What `arrays.pack` makes of texts, from an Arrow array without nulls: none of them becomes an object."""
    import pyarrow as pa

    whole = column.cast(pa.large_string())
    _, ends, content = whole.buffers()
    bounds = np.frombuffer(ends, dtype=np.int64)[whole.offset :][: len(whole) + 1] if len(whole) else np.zeros(1, np.int64)
    return packed(name, np.frombuffer(content or b"", dtype=np.uint8)[bounds[0] : bounds[-1]], bounds[1:] - bounds[0])


def scalers(root: Path) -> dict[str, float]:
    """The highest of each count in training; DataError E151 where the folder holds no features."""
    if not (root / SCALERS).is_file():
        raise DataError("E151", f"there are no features in {root}", remedy="Build the features first.")
    return {name: float(value) for name, value in json.loads((root / SCALERS).read_text()).items()}


def load(root: Path) -> FeatureSet:
    """DataError E151 where the folder holds no features."""
    if not (root / SEQUENCES).is_file():
        raise DataError("E151", f"there are no features in {root}", remedy="Build the features first.")
    content = arrays.mapped(root / SEQUENCES)
    items = catalogue.from_arrays(content)
    interactions = Interactions(
        users=unpack(schema.USER_ID, content), items=items.ids, user=content["user"], item=content["item"], time=content["time"]
    )
    return FeatureSet(root=root, interactions=interactions, items=items, digest=generation_of(root))


def generation_of(root: Path) -> str:
    """What the build has noted that all of a folder is called; of sequences without tables, a name of their own."""
    if (root / GENERATION).is_file():
        return (root / GENERATION).read_text()
    with (root / SEQUENCES).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_DIGITS]
