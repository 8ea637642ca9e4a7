"""`lodestar tune`: hyperparameter search for a recipe, here or as a Katib experiment."""

import argparse
import os
import sys
from pathlib import Path

from lodestar.process.safe_text import command, write_stdout


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lodestar tune` to the command line's parsers: a local hyperparameter search, or with `--katib` a Katib Experiment as YAML.

    It sets `command` to a function from parsed options to the exit code.
    """
    tune = commands.add_parser(
        "tune",
        help="hyperparameter search for a recipe",
        description=(
            "Hyperparameter search on the validation set; the test set is not used. Unpromising trials are pruned. The same command "
            "resumes an interrupted search. Prints a table, and writes overrides for `lodestar run` to OUTPUT/best.json."
        ),
    )
    tune.add_argument("features", metavar="FEATURES", help="feature set of `lodestar features build` or of a run's build_features")
    tune.add_argument("--recipe", default="sasrec", metavar="NAME", help="see `lodestar recipes` (default: %(default)s)")
    tune.add_argument(
        "--overrides", default="{}", metavar="JSON", help='values that are fixed in all trials, such as {"train": {"epochs": 9}}'
    )
    tune.add_argument("--trials", type=_count, default=20, metavar="N", help="total number of trials (default: %(default)s)")
    tune.add_argument(
        "--jobs", type=_count, default=os.cpu_count() or 1, metavar="N", help="number of parallel processes (default: %(default)s)"
    )
    tune.add_argument("--output", type=Path, default=Path("lodestar-tuning"), metavar="DIR", help="default: %(default)s")
    tune.add_argument("--katib", metavar="IMAGE", help="print a Katib Experiment whose trials run this image, and run no trial here")
    tune.add_argument(
        "--bundles", default="s3://lodestar/trials", metavar="ADDRESS", help="address of the trials' bundles (default: %(default)s)"
    )
    tune.set_defaults(command=_tune)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number of at least 1, got {text!r}")
    return int(text)


def _tune(options: argparse.Namespace) -> int:
    if options.katib:
        return _print_experiment(options)
    from lodestar.recipes import load_recipe
    from lodestar.tuning.search import BEST, table, tune

    recipe = load_recipe(options.recipe, options.overrides)
    trials = tune(Path(options.features), recipe, options.overrides, options.output, options.trials, options.jobs)
    sys.stdout.write(table(trials))
    best = options.output / BEST
    write_stdout(f'\nlodestar run --recipe {options.recipe} --overrides "$({command(["cat", str(best)])})" trains with the best.\n')
    return 0


def _print_experiment(options: argparse.Namespace) -> int:
    import yaml

    from components.kubernetes.katib import experiment
    from components.kubernetes.training_job import TrainingJob
    from lodestar.recipes import load_recipe
    from lodestar.tuning.space import space_of

    job = TrainingJob(
        name=f"tune-{options.recipe.replace('_', '-')}",
        namespace="lodestar-training",
        image=options.katib,
        features=options.features,
        bundle=options.bundles,
        checkpoints=f"{options.bundles}/checkpoints",
        recipe=options.recipe,
        overrides=options.overrides,
        workers=1,
    )
    space = space_of(load_recipe(options.recipe, options.overrides), options.overrides)
    sys.stdout.write(yaml.safe_dump(experiment(job, space, options.trials, options.jobs), sort_keys=False))
    return 0
