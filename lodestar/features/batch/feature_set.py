"""Folder of features, the output of build_features for training, evaluation and serving; interactions are read with numpy alone.

sequences.npz   interactions as arrays, user ids and the catalogue
data/*.parquet  feature tables for Feast, labels and ratings
training_set.parquet  labels with their features as of the label's time
scalers.json    scale of each count: its maximum in training
generation      the feature generation, a digest of all of these
built_from      the digest of the tables that they were built from
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lodestar import schema
from lodestar.bundle import catalogue
from lodestar.bundle.catalogue import Catalogue
from lodestar.config import DataConfig
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.splits import Split, split
from lodestar.errors import DataError
from lodestar.io import npz
from lodestar.io.npz import AppendOnlyArray, Arrays, pack, packed, unpack
from lodestar.schema.store_keys import GENERATION

if TYPE_CHECKING:
    import pyarrow as pa


SEQUENCE_FILE = "sequences.npz"
DATA = "data"
SCALERS = "scalers.json"
DIGEST_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Interactions and the catalogue that their item indices refer to, loaded from the folder `root`.

    `digest` is the feature generation, 16 hex digits, of these and of all tables in the folder (`lodestar.features.batch.generation`).
    """

    root: Path
    interactions: Interactions
    items: Catalogue
    digest: str

    def split(self, config: DataConfig) -> Split:
        """Split the interactions into train, validation and test."""
        return split(self.interactions, config)


def save(interactions: Interactions, items: Catalogue, folder: Path) -> None:
    """Write interactions and catalogue into a folder as sequences.npz."""
    columns: Arrays = {"user": interactions.user, "item": interactions.item, "time": interactions.time}
    npz.save(folder / SEQUENCE_FILE, {**columns, **pack(schema.USER_ID, interactions.users), **items.arrays()})


def save_columns(columns: Mapping[str, AppendOnlyArray], users: "pa.StringArray", items: Catalogue, folder: Path) -> None:
    """Write sequences.npz from columns on disk: user, item (int32) and time (int64, UTC µs)."""
    npz.save(folder / SEQUENCE_FILE, {**columns, **pack_column(schema.USER_ID, users), **items.arrays()})


def pack_column(name: str, column: "pa.StringArray") -> Arrays:
    """Arrays of `npz.pack` from an Arrow text array without nulls, without a Python object per text."""
    import pyarrow as pa

    texts = column.cast(pa.large_string())
    _, ends, content = texts.buffers()
    bounds = np.frombuffer(ends, dtype=np.int64)[texts.offset :][: len(texts) + 1] if len(texts) else np.zeros(1, np.int64)
    return packed(name, np.frombuffer(content or b"", dtype=np.uint8)[bounds[0] : bounds[-1]], bounds[1:] - bounds[0])


def scalers(root: Path) -> dict[str, float]:
    """Scale of each count feature, its maximum in training; DataError E151 where the folder has no features."""
    if not (root / SCALERS).is_file():
        raise DataError("E151", f"there are no features in {root}", remedy="Build them first, with `lodestar features build`.")
    return {name: float(value) for name, value in json.loads((root / SCALERS).read_text()).items()}


def load(root: Path) -> FeatureSet:
    """Load interactions (memory-mapped) and catalogue of a folder; DataError E151 where it has no features."""
    if not (root / SEQUENCE_FILE).is_file():
        raise DataError("E151", f"there are no features in {root}", remedy="Build them first, with `lodestar features build`.")
    content = npz.load_mmap(root / SEQUENCE_FILE)
    items = catalogue.from_arrays(content)
    interactions = Interactions(
        users=unpack(schema.USER_ID, content), items=items.ids, user=content["user"], item=content["item"], time=content["time"]
    )
    return FeatureSet(root=root, interactions=interactions, items=items, digest=generation_of(root))


def generation_of(root: Path) -> str:
    """The feature generation recorded in a folder; for interactions without feature tables, the digest of their file."""
    if (root / GENERATION).is_file():
        return (root / GENERATION).read_text()
    with (root / SEQUENCE_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_DIGITS]
