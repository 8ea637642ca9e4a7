"""What counting knows, item by item: which others go with it or are taken soon after it, and how strongly.

Beside what a model has learnt these few numbers per item rank better than either: they err on different users, and on a large catalogue
no vector of a hundred numbers holds what is counted. They are kept as they are, the strongest of each item, and added to the scores.
Letters in shapes: N items, K neighbours, B histories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.arrays import Arrays, Kinds
from lodestar.data.gaps import items_of

RECENT, DECAY = 5, 0.7  # how many of the last items point on, and how much of a step's weight a step further back keeps
ITEM, AFFINITY, SCALE, WEIGHT, REACH = "neighbour", "affinity", "affinity_scale", "weight", "recent_and_decay"
# Of numpy's type, and shapes: None is any length.
KINDS: Kinds = {ITEM: ("u", (None, None)), AFFINITY: ("u", (None, None)), SCALE: ("f", (None,)), WEIGHT: ("f", (1,)), REACH: ("f", (2,))}
STEPS = 255
FEW_OF = 16
ALL = 0  # of a history


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """`item` [N, K]; `affinity` uint8 [N, K] in steps of the row's `scale` [N], 0 where an item has fewer.

    `weight` is the length of what they add to a history, of which the last `recent` items speak, or ALL of them.
    """

    item: NDArray[np.unsignedinteger]
    affinity: NDArray[np.uint8]
    scale: NDArray[np.float32]
    weight: float
    recent: int = RECENT
    decay: float = DECAY

    def add_to(self, scores_BN: NDArray[np.float32], histories: Sequence[NDArray[np.signedinteger[Any]]]) -> None:
        """Add what the last items of each history point to, in place: a vector over items of length `weight`, or none.

        With the last five, some 40 µs a history, whatever the number of items.
        """
        for scores_N, history in zip(scores_BN, histories, strict=True):
            last = items_of(history[: -self.recent - 1 : -1] if self.recent else history[::-1])
            share = self.scale[last] * self.decay ** np.arange(len(last), dtype=np.float32)
            points, pointed = (self.affinity[last] * share[:, None]).ravel(), self.item[last].ravel()
            items: Any = slice(None)
            # Sorting few is faster than counting over all items, and the other way round.
            is_few = len(points) * FEW_OF < len(scores_N)
            if is_few:
                items, pointed = np.unique(pointed, return_inverse=True)
            total = np.bincount(pointed, weights=points, minlength=0 if is_few else len(scores_N))
            length = float(np.sqrt(total @ total))
            if length > 0:
                scores_N[items] += (self.weight / length * total).astype(np.float32)

    def arrays(self) -> Arrays:
        """What `from_arrays` takes back."""
        reach = np.array([self.recent, self.decay])
        return {ITEM: self.item, AFFINITY: self.affinity, SCALE: self.scale, WEIGHT: np.array([self.weight]), REACH: reach}


def from_arrays(arrays: Arrays) -> Neighbours:
    recent, decay = arrays.get(REACH, np.array([RECENT, DECAY]))
    return Neighbours(
        item=arrays[ITEM],
        affinity=arrays[AFFINITY],
        scale=arrays[SCALE],
        weight=float(arrays[WEIGHT][0]),
        recent=int(recent),
        decay=float(decay),
    )


def in_steps(
    item: NDArray[np.unsignedinteger], affinity: NDArray[np.float64], weight: float, recent: int = RECENT, decay: float = DECAY
) -> Neighbours:
    """Of affinities [N, K] that are not negative."""
    scale = affinity.max(axis=1, initial=0) / STEPS
    steps = np.rint(np.divide(affinity, scale[:, None], out=np.zeros_like(affinity), where=scale[:, None] > 0))
    return Neighbours(item=item, affinity=steps.astype(np.uint8), scale=scale.astype(np.float32), weight=weight, recent=recent, decay=decay)


def strongest(points: Any, most: int, weight: float, recent: int = RECENT, decay: float = DECAY) -> Neighbours:
    """Of what each item points to, a sparse matrix in rows: the strongest `most`, equal ones in the order of the catalogue."""
    num_items = points.shape[0]
    row = np.repeat(np.arange(num_items), np.diff(points.indptr))
    order = np.lexsort((points.indices, -points.data, row))
    place = np.arange(len(row)) - points.indptr[row]
    kept = order[place < most]
    width = int(min(most, np.diff(points.indptr).max(initial=0)))
    item = np.zeros((num_items, width), dtype=np.min_scalar_type(max(num_items - 1, 0)))
    affinity = np.zeros((num_items, width))
    at = row[kept], place[place < most]
    item[at], affinity[at] = points.indices[kept], points.data[kept]
    return in_steps(item, affinity, weight, recent, decay)
