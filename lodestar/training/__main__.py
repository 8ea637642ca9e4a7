"""`torchrun -m lodestar.training`: one worker of a training job, with addresses that may be `s3://`."""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

from lodestar import storage
from lodestar.config import Recipe, from_json
from lodestar.errors import LodestarError
from lodestar.recipes import configured
from lodestar.training.distributed import meet
from lodestar.training.run import train

BUNDLE = "bundle"


def main(arguments: list[str] | None = None) -> int:
    """Train, and let the leader publish; the exit code says what kind of trouble there was."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    try:
        _train(options)
    except LodestarError as error:
        sys.stderr.write(f"lodestar.training: {error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lodestar.training", description="Train a recipe; started by torchrun, as one of its workers."
    )
    parser.add_argument("--features", required=True, metavar="ADDRESS", help="what build_features wrote: a folder or s3://")
    parser.add_argument("--bundle", required=True, metavar="ADDRESS", help="where the bundle goes: a folder or s3://")
    parser.add_argument("--checkpoints", required=True, metavar="ADDRESS", help="where to go on from: a folder or s3://")
    parser.add_argument("--recipe", default="sasrec", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--overrides", default="{}", metavar="JSON", help="values that replace the recipe's")
    parser.add_argument("--recipe-file", type=Path, metavar="FILE", help="a whole recipe as JSON, instead of a name")
    return parser


def _train(options: argparse.Namespace) -> None:
    recipe = _recipe(options)
    meet()
    with tempfile.TemporaryDirectory() as work:
        features = storage.local(options.features, Path(work))
        if not storage.is_remote(options.bundle):
            train(features, Path(options.bundle), recipe, options.checkpoints)
            return
        target = Path(work) / BUNDLE
        train(features, target, recipe, options.checkpoints)
        if os.environ.get("RANK", "0") == "0":
            storage.upload(target, options.bundle)


def _recipe(options: argparse.Namespace) -> Recipe:
    return from_json(options.recipe_file.read_text()) if options.recipe_file else configured(options.recipe, options.overrides)


if __name__ == "__main__":
    sys.exit(main())
