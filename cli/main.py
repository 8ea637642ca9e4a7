"""The `lodestar` command: compile, run and serve."""

import argparse
import os
import sys
from importlib import import_module
from importlib.metadata import version

from cli import data, features, run, tuning
from lodestar import DISTRIBUTION
from lodestar.errors import LodestarError
from lodestar.safe_text import Parser

# Commands that read their own options: they are commands without `lodestar` as well, in images that hold nothing else.
FORWARDED = {
    "serve": ("serving.__main__", "answer requests from a bundle"),
    "collect": ("serving.collector", "take events in over HTTP or from Kafka"),
    "simulate": ("lodestar.data.simulator", "write a simulated shop's tables, as large as you like"),
    "rollout": ("serving.rollout", "move an InferenceService to a new bundle, by shares"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code says what kind of trouble there was (0 ok, 2 usage, 3 data, 4 gate, 5 environment)."""
    os.umask(0o077)  # files are readable by their owner only: events and models trained on them are personal data
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in FORWARDED:
        module, _ = FORWARDED[arguments[0]]
        return int(import_module(module).main(arguments[1:]))
    if arguments == ["--version"]:
        print(f"lodestar {version(DISTRIBUTION)}")
        return 0
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except LodestarError as error:
        print(f"lodestar: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lodestar: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="lodestar",
        description="Behaviour logs and a catalogue in; personalised recommendations out, on a laptop or on Kubernetes.",
        epilog="Exit codes: 0 ok, 2 usage, 3 data, 4 a gate refused, 5 environment.",
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


def _recipes_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    recipes = commands.add_parser("recipes", help="list the recipes", description="Named runs, with what they are for.")
    recipes.set_defaults(command=_recipes)


def _recipes(_options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from lodestar.config import COUNTED_FAMILIES
    from lodestar.recipes import LARGER_MODEL, MEASURED, RECIPES, SIZED, SIZES

    larger = " and ".join(f"NAME-{name} (vectors of {size['dim']}, {size['layers']} layers)" for name, size in SIZES.items())
    caption = (
        "figures: HR@10 and NDCG@10 on MovieLens-100K, the last item of each user, all items ranked; size: numbers of an item, and counted "
        f"neighbours beside a learnt model; events: the least to learn from\n{larger}, with histories of {LARGER_MODEL['max_length']} and "
        f"for a GPU, are there of {', '.join(SIZED)}"
    )
    table = Table(caption=caption, caption_justify="left", box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for heading in ("figures", "size", "events"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what it is")
    for name, make in RECIPES.items():
        made, figures = make(), " ".join(f"{value:.4f}".lstrip("0") for value in MEASURED.get(name, ()))
        size = f"{'≤' * (made.model.family in COUNTED_FAMILIES)}{made.model.dim:,}"
        size += f"+{made.model.neighbours}" if made.model.neighbours else ""
        table.add_row(name, figures, size, f"{made.data.min_interactions:,}", (make.__doc__ or "").strip())
    Console().print(table)
    return 0
