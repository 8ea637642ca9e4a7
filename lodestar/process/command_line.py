"""Command lines: one parser for all commands, and each option that several commands have, once, with its form and meaning.

A shared option has the same name, form and meaning in every command: `--output` is what a command writes, `--features` a feature set.
Options of a single command stand where its parser is built.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lodestar.process.option_values import digest, given, host, local_path, object_name, port, registry, seed
from lodestar.process.safe_text import printable, quoted
from lodestar.process.suggestions import suggestion, unknown_name

HELP_COLUMN, MAX_WIDTH = 26, 100
EXAMPLE_WIDTH = 74  # with its indentation and the backslash, it fits 80 columns
WRONG_USAGE = "E300"
INVALID_CHOICE = re.compile(r"(?P<argument>(argument \S+: )?)invalid choice: '(?P<value>.*)' \(choose from (?P<choices>.*)\)", re.DOTALL)
NO_VALUE = re.compile(r"argument (?P<option>--\S+): expected one argument")
MISSING = "the following arguments are required: "


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option's placeholder, meaning, and other arguments of `add_argument`."""

    metavar: str = ""
    meaning: str
    arguments: tuple[tuple[str, Any], ...] = ()


class Parser(argparse.ArgumentParser):
    """Argument parser of all commands: examples at the end of the help, no abbreviations, and errors with the code E300."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **options: Any) -> None:
        self.examples = tuple(map(_broken_before_options, examples))
        lines = [options.pop("epilog", ""), "\n".join(["examples:", *(f"  {example}" for example in self.examples)]) if examples else ""]
        # An abbreviation that works today is ambiguous once a command has another option.
        options = {"formatter_class": HelpFormatter, "allow_abbrev": False, **options, "epilog": "\n\n".join(filter(None, lines)) or None}
        super().__init__(*arguments, **options)
        self._words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; an argument that a command does not have is an error of that command, with its usage and its nearest option."""
        self._words = list(sys.argv[1:] if args is None else args)
        for word in self._words:
            if not _is_utf8(word):
                self.error(f"{quoted(word)} is not UTF-8: rename the file, or where the locale is not UTF-8, set LC_ALL=C.UTF-8")
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and not self._has_commands():
            self.error(self._unknown(unknown[0]))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and a sanitised message that names the nearest option or choice; its list is on lines of 80 columns."""
        self.print_usage(sys.stderr)
        self.exit(2, printable(f"{self.prog}: {WRONG_USAGE} {self._explained(message)}\n"))

    def _explained(self, message: str) -> str:
        """The message about a wrong choice, a misspelt option, or a value that looks like an option."""
        misspelt = next((word for word in self._words if word.startswith("--") and not self._knows(word)), None)
        if (found := INVALID_CHOICE.fullmatch(message)) is not None:
            if self._has_commands() and self._words[0].startswith("-"):
                return f"unknown argument {quoted(self._words[0])} before the command: options follow it"
            choices = [choice.strip("'") for choice in found["choices"].split(", ")]
            return unknown_name(f"{found['argument']}no choice", found["value"], choices).replace("\n", "\n  ")
        if message.startswith(MISSING) and misspelt is not None and not self._has_commands():
            return self._unknown(misspelt)
        if (found := NO_VALUE.fullmatch(message)) is not None:
            return f"{message}; where the value begins with a dash, write {found['option']}=VALUE"
        return message

    def _unknown(self, word: str) -> str:
        return f"unknown argument {quoted(word)}{suggestion(word.partition('=')[0], self._option_string_actions)}"

    def _knows(self, word: str) -> bool:
        return word.partition("=")[0] in self._option_string_actions

    def _has_commands(self) -> bool:
        return self._subparsers is not None


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


def _is_utf8(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    "--time-zone": Option(
        metavar="ZONE",
        meaning="time zone of times that have no offset, such as UTC or Europe/Paris (default: none)",
        arguments=(("default", ""),),
    ),
    "--quarantine": Option(meaning="drop rows with errors, list the first of each kind, and go on", arguments=(("action", "store_true"),)),
    "--recipe": Option(metavar="NAME", meaning="name of a recipe: see `lodestar recipes`"),
    "--overrides": Option(metavar="JSON", meaning=OVERRIDES, arguments=(("action", "append"), ("default", []))),
    "--output": Option(metavar="PATH", meaning="what is written"),
    "--tables": Option(metavar="PATH", meaning="folder of tables that `lodestar data ingest` wrote", arguments=(("type", local_path),)),
    "--features": Option(
        metavar="PATH", meaning="feature set: what `lodestar features build` or a run's build_features wrote", arguments=(("type", given),)
    ),
    "--bundle": Option(metavar="PATH", meaning="a published bundle: a folder or an s3:// address", arguments=(("type", given),)),
    "--features-digest": Option(
        metavar="SHA256", meaning="digest that the features are checked against (default: not checked)", arguments=(("type", digest),)
    ),
    "--checkpoints": Option(
        metavar="PATH", meaning="where checkpoints are saved, and resumed from: a folder or an s3:// address", arguments=(("type", given),)
    ),
    "--heartbeat": Option(
        metavar="ADDRESS", meaning="address that the watching step writes to; the job ends once it stops (default: none)"
    ),
    "--destination": Option(metavar="ADDRESS", meaning="where pods publish bundles: an s3:// address"),
    "--service": Option(metavar="NAME", meaning="InferenceService, as NAMESPACE/NAME, or NAME in the namespace lodestar"),
    "--namespace": Option(metavar="NAME", meaning="Kubernetes namespace of what is created", arguments=(("type", object_name),)),
    "--memory": Option(
        metavar="STEP=SIZE",
        meaning="memory of a step as a Kubernetes quantity, such as train=64Gi (repeatable; default: of the step)",
        arguments=(("action", "append"), ("default", [])),
    ),
    "--seed": Option(metavar="N", meaning="seed of the random generator", arguments=(("type", seed), ("default", 0))),
    "--registry": Option(metavar="HOST/PATH", meaning="registry of the container images", arguments=(("type", registry),)),
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
    """Add `--data` with what belongs to it: `--map`, `--time-zone` and `--quarantine`."""
    add_option(parser, "--data", **(changes or {"required": True}))
    for name in ("--map", "--time-zone", "--quarantine"):
        add_option(parser, name)


def add_recipe(parser: argparse.ArgumentParser, default: str | None = "sasrec", **changes: Any) -> None:
    """Add `--recipe` and `--overrides`."""
    add_option(parser, "--recipe", default=default, **changes)
    add_option(parser, "--overrides")


def add_output(parser: argparse.ArgumentParser, meaning: str, default: str | None = None) -> None:
    """Add `--output`, a local path, with what is written there; required without a default."""
    add_option(parser, "--output", type=local_path, help=meaning, default=default and Path(default), required=default is None)
