"""Hyperparameter search with Optuna: trials scored by NDCG@10 on the validation set, with pruning, resumable, in several processes.

Sampler: tree of Parzen estimators (Akiba et al., "Optuna", KDD 2019, arXiv:1907.10902); pruner: median. The study is a journal file that
all processes append to; each runs trials until all are done. A trial whose loss is not finite has failed, and the search goes on.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from lodestar.config import Recipe, to_json
from lodestar.data.split.interactions import check_enough
from lodestar.errors import DataError, Diverged, EnvironmentFault, UsageError
from lodestar.features.batch import feature_set
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.io import storage
from lodestar.process.parent_death import end_with_starter
from lodestar.progress import Progress
from lodestar.training.distributed.distributed import Group, choose_device
from lodestar.training.distributed.local_workers import threads
from lodestar.training.init.held_out import unknown_cases
from lodestar.training.loop import weights
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.stages import SEARCH, Training
from lodestar.tuning.space import Choice, Range, Space, Value, overrides, space_of, with_values

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    import optuna

JOURNAL, LOG, BEST, RECIPE = "study.jsonl", "tune.log", "best.json", "recipe"
COMPLETE, DIVERGED = "complete", "diverged"
WARM_UP_TRIALS, WARM_UP_EPOCHS = 5, 4
POLL_S = 1.0
PRELOADED = [__name__, "optuna", "torch._dynamo"]  # what a search process imports, torch's optimisers included: 5 s


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: hyperparameters `values` by name, and its best NDCG@10 (of the epochs it ran, if pruned; 0 if it diverged)."""

    number: int
    state: str
    ndcg: float
    seconds: float
    values: Mapping[str, Value]


class Draws(NamedTuple):
    """Seed inputs of one search process: trials in the study at its start, index of the process, number of processes."""

    trials_before: int
    process: int
    processes: int

    def seed(self, recipe: Recipe) -> int:
        """Sampler seed (32 bits), different for each process and each resumption, so that no trial is repeated."""
        return int(np.random.SeedSequence((recipe.train.seed, self.trials_before, self.process)).generate_state(1)[0])


def tune(features: Path, recipe: Recipe, pinned: str, folder: Path, trials: int, jobs: int) -> list[Trial]:
    """Run trials in `jobs` processes until the study has `trials` finished, pruned or diverged ones; all of them, the best first.

    `recipe` already has the overrides `pinned`, which no trial changes. `folder` holds the journal, the processes' log, and best.json, the
    best trial's overrides merged with `pinned`. With `jobs` 1 the result is determined by the recipe's seed. UsageError if the folder has
    the study of another recipe or of other features, DataError E204 without validation items, EnvironmentFault E501 if the device is
    missing, E535 if a process fails, Diverged E194 if no trial has a finite loss, UsageError E193 for a warm start that may know what is
    held out.
    """
    choose_device(recipe.train.device)
    loaded_features = feature_set.load(features)
    check_enough(loaded_features.interactions, recipe.data)
    split = loaded_features.split(recipe.data)
    if len(split.validation) == 0:
        raise DataError("E204", "no user has a validation item", remedy="Add events, or raise data.validation_share.")
    if recipe.train.warm_start:
        unknown_cases(weights.load(recipe.train.warm_start), split, recipe.data)
    space, study = space_of(recipe, pinned), _open_study(folder, recipe, loaded_features.generation)
    _end_killed_trials(study)
    context, remaining = _context(), max(0, trials - len(sorted_trials(study)))
    tickets, trials_before = context.Value("l", remaining), len(study.get_trials(deepcopy=False))
    workers = [
        context.Process(target=_run_trials, args=(features, recipe, space, folder, tickets, Draws(trials_before, number, jobs)))
        for number in range(min(jobs, remaining))
    ]
    for worker in workers:
        worker.start()
    try:
        with Progress(f"tune {recipe.name}", trials, len(sorted_trials(study))) as progress:
            while any(worker.is_alive() for worker in workers):
                time.sleep(POLL_S)
                _update_progress(study, progress)
            _update_progress(study, progress)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if any(worker.exitcode for worker in workers):
        remedy = "The same command resumes the search."
        raise EnvironmentFault("E535", f"a search process failed; its last lines are in {folder / LOG}", remedy=remedy)
    finished = sorted_trials(study)
    if finished and finished[0].state == DIVERGED:
        raise Diverged(f"the loss of all {len(finished)} trials is not finite: override train.learning_rate by a lower one", code="E194")
    if finished:
        with storage.publish_file(folder / BEST) as file:
            file.write_text(overrides(finished[0].values, pinned) + "\n")
    return finished


def sorted_trials(study: "optuna.Study") -> list[Trial]:
    """Completed trials by descending NDCG@10, then pruned ones by descending NDCG@10, then those that diverged."""
    from optuna.trial import TrialState

    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state in ended or DIVERGED in trial.user_attrs]
    trials = [
        Trial(
            number=trial.number,
            state=DIVERGED if DIVERGED in trial.user_attrs else trial.state.name.lower(),
            ndcg=_ndcg(trial),
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            values=trial.params,
        )
        for trial in done
    ]
    return sorted(trials, key=lambda trial: (trial.state == DIVERGED, trial.state != COMPLETE, -trial.ndcg))


def _ndcg(trial: "optuna.trial.FrozenTrial") -> float:
    if DIVERGED in trial.user_attrs:
        return 0.0
    return max(trial.intermediate_values.values(), default=0.0) if trial.value is None else trial.value


def _end_killed_trials(study: "optuna.Study") -> None:
    """Fail the trials of a search that was killed: the sampler would count them as running for ever."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _update_progress(study: "optuna.Study", progress: Progress) -> None:
    finished = sorted_trials(study)
    if len(finished) > progress.done:
        progress.advance(len(finished) - progress.done, best_ndcg_at_10=finished[0].ndcg)


def _open_study(folder: Path, recipe: Recipe, generation: str, seed: int = 0) -> "optuna.Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
            study_name=recipe.name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=WARM_UP_TRIALS, n_warmup_steps=WARM_UP_EPOCHS),
        )
    except (ValueError, KeyError, TypeError) as error:  # what optuna makes of lines that it did not write
        raise UsageError(f"{folder / JOURNAL} is no journal of a search ({error}): name an empty folder", code="E195") from error
    identity = f"{to_json(recipe)} {generation}"
    if study.user_attrs.get(RECIPE, identity) != identity:
        raise UsageError(f"{folder} holds the search of another recipe or other features: name an empty folder", code="E195")
    study.set_user_attr(RECIPE, identity)
    return study


def _context() -> ForkServerContext | SpawnContext:
    """Search processes are forked of one that has imported everything and done nothing; where a fork is not safe, each imports it."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _run_trials(features: Path, recipe: Recipe, space: Space, folder: Path, tickets: "Synchronized[int]", draws: Draws) -> None:
    end_with_starter()
    with (folder / LOG).open("a") as log_file:
        os.dup2(log_file.fileno(), sys.stderr.fileno())
    torch.set_num_threads(threads(draws.processes))
    group = Group(device=choose_device(recipe.train.device, draws.process % max(1, torch.cuda.device_count())))
    loaded_features = feature_set.load(features)
    study = _open_study(folder, recipe, loaded_features.generation, draws.seed(recipe))
    while _has_ticket(tickets):
        study.optimize(lambda trial: _objective(trial, loaded_features, recipe, space, group), n_trials=1, catch=(Diverged,))


def _has_ticket(tickets: "Synchronized[int]") -> bool:
    """Claim one of the remaining trials; counting finished trials instead would start one too many for each that still runs."""
    with tickets.get_lock():
        tickets.value -= 1
        return tickets.value >= 0


def _objective(trial: "optuna.Trial", features: FeatureSet, recipe: Recipe, space: Space, group: Group) -> float:
    """Objective of a trial: best NDCG@10 on the validation set; optuna.TrialPruned if the pruner stops it, Diverged if it diverges."""
    import optuna

    values = {name: _suggest(trial, name, allowed) for name, allowed in space.items()}

    def report(state: TrainingState) -> None:
        line = state.log[-1]
        if "ndcg_at_10" in line:
            trial.report(float(line["ndcg_at_10"]), state.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    training = Training(features, with_values(recipe, values), group, report)
    try:
        return training.search(TrainingState(stage=SEARCH)).state.best_ndcg
    except Diverged as error:
        trial.set_user_attr(DIVERGED, str(error))
        raise


def _suggest(trial: "optuna.Trial", name: str, allowed: Range | Choice) -> Value:
    if isinstance(allowed, Choice):
        return cast(Value, trial.suggest_categorical(name, list(allowed.values)))
    if allowed.is_whole:
        return trial.suggest_int(name, int(allowed.low), int(allowed.high), log=allowed.log)
    return trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)


def table(finished: list[Trial]) -> str:
    """Trials as a Markdown table, in the given order, one column for each hyperparameter."""
    names = list(finished[0].values) if finished else []
    header = ["trial", "NDCG@10", "state", "seconds", *(name.partition(".")[2] for name in names)]
    rows = [
        [
            str(trial.number),
            f"{trial.ndcg:.4f}",
            trial.state,
            f"{trial.seconds:.0f}",
            *(_format_value(trial.values[name]) for name in names),
        ]
        for trial in finished
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]) + "\n"


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
