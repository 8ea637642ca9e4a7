"""A description as the text of a declaration: decisions first, as lines of comment of which a person chooses, then what is sure."""

import glob
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from lodestar.data.describe.description import Description
from lodestar.data.describe.findings import Decision, Line, Source
from lodestar.data.describe.toml_text import comment, line_text, value_text, with_reason

MAX_EDITS = 3  # lines that a person edits at most; beyond it joins are written as they are guessed
MAX_UNUSED = 50


def declaration_text(description: Description, title: str, *, folder: str = "", is_assumed: bool = False) -> str:
    """The declaration of what is described, called `title`; `folder` is where the files lie if not beside it.

    With `is_assumed` the first candidate of each decision is declared, as for a preview.
    """
    guessed = _guessed(description)
    open_ = [one for one in description.all_decisions if one not in guessed]
    needed, optional = ([one for one in open_ if one.is_needed is needs] for needs in (True, False))
    parts = [_head(description, title)]
    if folder:
        parts.append([line_text("folder", folder)])
    if needed:
        parts.append(
            [
                "# To decide: remove the # before one line of each, here or in the list of sources.",
                *_decisions(needed, description, is_assumed=is_assumed),
            ]
        )
    parts.append([*comment(_sure(description)), *_declared(description, guessed, is_assumed=is_assumed)])
    if optional:
        parts.append(["# If you like: remove the #.", *_decisions(optional, description, is_assumed=False)])
    if description.unused:
        parts.append(
            ["# Not read:", *(line for name, reason in list(description.unused.items())[:50] for line in comment(f"{name}: {reason}"))]
        )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _guessed(description: Description) -> list[Decision]:
    """Decisions on joins that are written as they are guessed, where too much would be left to edit."""
    return [one for one in description.needed if one.is_join and one.candidates] if len(description.needed) > MAX_EDITS else []


def _head(description: Description, title: str) -> list[str]:
    share = (
        "all there are"
        if description.share == 1
        else f"{description.share:.2%} of the largest file: its beginning, a piece of its middle, its end"
    )
    return [
        *comment(f"Declaration of {title}, as `lodestar data describe` found it in {description.rows:,} rows ({share})."),
        *comment("What stands behind a # is not declared."),
    ]


def _sure(description: Description) -> str:
    return "Sure, each for the reason behind it." if description.needed else "Everything is sure, each for the reason behind it."


def _decisions(decisions: Sequence[Decision], description: Description, *, is_assumed: bool) -> list[str]:
    """Each decision with its candidates; those of one of several sources are in the list of these."""
    several = _several(description)
    lines: list[str] = []
    for decision in _distinct(decisions):
        if decision.candidates and decision.candidates[0].table in several:
            continue
        lines += comment(_said(decision))
        for number, candidate in enumerate(decision.candidates):
            mark = "" if is_assumed and not number else "#"
            lines.append(mark + with_reason(line_text(candidate.path, candidate.value), candidate.reason))
    return lines


def _said(decision: Decision) -> str:
    return f"{decision.code} {decision.place}: {decision.message}".lstrip()


def _distinct(decisions: Sequence[Decision]) -> list[Decision]:
    """Decisions, of those with the same candidates the first."""
    found: dict[str, Decision] = {}
    for decision in decisions:
        found.setdefault(
            repr([(line.path, line.value) for line in decision.candidates]) if decision.candidates else decision.message, decision
        )
    return list(found.values())


def _several(description: Description) -> set[str]:
    names = [source.table for source in description.sources]
    return {name for name in names if names.count(name) > 1}


def _declared(description: Description, guessed: Sequence[Decision], *, is_assumed: bool) -> list[str]:
    several = _several(description)
    lines = [with_reason(line_text(line.path, line.value), line.reason) for line in description.given]
    for source in description.sources:
        if source.table not in several:
            lines.append(line_text(f"{source.table}.files", files_value(description, source)))
            lines += [with_reason(line_text(line.path, line.value), line.reason) for line in source.lines]
        else:
            lines += [with_reason(line_text(line.path, line.value), line.reason) for line in source.lines if not line.table]
    lines += [
        with_reason(line_text(one.candidates[0].path, one.candidates[0].value), f"a guess: {one.candidates[0].reason}") for one in guessed
    ]
    for table in sorted(several):
        lines += [f"{table} = [", *_elements(description, table, is_assumed=is_assumed), "]"]
    return lines


def _elements(description: Description, table: str, *, is_assumed: bool) -> list[str]:
    """The sources of a table as inline tables, a line each; one that waits for a decision as a comment for each candidate."""
    lines: list[str] = []
    for source in (source for source in description.sources if source.table == table):
        own = [one for one in source.decisions if one.is_needed and one.candidates and one.candidates[0].table == table]
        for decision in own:
            lines += [f"  {line}" for line in comment(_said(decision))]
        mark = "" if is_assumed or not own else "#"
        lines += [f"  {mark}{element}" for element in _variants(description, source, own)[: 1 if is_assumed else None]]
    return lines


def _variants(description: Description, source: Source, decisions: Sequence[Decision]) -> list[str]:
    """A source as an inline table, for each candidate of its first decision with several, and the first of the others."""
    lines = [line for line in source.lines if line.table]
    chosen = [one.candidates[0] for one in decisions]
    place = next((number for number, one in enumerate(decisions) if len(one.candidates) > 1), None)
    options = (
        [chosen] if place is None else [[*chosen[:place], candidate, *chosen[place + 1 :]] for candidate in decisions[place].candidates]
    )
    return [_element(description, source, [*lines, *option]) for option in options]


def _element(description: Description, source: Source, lines: Sequence[Line]) -> str:
    content = {"files": files_value(description, source), **{line.key: line.value for line in lines}}
    return f"{value_text(content)},"


def files_value(description: Description, source: Source) -> str | list[str]:
    """The names of a source's files, as a wildcard where one matches these and no other."""
    names, root = source.files, description.files.root
    if len(names) > 1:
        for pattern in _patterns(names):
            if _matched(root, pattern) == set(names):
                return pattern
    escaped = [glob.escape(name) for name in names]
    return escaped[0] if len(escaped) == 1 else escaped


def _patterns(names: Sequence[str]) -> list[str]:
    """Wildcards that match all names: by what they begin and end with, and below a folder of theirs."""
    start, end = _common_start(names), _common_start([name[::-1] for name in names])[::-1]
    folder = start.rpartition("/")[0]
    suffix = end[end.find(".") :] if "." in end else ""
    found = [f"{glob.escape(start)}*{glob.escape(suffix)}"] if all("/" not in name[len(start) :] for name in names) else []
    return [*found, f"{glob.escape(folder)}/**/*{glob.escape(suffix)}" if folder else f"**/*{glob.escape(suffix)}"]


def _matched(root: Path, pattern: str) -> set[str]:
    """The names that a declaration with a wildcard would read."""
    found = (path.relative_to(root) for path in root.glob(pattern) if path.is_file())
    return {path.as_posix() for path in found if not any(part.startswith((".", "_")) for part in path.parts)}


def _common_start(names: Sequence[str]) -> str:
    """What all names begin with."""
    return "".join(letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))
