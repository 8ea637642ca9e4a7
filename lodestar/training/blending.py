"""A blend's whole way: each part learnt or counted by itself, weights on the validation items, and all again on all before the test."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lodestar.config import LEARNT_FAMILIES, Recipe
from lodestar.data.splits import affordable
from lodestar.features.store import FeatureSet
from lodestar.models.blended import blended
from lodestar.models.cooccurrence import CoOccurrence
from lodestar.models.counts import Known, Sequences
from lodestar.models.retriever import FAMILIES, Make, Retriever
from lodestar.neighbours import Neighbours
from lodestar.progress import Progress, log_event
from lodestar.training.checkpoints import State
from lodestar.training.distributed import Group
from lodestar.training.mixture import learnt
from lodestar.training.settings import judged, tuned
from lodestar.training.stages import REFIT, SEARCH, Trained, Training

Begin = Callable[[Recipe], tuple[State, Callable[[State], None]]]  # where a recipe's training stands, and how to keep where it does
DIRECTIONS_OF_ONE = {"ials": 2}  # vectors that are learnt are dense in what they know, directions of counts are not
DIRECTIONS = 8


@dataclass(frozen=True, kw_only=True)
class Blended:
    """What goes into the bundle; `log` has the lines of all parts that were learnt, `num_parameters` is theirs."""

    retriever: Retriever
    neighbours: Neighbours | None
    metrics: dict[str, float]
    log: list[dict[str, Any]]
    num_parameters: int


class Blending:
    """Workers learn together; the leader counts and weighs alone."""

    def __init__(self, found: FeatureSet, recipe: Recipe, group: Group, begin: Begin) -> None:
        self.found, self.recipe, self.group, self.begin = found, recipe, group, begin
        whole, self.num_items = found.split(recipe.data), len(found.items)
        self.split = replace(whole, validation=affordable(whole.validation, self.num_items, recipe.evaluation, "validation"))
        self.parts, self.is_refit = recipe.model.parts, recipe.train.refit and len(self.split.validation) > 0
        self.known = self.split.before_test if self.is_refit else self.split.train

    def run(self) -> Blended | None:
        """The blend, on the leader; None on the others."""
        searched = {name: self._searched(name) for name in self.parts if name in LEARNT_FAMILIES}
        final = {name: self._refit(name, trained) for name, trained in searched.items()} if self.is_refit else searched
        return self._blended(searched, final) if self.group.leads else None

    def _blended(self, searched: dict[str, Trained], final: dict[str, Trained]) -> Blended:
        counted = {name: self._tuned(name) for name in self.parts if name not in searched}
        tried = [_retriever(searched[name]) if name in searched else counted[name][0] for name in self.parts]
        neighbours = self._neighbours(self.split.train)
        weights, metrics = self._weights(tried, neighbours)
        log_event("blended", **metrics)
        with Progress("fit blend", len(self.parts)) as progress:
            made = []
            for name in self.parts:
                made.append(_retriever(final[name]) if name in final else counted[name][1](self.known))
                progress.advance()
        kept = self._neighbours(self.known)
        return Blended(
            retriever=blended(made, weights[: len(made)]),
            neighbours=replace(kept, weight=weights[-1]) if kept is not None and weights[-1] else None,
            metrics=metrics,
            log=[line for name, trained in final.items() for line in _lines(name, trained, is_first=name == next(iter(final)))],
            num_parameters=sum(values.numel() for trained in final.values() for values in trained.model.parameters()),
        )

    def _searched(self, name: str) -> Trained:
        recipe = self.recipe.part(name)
        state, keep = self.begin(recipe)
        return Training(self.found, recipe, self.group, keep).search(state)

    def _refit(self, name: str, searched: Trained) -> Trained:
        recipe = self.recipe.part(name)
        recipe = replace(recipe, name=f"{recipe.name}.{REFIT}")
        state, keep = self.begin(recipe)
        if state.stage == SEARCH:
            state = State(stage=REFIT, log=searched.state.log, epochs_wanted=searched.state.best_epoch or searched.state.epoch)
        return Training(self.found, recipe, self.group, keep).refit(state)

    def _tuned(self, name: str) -> tuple[Retriever, Callable[[Sequences], Retriever]]:
        """A family without a loop as fitted on the training part, and how to fit it with the same setting on more."""
        rank, seed = self.recipe.model.dim * DIRECTIONS_OF_ONE.get(name, DIRECTIONS), self.recipe.train.seed
        make, setting, _ = tuned(name, self.split, self.num_items, rank, self.recipe)

        def again(sequences: Sequences) -> Retriever:
            known = Known(sequences=sequences, moments=self.split.moments, num_items=self.num_items, device=self.recipe.train.device)
            refitted: Make = FAMILIES[name][0](known, rank, seed)
            return refitted(setting)

        return make(setting), again

    def _neighbours(self, sequences: Sequences) -> Neighbours | None:
        most = self.recipe.model.neighbours
        return CoOccurrence().fit(sequences, self.num_items).neighbours(most, 1.0) if most else None

    def _weights(self, parts: list[Retriever], neighbours: Neighbours | None) -> tuple[list[float], dict[str, float]]:
        """One of each part, the last of the neighbours, and what they give on the validation items."""
        cases, longest = self.split.validation, self.recipe.model.max_length
        if len(cases) == 0:
            return [1.0] * len(parts) + [0.0], {}
        everyone: list[Retriever | Neighbours] = [*parts, *([neighbours] if neighbours is not None else [])]
        weights = learnt(everyone, cases, longest, self.recipe.train.seed)
        weights += [0.0] * (len(parts) + 1 - len(weights))
        speaking = replace(neighbours, weight=weights[-1]) if neighbours is not None and weights[-1] else None
        quality = judged(blended(parts, weights[: len(parts)]), cases, longest, speaking)
        named = {f"weight_of_{name}": weight for name, weight in zip((*self.parts, "neighbours"), weights, strict=True)}
        return weights, {"validation_ndcg_at_10": quality.ndcg, **named}


def _retriever(trained: Trained) -> Retriever:
    vectors, encoder = trained.model.cpu().served()
    return Retriever(vectors=vectors.detach().numpy(), encoder=encoder)


def _lines(name: str, trained: Trained, *, is_first: bool) -> list[dict[str, Any]]:
    """The first part's are those that a report draws; the others' stages have their part's name too."""
    return [{**line, "part": name, "stage": line["stage"] if is_first else f"{line['stage']} {name}"} for line in trained.state.log]
