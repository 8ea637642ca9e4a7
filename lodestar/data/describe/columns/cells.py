"""Lines of a declaration for one column: where it comes from, and the form of its times, numbers and lists."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.contract.cells.times import SURE_FORMATS
from lodestar.data.describe.columns.roles import Choice
from lodestar.data.describe.findings import Decision, Line
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.time_values import TimeReading
from lodestar.data.describe.samples.values import JSON_VALUE, MOST

UTC = "UTC"
_ENTITIES = r".*&(amp|lt|gt|quot|apos|nbsp|#\d{1,5}|#x[0-9a-fA-F]{1,4});.*"
_AWARE = re.compile(rules.AWARE_TIME, re.ASCII)
_SAYS_UTC = re.compile(r"utc|gmt|zulu", re.IGNORECASE)
_SEPARATORS = (" > ", ">", ";", " | ", "/", ", ", ",")
_LEAST_LISTS = 0.3  # share of values with a separator from which on they are lists


@dataclass(frozen=True, kw_only=True)
class ColumnForm:
    """Options of a column beside its name, with their reasons; `decisions` are left to a person. `needs_zone`: its times have no zone."""

    options: dict[str, object]
    reasons: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    needs_zone: bool = False


def column_form(table: schema.Table, ours: str, sample: FileSample, theirs: str) -> ColumnForm:
    """The form of a column's values."""
    kind = table.column(ours).kind
    if kind is schema.Kind.TIME:
        return _time_form(table, sample, theirs)
    if kind in {schema.Kind.FLOAT, schema.Kind.INT}:
        return _number_form(table, ours, sample, theirs)
    if kind is schema.Kind.TEXT_LIST:
        return _list_form(sample, theirs)
    if kind is schema.Kind.TEXT and sample.values(theirs).share(_ENTITIES):
        return ColumnForm(options={"html": True}, reasons=("the text has entities of HTML",))
    return ColumnForm(options={})


def column_line(table: schema.Table, ours: str, sample: FileSample, choice: Choice) -> tuple[Line | None, ColumnForm]:
    """The line of a column, None where nothing need be said of it, and its form."""
    form = column_form(table, ours, sample, choice.theirs)
    if choice.is_own and not form.options:
        return None, form
    value = {"column": choice.theirs, **form.options} if form.options else choice.theirs
    reasons = ([] if choice.is_own else [choice.reason]) + list(form.reasons)
    return Line(key=ours, value=value, reason="; ".join(reasons), table=table.name), form


def _time_form(table: schema.Table, sample: FileSample, theirs: str) -> ColumnForm:
    found = sample.times(theirs)
    if found is None or found.is_order:
        return ColumnForm(options={})
    options, reasons = _time_options(found)
    needs_zone = found.needs_zone
    if needs_zone and _SAYS_UTC.search(theirs):
        options, needs_zone = {**options, "time_zone": UTC}, False
        reasons.append("the column's name says UTC")
    decisions = [_day_or_month(table, sample, theirs, found)] if found.others else []
    return ColumnForm(options=options, reasons=tuple(reasons), decisions=tuple(decisions), needs_zone=needs_zone)


def _time_options(found: TimeReading) -> tuple[dict[str, object], list[str]]:
    """What to declare of times that the contract does not read as they are: a format, and the zone that it writes."""
    if not found.form or found.others or found.form in SURE_FORMATS:
        return {}, []
    zone: dict[str, object] = {"time_zone": found.zone} if found.zone else {}
    return {"time_format": found.form, **zone}, ["no other form reads all values"]


def _day_or_month(table: schema.Table, sample: FileSample, theirs: str, found: TimeReading) -> Decision:
    """The decision between forms that read all values, and read them otherwise."""
    values = sample.values(theirs).meant
    example = next((text for text in (values.first, *values.examples) if not _AWARE.fullmatch(text)), values.first)
    candidates = [Line(key="time_format", value=form, reason=f"{example!r} is so read") for form in (found.form, *found.others)]
    message = "the day of the dates may be their month: no value tells which"
    place = sample.place(theirs, example)
    return Decision(code="E115", message=message, candidates=tuple(candidates), place=place, is_needed=table is schema.EVENTS)


def _number_form(table: schema.Table, ours: str, sample: FileSample, theirs: str) -> ColumnForm:
    found = sample.numbers(theirs)
    if found is None or found.is_plain:
        return ColumnForm(options={})
    if found.others:
        example = next(text for text in sample.values(theirs).meant.examples if "," in text)
        forms = [("", found.decimal, found.thousands), *(("", *other) for other in found.others)]
        candidates = [
            Line(
                key=ours,
                value={"column": theirs, "decimal": decimal, "thousands": thousands},
                table=table.name,
                reason=_read_as(example, decimal),
            )
            for _, decimal, thousands in forms
        ]
        message = "the comma of the numbers may separate thousands or decimal places: no value tells which"
        decision = Decision(
            code="E107", message=message, candidates=tuple(candidates), place=sample.place(theirs, example), is_needed=False
        )
        return ColumnForm(options={}, decisions=(decision,))
    options: dict[str, object] = {"decimal": found.decimal}
    if found.thousands:
        options["thousands"] = found.thousands
    return ColumnForm(options=options, reasons=("no other form reads all numbers",))


def _read_as(example: str, decimal: str) -> str:
    return f"{example!r} is {example.replace(',', '.' if decimal == ',' else '')}"


def _list_form(sample: FileSample, theirs: str) -> ColumnForm:
    """The separator of lists: the one that most values have, whose parts come again in other values."""
    values = sample.values(theirs).meant
    if values.share(JSON_VALUE) >= MOST or values.share(r".*\|.*") > 0:
        return ColumnForm(options={})
    for separator in _SEPARATORS:
        if values.share(rf".*\S{re.escape(separator)}\s*\S.*") >= _LEAST_LISTS and _parts_repeat(values.examples, separator):
            return ColumnForm(
                options={"separator": separator.strip() or separator}, reasons=(f"parts between {separator.strip()!r} come again",)
            )
    return ColumnForm(options={})


def _parts_repeat(texts: Sequence[str], separator: str) -> bool:
    """Whether the parts of texts are fewer than the texts' parts by half: a vocabulary, and no sentences."""
    parts = [part.strip() for text in texts[:1000] for part in text.split(separator)]
    return len(set(parts)) <= len(parts) / 2 or (len(texts) < 10 and len(set(parts)) < len(parts))


def zone_decision(sample: FileSample, theirs: str) -> Decision:
    """The decision on the zone of times that have none."""
    values = sample.values(theirs).meant
    example = next((text for text in (values.first, *values.examples) if not _AWARE.fullmatch(text)), values.first)
    candidate = Line(key="time_zone", value=UTC, reason='the zone of these times; write your own, such as "Europe/Berlin"')
    return Decision(code="E106", message="the times have no offset", candidates=(candidate,), place=sample.place(theirs, example))
