"""Warm start: a trained model's weights, saved with its bundle as plain arrays, initialise the next training.

Item vectors are matched by item id, so the next catalogue may have more items, fewer, or another order.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lodestar import schema
from lodestar.errors import DataError, UsageError
from lodestar.io import npz, storage
from lodestar.io.npz import Arrays, pack, unpack
from lodestar.io.private_folders import workspace
from lodestar.models.encoders.next_item import ITEM_WEIGHT, NextItemModel

FILE = "weights.npz"
WORDS = "words."  # token embeddings are not saved: another catalogue has another vocabulary
LAST_TRAINED_US = "last_trained_us"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Saved weights: arrays by parameter name, item ids, and the time (UTC µs) of the last event that was trained on."""

    items: list[str]
    values: Arrays
    last_trained_us: int


def save(model: NextItemModel, items: list[str], last_trained_us: int, folder: Path) -> None:
    """Save a model's weights (without token embeddings) and item ids as weights.npz in a bundle's folder."""
    values = {name: weight.detach().cpu().numpy() for name, weight in model.state_dict().items() if not name.startswith(WORDS)}
    npz.save(folder / FILE, {**values, **pack(schema.ITEM_ID, items), LAST_TRAINED_US: np.array([last_trained_us])})


def load(bundle: str) -> Weights:
    """Load weights from a bundle, a folder or `s3://`; DataError E154 if it has none."""
    with workspace() as work:
        content = storage.get(f"{storage.resolve(bundle)}/{FILE}")
        if content is None:
            remedy = "Name the bundle of a trained model, such as the recipe sasrec gives."
            raise DataError("E154", f"{bundle} has no {FILE} for a warm start", remedy=remedy)
        file = Path(work) / FILE
        file.write_bytes(content)
        values = npz.load(file)
    items, last_trained_us = unpack(schema.ITEM_ID, values), int(values.pop(LAST_TRAINED_US)[0])
    for name in pack(schema.ITEM_ID, items):
        values.pop(name)
    return Weights(items=items, values=values, last_trained_us=last_trained_us)


@torch.no_grad()
def warm_start(weights: Weights, model: NextItemModel, items: list[str]) -> int:
    """Initialise a model in place from saved weights, item vectors by id; unknown items keep their values. The number of known items.

    UsageError if a weight is missing or has another shape.
    """
    parameters = {name: value for name, value in model.state_dict().items() if not name.startswith(WORDS)}
    for name, value in parameters.items():
        saved = weights.values.get(name)
        fits = saved is not None and saved.shape[1:] == value.shape[1:] and (name == ITEM_WEIGHT or saved.shape == value.shape)
        if not fits:
            have = "nothing" if saved is None else f"{list(saved.shape)}"
            raise UsageError(f"the warm start bundle has {have} for {name}, this recipe {list(value.shape)}: use its recipe", code="E192")
        if name != ITEM_WEIGHT:
            value.copy_(torch.from_numpy(saved))
    if ITEM_WEIGHT not in parameters:  # a hash embedding has vectors for any item
        return len(items)
    row = {item: index for index, item in enumerate(weights.items)}
    known = [(index, row[item]) for index, item in enumerate(items) if item in row]
    target_rows, source_rows = (
        (torch.tensor(rows, dtype=torch.int64) for rows in zip(*known, strict=True)) if known else (torch.zeros(0).long(),) * 2
    )
    parameters[ITEM_WEIGHT][target_rows] = torch.from_numpy(weights.values[ITEM_WEIGHT])[source_rows]
    return len(known)
