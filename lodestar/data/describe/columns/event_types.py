"""The types of events: of a column's values, of flags, or one for all, by what such logs call them."""

import re
from collections.abc import Mapping, Sequence

from lodestar import schema
from lodestar.data.declaration.model import LEFT_OUT
from lodestar.data.describe.columns.roles import Choice
from lodestar.data.describe.findings import Decision, Findings, Line
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.values import INTEGER, MOST
from lodestar.errors import Location
from lodestar.schema import aliases
from lodestar.schema.events import EventType

SHOWN_TYPES = 20
_FLAGS = {"0", "1", "true", "false", "0.0", "1.0"}
_TRUE = {"1", "true", "1.0"}


def find_types(sample: FileSample, columns: Mapping[str, Choice], words: Sequence[str], *, is_plain_log: bool) -> Findings:
    """What unknown types mean; without types the one of all events, which is a guess unless the log is a plain one.

    `words` are those of the files' names.
    """
    if choice := columns.get(schema.EVENT_TYPE):
        return Findings(decisions=tuple(_unknown_types(sample, choice)))
    if schema.RATING in columns:
        return Findings()
    if is_plain_log:
        return Findings(lines=(Line(key="event_type", value=str(EventType.VIEW), reason="plain interactions, by the file's name"),))
    candidates = [*_flag_types(sample, columns), *_constant_types(sample, words)]
    message = f"there is no column of event types or ratings; the file has {', '.join(sample.names[:SHOWN_TYPES])}"
    place = Location(file=sample.file, column=schema.EVENT_TYPE)
    return Findings(decisions=(Decision(code="E101", message=message, candidates=tuple(candidates), place=place),))


def _constant_types(sample: FileSample, words: Sequence[str]) -> list[Line]:
    """The types that the names of the files and of their columns speak for; and views."""
    reasons: dict[EventType, str] = {}
    for word in words:
        if (kind := aliases.event_type_of(word)) and kind is not EventType.RATING:
            reasons.setdefault(kind, "by the file's name")
    for name in sample.names:
        if kind := aliases.near_event_type(name):
            reasons.setdefault(kind, f"by the name of {name}")
    reasons.pop(EventType.RATING, None)
    reasons.setdefault(EventType.VIEW, "if every event is a view")
    return [Line(key="event_type", value=str(kind), reason=reason) for kind, reason in reasons.items()]


def _flag_types(sample: FileSample, columns: Mapping[str, Choice]) -> list[Line]:
    """Columns of 0 and 1 whose names are event types."""
    claimed = {choice.theirs for choice in columns.values()}
    found = []
    for name in sample.names:
        kind = aliases.event_type_of(re.sub(r"^(is|has|was)[_ ]?", "", name.casefold()))
        values = sample.values(name).meant
        if kind and name not in claimed and values.count and {text.casefold() for text in values.examples} <= _FLAGS:
            meant = {text: str(kind) if text.casefold() in _TRUE else LEFT_OUT for text in sorted(values.examples)}
            reason = f"the flags of {name} say which rows are such events; the others are left out"
            found.append(Line(key=schema.EVENT_TYPE, value={"column": name, "values": meant}, reason=reason, table=schema.EVENTS.name))
    return found


def _unknown_types(sample: FileSample, choice: Choice) -> list[Decision]:
    """The decision on what types mean that are not ours; a few in a column of ours are rows with errors."""
    values = sample.values(choice.theirs)
    own = {str(kind) for kind in EventType}
    unknown = {text: int(count) for text, count in zip(values.examples, values.counts, strict=True) if text not in own}
    if not unknown:
        return []
    meant = {text: str(aliases.near_event_type(text) or LEFT_OUT) for text in unknown}
    if set(meant.values()) == {LEFT_OUT} and len(unknown) == values.num_distinct:
        meant[next(iter(meant))] = str(EventType.VIEW)
    known = values.share_among([text for text in unknown if aliases.event_type_of(text)])
    is_needed = known >= 1 - MOST or values.share_among(list(unknown)) >= 0.5
    counted = ", ".join(f"{text!r} ({count:,})" for text, count in list(unknown.items())[:SHOWN_TYPES])
    are_codes = all(re.fullmatch(INTEGER, text) for text in unknown)
    reason = (
        "codes say nothing of what they mean: write it"
        if are_codes
        else "by what such logs call them; types that none is near are left out"
    )
    candidate = Line(key="event_types", value=meant, reason=reason)
    place = sample.place(choice.theirs, next(iter(unknown)))
    message = f"there are no such event types: {counted}"
    return [Decision(code="E110", message=message, candidates=(candidate,), place=place, is_needed=is_needed)]
