"""Columns of events that no name tells: by their values, or by one of several names, a person decides."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lodestar import schema
from lodestar.data.describe.columns.cells import column_form
from lodestar.data.describe.columns.fits import fits
from lodestar.data.describe.columns.roles import Choice, guess_by_values
from lodestar.data.describe.findings import Decision, Line
from lodestar.data.describe.samples.file_sample import FileSample, as_text
from lodestar.errors import Location
from lodestar.schema import aliases

SHOWN, SHOWN_NAMES = 4, 20
_GUESSED = (schema.EVENT_TIME, schema.EVENT_TYPE, schema.USER_ID, schema.ITEM_ID)
_NEEDS_ITEM = frozenset(kind for kind, needed in schema.REQUIRED_COLUMNS.items() if schema.ITEM_ID in needed)


@dataclass(frozen=True, kw_only=True)
class Guessed:
    """The sample and the columns chosen of it, with those that are guessed by their values, and the decisions on these.

    Where most columns are guessed, the decision is on the names of all, and the sample has these. `lines` say that there is a header.
    """

    sample: FileSample
    columns: dict[str, Choice]
    decisions: tuple[Decision, ...] = ()
    lines: tuple[Line, ...] = ()


def guess(sample: FileSample, chosen: Mapping[str, Choice]) -> Guessed:
    """Guess the columns of events that are needed and that no name tells."""
    columns, claimed = dict(chosen), {choice.theirs for choice in chosen.values()}
    found: dict[str, list[str]] = {}
    for ours in _GUESSED:
        if ours not in columns and _is_missing(ours, columns, sample):
            several = list(dict.fromkeys([*_near(sample, ours, claimed), *guess_by_values(sample, ours, claimed)]))[:SHOWN]
            if several or ours in {schema.USER_ID, schema.ITEM_ID}:
                found[ours] = several
            if several:
                columns[ours] = Choice(theirs=several[0], reason="its values could be it", others=tuple(several[1:]))
                claimed.add(several[0])
    named = {several[0]: ours for ours, several in found.items() if several}
    if len(named) > 1 and len(named) == len(found) and sample.is_delimited:
        return _by_position(sample, columns, named)
    decisions = tuple(_by_values(sample, ours, several) for ours, several in found.items())
    return Guessed(sample=sample, columns=columns, decisions=decisions)


def _near(sample: FileSample, ours: str, claimed: Collection[str]) -> list[str]:
    """The column whose name is the nearest in spelling, if its values fit."""
    plain = {aliases.plain_name(name): name for name in sample.names if name not in claimed and fits(schema.EVENTS, ours, sample, name)}
    return [plain[name] for name in get_close_matches(aliases.plain_name(ours), list(plain), n=1, cutoff=0.8)]


def _is_missing(ours: str, chosen: Mapping[str, Choice], sample: FileSample) -> bool:
    """Whether a source needs a column that it does not have: a session stands for a user, a rating for a type."""
    if ours == schema.USER_ID:
        return schema.SESSION_ID not in chosen
    if ours == schema.EVENT_TYPE:
        return schema.RATING not in chosen
    if ours == schema.ITEM_ID and schema.EVENT_TYPE in chosen:
        kinds = {aliases.near_event_type(text) for text in sample.values(chosen[schema.EVENT_TYPE].theirs).examples}
        return kinds <= {None, *_NEEDS_ITEM}  # searches name no item
    return True


def _by_position(sample: FileSample, columns: Mapping[str, Choice], named: Mapping[str, str]) -> Guessed:
    """One decision on the names of all columns, where no header tells what they hold."""
    names = [named.get(name, name) for name in sample.names]
    reason = "by their values: name each as it is meant, in this order"
    candidate = Line(key="columns", value=names, reason=reason)
    message = f"no column is called as logs call their {', '.join(named.values())}; the file has {', '.join(sample.names[:SHOWN_NAMES])}"
    place = Location(file=sample.file, line=1)
    own = {ours: Choice(theirs=ours, reason="", is_own=True) for ours in named.values()}
    return Guessed(
        sample=sample.renamed(names),
        columns={**columns, **own},
        decisions=(Decision(code="E101", message=message, candidates=(candidate,), place=place),),
        lines=(Line(key="header", value=True, reason="the first line is one"),),
    )


def _by_values(sample: FileSample, ours: str, guessed: Sequence[str]) -> Decision:
    candidates = tuple(candidate(sample, ours, name, f"its values, such as {_examples(sample, name)}, could be it") for name in guessed)
    none = "" if guessed else ", and no values could be it"
    message = f"no column is called as logs call their {ours}{none}; the file has {', '.join(sample.names[:SHOWN_NAMES])}"
    return Decision(code="E101", message=message, candidates=candidates, place=Location(file=sample.file, column=ours))


def candidate(sample: FileSample, ours: str, theirs: str, reason: str) -> Line:
    """A column of a file as one of events, in the form of its values."""
    form = column_form(schema.EVENTS, ours, sample, theirs)
    value: object = {"column": theirs, **form.options} if form.options else theirs
    return Line(key=ours, value=value, reason=reason, table=schema.EVENTS.name)


def _examples(sample: FileSample, name: str) -> str:
    return as_text([text[:30] for text in sample.values(name).meant.examples[:2]])


def between(sample: FileSample, ours: str, several: Sequence[str]) -> Decision:
    """The decision between columns that are all called so and whose values fit."""
    candidates = tuple(candidate(sample, ours, name, f"its values are such as {_examples(sample, name)}") for name in several)
    message = f"{', '.join(several)} could each be {ours}, by their names and values"
    place = Location(file=sample.file, column=ours)
    return Decision(code="E101", message=message, candidates=candidates, place=place, is_needed=ours in _GUESSED)
