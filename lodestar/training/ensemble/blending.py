"""Training of a blend: fit each component, fit blend weights on the validation set, refit components on all data before the test set."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lodestar.bundle.neighbours import NeighbourTable
from lodestar.bundle.training_record import FittedOn
from lodestar.config import TRAINED_FAMILIES, Recipe
from lodestar.data.split.splits import affordable
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.models.closed_form.closed_form_retrievers import FAMILIES, Retriever, RetrieverFactory
from lodestar.models.closed_form.cooccurrence import CoOccurrence
from lodestar.models.closed_form.counts import Sequences, TrainingData
from lodestar.models.encoders.concat_encoder import blended
from lodestar.progress import Progress, log_event
from lodestar.training.distributed.distributed import Group
from lodestar.training.ensemble.blend_weights import fit_blend_weights
from lodestar.training.ensemble.grid_search import evaluate_retriever, grid_search
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.stages import REFIT, SEARCH, Trained, Training

Resume = Callable[
    [Recipe], tuple[TrainingState, Callable[[TrainingState], None]]
]  # the state to resume a recipe from, and the callback that saves states
RANK_FACTOR_OF = {"ials": 2}  # fitted factors need fewer dimensions than truncated factorisations
RANK_FACTOR = 8


@dataclass(frozen=True, kw_only=True)
class Blended:
    """A trained blend for the bundle; `log` has the epoch lines of all neural components, `num_parameters` counts their parameters.

    `fitted_on` is what its components were fitted on in the end; `samples` counts the training targets of this run,
    without those of an interrupted one.
    """

    retriever: Retriever
    neighbours: NeighbourTable | None
    metrics: dict[str, float]
    fitted_on: FittedOn
    log: list[dict[str, Any]]
    samples: int
    num_parameters: int


class BlendTraining:
    """Training of a blend: neural components on all workers, closed-form components and weights on rank zero."""

    def __init__(self, features: FeatureSet, recipe: Recipe, group: Group, resume: Resume) -> None:
        self.features, self.recipe, self.group, self.resume = features, recipe, group, resume
        split, self.num_items = features.split(recipe.data), len(features.items)
        self.split = replace(split, validation=affordable(split.validation, self.num_items, recipe.evaluation, "validation"))
        self.parts, self.is_refit = recipe.model.components, recipe.train.refit and len(self.split.validation) > 0
        self.epochs_before: dict[str, int] = {}  # of an interrupted run, by component
        self.training_sequences = self.split.before_test if self.is_refit else self.split.train

    def run(self) -> Blended | None:
        """The trained blend on rank zero, None on other workers."""
        searched = {name: self._search(name) for name in self.parts if name in TRAINED_FAMILIES}
        final = {name: self._refit(name, trained) for name, trained in searched.items()} if self.is_refit else searched
        return self._blend(searched, final) if self.group.is_rank_zero else None

    def _blend(self, searched: dict[str, Trained], final: dict[str, Trained]) -> Blended:
        closed_form = {name: self._fit_closed_form(name) for name in self.parts if name not in searched}
        validation_retrievers = [_retriever(searched[name]) if name in searched else closed_form[name][0] for name in self.parts]
        neighbours = self._neighbours(self.split.train)
        weights, metrics = self._fit_weights(validation_retrievers, neighbours)
        log_event("blended", **metrics)
        with Progress("fit blend", len(self.parts)) as progress:
            final_retrievers = []
            for name in self.parts:
                final_retrievers.append(_retriever(final[name]) if name in final else closed_form[name][1](self.training_sequences))
                progress.advance()
        final_neighbours = self._neighbours(self.training_sequences)
        return Blended(
            retriever=blended(final_retrievers, weights[: len(final_retrievers)]),
            neighbours=replace(final_neighbours, weight=weights[-1]) if final_neighbours is not None and weights[-1] else None,
            metrics=metrics,
            fitted_on="before_test" if self.is_refit else "train",
            log=[line for name, trained in final.items() for line in _epoch_lines(name, trained, is_first=name == next(iter(final)))],
            samples=sum(int(line["samples"]) for name, trained in final.items() for line in trained.state.log[self.epochs_before[name] :]),
            num_parameters=sum(values.numel() for trained in final.values() for values in trained.model.parameters()),
        )

    def _search(self, name: str) -> Trained:
        recipe = self.recipe.for_family(name)
        state, on_epoch_end = self.resume(recipe)
        self.epochs_before[name] = len(state.log)
        return Training(self.features, recipe, self.group, on_epoch_end).search(state)

    def _refit(self, name: str, searched: Trained) -> Trained:
        recipe = self.recipe.for_family(name)
        recipe = replace(recipe, name=f"{recipe.name}.{REFIT}")
        state, on_epoch_end = self.resume(recipe)
        if state.stage == SEARCH:
            state = TrainingState(stage=REFIT, log=searched.state.log, refit_epochs=searched.state.best_epoch or searched.state.epoch)
        else:
            self.epochs_before[name] = len(state.log)
        return Training(self.features, recipe, self.group, on_epoch_end).refit(state)

    def _fit_closed_form(self, name: str) -> tuple[Retriever, Callable[[Sequences], Retriever]]:
        """A closed-form component fitted on the training part, and a function that refits it with the same hyperparameters."""
        rank, seed = self.recipe.model.dim * RANK_FACTOR_OF.get(name, RANK_FACTOR), self.recipe.train.seed
        make, hyperparameters, _ = grid_search(name, self.split, self.num_items, rank, self.recipe)

        def refit(sequences: Sequences) -> Retriever:
            data = TrainingData(
                sequences=sequences,
                times_us=self.split.times_us,
                num_items=self.num_items,
                device=self.recipe.train.device,
                weights=self.split.weights,
            )
            refitted: RetrieverFactory = FAMILIES[name][0](data, rank, seed)
            return refitted(hyperparameters)

        return make(hyperparameters), refit

    def _neighbours(self, sequences: Sequences) -> NeighbourTable | None:
        num_neighbours = self.recipe.model.num_neighbours
        return CoOccurrence().fit(sequences, self.num_items, self.split.weights).neighbours(num_neighbours, 1.0) if num_neighbours else None

    def _fit_weights(self, parts: list[Retriever], neighbours: NeighbourTable | None) -> tuple[list[float], dict[str, float]]:
        """Blend weights, one for each component and the last for the neighbours, and the blend's validation metrics."""
        cases, longest = self.split.validation, self.recipe.model.max_length
        if len(cases) == 0:
            return [1.0] * len(parts) + [0.0], {}
        components: list[Retriever | NeighbourTable] = [*parts, *([neighbours] if neighbours is not None else [])]
        weights = fit_blend_weights(components, cases, longest, self.recipe.train.seed)
        weights += [0.0] * (len(parts) + 1 - len(weights))
        weighted_neighbours = replace(neighbours, weight=weights[-1]) if neighbours is not None and weights[-1] else None
        quality = evaluate_retriever(blended(parts, weights[: len(parts)]), cases, longest, weighted_neighbours)
        named_weights = {f"weight_of_{name}": weight for name, weight in zip((*self.parts, "neighbours"), weights, strict=True)}
        return weights, {"validation_ndcg_at_10": quality.ndcg, **named_weights}


def _retriever(trained: Trained) -> Retriever:
    vectors, encoder = trained.model.cpu().export_parts()
    return Retriever(vectors=vectors.detach().numpy(), encoder=encoder)


def _epoch_lines(name: str, trained: Trained, *, is_first: bool) -> list[dict[str, Any]]:
    """Epoch lines of one component; the report plots those of the first, the others' stages are suffixed by their name."""
    return [{**line, "part": name, "stage": line["stage"] if is_first else f"{line['stage']} {name}"} for line in trained.state.log]
