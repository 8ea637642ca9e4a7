"""From features to a trained model: search for the best epoch, weigh the memory, and learn again from all that came before the test."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from lodestar.config import Recipe
from lodestar.features.store import FeatureSet
from lodestar.models.counts import Sequences
from lodestar.models.memory import Memory
from lodestar.models.next_item import NextItem
from lodestar.models.words import words_of
from lodestar.progress import log_event
from lodestar.training import weights
from lodestar.training.blend import choose_weight
from lodestar.training.checkpoints import State
from lodestar.training.distributed import Group
from lodestar.training.loop import Stage, fit
from lodestar.training.order import along
from lodestar.training.start import Vectors, directions, item_vectors
from lodestar.training.start import memory as remember
from lodestar.training.validation import judge
from lodestar.training.weights import Weights

SEARCH, REFIT = "search", "refit"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What goes into the bundle; `places` are the items' rows in the memory, [items, directions]; `until` the last moment learnt from."""

    model: NextItem
    memory: Memory | None
    places: Vectors
    state: State
    until: int


class Training:
    """The stages of one run."""

    def __init__(self, found: FeatureSet, recipe: Recipe, group: Group, keep: Callable[[State], None]) -> None:
        self.found, self.recipe, self.group, self.keep = found, recipe, group, keep
        self.split = found.split(recipe.data)
        self.places = along(found.interactions)
        self.weights = weights.load(recipe.train.warm_start) if recipe.train.warm_start else None

    def run(self, state: State) -> Trained:
        """From a state to a trained model: search, choose the memory's weight, and refit where the recipe asks for it."""
        if state.stage == SEARCH:
            trained = self.search(state)
            if not self.recipe.train.refit:
                return trained
            state = replace(
                State(stage=REFIT),
                best_ndcg=trained.state.best_ndcg,
                log=trained.state.log,
                epochs_wanted=trained.state.best_epoch or trained.state.epoch,
                memory_weight=trained.state.memory_weight,
            )
        stage = Stage(
            name=REFIT,
            sequences=self.split.before_test(),
            places=self.places,
            last_epoch=state.epochs_wanted,
            judge=None,
            keep=self.keep,
        )
        return self._fit(stage, state)

    def search(self, state: State) -> Trained:
        cases = self.split.validation
        quality = partial(judge, cases=cases, max_length=self.recipe.model.max_length, group=self.group)
        stage = Stage(
            name=SEARCH,
            sequences=self.split.train,
            places=self.places,
            last_epoch=self.recipe.train.epochs,
            judge=quality if len(cases) else None,
            keep=self.keep,
        )
        trained = self._fit(stage, state)
        if trained.memory is not None and len(cases):
            weight, best = choose_weight(trained.model, trained.memory, trained.places, cases, self.recipe.model.max_length)
            trained.state.memory_weight, trained.state.best_ndcg = weight, best.ndcg
            trained.memory.weight.fill_(weight)
            log_event("memory", weight=weight, ndcg_at_10=best.ndcg)
        return trained

    def _fit(self, stage: Stage, state: State) -> Trained:
        """All workers begin with the same weights; counting looks at all that the stage may know, learning perhaps at what is new only."""
        recipe, num_items = self.recipe, len(self.found.items)
        torch.manual_seed(recipe.train.seed)
        model = NextItem(num_items, recipe.model, words_of(self.found.items) if recipe.model.words else None)
        rank = max(recipe.model.memory_dim, recipe.model.dim if recipe.train.start == "cooccurrence" else 0)
        counted = directions(stage.sequences, num_items, rank, recipe.train.seed)
        if recipe.train.start == "cooccurrence":
            model.items.weight.data = torch.from_numpy(item_vectors(counted, recipe.model.dim, recipe.train.seed))
        if self.weights is not None:
            known = weights.begin_from(self.weights, model, self.found.items.ids)
            log_event("warm start", items=num_items, known_items=known)
        memory, places = remember(counted.strongest(recipe.model.memory_dim), stage.sequences)
        memory.weight.fill_(state.memory_weight)
        learnt = self._new(stage, self.weights) if self.weights is not None and recipe.train.only_new else stage
        state = fit(model.to(self.group.device), learnt, recipe, self.group, state)
        if recipe.model.words:
            model.forget_untaken(stage.sequences)
        return Trained(
            model=model, memory=memory if places.shape[1] else None, places=places, state=state, until=self._last(stage.sequences)
        )

    def _new(self, stage: Stage, before: Weights) -> Stage:
        """The same with sequences that hold what came after the bundle's last moment, and half a window before as context."""
        taken, context = self.found.interactions, self.recipe.model.max_length // 2
        bounds, begins = taken.bounds(), []
        for user, sequence in enumerate(stage.sequences):
            times = taken.time[bounds[user] :][: len(sequence)]
            first_new = int((times <= before.until).sum())
            begins.append(max(0, first_new - context) if first_new < len(sequence) else len(sequence))
        log_event("only new", users=sum(begin < len(sequence) for begin, sequence in zip(begins, stage.sequences, strict=True)))
        return replace(
            stage,
            sequences=[sequence[begin:] for begin, sequence in zip(begins, stage.sequences, strict=True)],
            places=[places[begin:] for begin, places in zip(begins, stage.places, strict=True)],
        )

    def _last(self, sequences: Sequences) -> int:
        """The last moment among the sequences, each of which is the beginning of its user's history."""
        taken = self.found.interactions
        ends = taken.bounds()[:-1] + [len(sequence) - 1 for sequence in sequences]
        return int(max((taken.time[end] for end, sequence in zip(ends, sequences, strict=True) if len(sequence)), default=0))
