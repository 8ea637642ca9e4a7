"""Entry point of a training worker, `torchrun -m lodestar.training`; features, checkpoints and bundle may be in `s3://`."""

import argparse
import logging
import os
import sys
from pathlib import Path

from lodestar.config import Recipe, from_json
from lodestar.errors import LodestarError
from lodestar.io import storage
from lodestar.io.private_folders import workspace
from lodestar.process.safe_text import log_to_stderr
from lodestar.recipes import load_recipe
from lodestar.training.distributed.distributed import rendezvous
from lodestar.training.distributed.heartbeat import watch, write_last_error
from lodestar.training.run import train

FEATURES, BUNDLE = "features", "bundle"


def main(arguments: list[str] | None = None) -> int:
    """Run one training worker; rank zero publishes the bundle. The exit code is 0, or the error's."""
    options = _parser().parse_args(arguments)
    log_to_stderr(logging.INFO)
    try:
        with write_last_error(options.error_file, int(os.environ.get("RANK", "0"))):
            _train(options)
    except LodestarError as error:
        sys.stderr.write(f"lodestar.training: {error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lodestar.training", description="Train a recipe; started by torchrun, as one of its workers."
    )
    parser.add_argument("--features", required=True, metavar="ADDRESS", help="features that build_features wrote: a folder or s3://")
    parser.add_argument("--features-digest", default="", metavar="SHA256", help="expected digest of features in s3://")
    parser.add_argument("--bundle", required=True, metavar="ADDRESS", help="write the bundle here: a folder or s3://")
    parser.add_argument(
        "--checkpoints", required=True, metavar="ADDRESS", help="save checkpoints to, and resume from, here: a folder or s3://"
    )
    parser.add_argument("--recipe", default="sasrec", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--overrides", default="{}", metavar="JSON", help="overrides of the recipe, a JSON object")
    parser.add_argument("--recipe-file", type=Path, metavar="FILE", help="a whole recipe as JSON, instead of a name")
    parser.add_argument(
        "--heartbeat", default="", metavar="ADDRESS", help="end once the pipeline step that watches this job stops writing here"
    )
    parser.add_argument("--error-file", type=Path, metavar="FILE", help="write the error that ends this worker here, in one line")
    return parser


def _train(options: argparse.Namespace) -> None:
    recipe = _recipe(options)
    if options.heartbeat:
        watch(options.heartbeat)
    rendezvous()
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
    return from_json(options.recipe_file.read_text()) if options.recipe_file else load_recipe(options.recipe, options.overrides)


if __name__ == "__main__":
    sys.exit(main())
