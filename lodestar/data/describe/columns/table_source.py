"""What is found of a source of users or items: its key, the columns that describe them, attributes, files of properties."""

from collections.abc import Mapping
from dataclasses import replace

from lodestar import schema
from lodestar.data.describe.columns.cells import column_line, zone_decision
from lodestar.data.describe.columns.roles import Choice
from lodestar.data.describe.findings import Decision, Findings, Line
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.errors import Location
from lodestar.schema import aliases

MAX_PROPERTIES = 30
_PROPERTY, _VALUE = ("property", "propertyname", "key", "attribute", "attributename", "feature", "field"), ("value", "propertyvalue", "val")


def find_table(table: schema.Table, sample: FileSample, chosen: Mapping[str, Choice]) -> Findings:
    """Lines of a source of users or items; what several columns could be is suggested, and left out."""
    lines: list[Line] = []
    decisions: list[Decision] = []
    needs_zone: Decision | None = None
    for ours, choice in chosen.items():
        line, form = column_line(table, ours, sample, choice)
        decisions += form.decisions
        if form.needs_zone:
            needs_zone = replace(zone_decision(sample, choice.theirs), is_needed=False)
        if choice.is_sure:
            lines += [line] if line else []
        else:
            decisions.append(_between(table, sample, ours, choice))
    if attributes := _attributes(table, sample, chosen):
        lines.append(attributes)
    return Findings(lines=tuple(lines), decisions=tuple(decisions), needs_zone=needs_zone)


def _between(table: schema.Table, sample: FileSample, ours: str, choice: Choice) -> Decision:
    several = (choice.theirs, *choice.others)[:4]
    candidates = tuple(Line(key=ours, value=name, table=table.name, reason=f"{name} is called so") for name in several)
    message = f"{', '.join(several)} could each be {ours}, by their names and values"
    place = Location(file=sample.file, column=ours)
    return Decision(code="E101", message=message, candidates=candidates, place=place, is_needed=ours in table.key)


def _attributes(table: schema.Table, sample: FileSample, chosen: Mapping[str, Choice]) -> Line | None:
    """The line of columns that describe users or items and are none of the contract's."""
    claimed = {choice.theirs for choice in chosen.values()} | {other for choice in chosen.values() for other in choice.others}
    known = aliases.ATTRIBUTES.get(table.name, ())
    named = {
        name: name for name in sample.names if name not in claimed and aliases.plain_name(name) in known and sample.values(name).meant.count
    }
    if not named or schema.ATTRS in sample.names:
        return None
    reason = f"{', '.join(named)} describe {table.name} and are no columns of the contract"
    return Line(key=schema.ATTRS, value={"names": named}, reason=reason, table=table.name)


def property_columns(sample: FileSample) -> tuple[str, str, str] | None:
    """The columns of property, value and time of a file with a property a row; None for any other file. The time may be empty."""
    by_plain = {aliases.plain_name(name): name for name in sample.names}
    key = next((by_plain[name] for name in _PROPERTY if name in by_plain), "")
    value = next((by_plain[name] for name in _VALUE if name in by_plain), "")
    if not key or not value or sample.values(key).meant.num_distinct >= max(2, sample.values(key).count):
        return None
    times = [
        name
        for name in sample.names
        if aliases.plain_name(name) in aliases.names_of(schema.EVENTS, schema.EVENT_TIME) and sample.times(name)
    ]
    return key, value, times[0] if times else ""


def find_properties(table: schema.Table, sample: FileSample, key: Choice, columns: tuple[str, str, str]) -> Findings:
    """Lines of a file with a property a row: properties become columns by their names, the others attributes."""
    name, value, latest = columns
    form = {"key": name, "value": value, **({"latest": latest} if latest else {})}
    lines = [Line(key="key_value", value=form, reason="each row has one property", table=table.name)]
    if not key.is_own:
        lines.append(Line(key=table.key[0], value=key.theirs, reason=key.reason, table=table.name))
    properties = sample.values(name).meant.examples[:MAX_PROPERTIES]
    ours_by_name = {
        plain: ours for ours in reversed(table.names) if ours not in {*table.key, schema.ATTRS} for plain in aliases.names_of(table, ours)
    }
    found: dict[str, str] = {}
    others: dict[str, str] = {}
    for text in properties:
        ours = ours_by_name.get(aliases.plain_name(text))
        if ours and ours not in found:
            found[ours] = text
        elif not text.isdigit():
            others[text] = text
    lines += [Line(key=ours, value=text, reason=f"the property {text} is called so", table=table.name) for ours, text in found.items()]
    if others:
        reason = "properties that are no columns of the contract"
        lines.append(Line(key=schema.ATTRS, value={"names": others}, reason=reason, table=table.name))
    return Findings(lines=tuple(lines))
