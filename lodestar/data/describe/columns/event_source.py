"""What is found of a source of events: who did what with which item, and when; ratings; lists of items."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lodestar import schema
from lodestar.data.declaration.model import BY_ROW
from lodestar.data.describe.columns.cells import column_line, zone_decision
from lodestar.data.describe.columns.event_types import find_types
from lodestar.data.describe.columns.guesses import SHOWN, SHOWN_NAMES, between, guess
from lodestar.data.describe.columns.roles import Choice
from lodestar.data.describe.findings import Decision, Findings, Line
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.number_values import scales
from lodestar.errors import Location
from lodestar.schema import aliases
from lodestar.schema.events import EventType

REPEATED_SHARE = 0.2
_NEEDS_ITEM = frozenset(kind for kind, needed in schema.REQUIRED_COLUMNS.items() if schema.ITEM_ID in needed)


@dataclass(frozen=True, kw_only=True)
class EventsContext:
    """What else is known of a source of events: the words of its files' names, and whether plain interactions are views for sure."""

    words: tuple[str, ...] = ()
    is_plain_log: bool = False


def find_events(sample: FileSample, chosen: Mapping[str, Choice], context: EventsContext) -> Findings:
    """Lines and decisions of a source of events whose columns are chosen by name."""
    guessed = guess(sample, chosen)
    decided = {line.key for decision in guessed.decisions for line in decision.candidates}
    parts = [
        Findings(lines=guessed.lines, decisions=guessed.decisions),
        _columns(guessed.sample, guessed.columns, decided),
        _times(guessed.sample, guessed.columns),
        find_types(guessed.sample, guessed.columns, context.words, is_plain_log=context.is_plain_log),
        _ratings(guessed.sample, guessed.columns),
        _repeats(guessed.sample, guessed.columns),
    ]
    return Findings(
        lines=tuple(line for part in parts for line in part.lines),
        decisions=tuple(decision for part in parts for decision in part.decisions),
        needs_zone=next((part.needs_zone for part in parts if part.needs_zone), None),
    )


def _columns(sample: FileSample, columns: Mapping[str, Choice], decided: Collection[str]) -> Findings:
    """Lines of all columns that are sure; decisions between those of which several fit."""
    lines: list[Line] = []
    decisions: list[Decision] = []
    needs_zone: Decision | None = None
    for ours, choice in columns.items():
        line, form = column_line(schema.EVENTS, ours, sample, choice)
        if form.needs_zone and ours == schema.EVENT_TIME:
            needs_zone = zone_decision(sample, choice.theirs)
        decisions += form.decisions
        if ours in decided or (ours == schema.EVENT_TIME and _is_order(sample, choice)):
            continue
        if choice.is_sure:
            lines += [line] if line else []
        else:
            decisions.append(between(sample, ours, (choice.theirs, *choice.others)[:SHOWN]))
    return Findings(lines=tuple(lines), decisions=tuple(decisions), needs_zone=needs_zone)


def _is_order(sample: FileSample, choice: Choice) -> bool:
    found = sample.times(choice.theirs)
    return found is not None and found.is_order


def _times(sample: FileSample, columns: Mapping[str, Choice]) -> Findings:
    """The decision on an order where there are no times: numbers that are too small, an order column, or the order of the rows."""
    choice = columns.get(schema.EVENT_TIME)
    if choice is not None:
        if not _is_order(sample, choice):
            return Findings()
        values = sample.values(choice.theirs).meant
        candidate = Line(key="order", value=choice.theirs, reason="the numbers order the events, and there are no times")
        message = "the numbers are too small for times since 1970, and look like row numbers"
        place = sample.place(choice.theirs, values.first)
        return Findings(decisions=(Decision(code="E112", message=message, candidates=(candidate,), place=place),))
    orders = [name for name in sample.names if aliases.plain_name(name) in aliases.ORDER_ALIASES and sample.numbers(name) is not None]
    candidates = [Line(key="order", value=name, reason="it orders the events, by its name, and there are no times") for name in orders[:2]]
    candidates.append(Line(key="order", value=BY_ROW, reason="the rows are in the order of the events, and there are no times"))
    message = f"there is no column of times; the file has {', '.join(sample.names[:SHOWN_NAMES])}"
    place = Location(file=sample.file, column=schema.EVENT_TIME)
    return Findings(decisions=(Decision(code="E101", message=message, candidates=tuple(candidates), place=place),))


def _ratings(sample: FileSample, columns: Mapping[str, Choice]) -> Findings:
    """The scale of ratings, where it is not the contract's."""
    choice = columns.get(schema.RATING)
    if choice is None:
        return Findings()
    values = sample.values(choice.theirs).meant
    reading = sample.numbers(choice.theirs)
    found = scales(values.numbers) if reading is not None and reading.is_plain else []
    if not found:
        return Findings()
    lines = [Line(key="rating_scale", value=[_plain(one.low), _plain(one.high)], reason=one.reason) for one in found]
    if found[0].is_sure:
        return Findings(lines=tuple(lines))
    if found[0].is_count:
        lines.insert(
            0, Line(key="event_type", value=str(EventType.PLAY), reason=f"{choice.theirs} counts what was done, and rates nothing")
        )
    outside = [text for text in values.examples if _is_outside(text)]
    place = sample.place(choice.theirs, outside[0] if outside else None)
    count = int(values.counts[[_is_outside(text) for text in values.examples]].sum())
    message = f"the ratings are not on the scale from 1 to 5, in {count:,} rows: {found[0].reason}"
    return Findings(decisions=(Decision(code="E102", message=message, candidates=tuple(lines), place=place),))


def _is_outside(text: str) -> bool:
    try:
        return not schema.RATING_SCALE[0] <= float(text) <= schema.RATING_SCALE[1]
    except ValueError:
        return False


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number


def _repeats(sample: FileSample, columns: Mapping[str, Choice]) -> Findings:
    """A suggestion to count repeats, where users come back to the same items in a file that was read whole."""
    names = [columns[ours].theirs for ours in (schema.USER_ID, schema.ITEM_ID) if ours in columns]
    if len(names) < 2 or not set(names) <= set(sample.rows.column_names) or schema.RATING in columns or not len(sample.rows):
        return Findings()
    pairs = sample.rows.select(names).group_by(names).aggregate([])
    share = 1 - len(pairs) / len(sample.rows)
    if share < REPEATED_SHARE:
        return Findings()
    candidate = Line(key="feedback.consumption", value="repeat", reason="what was consumed may come again, as groceries or music do")
    message = f"{share:.0%} of the interactions repeat an earlier one of the same user and item"
    decision = Decision(code="", message=message, candidates=(candidate,), place=Location(file=sample.file), is_needed=False)
    return Findings(decisions=(decision,))
