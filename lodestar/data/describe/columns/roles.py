"""Which column of a file is which of the contract: by its own name, by the names that others use, or by its values alone."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lodestar import schema
from lodestar.data.describe.columns.fits import fits
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.values import INTEGER
from lodestar.schema import aliases

GIVEN = "it is given by --map"
_BY_VALUES = (schema.EVENT_TIME, schema.EVENT_TYPE, schema.USER_ID, schema.ITEM_ID)
_WHEN = frozenset(("date", "time", "timestamp", "datetime", "ts", "at", "on", "day", "when"))
_OF_OTHERS = frozenset(
    ("birth", "released", "release", "signup", "registered", "joined", "expires", "expiry", "end", "ended", "updated", "valid")
)
# Columns whose values anyone's optional number or text would fit: only names that say it claim it.
_NEVER = (schema.INGESTED_AT, schema.CONSENT_PERSONALISE, schema.CONSENT_SOCIAL, schema.IS_MINOR, schema.ATTRS)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The column of a file that is one of the contract's, and why; `others` could be as well. `is_own`: it has the contract's name."""

    theirs: str
    reason: str
    others: tuple[str, ...] = ()
    is_own: bool = False
    is_given: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether no other column fits."""
        return not self.others


def choose(
    table: schema.Table, sample: FileSample, mapping: Mapping[str, str], key: str = "", without: Collection[str] = ()
) -> dict[str, Choice]:
    """The column of a file for each of a table's columns that is found by name and whose values fit.

    `mapping` is ours to theirs. `key` is the name that the table's key has in the events, which is meant if the file has it. `without` are
    columns that say something else.
    """
    names = [name for name in sample.names if name not in without]
    chosen = {
        ours: Choice(theirs=theirs, reason=GIVEN, is_given=True)
        for ours, theirs in mapping.items()
        if ours in table.names and theirs in names
    }
    claimed = {choice.theirs for choice in chosen.values()}
    for ours in table.names:
        if ours in names and ours not in chosen and ours not in claimed:
            chosen[ours] = Choice(theirs=ours, reason="it has the contract's name", is_own=True)
            claimed.add(ours)
    if key and key in names and table.key[0] not in chosen:
        chosen[table.key[0]] = Choice(theirs=key, reason=f"the events have {key} as well")
        claimed.add(key)
    for ours in _in_order(table):
        if ours not in chosen and not _is_barred(table, ours, chosen, sample):
            found = [name for name in _called(table, ours, names) if name not in claimed and fits(table, ours, sample, name)]
            if table is schema.EVENTS and ours == schema.EVENT_TIME and not found:
                found = [name for name in names if name not in claimed and _says_when(name) and fits(table, ours, sample, name)]
            if found:
                chosen[ours] = Choice(theirs=found[0], reason=_reason(table, ours, found), others=tuple(found[1:]))
                claimed.update(found)
    return chosen


def _in_order(table: schema.Table) -> list[str]:
    """Columns in the order in which names are given away: keys, what rows need, then what they may have."""
    first = [*table.key, schema.USER_ID, schema.ITEM_ID, schema.EVENT_TIME, schema.EVENT_TYPE]
    return [*dict.fromkeys(name for name in first if name in table.names), *(name for name in table.names if name not in first)]


def _is_barred(table: schema.Table, ours: str, chosen: Mapping[str, Choice], sample: FileSample) -> bool:
    """Whether a column cannot be claimed by another name: consents never, and ratings only where events are ratings."""
    if ours in _NEVER or (
        table is schema.EVENTS and ours == schema.SESSION_ID and schema.USER_ID in chosen and chosen[schema.USER_ID].is_given
    ):
        return ours in _NEVER
    if table is schema.EVENTS and ours == schema.RATING and schema.EVENT_TYPE in chosen:
        kinds = {aliases.event_type_of(text) for text in sample.values(chosen[schema.EVENT_TYPE].theirs).examples}
        return schema.EventType.RATING not in kinds
    return False


def _called(table: schema.Table, ours: str, names: Sequence[str]) -> list[str]:
    """The columns that have one of the names of a column of the contract, in the order of these names."""
    places = {name: place for place, name in reversed(list(enumerate(aliases.names_of(table, ours))))}
    found = [(place, name) for name in names if (place := _place(name, places)) is not None]
    return [name for _, name in sorted(found, key=lambda pair: pair[0])]


def _says_when(name: str) -> bool:
    """Whether the words of a name say that it is the time of what its row tells, and not of a birth or a release."""
    words = set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()))
    return bool(words & _WHEN) and not words & _OF_OTHERS


def _place(name: str, places: Mapping[str, int]) -> int | None:
    """The place of a name among those of a column; of a nested value also by its innermost name."""
    whole = places.get(aliases.plain_name(name))
    if whole is None and "." in name:
        return places.get(aliases.plain_name(name.rpartition(".")[2]))
    return whole


def _reason(table: schema.Table, ours: str, found: Sequence[str]) -> str:
    if len(found) > 1:
        return "by its name and values, as others"
    return "by its name and values, as no other"


def guess_by_values(sample: FileSample, ours: str, claimed: Collection[str]) -> list[str]:
    """Columns of a file of events that could be one of the contract's by their values alone, the likeliest first."""
    free = [name for name in sample.names if name not in claimed and sample.values(name).meant.count]
    if ours == schema.EVENT_TIME:
        return [name for name in free if (found := sample.times(name)) is not None and not found.is_order and not _is_year(sample, name)]
    if ours == schema.EVENT_TYPE:
        return [name for name in free if _are_types(sample, name)]
    ids = [name for name in free if _may_be_id(sample, name)]
    if ours == schema.USER_ID:
        return sorted(ids, key=lambda name: not _is_called_id(name))
    return sorted(ids, key=lambda name: (not _is_called_id(name), -sample.values(name).num_distinct))


def _is_year(sample: FileSample, name: str) -> bool:
    found = sample.times(name)
    return found is not None and found.form == "%Y"


def _are_types(sample: FileSample, name: str) -> bool:
    values = sample.values(name).meant
    known = values.share_among([text for text in values.examples if aliases.event_type_of(text)])
    return values.num_distinct <= 50 and known > 0.5


def _may_be_id(sample: FileSample, name: str) -> bool:
    """Whether values look like ids: whole numbers or short texts, neither times nor fractions, of which there are several."""
    values = sample.values(name).meant
    if values.num_distinct < 2 or not fits(schema.EVENTS, schema.ITEM_ID, sample, name):
        return False
    found = sample.times(name)
    return (found is None or found.is_order or (values.share(INTEGER) == 1 and found.unit != "ms")) and not _are_types(sample, name)


def _is_called_id(name: str) -> bool:
    plain = aliases.plain_name(name)
    return plain.endswith(("id", "key", "code", "no", "number", "hash", "uuid"))
