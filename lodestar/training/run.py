"""Train a recipe on features and leave a bundle: alone in this process, or as one of the workers that torchrun started."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lodestar import bundle, storage
from lodestar.config import Recipe, to_json
from lodestar.data.interactions import check_enough
from lodestar.data.splits import Split
from lodestar.errors import EnvironmentFault
from lodestar.features import store
from lodestar.features.store import FeatureSet
from lodestar.item_table import quantise
from lodestar.models.counts import Sequences
from lodestar.models.popularity import Popularity
from lodestar.models.sasrec import SASRec
from lodestar.training.checkpoints import LOG, Checkpoints, State
from lodestar.training.distributed import Group, joined
from lodestar.training.export import encoder_bytes
from lodestar.training.loop import Stage, fit
from lodestar.training.start import cooccurrence_vectors
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
    split = found.split(recipe.data)
    run = hashlib.sha256(f"{to_json(recipe)} {found.digest}".encode()).hexdigest()[:16]
    kept = Checkpoints(address=f"{checkpoints}/{run}", run=run)
    content = group.from_leader(kept.load() if group.leads else None)
    state = kept.decode(content) if content is not None else State(stage=SEARCH)
    model, state = _stages(found, split, recipe, group, state, kept)
    if group.leads:
        with storage.publish_folder(target) as folder:
            _write(folder, found, recipe, model, state)


def _stages(found: FeatureSet, split: Split, recipe: Recipe, group: Group, state: State, kept: Checkpoints) -> tuple[SASRec, State]:
    keep = partial(_keep, kept, group)
    quality = partial(judge, cases=split.validation, max_length=recipe.model.max_length, group=group)
    search = Stage(
        name=SEARCH,
        sequences=split.train,
        last_epoch=recipe.train.epochs,
        judge=quality if len(split.validation) else None,
        keep=keep,
    )
    model = _model(split.train, found, recipe, group)
    if state.stage == SEARCH:
        state = fit(model, search, recipe, group, state)
        if not recipe.train.refit:
            return model, state
        state = State(stage=REFIT, best_epoch=0, best_ndcg=state.best_ndcg, log=state.log, epochs_wanted=state.best_epoch or state.epoch)
    sequences = _with_validation(split)
    model = _model(sequences, found, recipe, group)
    refit = Stage(name=REFIT, sequences=sequences, last_epoch=state.epochs_wanted, judge=None, keep=keep)
    return model, fit(model, refit, recipe, group, state)


def _model(sequences: Sequences, found: FeatureSet, recipe: Recipe, group: Group) -> SASRec:
    """The model before its first step; all workers begin with the same."""
    torch.manual_seed(recipe.train.seed)
    model = SASRec(len(found.items), recipe.model)
    if recipe.train.start == "cooccurrence":
        vectors = cooccurrence_vectors(sequences, len(found.items), recipe.model.dim, recipe.train.seed)
        model.items.weight.data = torch.from_numpy(vectors)
    return model.to(group.device)


def _with_validation(split: Split) -> Sequences:
    """Every user's training items and then those of validation."""
    sequences = list(split.train)
    for user, relevant in zip(split.validation.user, split.validation.relevant, strict=True):
        sequences[user] = np.concatenate([sequences[user], relevant])
    return sequences


def _keep(kept: Checkpoints, group: Group, state: State) -> None:
    if group.leads:
        kept.save(state)


def _write(folder: Path, found: FeatureSet, recipe: Recipe, model: SASRec, state: State) -> None:
    table = quantise(model.items.weight.detach().cpu().numpy(), "fp32")
    info = bundle.Info(
        family=recipe.model.family,
        recipe=recipe.name,
        dim=recipe.model.dim,
        max_length=recipe.model.max_length,
        num_items=len(found.items),
        precision="fp32",
        encoder_precision="fp32",
        features=found.digest,
        metrics={"validation_ndcg_at_10": state.best_ndcg},
        files={},
    )
    popularity = Popularity().fit(found.interactions.histories(), len(found.items)).counts
    bundle.write(folder, info, encoder_bytes(model.encoder), table, found.items, popularity)
    folder.joinpath(LOG).write_text("".join(json.dumps(line) + "\n" for line in state.log))


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
