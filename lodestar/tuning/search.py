"""Search for the settings of a recipe: on the validation items alone, hopeless trials ended early, and gone on with where it stopped.

Optuna's tree of Parzen estimators proposes (Akiba et al., KDD 2019, arXiv:1907.10902). The study is a journal in one file that several
processes write: each of them runs trials until all are done.
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

from lodestar import storage
from lodestar.config import Recipe, to_json
from lodestar.data.interactions import check_enough
from lodestar.errors import DataError, EnvironmentFault, UsageError
from lodestar.features import store
from lodestar.features.store import FeatureSet
from lodestar.parents import end_with_parent
from lodestar.progress import Progress
from lodestar.training.checkpoints import State
from lodestar.training.distributed import Group
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
    """One setting that was tried; `ndcg` is the best of its epochs so far where it was ended early."""

    number: int
    state: str
    ndcg: float
    seconds: float
    values: Mapping[str, Value]


class Draws(NamedTuple):
    """What a process of a search draws its values by: how many trials the study had, and which of how many processes it is."""

    begun: int
    process: int
    processes: int

    def seed(self, recipe: Recipe) -> int:
        """Another for each process and for each time that a search is gone on with, so that none draws again what was drawn; 32 bits."""
        return int(np.random.SeedSequence((recipe.train.seed, self.begun, self.process)).generate_state(1)[0])


def tune(features: Path, recipe: Recipe, fixed: str, folder: Path, trials: int, jobs: int) -> list[Trial]:
    """Try settings until there are `trials` that were finished or ended early; all of them, the best first.

    `recipe` has the overrides `fixed` already, which no trial changes. `folder` keeps the journal, what the processes said, and best.json,
    the overrides of the best and those. Where one process tries (`jobs` 1), the recipe's seed decides what is tried. UsageError where
    it holds the study of another recipe or of other features; DataError E201 where there is nothing to validate on.
    """
    found = store.load(features)
    check_enough(found.interactions, recipe.data)
    if len(found.split(recipe.data).validation) == 0:
        raise DataError("E201", "no user has a validation item", remedy="Bring more events, or a larger data.validation_share.")
    space, study = space_of(recipe, fixed), _study(folder, recipe, found.digest)
    context, left = multiprocessing.get_context("spawn"), max(0, trials - len(ranked(study)))
    tickets, begun = context.Value("l", left), len(study.get_trials(deepcopy=False))
    workers = [
        context.Process(target=_work, args=(features, recipe, space, folder, tickets, Draws(begun, number, jobs)))
        for number in range(min(jobs, left))
    ]
    for worker in workers:
        worker.start()
    try:
        with Progress(f"tune {recipe.name}", trials) as progress:
            while any(worker.is_alive() for worker in workers):
                time.sleep(POLL_S)
                _show(study, progress)
            _show(study, progress)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if any(worker.exitcode for worker in workers):
        remedy = "The same command goes on."
        raise EnvironmentFault(
            "E535", f"a process that tried settings ended with an error; its last lines are in {folder / LOG}", remedy=remedy
        )
    tried = ranked(study)
    if tried:
        with storage.publish_file(folder / BEST) as file:
            file.write_text(overrides(tried[0].values, fixed) + "\n")
    return tried


def ranked(study: "optuna.Study") -> list[Trial]:
    """Trials that were finished by their quality, then those that were ended early."""
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


def _show(study: "optuna.Study", progress: Progress) -> None:
    tried = ranked(study)
    if len(tried) > progress.done:
        progress.advance(len(tried) - progress.done, best_ndcg_at_10=tried[0].ndcg)


def _study(folder: Path, recipe: Recipe, digest: str, seed: int = 0) -> "optuna.Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        study_name=recipe.name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=WARM_UP_TRIALS, n_warmup_steps=WARM_UP_EPOCHS),
    )
    about = f"{to_json(recipe)} {digest}"
    if study.user_attrs.get(RECIPE, about) != about:
        raise UsageError(f"{folder} holds the search of another recipe or other features: name a fresh folder")
    study.set_user_attr(RECIPE, about)
    return study


def _work(features: Path, recipe: Recipe, space: Space, folder: Path, tickets: "Synchronized[int]", draws: Draws) -> None:
    if (parent := multiprocessing.parent_process()) and parent.pid:
        end_with_parent(parent.pid)
    with (folder / LOG).open("a") as said:
        os.dup2(said.fileno(), sys.stderr.fileno())
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // draws.processes))
    found = store.load(features)
    study = _study(folder, recipe, found.digest, draws.seed(recipe))
    while _has_ticket(tickets):
        study.optimize(lambda trial: _tried(trial, found, recipe, space), n_trials=1)


def _has_ticket(tickets: "Synchronized[int]") -> bool:
    """Take one of the trials that are left; counting those that have ended would begin one too many for each that still runs."""
    with tickets.get_lock():
        tickets.value -= 1
        return tickets.value >= 0


def _tried(trial: "optuna.Trial", found: FeatureSet, recipe: Recipe, space: Space) -> float:
    """NDCG@10 on the validation items."""
    import optuna

    values = {name: _suggested(trial, name, allowed) for name, allowed in space.items()}

    def report(state: State) -> None:
        line = state.log[-1]
        if "ndcg_at_10" in line:
            trial.report(float(line["ndcg_at_10"]), state.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    training = Training(found, with_values(recipe, values), Group(), report)
    return training.search(State(stage=SEARCH)).state.best_ndcg


def _suggested(trial: "optuna.Trial", name: str, allowed: Range | Choice) -> Value:
    if isinstance(allowed, Choice):
        return cast(Value, trial.suggest_categorical(name, list(allowed.values)))
    if allowed.is_whole:
        return trial.suggest_int(name, int(allowed.low), int(allowed.high), log=allowed.log)
    return trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)


def table(tried: list[Trial]) -> str:
    """The trials as a Markdown table, the best first."""
    names = list(tried[0].values) if tried else []
    head = ["trial", "NDCG@10", "state", "seconds", *(name.partition(".")[2] for name in names)]
    rows = [
        [str(trial.number), f"{trial.ndcg:.4f}", trial.state, f"{trial.seconds:.0f}", *(_shown(trial.values[name]) for name in names)]
        for trial in tried
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
