"""Hyperparameter search with Optuna: trials scored by NDCG@10 on the validation set, with pruning, resumable, in several processes.

Sampler: tree of Parzen estimators (Akiba et al., "Optuna", KDD 2019, arXiv:1907.10902); pruner: median. The study is a journal file that
all processes append to; each runs trials until all are done.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from lodestar.config import Recipe, to_json
from lodestar.data.split.interactions import check_enough
from lodestar.errors import DataError, EnvironmentFault, UsageError
from lodestar.features.batch import feature_set
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.io import storage
from lodestar.process.parent_death import set_parent_death_signal
from lodestar.progress import Progress
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.stages import SEARCH, Training
from lodestar.tuning.space import Choice, Range, Space, Value, overrides, space_of, with_values

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    import optuna

JOURNAL, LOG, BEST, RECIPE = "study.jsonl", "tune.log", "best.json", "recipe"
WARM_UP_TRIALS, WARM_UP_EPOCHS = 5, 4
POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One finished or pruned trial: hyperparameters `values` by name, and its best NDCG@10 (of the epochs it ran, if pruned)."""

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
    """Run trials in `jobs` processes until the study has `trials` finished or pruned ones; all of them, the best first.

    `recipe` already has the overrides `pinned`, which no trial changes. `folder` holds the journal, the processes' log, and best.json, the
    best trial's overrides merged with `pinned`. With `jobs` 1 the result is determined by the recipe's seed. UsageError if the folder has
    the study of another recipe or of other features, DataError E204 without validation items, EnvironmentFault E535 if a process fails.
    """
    found = feature_set.load(features)
    check_enough(found.interactions, recipe.data)
    if len(found.split(recipe.data).validation) == 0:
        raise DataError("E204", "no user has a validation item", remedy="Add events, or raise data.validation_share.")
    space, study = space_of(recipe, pinned), _open_study(folder, recipe, found.digest)
    context, remaining = multiprocessing.get_context("spawn"), max(0, trials - len(sorted_trials(study)))
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
    if finished:
        with storage.publish_file(folder / BEST) as file:
            file.write_text(overrides(finished[0].values, pinned) + "\n")
    return finished


def sorted_trials(study: "optuna.Study") -> list[Trial]:
    """Completed trials by descending NDCG@10, then pruned ones by descending NDCG@10."""
    from optuna.trial import TrialState

    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    trials = [
        Trial(
            number=trial.number,
            state=trial.state.name.lower(),
            ndcg=max(trial.intermediate_values.values(), default=0.0) if trial.value is None else trial.value,
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            values=trial.params,
        )
        for trial in done
    ]
    return sorted(trials, key=lambda trial: (trial.state != "complete", -trial.ndcg))


def _update_progress(study: "optuna.Study", progress: Progress) -> None:
    finished = sorted_trials(study)
    if len(finished) > progress.done:
        progress.advance(len(finished) - progress.done, best_ndcg_at_10=finished[0].ndcg)


def _open_study(folder: Path, recipe: Recipe, digest: str, seed: int = 0) -> "optuna.Study":
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
        raise UsageError(f"{folder / JOURNAL} is no journal of a search ({error}): name an empty folder", code="E194") from error
    identity = f"{to_json(recipe)} {digest}"
    if study.user_attrs.get(RECIPE, identity) != identity:
        raise UsageError(f"{folder} holds the search of another recipe or other features: name an empty folder", code="E194")
    study.set_user_attr(RECIPE, identity)
    return study


def _run_trials(features: Path, recipe: Recipe, space: Space, folder: Path, tickets: "Synchronized[int]", draws: Draws) -> None:
    if (parent := multiprocessing.parent_process()) and parent.pid:
        set_parent_death_signal(parent.pid)
    with (folder / LOG).open("a") as log_file:
        os.dup2(log_file.fileno(), sys.stderr.fileno())
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // draws.processes))
    found = feature_set.load(features)
    study = _open_study(folder, recipe, found.digest, draws.seed(recipe))
    while _has_ticket(tickets):
        study.optimize(lambda trial: _objective(trial, found, recipe, space), n_trials=1)


def _has_ticket(tickets: "Synchronized[int]") -> bool:
    """Claim one of the remaining trials; counting finished trials instead would start one too many for each that still runs."""
    with tickets.get_lock():
        tickets.value -= 1
        return tickets.value >= 0


def _objective(trial: "optuna.Trial", features: FeatureSet, recipe: Recipe, space: Space) -> float:
    """Objective of a trial: best NDCG@10 on the validation set; optuna.TrialPruned if the pruner stops it."""
    import optuna

    values = {name: _suggest(trial, name, allowed) for name, allowed in space.items()}

    def report(state: TrainingState) -> None:
        line = state.log[-1]
        if "ndcg_at_10" in line:
            trial.report(float(line["ndcg_at_10"]), state.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    training = Training(features, with_values(recipe, values), Group(), report)
    return training.search(TrainingState(stage=SEARCH)).state.best_ndcg


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
