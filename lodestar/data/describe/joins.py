"""Whether users and items join to the events: by one column of both, or by columns that a person must name."""

from collections.abc import Mapping
from dataclasses import dataclass

from lodestar import schema
from lodestar.data.describe.columns.roles import Choice
from lodestar.data.describe.findings import Decision, Line
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.errors import Location


@dataclass(frozen=True, kw_only=True)
class Side:
    """A table with the sample of its rows, and the columns that are chosen of it."""

    table: schema.Table
    sample: FileSample
    chosen: Mapping[str, Choice]


def find_join(events: Side, other: Side) -> tuple[str, list[Decision]]:
    """Why a table cannot be joined to the events, empty where it can; and the decisions on its key and theirs.

    Nothing is to decide where both have the contract's name, or the same name, or --map gives it.
    """
    key = other.table.key[0]
    ours, theirs = events.chosen.get(key), other.chosen.get(key)
    if ours is None or theirs is None:
        return "", []
    found, count = _overlap(events.sample, ours.theirs, other.sample, theirs.theirs)
    if found == 0 and count:
        return f"none of its {count:,} {other.table.name} is in the events", []
    if ours.theirs == theirs.theirs or (_is_known(ours) and _is_known(theirs)):
        return "", []
    join = f"{other.table.name}.{theirs.theirs} = {schema.EVENTS.name}.{ours.theirs}"
    seen = (
        f"{found:,} of the {count:,} ids of {other.table.name} are in the events" if count else "the files are too large to compare all ids"
    )
    return "", [
        Decision(
            code="E101",
            message=f"no column is called {key}; the tables may join by {join}: {seen}",
            candidates=tuple(
                Line(key=key, value=name, table=side.table.name, reason=f"it joins {join}") for name in (choice.theirs, *choice.others)
            ),
            place=Location(file=side.sample.file, column=choice.theirs),
            is_join=True,
        )
        for side, choice in ((other, theirs), (events, ours))
        if not _is_known(choice)
    ]


def _is_known(choice: Choice) -> bool:
    return choice.is_own or choice.is_given


def _overlap(events: FileSample, ours: str, other: FileSample, theirs: str) -> tuple[int, int]:
    """How many ids of a table the events name, and how many it has; both 0 where samples do not tell."""
    named, own = events.values(ours), other.values(theirs)
    samples = [part for sample in (events, other) for part in sample.parts or (sample,)]
    if named.is_cut or own.is_cut or not all(part.mirrored.is_whole for part in samples):
        return 0, 0
    ids = {_plain(text) for text in named.examples}
    return sum(_plain(text) in ids for text in own.examples), own.num_distinct


def _plain(text: str) -> str:
    """An id without the decimal places of a whole number."""
    whole, point, places = text.partition(".")
    return whole if point and not places.strip("0") and whole.lstrip("-").isdigit() else text
