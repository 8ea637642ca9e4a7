"""Folder of features, the output of build_features for training, evaluation and serving; interactions are read with numpy alone.

sequences.npz   interactions as arrays, user ids and the catalogue
data/*.parquet  feature tables for Feast, labels and ratings
training_set.parquet  labels with their features as of the label's time
scalers.json    scale of each count: its maximum in training
feedback.json   the rules of feedback that were followed, and how many events they made positive, negative or neutral
generation      the feature generation, a digest of all of these
built_from      the digest of the tables that they were built from
split.json      the split whose training part labels and scales are of
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lodestar import schema
from lodestar.bundle import catalogue
from lodestar.bundle.catalogue import Catalogue
from lodestar.config import DataConfig
from lodestar.data.split.interactions import FilterEvents, Interactions
from lodestar.data.split.splits import Split, split
from lodestar.errors import DataError, UsageError
from lodestar.io import npz
from lodestar.io.npz import AppendOnlyArray, Arrays, pack, packed, unpack
from lodestar.schema import feedback
from lodestar.schema.feedback import BINARY, Feedback
from lodestar.schema.store_keys import GENERATION

if TYPE_CHECKING:
    import pyarrow as pa


SEQUENCE_FILE = "sequences.npz"
DATA = "data"
SCALERS = "scalers.json"
FEEDBACK = "feedback.json"
SPLIT = "split.json"
DIGEST_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class FeedbackCounts:
    """Number of events that are positive, negative (refusals) and neutral but make an item seen, and what was left out or cut.

    Of `withdrawn_users`, who withdrew consent, no event is trained on. `filtered_users` have a row of filtered items; of `cut_users` only
    a part of them is kept.
    """

    positive: int = 0
    negative: int = 0
    neutral: int = 0
    withdrawn_events: int = 0
    withdrawn_users: int = 0
    filtered_users: int = 0
    cut_users: int = 0


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Interactions and the catalogue that their item indices refer to, loaded from the folder `root`.

    `generation` is the feature generation, 16 hex digits, of these and of all tables in the folder (`lodestar.features.batch.generation`).
    `rules` are the rules of feedback that they follow, `counts` what those made of the log's events. `built_for` has the split's fields
    whose training part labels and scales are of, empty if the folder does not say.
    """

    root: Path
    interactions: Interactions
    items: Catalogue
    generation: str
    rules: Feedback = BINARY
    counts: FeedbackCounts = FeedbackCounts()
    built_for: Mapping[str, Any] = field(default_factory=dict)

    def refuse_other_split(self, config: DataConfig) -> None:
        """Raise UsageError E192 if labels and scales were made for another split: they may know what this one holds out."""
        if self.built_for and self.built_for != config.split_fields:
            message = f"the features in {self.root} were built for the split {dict(self.built_for)}, and this one is {config.split_fields}"
            raise UsageError(f"{message}: build them with this recipe and these overrides", code="E192")

    def split(self, config: DataConfig) -> Split:
        """Split the interactions into train, validation and test."""
        return split(self.interactions, config, self.rules)


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


def count_scale(root: Path) -> dict[str, float]:
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
    interactions = interactions_from(content, unpack(schema.USER_ID, content), items.ids)
    rules, counts = _read_feedback(root)
    built_for = json.loads((root / SPLIT).read_text()) if (root / SPLIT).is_file() else {}
    return FeatureSet(
        root=root, interactions=interactions, items=items, generation=generation_of(root), rules=rules, counts=counts, built_for=built_for
    )


def interactions_from(columns: Arrays, users: list[str], items: list[str]) -> Interactions:
    """Interactions of the arrays in sequences.npz."""
    filters = {name: columns[f"filter_{name}"] for name in ("user", "item", "time", "refused") if f"filter_{name}" in columns}
    filters |= {f"other_{name}": columns[f"other_refused_{name}"] for name in ("item", "time") if f"other_refused_{name}" in columns}
    named = {name: columns[name] for name in ("user", "item", "time", "weight", "seen") if name in columns}
    return Interactions(users=users, items=items, **named, filters=FilterEvents(**filters))


def write_split(folder: Path, config: DataConfig) -> None:
    """Write the fields of the split that labels and scales are made for, as split.json."""
    (folder / SPLIT).write_text(json.dumps(config.split_fields, indent=2, sort_keys=True) + "\n")


def write_feedback(folder: Path, rules: Feedback, counts: FeedbackCounts) -> None:
    """Write the rules of feedback that a folder of features follows, and the counts of events, as feedback.json."""
    content = {"rules": rules.to_json(), "counts": asdict(counts)}
    (folder / FEEDBACK).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _read_feedback(root: Path) -> tuple[Feedback, FeedbackCounts]:
    """Rules and counts of a folder; binary feedback for interactions without feature tables."""
    if not (root / FEEDBACK).is_file():
        return BINARY, FeedbackCounts()
    content = json.loads((root / FEEDBACK).read_text())
    return feedback.from_json(content["rules"]), FeedbackCounts(**content["counts"])


def generation_of(root: Path) -> str:
    """The feature generation recorded in a folder; for interactions without feature tables, the digest of their file."""
    if (root / GENERATION).is_file():
        return (root / GENERATION).read_text()
    with (root / SEQUENCE_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_DIGITS]
