"""Learning rate schedule: linear warm-up, then cosine decay (Loshchilov & Hutter, "SGDR", ICLR 2017, arXiv:1608.03983)."""

import math

MIN_LR_SCALE = 0.01


def lr_scale(progress: float, warmup: float) -> float:
    """Factor of the learning rate at `progress` (share of all epochs, 0–1); `warmup` is the share of the linear warm-up."""
    warmup_scale = min(1.0, progress / warmup) if warmup > 0 else 1.0
    return warmup_scale * (MIN_LR_SCALE + (1 - MIN_LR_SCALE) * (1 + math.cos(math.pi * min(1.0, progress))) / 2)
