"""Where training stands, whole or not at all: one object, replaced at the end of each epoch, local or `s3://`.

Chance is drawn anew from (seed, epoch) at each epoch's start, so a resumed run gives the numbers of an unbroken one without
saving any generator's state.
"""

import io
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from lodestar import storage
from lodestar.errors import UsageError

FILE = "checkpoint.pt"
LOG = "epochs.jsonl"


@dataclass(kw_only=True)
class State:
    """After `epoch` epochs of `stage`; `best` holds the weights of `best_epoch`, `log` one line per epoch of all stages.

    `epochs_wanted` and `neighbours_weight` are what the stage before found best, for a stage that nothing judges;
    `ranker` is what `training.ranked` learnt between the two.
    """

    stage: str
    epoch: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    best_epoch: int = 0
    best_ndcg: float = -1.0
    epochs_wanted: int = 0
    neighbours_weight: float = 0.0
    ranker: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, float | str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """A folder for one run; `run` names what is trained on what, so that another run's state is never taken for ours."""

    address: str
    run: str

    def load(self) -> bytes | None:
        """The last state as it was saved, None before the first."""
        return storage.get(f"{self.address}/{FILE}")

    def decode(self, content: bytes) -> State:
        """UsageError where the state belongs to another run."""
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if saved.pop("run") != self.run:
            raise UsageError(f"{self.address} holds the checkpoint of another recipe or other features: name a fresh folder, or empty it")
        return State(**saved)

    def save(self, state: State) -> None:
        content = io.BytesIO()
        torch.save({"run": self.run, **asdict(state)}, content)
        storage.put(content.getvalue(), f"{self.address}/{FILE}")
