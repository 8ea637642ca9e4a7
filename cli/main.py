"""The `lodestar` command line: its subcommands and exit codes."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import version

from cli import data, features, run, tuning
from lodestar import DISTRIBUTION
from lodestar.io.exits import INTERRUPTED, run_command
from lodestar.process.command_line import Parser
from lodestar.process.standard_streams import prepare_standard_streams
from lodestar.process.termination import exit_on_termination
from lodestar.progress import UNWRAPPED, activity

# Subcommands that parse their own options, since their modules also run without `lodestar`, in smaller images.
FORWARDED = {
    "step": ("components.__main__", "run one step of the pipeline by hand"),
    "serve": ("serving.__main__", "serve recommendations from a bundle over HTTP"),
    "collect": ("serving.collector.__main__", "collect events over HTTP or from Kafka"),
    "simulate": ("lodestar.data.simulator.simulator", "write the tables of a simulated shop, of any size"),
    "rollout": ("serving.rollout.rollout", "canary rollout of a new bundle to an InferenceService"),
    "training-job": ("components.kubernetes.training_job_command", "print a training job as YAML"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (0 ok, 2 usage, 3 data, 4 gate, 5 environment, 130 after Ctrl-C, 141 if nobody reads on)."""
    os.umask(0o077)  # files are readable by their owner only: events and models trained on them are personal data
    prepare_standard_streams()
    return run_command("lodestar", partial(_run, sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in FORWARDED:
        module, _ = FORWARDED[arguments[0]]
        return int(import_module(module).main(arguments[1:]))
    if arguments == ["--version"]:
        print(f"lodestar {version(DISTRIBUTION)}")
        return 0
    options = parser().parse_args(arguments)
    doing: str = getattr(options, "doing", "")
    try:
        with exit_on_termination(), activity(doing, is_recorded=False) if doing else contextlib.nullcontext():
            return int(options.command(options))
    except KeyboardInterrupt:
        if not getattr(options, "resumes", False):
            raise
        sys.stderr.write("lodestar: stopped; the same command resumes from here\n")
        return INTERRUPTED


def commands() -> dict[str, Parser]:
    """The parser of each command, by its words after `lodestar`, such as `data ingest`."""
    found = dict(_leaves(parser(), ()))
    return found | dict(leaf for name, (module, _) in FORWARDED.items() for leaf in _leaves(import_module(module).parser(), (name,)))


def _leaves(command: Parser, words: tuple[str, ...]) -> Iterator[tuple[str, Parser]]:
    inner = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield " ".join(words), command
    for name, child in inner[0].choices.items() if inner else ():
        if words or name not in FORWARDED:
            yield from _leaves(child, (*words, name))


def parser() -> Parser:
    """The parser of `lodestar` and of the commands that are not in FORWARDED."""
    parser = Parser(
        prog="lodestar",
        description="Train, evaluate and serve recommendation models from behaviour logs and a catalogue, on a laptop or on Kubernetes.",
        epilog="Exit codes: 0 ok, 2 usage, 3 data, 4 gate failed, 5 environment. `lodestar COMMAND --help` describes a command.",
        examples=["lodestar run --data clicks.csv", "lodestar data validate --data clicks.csv", "lodestar recipes"],
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run.add(commands)
    data.add(commands)
    features.add(commands)
    tuning.add(commands)
    for name, (_, meaning) in FORWARDED.items():
        commands.add_parser(name, help=meaning)
    _recipes_parser(commands)
    return parser


def _recipes_parser(commands: "argparse._SubParsersAction[Parser]") -> None:
    recipes = commands.add_parser(
        "recipes",
        help="list the recipes",
        description="List the recipes: models with their hyperparameters, sizes and measured metrics.",
        examples=["lodestar recipes"],
    )
    recipes.set_defaults(command=_recipes)


def _recipes(_options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from lodestar.config import CLOSED_FORM_FAMILIES
    from lodestar.recipes import LARGER_MODEL, MEASURED, RECIPES, SIZED_RECIPES, SIZES

    larger = " and ".join(f"NAME-{name} (vectors of {size['dim']}, {size['num_layers']} layers)" for name, size in SIZES.items())
    caption = (
        "metrics: HR@10 and NDCG@10 on MovieLens-100K, leave-one-out, full ranking; size: vector dimensions, plus neighbours per item; "
        f"events: minimum number to train on\n{larger}, with histories of {LARGER_MODEL['max_length']}, for a GPU, exist for "
        f"{', '.join(SIZED_RECIPES)}"
    )
    table = Table(caption=caption, caption_justify="left", box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for heading in ("metrics", "size", "events"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("description")
    for name, make in RECIPES.items():
        recipe, figures = make(), " ".join(f"{value:.4f}".lstrip("0") for value in MEASURED.get(name, ()))
        size = f"{'≤' * (recipe.model.family in CLOSED_FORM_FAMILIES)}{recipe.model.dim:,}"
        size += f"+{recipe.model.num_neighbours}" if recipe.model.num_neighbours else ""
        table.add_row(name, figures, size, f"{recipe.data.min_interactions:,}", (make.__doc__ or "").strip())
    console = Console(width=None if sys.stdout.isatty() else UNWRAPPED)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
    return 0
