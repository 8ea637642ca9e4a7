"""Describe a dataset's files: the lines of a declaration that are sure, and the decisions that are left to a person."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lodestar import schema
from lodestar.data.contract import row_errors
from lodestar.data.describe.findings import Decision, Line, Source
from lodestar.data.describe.joins import find_join
from lodestar.data.describe.layout import Layout, find_layout
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.reading import read_sample
from lodestar.data.describe.seen import Seen, see
from lodestar.data.files import Files
from lodestar.errors import DataError, Location

MAX_PARTS = 8  # files of one table whose rows are looked at
MAX_FILES = 200  # files without a table's name whose columns are looked at
SCOPED = frozenset({"format", "encoding", "quoting", "delimiter", "columns", "header", "time_format"})  # what may hold for one table alone
LOCAL = {schema.EVENT_TYPE: "constant"}  # keys of the whole declaration that one of several sources has as a column with this option


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the command line declares: `mapping` of column names, ours to theirs, and the `time_zone` of times without an offset."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    time_zone: str = ""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is found of a dataset: sources of tables, given lines, decisions on the whole, and files that are not read, with reasons.

    `rows` is the number of rows that were looked at, `share` the smallest share of a file that they are.
    """

    files: Files
    sources: tuple[Source, ...]
    given: tuple[Line, ...]
    decisions: tuple[Decision, ...]
    unused: Mapping[str, str]
    rows: int
    share: float

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines that are given or sure."""
        return (*self.given, *(line for source in self.sources for line in source.lines))

    @property
    def all_decisions(self) -> tuple[Decision, ...]:
        """Decisions on the whole, and of each source."""
        return (*self.decisions, *(one for source in self.sources for one in source.decisions))

    @property
    def needed(self) -> tuple[Decision, ...]:
        """Decisions without which the data cannot be read."""
        return tuple(one for one in self.all_decisions if one.is_needed)


def describe(files: Files, given: Given, folder: Path) -> Description:
    """Describe files from samples, which are mirrored to `folder`; DataError where a table's files cannot be read in any way."""
    with duckdb_in_memory() as database:
        samples, unused = _samples(files, folder, database)
        named = {table: [name for path in paths if (name := files.name_of(path)) in samples] for table, paths in files.named.items()}
        layout = find_layout(samples, named)
        seen = [see(plan, given.mapping, is_folder=files.is_folder) for plan in layout.plans if plan.table is schema.EVENTS]
        if not seen:
            raise _no_events(files, layout, unused)
        _check_mapping(seen[0], given.mapping)
        seen += [see(plan, given.mapping, seen[0]) for plan in layout.plans if plan.table is not schema.EVENTS]
        joins, apart = _joins(seen)
        used = [one for one in seen if one.plan.files not in apart]
        counts = Counter(one.plan.table.name for one in used)
        undecided = {line.path for decision in joins for line in decision.candidates}
        sources = [_source(one, undecided, is_only=len(used) == 1, is_several=counts[one.plan.table.name] > 1) for one in used]
        zones = [one.findings.needs_zone for one in used if one.findings.needs_zone and not given.time_zone]
        return Description(
            files=files,
            sources=tuple(replace(source, files=_all_files(source, files)) for source in sources),
            given=_given_lines(given),
            decisions=(*zones[:1], *joins),
            unused={**layout.unused, **unused, **{name: reason for names, reason in apart.items() for name in names}},
            rows=sum(len(one.sample.rows) for one in used),
            share=min(part.mirrored.share for one in used for part in one.sample.parts or (one.sample,)),
        )


def _given_lines(given: Given) -> tuple[Line, ...]:
    return (Line(key="time_zone", value=given.time_zone, reason="it is given by --time-zone"),) if given.time_zone else ()


def _joins(seen: Sequence[Seen]) -> tuple[list[Decision], dict[tuple[str, ...], str]]:
    """Decisions on the columns that users and items join to the events by, and files that cannot be joined, with the reason."""
    joins, apart = list[Decision](), dict[tuple[str, ...], str]()
    for one in seen:
        if one.plan.table in (schema.USERS, schema.ITEMS):
            reason, decisions = find_join(seen[0].side, one.side)
            if not reason and one.plan.table.key[0] not in one.chosen:
                reason = "no column is its key"
            if reason and not one.plan.is_named:
                apart[one.plan.files] = reason
            else:
                joins += decisions
    return joins, apart


@contextmanager
def duckdb_in_memory() -> "Iterator[Any]":
    """A database for samples."""
    import duckdb

    with duckdb.connect() as database:
        database.execute(
            "SET TimeZone = 'UTC'; SET enable_progress_bar = false; SET autoinstall_known_extensions = false; SET memory_limit = '500MB'"
        )
        yield database


def _samples(files: Files, folder: Path, database: Any) -> tuple[dict[str, FileSample], dict[str, str]]:
    """The samples by file, and of files without a table's name what makes them unreadable."""
    found: dict[str, FileSample] = {}
    unreadable: dict[str, str] = {}
    for paths in files.named.values():
        for path in spread(paths, MAX_PARTS):
            name = files.name_of(path)
            found[name] = read_sample(path, name, folder / name, database)
    for path in spread(files.others, MAX_FILES):
        name = files.name_of(path)
        try:
            found[name] = read_sample(path, name, folder / name, database)
        except DataError as error:
            unreadable[name] = f"{error.code}: {error.message}"
    return found, unreadable


def spread(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many paths: the first, the last and some between."""
    if len(paths) <= most:
        return list(paths)
    return [paths[place * (len(paths) - 1) // (most - 1)] for place in range(most)]


def _all_files(source: Source, files: Files) -> tuple[str, ...]:
    """The files of a source: all of its table's, where only some were looked at."""
    named = tuple(map(files.name_of, files.named.get(source.table, ())))
    return named if len(named) > MAX_PARTS and set(source.files) <= set(named) else source.files


def _no_events(files: Files, layout: Layout, unused: Mapping[str, str]) -> DataError:
    """E201 for files of which none holds events, with what each is."""
    reasons = {**layout.unused, **unused}
    shown = "".join(f"\n{name}: {reason}" for name, reason in list(reasons.items())[:20])
    message = f"no file has rows of events, of who did what and when{shown}"
    return DataError("E201", message, remedy="Give a file with a row per event.", place=Location(file=files.root.name or str(files.root)))


def _check_mapping(events: Seen, mapping: Mapping[str, str]) -> None:
    """DataError E101 for a column of events that --map names and that the file does not have."""
    for ours, theirs in mapping.items():
        if ours in schema.EVENTS.names and not {ours, theirs} & set(events.sample.names):
            raise row_errors.unmapped_column(events.sample.file, ours, theirs, events.sample.names)


def _source(one: Seen, undecided: Collection[str], *, is_only: bool, is_several: bool) -> Source:
    """Lines and decisions of a source, reading first; options of one of several files are those of its table."""
    table = one.plan.table.name

    def scoped(line: Line) -> Line:
        if line.table or is_only or line.key not in SCOPED:
            return line
        return replace(line, table=table)

    lines = [scoped(line) for line in (*one.reading.lines, *_relations(one), *one.findings.lines)]
    decisions = [
        replace(each, candidates=tuple(map(scoped, each.candidates))) for each in (*one.reading.decisions, *one.findings.decisions)
    ]
    source = Source(
        table=table,
        files=one.plan.files,
        lines=tuple(line for line in lines if line.path not in undecided),
        decisions=tuple(each for each in decisions if not {line.path for line in each.candidates} & set(undecided)),
    )
    return _localised(source) if is_several else source


def _relations(one: Seen) -> list[Line]:
    """The line of a joined file."""
    if not one.plan.joined:
        return []
    value = {"files": one.plan.joined, "on": one.plan.on}
    return [Line(key="join", value=value, reason=one.plan.reason, table=one.plan.table.name)]


def _localised(source: Source) -> Source:
    """A source of a table with several: what is said of the whole declaration is said of it alone."""

    def local(line: Line) -> Line:
        if line.table or line.key not in {*LOCAL, "order", "time_format"}:
            return line
        value = {LOCAL[line.key]: line.value} if line.key in LOCAL else line.value
        return replace(line, value=value, table=source.table)

    decisions = tuple(replace(each, candidates=tuple(map(local, each.candidates))) for each in source.decisions)
    return replace(source, lines=tuple(map(local, source.lines)), decisions=decisions)
