"""Page of the command line: every command with its options, and which commands share an option."""

import argparse
import re
from collections import defaultdict

from cli.main import commands
from docs.generate.markdown import code, paragraph, sentence, table
from lodestar.process.command_line import Parser

INTRODUCTION = """Every command of `lodestar` and its options, as `lodestar COMMAND --help` gives them. A shared option has the same name,
form and meaning in every command; where it may be repeated, its meaning says so.
Records and progress go to standard error, results to standard output; where a command writes something,
the last line of standard output is its path. Exit codes: 0 ok, 2 usage, 3 data, 4 gate failed,
5 environment; stopped by a signal: 129 the terminal was closed, 130 Ctrl-C, 141 nobody reads the output, 143 SIGTERM."""
STEPS = """The steps of the pipeline, as commands. Their options are the step's parameters and artifacts in the pipeline, all required, and
spelt as there, with underscores; an artifact has one name where it is written and where it is read."""
STEP = "step "
DEFAULT = re.compile(r"\s*\((?:(?P<more>[^()]*; )?default: (?P<default>.*)|(?P<required>required)|(?P<rest>[^()]*))\)$")


def page() -> str:
    """The page as Markdown."""
    found = commands()
    steps = {name: command for name, command in found.items() if name.startswith(STEP)}
    others = {name: command for name, command in found.items() if name not in steps}
    parts = [f"# Command line\n\n{paragraph(INTRODUCTION)}", f"## Shared options\n\n{_shared(others)}"]
    parts += [f"## lodestar {name}\n\n{_command(command)}" for name, command in others.items()]
    parts.append(f"## lodestar step\n\n{paragraph(STEPS)}")
    parts += [f"### lodestar {name}\n\n{_command(command)}" for name, command in steps.items()]
    return "\n".join(parts)


def _shared(found: dict[str, Parser]) -> str:
    """Options of several commands, with the commands that have them."""
    users, forms = defaultdict(list), {}
    for name, command in found.items():
        for action in _options(command):
            users[action.option_strings[-1]].append(name)
            forms[action.option_strings[-1]] = _form(action)
    return table(("option", "commands"), ((code(forms[option]), code(*names)) for option, names in users.items() if len(names) > 1))


def _command(command: Parser) -> str:
    rows = []
    for action in command._actions:
        if action.dest != "help":
            meaning, default = _meaning_and_default(command, action)
            rows.append((code(_form(action)), default, sentence(meaning)))
    described = paragraph(command.description or "")
    examples = "\n".join(command.examples)
    options = f"{table(('option', 'default', 'meaning'), rows)}\n" if rows else ""
    return f"{described}\n{options}```\n{examples}\n```\n"


def _options(command: Parser) -> list[argparse.Action]:
    return [action for action in command._actions if action.option_strings and action.dest != "help"]


def _form(action: argparse.Action) -> str:
    value = action.metavar if action.nargs != 0 else None
    return " ".join(filter(None, ((action.option_strings or [""])[-1], str(value) if value else "")))


def _meaning_and_default(command: Parser, action: argparse.Action) -> tuple[str, str]:
    """The meaning, and the default that the help says at its end; repeatable options say so in their meaning."""
    text = command._get_formatter()._expand_help(action)
    ending = DEFAULT.search(text)
    if ending is None or ending["rest"]:
        return text, ""
    meaning = text[: ending.start()] + (f" ({ending['more'].rstrip('; ')})" if ending["more"] else "")
    return meaning, "required" if ending["required"] else ending["default"]
