"""What a model has learnt, left beside a bundle so that the next training can begin there: arrays and nothing that runs.

Items are known by their ids, so the next catalogue may have more of them, fewer, or another order.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lodestar import arrays, schema, storage
from lodestar.arrays import Arrays, pack, unpack
from lodestar.errors import DataError, UsageError
from lodestar.models.next_item import NextItem
from lodestar.private import workspace

FILE = "weights.npz"
ITEMS = "items.weight"
WORDS = "words."  # of the catalogue that was trained on: another one has other words
UNTIL = "until"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of a finished training: `until` is the last moment (UTC µs) that was learnt from."""

    items: list[str]
    values: Arrays
    until: int


def save(model: NextItem, items: list[str], until: int, folder: Path) -> None:
    values = {name: weight.detach().cpu().numpy() for name, weight in model.state_dict().items() if not name.startswith(WORDS)}
    arrays.save(folder / FILE, {**values, **pack(schema.ITEM_ID, items), UNTIL: np.array([until])})


def load(bundle: str) -> Weights:
    """From a bundle's folder or `s3://`; DataError E154 where there are none."""
    with workspace() as work:
        content = storage.get(f"{storage.resolve(bundle)}/{FILE}")
        if content is None:
            remedy = "Name the bundle of a family that is trained by epochs."
            raise DataError("E154", f"{bundle} has no {FILE} to begin from", remedy=remedy)
        file = Path(work) / FILE
        file.write_bytes(content)
        values = arrays.load(file)
    items, until = unpack(schema.ITEM_ID, values), int(values.pop(UNTIL)[0])
    for name in pack(schema.ITEM_ID, items):
        values.pop(name)
    return Weights(items=items, values=values, until=until)


@torch.no_grad()
def begin_from(weights: Weights, model: NextItem, items: list[str]) -> int:
    """Put what was learnt into a model; items that it did not know keep what they have. How many it knew.

    UsageError where the encoder is of another shape.
    """
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(WORDS)}
    for name, value in own.items():
        learnt = weights.values.get(name)
        fits = learnt is not None and learnt.shape[1:] == value.shape[1:] and (name == ITEMS or learnt.shape == value.shape)
        if not fits:
            have = "nothing" if learnt is None else f"{list(learnt.shape)}"
            raise UsageError(f"the bundle to begin from has {have} for {name}, this recipe {list(value.shape)}: use its recipe")
        if name != ITEMS:
            value.copy_(torch.from_numpy(learnt))
    if ITEMS not in own:  # hashed rows know any item
        return len(items)
    row = {item: place for place, item in enumerate(weights.items)}
    known = [(place, row[item]) for place, item in enumerate(items) if item in row]
    here, there = (torch.tensor(rows, dtype=torch.int64) for rows in zip(*known, strict=True)) if known else (torch.zeros(0).long(),) * 2
    own[ITEMS][here] = torch.from_numpy(weights.values[ITEMS])[there]
    return len(known)
