"""Entry point of a training worker, `torchrun -m lodestar.training`; features, checkpoints and bundle may be in `s3://`."""

import argparse
import logging
import os
import sys
from functools import partial
from pathlib import Path

from lodestar.config import Recipe, from_json
from lodestar.io import storage
from lodestar.io.exits import run_command
from lodestar.io.private_folders import workspace
from lodestar.process.command_line import Parser, add_option, add_recipe
from lodestar.process.safe_text import log_to_stderr
from lodestar.recipes import load_recipe, merge_overrides
from lodestar.training.distributed.distributed import rendezvous
from lodestar.training.distributed.heartbeat import watch, write_last_error
from lodestar.training.run import train

FEATURES, BUNDLE = "features", "bundle"


def main(arguments: list[str] | None = None) -> int:
    """Run one training worker; rank zero publishes the bundle. The exit code is 0, or the error's."""
    options = parser().parse_args(arguments)
    log_to_stderr(logging.INFO)
    return run_command("lodestar.training", partial(_train_reported, options))


def parser() -> Parser:
    """The parser of a training worker."""
    parser = Parser(prog="python -m lodestar.training", description="Train a recipe; started by torchrun, as one of its workers.")
    add_option(parser, "--features", required=True)
    add_option(parser, "--features-digest", default="")
    add_option(parser, "--output", required=True, help="bundle that is written: a folder or an s3:// address")
    add_option(parser, "--checkpoints", required=True)
    add_recipe(parser)
    parser.add_argument("--recipe-file", type=Path, metavar="FILE", help="a whole recipe as JSON (default: the one of --recipe)")
    add_option(parser, "--heartbeat", default="")
    parser.add_argument("--error-file", type=Path, metavar="FILE", help="write the error that ends this worker here (default: nowhere)")
    return parser


def _train_reported(options: argparse.Namespace) -> int:
    with write_last_error(options.error_file, int(os.environ.get("RANK", "0"))):
        _train(options)
    return 0


def _train(options: argparse.Namespace) -> None:
    recipe = _recipe(options)
    if options.heartbeat:
        watch(options.heartbeat)
    rendezvous()
    with workspace() as work:
        features = Path(options.features)
        if storage.is_remote(options.features):
            features = storage.download(options.features, Path(work) / FEATURES, options.features_digest)
        if not storage.is_remote(options.output):
            train(features, Path(options.output), recipe, options.checkpoints)
            return
        bundle = Path(work) / BUNDLE
        train(features, bundle, recipe, options.checkpoints)
        if os.environ.get("RANK", "0") == "0":
            storage.upload(bundle, options.output)


def _recipe(options: argparse.Namespace) -> Recipe:
    if options.recipe_file:
        return from_json(options.recipe_file.read_text())
    return load_recipe(options.recipe, merge_overrides(options.overrides))


if __name__ == "__main__":
    sys.exit(main())
