"""A whole training: from features to a published bundle, or to a coded error and nothing."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from lodestar import storage
from lodestar.bundle import COST
from lodestar.config import BLEND, COUNTED_FAMILIES, Recipe, to_json
from lodestar.data.interactions import check_enough
from lodestar.errors import EnvironmentFault
from lodestar.features import store
from lodestar.features.store import FeatureSet
from lodestar.progress import log_event
from lodestar.training import closed_form, cost, publish, rated, weights
from lodestar.training.blending import Blended, Blending
from lodestar.training.checkpoints import LOG, Checkpoints, State
from lodestar.training.cost import Meter
from lodestar.training.distributed import Group, joined
from lodestar.training.live import Live
from lodestar.training.stages import SEARCH, Trained, Training

SAVING_IS_ONE_OF = 20


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
    meter, found = Meter(), store.load(features)
    check_enough(found.interactions, recipe.data)
    if group.leads:
        rated.check(found, recipe)
    if recipe.model.family in COUNTED_FAMILIES:
        if group.leads:
            _publish(target, partial(closed_form.write, found=found, recipe=recipe), lambda: meter.read(group, 0, 0, ""))
        return
    few = cost.too_little(found.interactions)
    if group.leads and few:
        log_event("warning", message=few)
    begin = partial(_begun, found=found, group=group, checkpoints=checkpoints)
    if recipe.model.family == BLEND:
        made = Blending(found, recipe, group, begin).run()
        if made is not None:
            samples = sum(int(line["samples"]) for line in made.log)
            write = partial(_write_blend, found=found, recipe=recipe, made=made)
            _publish(target, write, lambda: meter.read(group, samples, made.num_parameters, few))
        return
    state, keep = begin(recipe)
    before = len(state.log)  # what an interrupted run learnt took its own time
    trained = Training(found, recipe, group, keep).run(state)
    if group.leads:
        samples = sum(int(line["samples"]) for line in trained.state.log[before:])
        size = sum(values.numel() for values in trained.model.parameters())
        _publish(target, partial(_write, found=found, recipe=recipe, trained=trained), lambda: meter.read(group, samples, size, few))


def _begun(recipe: Recipe, found: FeatureSet, group: Group, checkpoints: str) -> tuple[State, Callable[[State], None]]:
    """Where the training of a recipe on these features stands, and how to keep where it does."""
    run = hashlib.sha256(f"{to_json(_for_any_workers(recipe))} {found.digest}".encode()).hexdigest()[:16]
    kept = Checkpoints(address=f"{checkpoints}/{run}", run=run)
    content = group.from_leader(kept.load() if group.leads else None)
    state = kept.decode(content) if content is not None else State(stage=SEARCH)
    return state, Keeper(kept, Live(run)) if group.leads else _forget


def _for_any_workers(recipe: Recipe) -> Recipe:
    """A step's batch and its rate are the same for any number of workers: so is the run, which another number goes on with."""
    return replace(recipe, train=replace(recipe.train, workers=1))


def _publish(target: Path, write: Callable[[Path], None], read: Callable[[], cost.Cost]) -> None:
    with storage.publish_folder(target) as folder:
        write(folder)
        took = asdict(read())
        folder.joinpath(COST).write_text(json.dumps(took, indent=2) + "\n")
    log_event("cost", **took)


class Keeper:
    """Shows each state and saves the first, and then one whenever the last saving was twenty times as long ago as it took.

    So saving takes a twentieth of the time at most, to a bucket far away too; what a broken run has to learn again is as little.
    """

    def __init__(self, kept: Checkpoints, live: Live) -> None:
        self._kept, self._live, self._due = kept, live, 0.0

    def __call__(self, state: State) -> None:
        self._live.show(state.log[-1])
        started = time.monotonic()
        if started >= self._due:
            self._kept.save(state)
            ended = time.monotonic()
            self._due = ended + SAVING_IS_ONE_OF * (ended - started)


def _forget(_state: State) -> None:
    """What a worker that does not lead keeps."""


def _write(folder: Path, found: FeatureSet, recipe: Recipe, trained: Trained) -> None:
    learnt, encoder = trained.model.cpu().served()
    metrics = {"validation_ndcg_at_10": trained.state.best_ndcg}
    ranker = None
    if trained.state.ranker:
        from lodestar.training import ranked

        ranker = ranked.made(trained.state.ranker, found, recipe)
    publish.write(folder, found, recipe, learnt.numpy(), encoder, metrics, trained.neighbours, ranker)
    weights.save(trained.model, found.items.ids, trained.until, folder)
    folder.joinpath(LOG).write_text("".join(json.dumps(line) + "\n" for line in trained.state.log))


def _write_blend(folder: Path, found: FeatureSet, recipe: Recipe, made: Blended) -> None:
    publish.write(folder, found, recipe, made.retriever.vectors, made.retriever.encoder, made.metrics, made.neighbours)
    folder.joinpath(LOG).write_text("".join(json.dumps(line) + "\n" for line in made.log))


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def _start_workers(features: Path, target: Path, recipe: Recipe, checkpoints: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(to_json(recipe))
        file.flush()
        # It ends with us, and imports no module of the working folder.
        ending_with_us = (sys.executable, "-P", "-m", "lodestar.parents", str(os.getpid()), "-P")
        torchrun = (*ending_with_us, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={recipe.train.workers}")
        options = ("--features", features, "--bundle", target, "--recipe-file", file.name, "--checkpoints", checkpoints)
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONSAFEPATH": "1"}  # of the workers that torchrun starts
        done = subprocess.run([*torchrun, "-m", "lodestar.training", *map(str, options)], env=environment, check=False)
    if done.returncode != 0:
        message = f"a training worker ended with {done.returncode}"
        raise EnvironmentFault("E530", message, remedy="See the log above; the same command goes on from the last epoch.")
