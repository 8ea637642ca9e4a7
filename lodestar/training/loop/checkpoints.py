"""Checkpoints: the training state as one atomically replaced object, in a folder or `s3://`.

Random generators are seeded from (seed, epoch) at each epoch's start, so a resumed run reproduces an uninterrupted one without saving
generator state.
"""

import io
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from lodestar.errors import UsageError
from lodestar.io import storage

FILE = "checkpoint.pt"


@dataclass(kw_only=True)
class TrainingState:
    """Training state after `epoch` epochs of `stage`: weights, optimiser and EMA state, early stopping, and one log line per epoch.

    `best` holds the weights of `best_epoch`, by NDCG@10 on the validation set. `refit_epochs`, `neighbours_weight` and `ranker` (see
    `ranker_stage`) are results of the search for the refit, which has no validation.
    """

    stage: str
    epoch: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    ema: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    best_epoch: int = 0
    best_ndcg: float = -1.0
    refit_epochs: int = 0
    neighbours_weight: float = 0.0
    ranker: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, float | str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Checkpoint storage of one run at `address`; `run` identifies recipe and features, and a checkpoint of another run is rejected."""

    address: str
    run: str

    def load(self) -> bytes | None:
        """The last checkpoint's bytes, None if there is none."""
        return storage.get(f"{self.address}/{FILE}")

    def decode(self, content: bytes) -> TrainingState:
        """Parse a checkpoint's bytes; UsageError if it belongs to another run."""
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if saved.pop("run") != self.run:
            raise UsageError(
                f"{self.address} holds the checkpoint of another recipe or other features: name a fresh folder, or empty it", code="E194"
            )
        return TrainingState(**saved)

    def save(self, state: TrainingState) -> None:
        """Save a checkpoint, replacing the last one atomically."""
        content = io.BytesIO()
        torch.save({"run": self.run, **asdict(state)}, content)
        storage.put(content.getvalue(), f"{self.address}/{FILE}")
