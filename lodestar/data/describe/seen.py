"""A source of a table with the columns that are chosen of it, and all that is found of reading it and of its columns."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lodestar import schema
from lodestar.data.describe.columns.event_source import EventsContext, find_events
from lodestar.data.describe.columns.lists import column_of, list_of_items, separator_of
from lodestar.data.describe.columns.roles import Choice, choose
from lodestar.data.describe.columns.table_source import find_properties, find_table
from lodestar.data.describe.findings import Decision, Findings, Line
from lodestar.data.describe.joins import Side
from lodestar.data.describe.layout import Plan
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.header import LINE, suggest_columns
from lodestar.errors import Location

READING = {
    "format": "the file's name does not say it",
    "delimiter": "all lines have as many values so",
    "quoting": "quotes are text",
}
SEQUENCES = tuple(
    Line(key=key, value=value, reason=reason, table=schema.EVENTS.name)
    for key, value, reason in (
        (schema.USER_ID, {"column": LINE, "split": " ", "part": 1}, "the first of each line"),
        ("explode", {"column": LINE, "into": "element", "skip": 1}, "the others of each line"),
        (schema.ITEM_ID, "element", "each of the others"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A source with the columns that are chosen of it by their names, and what is found of it: of reading it, and of its columns."""

    plan: Plan
    sample: FileSample
    chosen: Mapping[str, Choice]
    reading: Findings
    findings: Findings

    @property
    def side(self) -> Side:
        """What a join looks at."""
        return Side(table=self.plan.table, sample=self.sample, chosen=self.chosen)


def see(plan: Plan, mapping: Mapping[str, str], events: Seen | None = None, *, is_folder: bool = True) -> Seen:
    """What is found of a planned source; `events` are those that users and items join to, `is_folder` that the files have roles."""
    sample, reading = _with_header(plan)
    key = events.chosen[plan.table.key[0]].theirs if events and plan.table.key[0] in events.chosen else ""
    chosen: Mapping[str, Choice] = choose(plan.table, sample, mapping, key=key)
    if plan.table is not schema.EVENTS:
        is_properties = plan.properties and plan.table.key[0] in chosen
        found = (
            find_properties(plan.table, sample, chosen[plan.table.key[0]], plan.properties)
            if plan.properties and is_properties
            else find_table(plan.table, sample, chosen)
        )
        return Seen(plan=plan, sample=sample, chosen=chosen, reading=reading, findings=found)
    sample, chosen, listed = _without_lists(sample, chosen, mapping)
    reading = replace(reading, lines=(*reading.lines, *listed.lines), decisions=(*reading.decisions, *listed.decisions))
    found = find_events(sample, chosen, EventsContext(words=plan.words, is_plain_log=is_folder and plan.is_plain_log))
    return Seen(plan=plan, sample=sample, chosen=chosen, reading=reading, findings=found)


def _without_lists(
    sample: FileSample, chosen: Mapping[str, Choice], mapping: Mapping[str, str]
) -> tuple[FileSample, Mapping[str, Choice], Findings]:
    """The sample with a row for each of the items that a column lists, the columns chosen of it, and the line or decision on that."""
    found = list_of_items(sample, chosen)
    if found is None:
        return sample, chosen, Findings()
    line = found if isinstance(found, Line) else found.candidates[0]
    sample = sample.exploded(column_of(line), separator_of(line))
    element = Choice(theirs=column_of(line), reason="its elements are ids", is_own=column_of(line) == schema.ITEM_ID)
    chosen = {schema.ITEM_ID: element, **choose(schema.EVENTS, sample, mapping)}
    return sample, chosen, Findings(lines=(line,)) if isinstance(found, Line) else Findings(decisions=(found,))


def _with_header(plan: Plan) -> tuple[FileSample, Findings]:
    """The sample under the names that its columns are given, and the decisions that reading it leaves."""
    sample = plan.sample
    decisions = [
        Decision(code=doubt.code, message=doubt.message, candidates=(Line(key=doubt.key, value=doubt.value),), place=doubt.place)
        for doubt in sample.doubts
    ]
    known = {doubt.key for doubt in sample.doubts}
    lines = [
        Line(key=key, value=getattr(sample.options, key), reason=reason)
        for key, reason in READING.items()
        if getattr(sample.options, key) and key not in known
    ]
    if sample.is_sequences:
        lines += SEQUENCES
        candidate = Line(key="columns", value=[LINE], reason="if the first of each line is the user, and the others are items")
        message = "the lines have different numbers of values between spaces, as lists of ids do"
        place = Location(file=sample.file, line=1)
        decisions.append(Decision(code="E179", message=message, candidates=(candidate,), place=place))
    if not sample.has_header:
        names = suggest_columns(sample, plan.table)
        first = [sample.rows[place][0].as_py() or "" for place in range(len(names))]
        place = Location(file=sample.file, line=1, value=", ".join(first))
        candidate = Line(key="columns", value=names, reason="by their values: name each as it is meant, in this order")
        decisions.append(
            Decision(code="E179", message="line 1 looks like data, and not like a header", candidates=(candidate,), place=place)
        )
        sample = sample.renamed(names)
    return sample, Findings(lines=tuple(lines), decisions=tuple(decisions))
