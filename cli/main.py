"""The `lodestar` command line: its subcommands and exit codes."""

import argparse
import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TextIO

from cli import data, features, run, tuning
from lodestar import DISTRIBUTION
from lodestar.errors import EnvironmentFault, LodestarError
from lodestar.process.command_line import Parser
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
STDOUT, STDERR = 1, 2
CLOSED_PIPE = 128 + signal.SIGPIPE  # as a shell reports a program that wrote to a closed pipe


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (0 ok, 2 usage, 3 data, 4 gate, 5 environment, 130 after Ctrl-C, 141 if nobody reads on)."""
    os.umask(0o077)  # files are readable by their owner only: events and models trained on them are personal data
    _open_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
        if not closed:
            raise
        _discard(closed)
        return CLOSED_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _discard([sys.stdout])
        fault = EnvironmentFault("E506", f"an output cannot be written ({error.strerror})", remedy="Free space where it is written.")
        print(f"lodestar: {fault}", file=sys.stderr)
        return fault.exit_code
    return code


def _open_streams() -> None:
    """Open standard streams that are closed (`2>&-`) on nothing, so that no file that is opened next is written to as one of them."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(handle)
    for name, number in (("stdout", STDOUT), ("stderr", STDERR)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


def _discard(streams: Sequence[TextIO]) -> None:
    """What is still buffered for streams goes nowhere."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_closed(stream: TextIO) -> bool:
    """Whether nobody reads a stream any more, as standard output after `| head -1`."""
    with contextlib.suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    return False


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in FORWARDED:
        module, _ = FORWARDED[arguments[0]]
        return int(import_module(module).main(arguments[1:]))
    if arguments == ["--version"]:
        print(f"lodestar {version(DISTRIBUTION)}")
        return 0
    options = parser().parse_args(arguments)
    try:
        doing: str = getattr(options, "doing", "")
        with activity(doing, is_recorded=False) if doing else contextlib.nullcontext():
            return int(options.command(options))
    except LodestarError as error:
        print(f"lodestar: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lodestar: stopped; the same command resumes from here", file=sys.stderr)
        return 130


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
