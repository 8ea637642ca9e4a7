"""The refusal of files that a person must say more of: every decision at once, each with the line of a declaration that decides it."""

from collections.abc import Mapping
from dataclasses import replace

from lodestar import schema
from lodestar.data.declaration.model import FILE
from lodestar.data.describe.description import Description
from lodestar.data.describe.findings import Decision, Line
from lodestar.data.describe.toml_text import key_text, line_text, value_text
from lodestar.errors import DataError, together
from lodestar.process.safe_text import command, quote

MAX_TYPES = 20


def refusal(description: Description, path: str) -> DataError:
    """The error of what must be decided before the files at a path can be read, with the command that writes the declaration."""
    names = [source.table for source in description.sources]
    errors = [
        _error(decision, is_several=bool(decision.candidates) and names.count(decision.candidates[0].table) > 1)
        for decision in description.needed
    ]
    last = errors[-1]
    writes = f"All that is sure is written by: {command(['lodestar', 'data', 'describe', path])} > {FILE}"
    errors[-1] = DataError(last.code, last.message, remedy=f"{last.remedy}\n{writes}", place=last.place)
    return together(errors)


def _error(decision: Decision, *, is_several: bool) -> DataError:
    """The error of a decision; of one of several sources the line is one of its own."""
    lines = [text for line in decision.candidates for text in declared_lines(replace(line, table="") if is_several else line)]
    where = f", in the source of {decision.place.file}" if is_several else ""
    which = " one of" if len(decision.candidates) > 1 else ""
    remedy = "\n".join([f"Declare in {FILE}{where}{which}:", *lines, *_option(decision)]) if lines else "Give a file that has it."
    return DataError(decision.code, decision.message, remedy=remedy, place=decision.place)


def declared_lines(line: Line) -> list[str]:
    """A line as it is declared; of a map of event types one for each."""
    if line.key == "event_types" and isinstance(line.value, Mapping):
        return [f"event_types.{key_text(text)} = {value_text(kind)}" for text, kind in list(line.value.items())[:MAX_TYPES]]
    return [line_text(line.path, line.value)]


def _option(decision: Decision) -> list[str]:
    """The option of the command line that says the same as the likeliest line, if there is one."""
    line = decision.candidates[0]
    if line.key == "time_zone":
        return [f"or pass --time-zone {line.value}."]
    if line.table == schema.EVENTS.name and line.key in schema.EVENTS.names and isinstance(line.value, str):
        return [f"or pass --map {quote(f'{line.key}={line.value}')}."]
    return []
