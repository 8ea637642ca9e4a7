"""`lodestar tune`: look for better settings of a recipe, here or as a Katib experiment."""

import argparse
import os
import sys
from pathlib import Path

from lodestar.safe_text import command, say


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lodestar tune` to the command line's parsers: a hyperparameter search here, or with `--katib` a Katib Experiment as YAML.

    It leaves in `command` the function that takes the parsed options and returns the exit code.
    """
    tune = commands.add_parser(
        "tune",
        help="look for better settings of a recipe",
        description=(
            "Try settings of a recipe on the validation items; the test items are not looked at. Hopeless trials are ended early. The same "
            "command goes on where it was stopped. Ends with a table, and with overrides for `lodestar run` in OUTPUT/best.json."
        ),
    )
    tune.add_argument("features", metavar="FEATURES", help="what `lodestar features build` or a run's build_features wrote")
    tune.add_argument("--recipe", default="sasrec", metavar="NAME", help="see `lodestar recipes` (default: %(default)s)")
    tune.add_argument(
        "--overrides", default="{}", metavar="JSON", help='values that stay as they are given, such as {"train": {"epochs": 9}}'
    )
    tune.add_argument("--trials", type=_count, default=20, metavar="N", help="how many settings in all (default: %(default)s)")
    tune.add_argument("--jobs", type=_count, default=os.cpu_count() or 1, metavar="N", help="processes at once (default: %(default)s)")
    tune.add_argument("--output", type=Path, default=Path("lodestar-tuning"), metavar="DIR", help="default: %(default)s")
    tune.add_argument("--katib", metavar="IMAGE", help="print a Katib experiment whose trials run this image, and try nothing here")
    tune.add_argument(
        "--bundles", default="s3://lodestar/trials", metavar="ADDRESS", help="where its trials' bundles go (default: %(default)s)"
    )
    tune.set_defaults(command=_tune)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return int(text)


def _tune(options: argparse.Namespace) -> int:
    if options.katib:
        return _print_experiment(options)
    from lodestar.recipes import configured
    from lodestar.tuning.search import BEST, table, tune

    recipe = configured(options.recipe, options.overrides)
    tried = tune(Path(options.features), recipe, options.overrides, options.output, options.trials, options.jobs)
    sys.stdout.write(table(tried))
    best = options.output / BEST
    say(f'\nlodestar run --recipe {options.recipe} --overrides "$({command(["cat", str(best)])})" trains with the best.\n')
    return 0


def _print_experiment(options: argparse.Namespace) -> int:
    import yaml

    from components.experiment import experiment
    from components.jobs import TrainingJob
    from lodestar.recipes import configured
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
    space = space_of(configured(options.recipe, options.overrides), options.overrides)
    sys.stdout.write(yaml.safe_dump(experiment(job, space, options.trials, options.jobs), sort_keys=False))
    return 0
