"""Which files of a dataset are which table: by their names and, where these say nothing, by their columns."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lodestar import schema
from lodestar.data.describe.columns.roles import Choice, choose
from lodestar.data.describe.columns.table_source import property_columns
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.schema import aliases

PLAIN_LOG = "interactions"  # a folder's file of plain interactions
_UNIQUE = 0.9  # share of distinct keys from which on rows are one for each


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A source of a table: files of one shape, by name, with the sample of all; `reason` says why they are this table's.

    `joined` is a file with further columns, which rows find by the column `on`. `properties` are the columns of property, value and time of
    a file with a property a row. `is_named`: the files have the table's name.
    """

    table: schema.Table
    files: tuple[str, ...]
    sample: FileSample
    reason: str = ""
    is_named: bool = False
    joined: str = ""
    on: str = ""
    properties: tuple[str, str, str] | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the files' names."""
        return tuple(dict.fromkeys(word for file in self.files for word in words_of(file)))

    @property
    def is_plain_log(self) -> bool:
        """Whether these are a folder's plain interactions."""
        return all(stem_of(file) == PLAIN_LOG for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sources of tables, and files that are none, with the reason."""

    plans: tuple[Plan, ...]
    unused: Mapping[str, str]


def stem_of(file: str) -> str:
    """The name of a file without its folder and suffixes, in lower case."""
    return file.rpartition("/")[2].partition(".")[0].casefold()


def words_of(file: str) -> list[str]:
    """The words of a file's name, singular: `order_items.csv` gives order and item."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", file.rpartition("/")[2].partition(".")[0])
    found = [word for word in re.split(r"[^a-z]+", spaced.casefold()) if word]
    return [word[:-1] if word.endswith("s") and len(word) > 3 else word for word in found]


def find_layout(samples: Mapping[str, FileSample], named: Mapping[str, Sequence[str]]) -> Layout:
    """The tables of a dataset's files; `named` are files by table that are so for sure."""
    plans, unused = list[Plan](), dict[str, str]()
    given = {file for files in named.values() for file in files}
    for name, files in named.items():
        plans += [
            Plan(table=schema.TABLES[name], files=group, sample=_merged(group, samples), is_named=True) for group in _groups(files, samples)
        ]
    others = [_seen(group, _merged(group, samples)) for group in _groups([file for file in samples if file not in given], samples)]
    has = {plan.table.name for plan in plans}
    if schema.EVENTS.name not in has:
        plans += _events(others)
    used = {file for plan in plans for file in (*plan.files, *([plan.joined] if plan.joined else []))}
    rest = [one for one in others if not used & set(one.files)]
    for table in (schema.ITEMS, schema.USERS):
        if table.name not in has and (best := _best(table, [one for one in rest if one.may_be(table)])):
            plans.append(best)
            rest = [one for one in rest if one.files != best.files]
    for one in rest:
        unused |= dict.fromkeys(one.files, one.why_not())
    return Layout(plans=tuple(plans), unused=unused)


def _groups(files: Sequence[str], samples: Mapping[str, FileSample]) -> list[tuple[str, ...]]:
    """Files of the same columns and form together."""
    groups: dict[object, list[str]] = defaultdict(list)
    for file in files:
        sample = samples[file]
        groups[tuple(sample.rows.column_names), sample.options, sample.has_header].append(file)
    return [tuple(group) for group in groups.values()]


def _merged(files: Sequence[str], samples: Mapping[str, FileSample]) -> FileSample:
    first = samples[files[0]]
    return first.merged([samples[file] for file in files[1:]]) if len(files) > 1 else first


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A group of files with what their columns may be."""

    files: tuple[str, ...]
    sample: FileSample
    events: Mapping[str, Choice]
    items: Mapping[str, Choice]
    users: Mapping[str, Choice]
    properties: tuple[str, str, str] | None

    @property
    def has_actor(self) -> bool:
        """Whether a column names who acted."""
        return schema.USER_ID in self.events or schema.SESSION_ID in self.events

    @property
    def has_item(self) -> bool:
        """Whether a column names what was acted on."""
        return bool({schema.ITEM_ID, schema.QUERY_TEXT, schema.TARGET_USER_ID} & self.events.keys())

    def is_called(self, table: schema.Table) -> bool:
        """Whether the files' names have a word for a table's rows."""
        return any(word in aliases.TABLE_ALIASES[table.name] for file in self.files for word in words_of(file))

    def may_be(self, table: schema.Table) -> bool:
        """Whether these may be a table of users or items: with a key of its own to each row, or a property a row."""
        chosen = self.items if table is schema.ITEMS else self.users
        other = schema.USERS if table is schema.ITEMS else schema.ITEMS
        key = chosen.get(table.key[0])
        if key is None or (self.has_actor and self.has_item):
            return False
        if self.properties:
            return True
        values = self.sample.values(key.theirs)
        if values.num_distinct < _UNIQUE * values.count:
            return False
        if aliases.plain_name(key.theirs) in {"id", "code", "number"}:
            return self.is_called(table) or (
                not self.is_called(other) and len(chosen) > len(self.users if table is schema.ITEMS else self.items)
            )
        return True

    def why_not(self) -> str:
        """Why these are no table."""
        if not self.has_actor and not self.has_item:
            return "no column is called as users or items are"
        return "the columns make no table, or another file is the table"


def _seen(files: tuple[str, ...], sample: FileSample) -> _Seen:
    events, items, users = (choose(table, sample, {}) for table in (schema.EVENTS, schema.ITEMS, schema.USERS))
    return _Seen(files=files, sample=sample, events=events, items=items, users=users, properties=property_columns(sample))


def _events(others: Sequence[_Seen]) -> list[Plan]:
    """The sources of events: files that name who acted on what, or of which one does when it is joined to another."""
    both = [one for one in others if one.has_actor and one.has_item and not one.properties]
    headerless = [one for one in others if not one.sample.has_header]
    if both:
        rated = [one for one in both if {schema.RATING, schema.EVENT_TYPE} & one.events.keys()]
        found = rated or both
        return [Plan(table=schema.EVENTS, files=one.files, sample=one.sample, reason="they name users and items") for one in found]
    joined = [plan for lines in others for heads in others if (plan := _joined(lines, heads))]
    if joined:
        return joined[:1]
    if headerless:
        widest = max(headerless, key=lambda one: sum(one.sample.mirrored.share < 1 or 1 for _ in one.files) * len(one.sample.rows))
        return [Plan(table=schema.EVENTS, files=widest.files, sample=widest.sample, reason="they have the most rows")]
    named = [one for one in others if one.is_called(schema.EVENTS) and not one.is_called(schema.ITEMS) and not one.is_called(schema.USERS)]
    some = named or (list(others) if len(others) == 1 else [])
    return [Plan(table=schema.EVENTS, files=one.files, sample=one.sample, reason="by their name") for one in some[:1]]


def _joined(lines: _Seen, heads: _Seen) -> Plan | None:
    """Rows of items, such as order lines, that find who acted in a single other file by the one column that both have."""
    if lines is heads or lines.has_actor or not lines.has_item or not heads.has_actor or heads.has_item or len(heads.files) > 1:
        return None
    shared = [name for name in lines.sample.rows.column_names if name in heads.sample.rows.column_names]
    on = [name for name in shared if heads.sample.values(name).is_unique and not lines.sample.values(name).is_unique]
    if len(on) != 1:
        return None
    known = set(heads.sample.values(on[0]).examples)
    is_known = heads.sample.values(on[0]).is_cut or not heads.sample.mirrored.is_whole
    if not is_known and lines.sample.values(on[0]).share_among(known) < _UNIQUE:
        return None
    sample = lines.sample.joined(heads.sample, on[0])
    reason = f"each row finds its user in {heads.files[0]}, by {on[0]}"
    return Plan(table=schema.EVENTS, files=lines.files, sample=sample, reason=reason, joined=heads.files[0], on=on[0])


def _best(table: schema.Table, candidates: Sequence[_Seen]) -> Plan | None:
    """The source of a table of users or items: the one whose columns say most of it, None where two say as much."""
    if not candidates:
        return None

    def rank(one: _Seen) -> tuple[bool, int]:
        return one.is_called(table), len(one.items if table is schema.ITEMS else one.users)

    first, *others = sorted(candidates, key=rank, reverse=True)
    if others and rank(others[0]) == rank(first):
        return None
    reason = f"each row has its own {(first.items if table is schema.ITEMS else first.users)[table.key[0]].theirs}"
    return Plan(table=table, files=first.files, sample=first.sample, reason=reason, properties=first.properties)


def without_properties(plan: Plan) -> Plan:
    """A plan of rows with several columns."""
    return replace(plan, properties=None)
