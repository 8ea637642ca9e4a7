"""What build_features leaves for training, evaluation and serving; the sequences are read with numpy alone.

sequences.npz   interactions as arrays, the users' ids and the catalogue
*.parquet       feature tables and the training set, for Feast
scalers.json    how raw statistics became numbers in 0–1
online/         the online store's snapshot and the registry
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lodestar import arrays, catalogue, schema
from lodestar.arrays import Growing, pack, unpack
from lodestar.catalogue import Catalogue
from lodestar.config import DataConfig
from lodestar.data.interactions import Interactions
from lodestar.data.splits import Split, split
from lodestar.errors import DataError

SEQUENCES = "sequences.npz"
ONLINE = "online"


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Interactions, and the catalogue whose rows they count in; `digest` names both, 16 hex digits."""

    interactions: Interactions
    items: Catalogue
    digest: str

    def split(self, config: DataConfig) -> Split:
        return split(self.interactions, config)


def save(taken: Interactions, items: Catalogue, folder: Path) -> None:
    """Write the sequences into a folder."""
    save_columns({"user": taken.user, "item": taken.item, "time": taken.time}, taken.users, items, folder)


def save_columns(columns: Mapping[str, NDArray[Any] | Growing], users: Sequence[str], items: Catalogue, folder: Path) -> None:
    """The same from columns that need not be in memory."""
    arrays.save(folder / SEQUENCES, {**columns, **pack(schema.USER_ID, users), **items.arrays()})


def load(root: Path) -> FeatureSet:
    """DataError E151 where the folder holds no features."""
    if not (root / SEQUENCES).is_file():
        raise DataError("E151", f"there are no features in {root}", remedy="Build the features first.")
    content = arrays.load(root / SEQUENCES)
    items = catalogue.from_arrays(content)
    interactions = Interactions(
        users=unpack(schema.USER_ID, content), items=items.ids, user=content["user"], item=content["item"], time=content["time"]
    )
    with (root / SEQUENCES).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return FeatureSet(interactions=interactions, items=items, digest=digest)
