"""How sure the order of a history is: what was taken in one sitting might as well have come in another order.

Items stray from their places anew each epoch. On a line along which noise is the same everywhere, items of one moment lie close together,
and a break between sittings is too long to be crossed.
"""

import numpy as np
from numpy.typing import NDArray

from lodestar.data.interactions import Interactions
from lodestar.models.counts import Sequences

Places = NDArray[np.float64]

BREAK_US = 1_800_000_000
SAME_MOMENT, STEP, BREAK = 0.3, 1.3, 20.0  # places between two items: with no time between them, with some, and with a break


def along(interactions: Interactions) -> list[Places]:
    """Each user's items on that line, oldest first."""
    gap_us = np.diff(interactions.time, prepend=interactions.time[:1])
    apart = np.where(gap_us <= 0, SAME_MOMENT, np.where(gap_us > BREAK_US, BREAK, STEP))
    return np.split(np.cumsum(apart), interactions.bounds()[1:-1]) if interactions.users else []


def jittered(sequences: Sequences, places: list[Places], spread: float, chance: np.random.Generator) -> Sequences:
    """Each sequence, which may be only the beginning of what `places` holds, with its items moved by noise of that standard deviation."""
    if spread == 0:
        return sequences
    return [
        sequence[np.argsort(place[: len(sequence)] + chance.normal(scale=spread, size=len(sequence)), kind="stable")]
        for sequence, place in zip(sequences, places, strict=True)
    ]
