"""Train a recipe on features and leave a bundle: alone in this process, or as one of the workers that torchrun started."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lodestar import bundle, storage
from lodestar.config import Recipe, to_json
from lodestar.data.interactions import check_enough
from lodestar.errors import EnvironmentFault
from lodestar.features import store
from lodestar.features.store import FeatureSet
from lodestar.item_table import quantise
from lodestar.models.memory import Memory
from lodestar.models.next_item import NextItem
from lodestar.models.popularity import Popularity
from lodestar.models.retriever import FAMILIES
from lodestar.models.words import words_of
from lodestar.progress import log_event
from lodestar.training import closed_form
from lodestar.training.blend import choose_weight
from lodestar.training.checkpoints import LOG, Checkpoints, State
from lodestar.training.distributed import Group, joined
from lodestar.training.export import Remembering, graph_bytes
from lodestar.training.loop import Stage, fit
from lodestar.training.order import along
from lodestar.training.start import Vectors, directions, item_vectors
from lodestar.training.start import memory as remember
from lodestar.training.validation import judge

SEARCH, REFIT = "search", "refit"


def train(features: Path, target: Path, recipe: Recipe, checkpoints: str) -> None:
    """Publish a bundle at `target`; goes on from `checkpoints` (a folder or `s3://`), and starts workers where the recipe asks for them."""
    if recipe.train.workers > 1 and "WORLD_SIZE" not in os.environ:
        _start_workers(features, target, recipe, checkpoints)
        return
    torch.set_num_threads(_threads())
    with joined(recipe.train.device) as group:
        work(features, target, recipe, checkpoints, group)


def work(features: Path, target: Path, recipe: Recipe, checkpoints: str, group: Group) -> None:
    """One worker's whole way; the leader publishes."""
    found = store.load(features)
    check_enough(found.interactions, recipe.data)
    if recipe.model.family in FAMILIES:
        if group.leads:
            with storage.publish_folder(target) as folder:
                closed_form.write(folder, found, recipe)
        return
    run = hashlib.sha256(f"{to_json(recipe)} {found.digest}".encode()).hexdigest()[:16]
    kept = Checkpoints(address=f"{checkpoints}/{run}", run=run)
    content = group.from_leader(kept.load() if group.leads else None)
    state = kept.decode(content) if content is not None else State(stage=SEARCH)
    trained = Training(found, recipe, group, partial(_keep, kept, group)).run(state)
    if group.leads:
        with storage.publish_folder(target) as folder:
            _write(folder, found, recipe, trained)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What goes into the bundle; `places` are the items' rows in the memory, [items, directions]."""

    model: NextItem
    memory: Memory | None
    places: Vectors
    state: State


class Training:
    """The stages of one run."""

    def __init__(self, found: FeatureSet, recipe: Recipe, group: Group, keep: Callable[[State], None]) -> None:
        self.found, self.recipe, self.group, self.keep = found, recipe, group, keep
        self.split = found.split(recipe.data)

    def run(self, state: State) -> Trained:
        """From a state to a trained model: search, choose the memory's weight, and refit where the recipe asks for it."""
        if state.stage == SEARCH:
            trained = self._search(state)
            if not self.recipe.train.refit:
                return trained
            state = replace(
                State(stage=REFIT),
                best_ndcg=trained.state.best_ndcg,
                log=trained.state.log,
                epochs_wanted=trained.state.best_epoch or trained.state.epoch,
                memory_weight=trained.state.memory_weight,
            )
        return self._refit(state)

    def _search(self, state: State) -> Trained:
        cases = self.split.validation
        quality = partial(judge, cases=cases, max_length=self.recipe.model.max_length, group=self.group)
        stage = Stage(
            name=SEARCH,
            sequences=self.split.train,
            places=along(self.found.interactions),
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

    def _refit(self, state: State) -> Trained:
        stage = Stage(
            name=REFIT,
            sequences=self.split.before_test(),
            places=along(self.found.interactions),
            last_epoch=state.epochs_wanted,
            judge=None,
            keep=self.keep,
        )
        return self._fit(stage, state)

    def _fit(self, stage: Stage, state: State) -> Trained:
        """All workers begin with the same weights."""
        recipe, num_items = self.recipe, len(self.found.items)
        torch.manual_seed(recipe.train.seed)
        model = NextItem(num_items, recipe.model, words_of(self.found.items) if recipe.model.words else None)
        rank = max(recipe.model.memory_dim, recipe.model.dim if recipe.train.start == "cooccurrence" else 0)
        counted = directions(stage.sequences, num_items, rank, recipe.train.seed)
        if recipe.train.start == "cooccurrence":
            model.items.weight.data = torch.from_numpy(item_vectors(counted, recipe.model.dim, recipe.train.seed))
        memory, places = remember(counted.strongest(recipe.model.memory_dim), stage.sequences)
        memory.weight.fill_(state.memory_weight)
        state = fit(model.to(self.group.device), stage, recipe, self.group, state)
        if recipe.model.words:
            model.forget_untaken(stage.sequences)
        return Trained(model=model, memory=memory if places.shape[1] else None, places=places, state=state)


def _keep(kept: Checkpoints, group: Group, state: State) -> None:
    if group.leads:
        kept.save(state)


def _write(folder: Path, found: FeatureSet, recipe: Recipe, trained: Trained) -> None:
    learnt, encoder = trained.model.cpu().served()
    vectors = np.concatenate([learnt.numpy(), trained.places], axis=1)
    if trained.memory is not None:
        encoder = Remembering(encoder, learnt.shape[1], trained.memory)
    info = bundle.Info(
        family=recipe.model.family,
        recipe=recipe.name,
        dim=vectors.shape[1],
        max_length=recipe.model.max_length,
        num_items=len(found.items),
        precision="fp32",
        encoder_precision="fp32",
        features=found.digest,
        metrics={"validation_ndcg_at_10": trained.state.best_ndcg},
        files={},
    )
    popularity = Popularity().fit(found.interactions.histories(), len(found.items)).counts
    bundle.write(folder, info, graph_bytes(encoder, info.dim), quantise(vectors, "fp32"), found.items, popularity)
    folder.joinpath(LOG).write_text("".join(json.dumps(line) + "\n" for line in trained.state.log))


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def _start_workers(features: Path, target: Path, recipe: Recipe, checkpoints: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(to_json(recipe))
        file.flush()
        torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={recipe.train.workers}")
        options = ("--features", features, "--bundle", target, "--recipe-file", file.name, "--checkpoints", checkpoints)
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        done = subprocess.run([*torchrun, "-m", "lodestar.training", *map(str, options)], env=environment, check=False)
    if done.returncode != 0:
        message = f"a training worker ended with {done.returncode}"
        raise EnvironmentFault("E530", message, remedy="See the log above; the same command goes on from the last epoch.")
