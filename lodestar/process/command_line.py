"""Command lines: one parser for all commands, and each option that several commands have, once, with its form and meaning.

An option has the same name, form and meaning in every command: `--output` is what a command writes, `--features` a feature set.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lodestar.process.safe_text import printable
from lodestar.process.suggestions import suggestion, unknown_name

HELP_COLUMN, MAX_WIDTH = 26, 100
EXAMPLE_WIDTH = 74  # with its indentation and the backslash, it fits 80 columns
MAX_PORT, MAX_COUNT, MAX_SEED = 0xFFFF, 1_000_000_000, 2**63 - 1
INVALID_CHOICE = re.compile(r"(?P<argument>(argument \S+: )?)invalid choice: '(?P<value>.*)' \(choose from (?P<choices>.*)\)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option's placeholder, meaning, and other arguments of `add_argument`."""

    metavar: str = ""
    meaning: str
    arguments: tuple[tuple[str, Any], ...] = ()


class Parser(argparse.ArgumentParser):
    """Argument parser of all commands: examples at the end of the help, and error messages without secrets and control characters."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **options: Any) -> None:
        self.examples = tuple(map(_broken_before_options, examples))
        lines = [options.pop("epilog", ""), "\n".join(["examples:", *(f"  {example}" for example in self.examples)]) if examples else ""]
        options = {"formatter_class": HelpFormatter, **options, "epilog": "\n\n".join(filter(None, lines)) or None}
        super().__init__(*arguments, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; an argument that a command does not have is an error of that command, with its usage and its nearest option."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and not any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            known = [name for action in self._actions for name in action.option_strings]
            self.error(f"unknown argument {unknown[0]!r}{suggestion(unknown[0].partition('=')[0], known)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and a sanitised message; for a wrong choice with the nearest one, and all on lines of 80 columns."""
        if found := INVALID_CHOICE.fullmatch(message):
            choices = [choice.strip("'") for choice in found["choices"].split(", ")]
            message = unknown_name(f"{found['argument']}no choice", found["value"], choices).replace("\n", "\n  ")
        super().error(printable(message))


class HelpFormatter(argparse.HelpFormatter):
    """Formatter of help: paragraphs are filled to the terminal's width, indented lines stay as they are, and defaults are said."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, max_help_position=HELP_COLUMN, **options)
        self._width = min(self._width, MAX_WIDTH)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        fill = super()._fill_text
        return "\n\n".join(part if "\n  " in part else fill(part, width, indent) for part in paragraphs)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        has_default = action.default is not None and action.default not in ("", [], argparse.SUPPRESS)
        if "(default" in text or not action.option_strings or action.nargs == 0:
            return text
        if action.required:
            return f"{text} (required)"
        return f"{text} (default: %(default)s)" if has_default else text


def _broken_before_options(example: str) -> str:
    """An example that fits 80 columns, with a backslash at the end of each line but the last."""
    lines = [""]
    for words in re.split(r" (?=--)", example):
        if lines[-1] and len(lines[-1]) + len(words) > EXAMPLE_WIDTH:
            lines.append(f"    {words}")
        else:
            lines[-1] = f"{lines[-1]} {words}" if lines[-1] else words
    return " \\\n  ".join(lines)


def count(text: str) -> int:
    """Parse a whole number of at least 1 and at most `MAX_COUNT`."""
    return _whole_number(text, 1, MAX_COUNT)


def seed(text: str) -> int:
    """Parse a seed of a random generator: a whole number from 0 to `MAX_SEED`."""
    return _whole_number(text, 0, MAX_SEED)


def port(text: str) -> int:
    """Parse a TCP port, 0 (any free one) to 65,535."""
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no port; there are 0 (any free one) to {MAX_PORT}")
    return int(text)


def _whole_number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"needs a whole number from {low} to {high}, got {text!r}")
    return int(text)


def host(text: str) -> str:
    """Parse an IP address or a name, an IPv6 address with or without brackets."""
    return text.removeprefix("[").removesuffix("]")


OVERRIDES = 'JSON object of values that replace the recipe\'s, such as {"train": {"epochs": 3}} (repeatable; later ones win)'
OPTIONS: dict[str, Option] = {
    "--data": Option(
        metavar="ADDRESS",
        meaning="`simulator`; a folder of tables, of collected part files or of a public dataset; files of events (a quoted wildcard names "
        "several); or an s3:// address of these",
    ),
    "--map": Option(
        metavar="OURS=THEIRS", meaning="read column THEIRS as OURS (repeatable)", arguments=(("action", "append"), ("default", []))
    ),
    "--quarantine": Option(meaning="drop rows with errors, list the first of each kind, and go on", arguments=(("action", "store_true"),)),
    "--recipe": Option(metavar="NAME", meaning="name of a recipe: see `lodestar recipes`"),
    "--overrides": Option(metavar="JSON", meaning=OVERRIDES, arguments=(("action", "append"), ("default", []))),
    "--output": Option(metavar="PATH", meaning="what is written"),
    "--tables": Option(metavar="PATH", meaning="folder of tables that `lodestar data ingest` wrote"),
    "--features": Option(metavar="PATH", meaning="feature set: what `lodestar features build` or a run's build_features wrote"),
    "--bundle": Option(metavar="PATH", meaning="a published bundle: a folder or an s3:// address"),
    "--features-digest": Option(metavar="SHA256", meaning="digest that the features are checked against (default: not checked)"),
    "--checkpoints": Option(metavar="PATH", meaning="where checkpoints are saved, and resumed from: a folder or an s3:// address"),
    "--heartbeat": Option(
        metavar="ADDRESS", meaning="address that the watching step writes to; the job ends once it stops (default: none)"
    ),
    "--destination": Option(metavar="ADDRESS", meaning="where pods publish bundles: an s3:// address"),
    "--service": Option(metavar="NAME", meaning="InferenceService, as NAMESPACE/NAME, or NAME in the namespace lodestar"),
    "--seed": Option(metavar="N", meaning="seed of the random generator", arguments=(("type", seed), ("default", 0))),
    "--registry": Option(metavar="HOST/PATH", meaning="registry of the container images"),
    "--feature-log": Option(metavar="PATH", meaning="log of the features of each response: a file, a folder or an s3:// address"),
    "--host": Option(metavar="ADDRESS", meaning="IP address or name to listen on", arguments=(("type", host), ("default", "127.0.0.1"))),
    "--port": Option(metavar="N", meaning="TCP port to listen on, 0 for any free one", arguments=(("type", port),)),
    "--metrics-port": Option(
        metavar="N",
        meaning="TCP port of /metrics and health; --port then serves no /metrics (default: no port of their own)",
        arguments=(("type", port),),
    ),
}


def add_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup, name: str, **changes: Any) -> None:
    """Add an option of OPTIONS to a parser; `changes` are further arguments, such as a default, a type or a more precise help."""
    option = OPTIONS[name]
    arguments: dict[str, Any] = {"help": option.meaning, **dict(option.arguments)}
    if option.metavar:
        arguments["metavar"] = option.metavar
    parser.add_argument(name, **(arguments | changes))


def add_data(parser: argparse.ArgumentParser, **changes: Any) -> None:
    """Add `--data` with what belongs to it: `--map` and `--quarantine`."""
    add_option(parser, "--data", **(changes or {"required": True}))
    for name in ("--map", "--quarantine"):
        add_option(parser, name)


def add_recipe(parser: argparse.ArgumentParser, default: str | None = "sasrec", **changes: Any) -> None:
    """Add `--recipe` and `--overrides`."""
    add_option(parser, "--recipe", default=default, **changes)
    add_option(parser, "--overrides")


def add_output(parser: argparse.ArgumentParser, meaning: str, default: str | None = None) -> None:
    """Add `--output`, a local path, with what is written there; required without a default."""
    add_option(parser, "--output", type=Path, help=meaning, default=default and Path(default), required=default is None)
