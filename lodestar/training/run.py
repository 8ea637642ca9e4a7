"""Training run: from features to an atomically published bundle, resumable from checkpoints, on one or several workers."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from lodestar.bundle.bundle import COST, EPOCHS_LOG, INFO
from lodestar.bundle.training_record import FittedOn
from lodestar.config import BLEND, CLOSED_FORM_FAMILIES, Recipe
from lodestar.data.split.evaluable import check_evaluable
from lodestar.data.split.interactions import check_enough
from lodestar.errors import LodestarError
from lodestar.features.batch import feature_set
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.io import storage
from lodestar.progress import activity, log_event
from lodestar.training import closed_form, rating_stage
from lodestar.training.distributed.distributed import Group, process_group
from lodestar.training.distributed.local_workers import start_workers, threads
from lodestar.training.ensemble.blending import Blended, BlendTraining
from lodestar.training.loop import cost, weights
from lodestar.training.loop.checkpoints import Checkpoints, TrainingState
from lodestar.training.loop.cost import Meter
from lodestar.training.loop.run_identity import run_identity
from lodestar.training.loop.tensorboard import TensorBoardWriter
from lodestar.training.publish import publish
from lodestar.training.stages import REFIT, SEARCH, Trained, Training

SAVE_INTERVAL_FACTOR = 20  # saving checkpoints takes at most one part in this many of the time


def train(features: Path, bundle: Path, recipe: Recipe, checkpoints: str, upload: Callable[[], object] = lambda: None) -> None:
    """Train a recipe on features and publish a bundle at `bundle`, resuming from `checkpoints` (a folder or `s3://`).

    Rank zero calls `upload` once the bundle is there, and then removes the checkpoints of this run. Starts `train.workers` workers by
    torchrun unless this process is one of them. ConfigError E180 for more workers than cores, EnvironmentFault E530 if a worker fails.
    """
    if recipe.train.workers > 1 and "WORLD_SIZE" not in os.environ:
        start_workers(features, bundle, recipe, checkpoints)
        upload()
        return
    torch.set_num_threads(threads())
    with process_group(recipe.train.device) as group:
        resume = work(features, bundle, recipe, checkpoints, group)
        if group.is_rank_zero:
            upload()
            resume.remove_checkpoints()


def work(features: Path, bundle: Path, recipe: Recipe, checkpoints: str, group: Group) -> "Resume":
    """Train as one worker of `group`; rank zero publishes the bundle. The checkpoints of the run, which are no longer needed then.

    UsageError E301 where `bundle` is something else than a bundle, E192 for a ranker whose features were built for
    another split, DataError E191 for a damaged checkpoint.
    """
    storage.refuse_other_folder(bundle, INFO)
    meter, loaded_features = Meter(), feature_set.load(features)
    resume = Resume(loaded_features, group, checkpoints)
    check_enough(loaded_features.interactions, recipe.data)
    check_evaluable(loaded_features.interactions, recipe.data, loaded_features.rules)
    if recipe.rank.candidates:
        loaded_features.refuse_other_split(recipe.data)
    if group.is_rank_zero:
        rating_stage.check(loaded_features, recipe)
    if recipe.model.family in CLOSED_FORM_FAMILIES:
        if group.is_rank_zero:
            _publish(bundle, partial(closed_form.write, features=loaded_features, recipe=recipe), lambda: meter.read(group, 0, 0, ""))
        return resume
    data_warning = cost.data_sufficiency_warning(loaded_features.interactions)
    if group.is_rank_zero and data_warning:
        log_event("warning", message=data_warning)
    if recipe.model.family == BLEND:
        blend = BlendTraining(loaded_features, recipe, group, resume).run()
        if blend is not None:
            write = partial(_write_blend, features=loaded_features, recipe=recipe, blend=blend)
            _publish(bundle, write, lambda: meter.read(group, blend.samples, blend.num_parameters, data_warning))
        return resume
    state, on_epoch_end = resume(recipe)
    epochs_before = len(state.log)  # epochs of an interrupted run are not in this run's cost
    trained = Training(loaded_features, recipe, group, on_epoch_end).run(state)
    if group.is_rank_zero:
        samples = sum(int(line["samples"]) for line in trained.state.log[epochs_before:])
        num_parameters = sum(values.numel() for values in trained.model.parameters())
        _publish(
            bundle,
            partial(_write, features=loaded_features, recipe=recipe, trained=trained),
            lambda: meter.read(group, samples, num_parameters, data_warning),
        )
    return resume


class Resume:
    """Finds the state to resume a recipe from, in the checkpoints of one run on features; a blend has a recipe for each component."""

    def __init__(self, features: FeatureSet, group: Group, checkpoints: str) -> None:
        self._features, self._group, self._checkpoints = features, group, checkpoints
        self._used: list[Checkpoints] = []

    def __call__(self, recipe: Recipe) -> tuple[TrainingState, Callable[[TrainingState], None]]:
        """The state to resume from (a fresh one without a checkpoint), and the callback that saves states."""
        group, run, content = self._group, b"", None
        if group.is_rank_zero:
            run = run_identity(recipe, self._features.generation).encode()
            content = Checkpoints(address=f"{self._checkpoints}/{run.decode()}", run=run.decode()).load()
        group.wait()  # until rank zero has read it
        run, content = group.broadcast(run) or b"", group.broadcast(content)
        checkpoints = Checkpoints(address=f"{self._checkpoints}/{run.decode()}", run=run.decode())
        self._used.append(checkpoints)
        state = checkpoints.decode(content) if content is not None else TrainingState(stage=SEARCH)
        return state, ThrottledCheckpointer(checkpoints, TensorBoardWriter(checkpoints.run)) if group.is_rank_zero else _no_checkpoint

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints that were used: a finished run has nothing to resume. A store that refuses is logged."""
        for checkpoints in self._used:
            try:
                checkpoints.remove()
            except LodestarError as error:
                log_event("warning", message=f"the checkpoint of a finished run is left at {checkpoints.address}: {error}")


def _publish(bundle: Path, write: Callable[[Path], None], read: Callable[[], cost.Cost]) -> None:
    """Publish atomically what `write` puts into a folder, with the training cost that `read` returns."""
    with storage.publish_folder(bundle) as folder, activity("exporting the bundle"):
        write(folder)
        training_cost = asdict(read())
        folder.joinpath(COST).write_text(json.dumps(training_cost, indent=2) + "\n")
    log_event("cost", **training_cost)


class ThrottledCheckpointer:
    """Callback at the end of an epoch: log to TensorBoard, and save a checkpoint if the last save is long enough ago.

    The wait is SAVE_INTERVAL_FACTOR times the duration of the last save, so that saving takes at most a twentieth of the time, to slow
    object stores too, and an interrupted run repeats as little. The first state is always saved.
    """

    def __init__(self, checkpoints: Checkpoints, tensorboard: TensorBoardWriter) -> None:
        self._checkpoints, self._tensorboard, self._due = checkpoints, tensorboard, 0.0

    def __call__(self, state: TrainingState) -> None:
        """Log the last epoch's metrics, and save if a save is due."""
        self._tensorboard.show(state.log[-1])
        started = time.monotonic()
        if started >= self._due:
            self._checkpoints.save(state)
            ended = time.monotonic()
            self._due = ended + SAVE_INTERVAL_FACTOR * (ended - started)


def _no_checkpoint(_state: TrainingState) -> None:
    """Callback of workers other than rank zero, which save no checkpoints."""


def _write(folder: Path, features: FeatureSet, recipe: Recipe, trained: Trained) -> None:
    item_vectors, encoder = trained.model.cpu().export_parts()
    has_validation = trained.state.best_ndcg >= 0
    metrics = {"validation_ndcg_at_10": trained.state.best_ndcg} if has_validation else {}
    fitted_on: FittedOn = "before_test" if trained.state.stage == REFIT else "train"
    ranker = None
    if trained.state.ranker:
        from lodestar.training.ranker import ranker_stage

        ranker = ranker_stage.export_ranker(trained.state.ranker, features, recipe)
    publish.write(folder, features, recipe, item_vectors.numpy(), encoder, metrics, fitted_on, trained.neighbours, ranker)
    weights.save(trained.model, features.items.ids, trained.last_trained_us, folder)
    folder.joinpath(EPOCHS_LOG).write_text("".join(json.dumps(line) + "\n" for line in trained.state.log))


def _write_blend(folder: Path, features: FeatureSet, recipe: Recipe, blend: Blended) -> None:
    publish.write(
        folder, features, recipe, blend.retriever.vectors, blend.retriever.encoder, blend.metrics, blend.fitted_on, blend.neighbours
    )
    folder.joinpath(EPOCHS_LOG).write_text("".join(json.dumps(line) + "\n" for line in blend.log))
