"""The learning rate over a run: up in a straight line, then down along half a cosine."""

import math

FLOOR = 0.01


def rate(progress: float, warmup: float) -> float:
    """The share of the full rate once `progress` of all epochs is done; `warmup` is the share spent on the way up."""
    rising = min(1.0, progress / warmup) if warmup > 0 else 1.0
    return rising * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * min(1.0, progress))) / 2)
