"""`lodestar tune`: hyperparameter search for a recipe, here or as a Katib experiment."""

import argparse
import os
import sys
from pathlib import Path

from lodestar.io.storage import is_remote
from lodestar.process.command_line import Parser, add_option, add_output, add_recipe
from lodestar.process.option_values import count, image
from lodestar.process.safe_text import command, write_stderr, write_stdout

TRIALS = "s3://lodestar/artifacts/trials"  # where the trainer's bucket policy (manifests/policies/) lets it write
JOBS = "number of parallel processes (default: the number of cores)"


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add `lodestar tune` to the command line's parsers: a local hyperparameter search, or with `--katib` a Katib Experiment as YAML.

    It sets `command` to a function from parsed options to the exit code.
    """
    tune = commands.add_parser(
        "tune",
        help="hyperparameter search for a recipe",
        description=(
            "Hyperparameter search on the validation set; the test set is not used. Unpromising trials are pruned. The same command "
            "resumes an interrupted search. Prints a table, and the path of the best overrides for `lodestar run`, OUTPUT/best.json."
        ),
        examples=[
            "lodestar tune --features features/ --trials 30 --output tuning/",
            """lodestar tune --features features/ --recipe hstu --overrides '{"train": {"epochs": 9}}'""",
            "lodestar tune --features s3://bucket/features --katib registry.example.com/team/lodestar-python-train:v1",
        ],
    )
    add_option(tune, "--features", required=True)
    add_recipe(tune)
    tune.add_argument("--trials", type=count, default=20, metavar="N", help="total number of trials")
    tune.add_argument("--jobs", type=count, default=os.cpu_count() or 1, metavar="N", help=JOBS)
    add_output(tune, "folder of the study", "lodestar-tuning")
    meaning = "print a Katib Experiment whose trials run this image (default: run trials here)"
    tune.add_argument("--katib", type=image, metavar="IMAGE", help=meaning)
    add_option(tune, "--destination", help=f"with --katib, where trials publish bundles: an s3:// address (default: {TRIALS})")
    tune.set_defaults(command=_tune, doing="searching hyperparameters", resumes=True)


def _tune(options: argparse.Namespace) -> int:
    from lodestar.errors import UsageError

    if options.katib:
        return _print_experiment(options)
    if options.destination is not None:
        raise UsageError("--destination is with --katib only; leave it out", code="E303")
    if is_remote(options.features):
        message = f"trials run on this machine, and --features {options.features} is elsewhere: download it, or name an image with --katib"
        raise UsageError(message, code="E314")
    from lodestar.recipes import load_recipe, merge_overrides
    from lodestar.tuning.search import BEST, table, tune

    overrides = merge_overrides(options.overrides)
    recipe = load_recipe(options.recipe, overrides)
    trials = tune(Path(options.features), recipe, overrides, options.output, options.trials, options.jobs)
    sys.stdout.write(table(trials))
    best = options.output / BEST
    write_stderr(f'Train with the best: lodestar run --recipe {options.recipe} --overrides "$({command(["cat", str(best)])})"\n')
    write_stdout(f"{best}\n")
    return 0


def _print_experiment(options: argparse.Namespace) -> int:
    import yaml

    from components.kubernetes.katib import experiment
    from components.kubernetes.training_job import TrainingJob
    from lodestar.errors import UsageError
    from lodestar.recipes import load_recipe, merge_overrides
    from lodestar.tuning.space import space_of

    overrides, destination = merge_overrides(options.overrides), options.destination or TRIALS
    for option, address in (("--features", options.features), ("--destination", destination)):
        if not is_remote(address):
            raise UsageError(f"{option} {address} is not an address that pods on any machine reach: write s3://BUCKET/FOLDER", code="E314")
    job = TrainingJob(
        name=f"tune-{options.recipe.replace('_', '-')}",
        namespace="lodestar-training",
        image=options.katib,
        features=options.features,
        bundle=destination,
        checkpoints=f"{destination}/checkpoints",
        recipe=options.recipe,
        overrides=overrides,
        workers=1,
    )
    space = space_of(load_recipe(options.recipe, overrides), overrides)
    sys.stdout.write(yaml.safe_dump(experiment(job, space, options.trials, options.jobs), sort_keys=False))
    return 0
