"""From features to a trained model: search the best epoch, weigh counted neighbours, and learn again from all before the test."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from lodestar.config import PRETRAINED, Recipe
from lodestar.data.histories import packed
from lodestar.data.splits import affordable
from lodestar.features.store import FeatureSet
from lodestar.models.cooccurrence import CoOccurrence
from lodestar.models.counts import Sequences
from lodestar.models.next_item import NextItem
from lodestar.models.words import words_of
from lodestar.neighbours import Neighbours
from lodestar.progress import log_event
from lodestar.training import weights
from lodestar.training.checkpoints import State
from lodestar.training.distributed import Group
from lodestar.training.loop import Stage, fit
from lodestar.training.neighbour_weight import choose_weight
from lodestar.training.order import paces, steps
from lodestar.training.parted_table import home, is_wanted
from lodestar.training.start import Directions, directions, item_vectors
from lodestar.training.validation import Judge
from lodestar.training.weights import Weights

if TYPE_CHECKING:
    from lodestar.training.ranked import Ranking

SEARCH, REFIT = "search", "refit"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What goes into the bundle; `until` is the last moment learnt from."""

    model: NextItem
    neighbours: Neighbours | None
    state: State
    until: int


class Training:
    """The stages of one run."""

    def __init__(self, found: FeatureSet, recipe: Recipe, group: Group, keep: Callable[[State], None]) -> None:
        self.found, self.recipe, self.group, self.keep = found, recipe, group, keep
        self.split = found.split(recipe.data)
        self.steps = steps(found.interactions)
        self.gaps = paces(found.interactions) if recipe.model.timed else None
        cases = affordable(self.split.validation, len(found.items), recipe.evaluation, "validation")
        self.cases = cases.dated() if recipe.model.timed else cases
        self.weights = weights.load(recipe.train.warm_start) if recipe.train.warm_start else None

    def run(self, state: State) -> Trained:
        """From a state to a trained model: search, weigh the neighbours, then a ranker and a refit where the recipe asks for them."""
        if state.stage == SEARCH:
            ranking = self._ranking()
            trained = self.search(state)
            if ranking is not None:
                trained.state.ranker = ranking.learn(trained.model, trained.neighbours)
            if not self.recipe.train.refit:
                return trained
            state = replace(
                State(stage=REFIT),
                best_ndcg=trained.state.best_ndcg,
                log=trained.state.log,
                epochs_wanted=trained.state.best_epoch or trained.state.epoch,
                neighbours_weight=trained.state.neighbours_weight,
                ranker=trained.state.ranker,
            )
        return self.refit(state)

    def _ranking(self) -> "Ranking | None":
        """What a ranker is to learn from, looked at before anything is trained; None where none is wanted, or another worker leads."""
        if not self.recipe.rank.candidates or not self.group.leads or len(self.split.validation) == 0:
            return None
        from lodestar.training.ranked import Ranking  # reads tables; without a ranker numpy's files are all that is read

        return Ranking(self.found, self.cases, self.recipe)

    def refit(self, state: State) -> Trained:
        """Learn from all that comes before the test, for as many epochs as the state wants."""
        stage = Stage(
            name=REFIT,
            sequences=self.split.before_test,
            steps=self.steps,
            gaps=self.gaps,
            last_epoch=state.epochs_wanted,
            judge=None,
            keep=self.keep,
        )
        return self._fit(stage, state)

    def search(self, state: State) -> Trained:
        cases = self.cases
        by_items = is_wanted(self.recipe.train, self.group)
        quality = Judge(cases, self.recipe.model.max_length, len(self.found.items), self.group, by_items=by_items)
        stage = Stage(
            name=SEARCH,
            sequences=self.split.train,
            steps=self.steps,
            gaps=self.gaps,
            last_epoch=self.recipe.train.epochs,
            judge=quality if len(cases) else None,
            keep=self.keep,
        )
        trained = self._fit(stage, state)
        if trained.neighbours is None or len(cases) == 0:
            return replace(trained, neighbours=None)
        weight, best = choose_weight(trained.model, trained.neighbours, cases, self.recipe.model.max_length)
        trained.state.neighbours_weight, trained.state.best_ndcg = weight, best.ndcg
        log_event("neighbours", weight=weight, ndcg_at_10=best.ndcg)
        return replace(trained, neighbours=replace(trained.neighbours, weight=weight) if weight else None)

    def _fit(self, stage: Stage, state: State) -> Trained:
        """All workers begin with the same weights; counting looks at all that the stage may know, learning perhaps at what is new only."""
        recipe, num_items = self.recipe, len(self.found.items)
        torch.manual_seed(recipe.train.seed)
        model = NextItem(num_items, recipe.model, words_of(self.found.items) if recipe.model.words else None, self.found.items.ids)
        begun = self._directions(stage.sequences)
        if begun is not None:
            model.begin_at(torch.from_numpy(item_vectors(begun, recipe.model.dim, recipe.train.seed)))
        if self.weights is not None:
            known = weights.begin_from(self.weights, model, self.found.items.ids)
            log_event("warm start", items=num_items, known_items=known)
        learnt = self._new(stage, self.weights) if self.weights is not None and recipe.train.only_new else stage
        state = fit(model.to(home(recipe.train, self.group)), learnt, recipe, self.group, state)
        if recipe.model.words:
            model.forget_untaken(stage.sequences)
        return Trained(model=model, neighbours=self._neighbours(stage, state), state=state, until=self._last(stage.sequences))

    def _directions(self, sequences: Sequences) -> Directions | None:
        """Where item vectors begin, None where chance decides."""
        train, items = self.recipe.train, self.found.items.ids
        if train.start == "cooccurrence":
            return directions(sequences, len(items), self.recipe.model.dim, train.seed)
        if train.start.startswith(PRETRAINED):
            from lodestar.training import pretrained  # reads Parquet, which most trainings do not

            return pretrained.directions(train.start.removeprefix(PRETRAINED), items)
        return None

    def _neighbours(self, stage: Stage, state: State) -> Neighbours | None:
        """With the weight that was chosen, 1 while one is to be chosen; None where they are not wanted."""
        weight = 1.0 if stage.name == SEARCH else state.neighbours_weight
        if self.recipe.model.neighbours == 0 or weight == 0:
            return None
        return CoOccurrence().fit(stage.sequences, len(self.found.items)).neighbours(self.recipe.model.neighbours, weight)

    def _new(self, stage: Stage, before: Weights) -> Stage:
        """The same with sequences that hold what came after the bundle's last moment, and half a window before as context."""
        taken, context = self.found.interactions, self.recipe.model.max_length // 2
        known = np.add.reduceat(taken.time <= before.until, taken.bounds()[:-1], dtype=np.int64)
        sequences = packed(stage.sequences)
        begins = np.where(known < sequences.lengths, np.maximum(0, known - context), sequences.lengths)
        log_event("only new", users=int((begins < sequences.lengths).sum()))
        return replace(
            stage,
            sequences=sequences.without_first(begins),
            steps=packed(stage.steps).without_first(begins),
            gaps=None if stage.gaps is None else packed(stage.gaps).without_first(begins),
        )

    def _last(self, sequences: Sequences) -> int:
        """The last moment among the sequences, each of which is the beginning of its user's history."""
        taken, lengths = self.found.interactions, packed(sequences).lengths
        ends = taken.bounds()[:-1] + lengths - 1
        return int(taken.time[ends[lengths > 0]].max(initial=0))
