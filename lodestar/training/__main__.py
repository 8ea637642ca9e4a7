"""`torchrun -m lodestar.training`: one worker of a training job, with addresses that may be `s3://`."""

import argparse
import logging
import os
import sys
from pathlib import Path

from lodestar import storage
from lodestar.config import Recipe, from_json
from lodestar.errors import LodestarError
from lodestar.private import workspace
from lodestar.recipes import configured
from lodestar.safe_text import log_to_stderr
from lodestar.training.distributed import meet
from lodestar.training.heartbeat import last_line_kept, watch
from lodestar.training.run import train

FEATURES, BUNDLE = "features", "bundle"


def main(arguments: list[str] | None = None) -> int:
    """Train, and let the leader publish; the exit code says what kind of trouble there was."""
    options = _parser().parse_args(arguments)
    log_to_stderr(logging.INFO)
    try:
        with last_line_kept(options.error_file, int(os.environ.get("RANK", "0"))):
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
    parser.add_argument("--features-digest", default="", metavar="SHA256", help="what they are to be, where they are in s3://")
    parser.add_argument("--bundle", required=True, metavar="ADDRESS", help="where the bundle goes: a folder or s3://")
    parser.add_argument("--checkpoints", required=True, metavar="ADDRESS", help="where to go on from: a folder or s3://")
    parser.add_argument("--recipe", default="sasrec", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--overrides", default="{}", metavar="JSON", help="values that replace the recipe's")
    parser.add_argument("--recipe-file", type=Path, metavar="FILE", help="a whole recipe as JSON, instead of a name")
    parser.add_argument("--heartbeat", default="", metavar="ADDRESS", help="end when nobody writes there any more: a step follows this job")
    parser.add_argument("--error-file", type=Path, metavar="FILE", help="where the line of an error goes that ends this worker")
    return parser


def _train(options: argparse.Namespace) -> None:
    recipe = _recipe(options)
    if options.heartbeat:
        watch(options.heartbeat)
    meet()
    with workspace() as work:
        features = Path(options.features)
        if storage.is_remote(options.features):
            features = storage.download(options.features, Path(work) / FEATURES, options.features_digest)
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
