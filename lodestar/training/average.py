"""A running mean of the weights: what a run wobbled around is often better than where it stopped (Polyak & Juditsky, 1992)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Keeps `kept` of its past at each step; with 0 it costs nothing and changes nothing."""

    def __init__(self, model: nn.Module, kept: float) -> None:
        self.kept, self.steps = kept, 0
        self._weights = list(model.parameters()) if kept else []
        self._mean = [weight.detach().clone() for weight in self._weights]
        self._share = torch.ones((), device=self._weights[0].device if self._weights else "cpu")

    def count(self) -> None:
        """Before a step: early on the past is short, and less of it is kept."""
        if self.kept:
            self.steps += 1
            self._share.fill_(max(1 - self.kept, 1 / (self.steps + 1)))

    @torch.no_grad()
    def follow(self) -> None:
        """After a step."""
        if self.kept:
            moved = torch._foreach_sub([weight.detach() for weight in self._weights], self._mean)
            torch._foreach_mul_(moved, self._share)
            torch._foreach_add_(self._mean, moved)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the mean as its weights, for a while."""
        self._swap()
        yield
        self._swap()

    def settle(self) -> None:
        """The model with the mean as its weights, for good."""
        self._swap()

    def state_dict(self) -> dict[str, list[Tensor] | int]:
        return {"mean": self._mean, "steps": self.steps}

    def load_state_dict(self, state: dict[str, list[Tensor] | int]) -> None:
        mean, steps = state["mean"], state["steps"]
        assert isinstance(mean, list)
        assert isinstance(steps, int)
        self.steps = steps
        for own, saved in zip(self._mean, mean, strict=True):
            own.copy_(saved)

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, mean in zip(self._weights, self._mean, strict=True):
            kept = weight.detach().clone()
            weight.copy_(mean)
            mean.copy_(kept)
