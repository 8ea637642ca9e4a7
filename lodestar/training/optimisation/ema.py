"""Exponential moving average (EMA) of model weights, used for validation and export.

After Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 1992.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lodestar.schema.arrays import Float


class WeightEMA:
    """EMA of a model's weights with `decay` per step; 0 turns it off at no cost."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._weights = list(model.parameters()) if decay else []
        self._mean = [weight.detach().clone() for weight in self._weights]
        self._update_rate = torch.ones((), device=self._weights[0].device if self._weights else "cpu")

    def begin_step(self) -> None:
        """Set the decay of the next update; call before a step. Early decays are smaller (1 / (steps + 1) of the new weights)."""
        if self.decay:
            self.steps += 1
            self._update_rate.fill_(max(1 - self.decay, 1 / (self.steps + 1)))

    @torch.no_grad()
    def update(self) -> None:
        """Update the EMA by the current weights; call after a step."""
        if self.decay:
            change = torch._foreach_sub([weight.detach() for weight in self._weights], self._mean)
            torch._foreach_mul_(change, self._update_rate)
            torch._foreach_add_(self._mean, change)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Context manager in which the model has the EMA as its weights."""
        self._swap()
        yield
        self._swap()

    def apply(self) -> None:
        """Set the model's weights to the EMA."""
        self._swap()

    def state_dict(self) -> dict[str, list[Float[Tensor, "..."]] | int]:
        """The EMA and the number of steps, for a checkpoint."""
        return {"mean": self._mean, "steps": self.steps}

    def load_state_dict(self, state: dict[str, list[Float[Tensor, "..."]] | int]) -> None:
        """Restore the EMA and the number of steps."""
        mean, steps = state["mean"], state["steps"]
        assert isinstance(mean, list)
        assert isinstance(steps, int)
        self.steps = steps
        for own, saved in zip(self._mean, mean, strict=True):
            own.copy_(saved)

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, mean in zip(self._weights, self._mean, strict=True):
            current = weight.detach().clone()
            weight.copy_(mean)
            mean.copy_(current)
