"""Training stages of a neural family: search with early stopping, choice of the neighbour weight, ranker, refit before the test set."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from lodestar.bundle.neighbours import NeighbourTable
from lodestar.config import PRETRAINED, Recipe
from lodestar.data.split.ragged_array import from_lists
from lodestar.data.split.splits import affordable
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.models.closed_form.cooccurrence import CoOccurrence
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.encoders.item_text import words_of
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.progress import activity, log_event
from lodestar.schema.time_units import NEVER
from lodestar.training.distributed.distributed import Group
from lodestar.training.distributed.sharded_embedding import master_device, uses_row_sharding
from lodestar.training.ensemble.neighbour_blend import choose_weight
from lodestar.training.init.held_out import unknown_cases
from lodestar.training.init.item_init import SpectralBasis, item_vectors, spectral_basis
from lodestar.training.loop import weights
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.loop.loop import Stage, fit
from lodestar.training.loop.order_jitter import gap_classes, time_gaps
from lodestar.training.loop.validation import Validator
from lodestar.training.loop.weights import Weights

if TYPE_CHECKING:
    from lodestar.training.ranker.ranker_stage import RankerTrainer

SEARCH, REFIT = "search", "refit"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model for the bundle; `last_trained_us` is the time (UTC µs) of the last event that it or its warm start has seen."""

    model: NextItemModel
    neighbours: NeighbourTable | None
    state: TrainingState
    last_trained_us: int


class Training:
    """The training stages of one run on one worker; `on_epoch_end` receives the state after each epoch."""

    def __init__(self, features: FeatureSet, recipe: Recipe, group: Group, on_epoch_end: Callable[[TrainingState], None]) -> None:
        self.features, self.recipe, self.group, self.on_epoch_end = features, recipe, group, on_epoch_end
        self.split = features.split(recipe.data)
        self.gap_classes = gap_classes(features.interactions)
        self.gaps = time_gaps(features.interactions) if recipe.model.use_time_gaps else None
        self.weights = weights.load(recipe.train.warm_start) if recipe.train.warm_start else None
        whole = self.split.validation if self.weights is None else unknown_cases(self.weights, self.split, recipe.data)
        cases = affordable(whole, len(features.items), recipe.evaluation, "validation")
        self.cases = cases.with_time_gaps() if recipe.model.use_time_gaps else cases

    def run(self, state: TrainingState) -> Trained:
        """Run the remaining stages from `state`: search, neighbour weight, then ranker and refit if the recipe has them."""
        if state.stage == SEARCH:
            ranker_trainer = self._ranker_trainer()
            self.group.wait()
            trained = self.search(state)
            if ranker_trainer is not None:
                trained.state.ranker = ranker_trainer.learn(trained.model, trained.neighbours)
            self.group.wait()  # until rank zero has its ranker
            if not self.recipe.train.refit:
                return trained
            state = replace(
                TrainingState(stage=REFIT),
                best_ndcg=trained.state.best_ndcg,
                log=trained.state.log,
                refit_epochs=trained.state.best_epoch or trained.state.epoch,
                neighbours_weight=trained.state.neighbours_weight,
                ranker=trained.state.ranker,
            )
        return self.refit(state)

    def _ranker_trainer(self) -> "RankerTrainer | None":
        """The ranker's trainer, None without a ranker, without validation cases, or on workers other than rank zero.

        Made before the search, so that errors in the ranker's training set are raised before anything is trained.
        """
        if not self.recipe.rank.candidates or not self.group.is_rank_zero or len(self.cases) == 0:
            return None
        from lodestar.training.ranker.ranker_stage import RankerTrainer  # imports pyarrow, which training without a ranker does not need

        return RankerTrainer(self.features, self.cases, self.recipe)

    def refit(self, state: TrainingState) -> Trained:
        """Train a fresh model on training and validation items for `state.refit_epochs` epochs, without validation."""
        stage = Stage(
            name=REFIT,
            sequences=self.split.before_test,
            gap_classes=self.gap_classes,
            gaps=self.gaps,
            weights=self.split.weights,
            refused=self.split.refused[1],
            last_epoch=state.refit_epochs,
            validate=None,
            on_epoch_end=self.on_epoch_end,
        )
        return self._fit(stage, state)

    def search(self, state: TrainingState) -> Trained:
        """Train on the training part with early stopping by NDCG@10 on the validation set, then choose the neighbours' weight."""
        cases = self.cases
        by_items = uses_row_sharding(self.recipe.train, self.group)
        validator = Validator(cases, self.recipe.model.max_length, len(self.features.items), self.group, by_items=by_items)
        stage = Stage(
            name=SEARCH,
            sequences=self.split.train,
            gap_classes=self.gap_classes,
            gaps=self.gaps,
            weights=self.split.weights,
            refused=self.split.refused[0],
            last_epoch=self.recipe.train.epochs,
            validate=validator if len(cases) else None,
            on_epoch_end=self.on_epoch_end,
        )
        trained = self._fit(stage, state)
        if trained.neighbours is None or len(cases) == 0:
            return replace(trained, neighbours=None)
        with activity("choosing the weight of the neighbours"):
            weight, best = choose_weight(trained.model, trained.neighbours, cases, self.recipe.model.max_length, self.recipe.train.seed)
        trained.state.neighbours_weight, trained.state.best_ndcg = weight, best.ndcg
        log_event("neighbours", weight=weight, ndcg_at_10=best.ndcg)
        return replace(trained, neighbours=replace(trained.neighbours, weight=weight) if weight else None)

    def _fit(self, stage: Stage, state: TrainingState) -> Trained:
        """Initialise equal weights on all workers, then fit; incremental training uses new events only, neighbours all of the stage's."""
        recipe, num_items = self.recipe, len(self.features.items)
        torch.manual_seed(recipe.train.seed)
        words = words_of(self.features.items) if recipe.model.use_text else None
        model = NextItemModel(num_items, recipe.model, words, self.features.items.ids)
        with activity("initialising the model"):
            basis = self._initial_basis(stage.sequences)
        if basis is not None:
            model.init_item_vectors(torch.from_numpy(item_vectors(basis, recipe.model.dim, recipe.train.seed)))
        if self.weights is not None:
            known = weights.warm_start(self.weights, model, self.features.items.ids)
            log_event("warm start", items=num_items, known_items=known)
        fitted_stage = self._only_new_events(stage, self.weights) if self.weights is not None and recipe.train.incremental else stage
        state = fit(model.to(master_device(recipe.train, self.group)), fitted_stage, recipe, self.group, state)
        if recipe.model.use_text or recipe.model.hash_buckets:
            model.zero_unseen_items(stage.sequences)
        before_us = [self.weights.last_trained_us] if self.weights is not None else []
        last_us = max([self._last_event_us(stage.sequences), *before_us])
        return Trained(model=model, neighbours=self._neighbours(stage, state), state=state, last_trained_us=last_us)

    def _initial_basis(self, sequences: Sequences) -> SpectralBasis | None:
        """The basis that item vectors are initialised from, None for random initialisation."""
        train, items = self.recipe.train, self.features.items.ids
        if train.item_init == "cooccurrence":
            return spectral_basis(sequences, len(items), self.recipe.model.dim, train.seed)
        if train.item_init.startswith(PRETRAINED):
            from lodestar.training.init import pretrained  # imports pyarrow, which most trainings do not need

            return pretrained.load_item_vectors(train.item_init.removeprefix(PRETRAINED), items)
        return None

    def _neighbours(self, stage: Stage, state: TrainingState) -> NeighbourTable | None:
        """The co-occurrence neighbours of a stage: weight 1 in the search, the chosen weight in the refit; None if off or weight 0."""
        weight = 1.0 if stage.name == SEARCH else state.neighbours_weight
        if self.recipe.model.num_neighbours == 0 or weight == 0:
            return None
        fitted = CoOccurrence().fit(stage.sequences, len(self.features.items), self.split.weights)
        return fitted.neighbours(self.recipe.model.num_neighbours, weight)

    def _only_new_events(self, stage: Stage, before: Weights) -> Stage:
        """The stage with events after the bundle's last one only, and half a window of earlier items as context."""
        interactions, context = self.features.interactions, self.recipe.model.max_length // 2
        known = np.add.reduceat(interactions.time <= before.last_trained_us, interactions.bounds()[:-1], dtype=np.int64)
        sequences = from_lists(stage.sequences)
        starts = np.where(known < sequences.lengths, np.maximum(0, known - context), sequences.lengths)
        log_event("only new", users=int((starts < sequences.lengths).sum()))
        return replace(
            stage,
            sequences=sequences.skip(starts),
            gap_classes=from_lists(stage.gap_classes).skip(starts),
            gaps=None if stage.gaps is None else from_lists(stage.gaps).skip(starts),
            weights=from_lists(stage.weights).skip(starts) if len(stage.weights) else (),
        )

    def _last_event_us(self, sequences: Sequences) -> int:
        """The time (UTC µs) of the last event in the sequences, each a prefix of its user's history; NEVER without any."""
        interactions, lengths = self.features.interactions, from_lists(sequences).lengths
        ends = interactions.bounds()[:-1] + lengths - 1
        return int(interactions.time[ends[lengths > 0]].max(initial=NEVER))
