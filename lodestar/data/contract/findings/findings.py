"""Findings: what was read otherwise than it was written, or may mean something else than it says; coded, counted, with an example."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.contract.row_validator import SHOWN, Found, parse_fault
from lodestar.data.readers.source import Source
from lodestar.errors import Location
from lodestar.process.safe_text import shorten
from lodestar.schema.ids import normalise


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found in a table: code, column (empty for the whole table), number of rows, message, and the first few places."""

    code: str
    table: str
    column: str = ""
    count: int
    message: str
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" ({'; '.join(self.places)})" if self.places else ""
        return f"{self.code} {self.table}: {self.message}{where}"


_UNREADABLE = {
    rules.OUT_OF_RANGE: "are out of range",
    rules.BAD_ID: "are no ids",
    rules.IN_FUTURE: "lie in the future",
    rules.NAIVE: "are times without an offset, and no time zone is declared",
    rules.WRONG_TYPE: "have another type",
    rules.NO_TIME: "are numbers too small for a time",
    rules.OTHER_UNIT: "are times in another unit or form than most of the column",
    rules.DAY_OR_MONTH: "are dates whose day may be the month",
    rules.TOO_LONG: "are too long",
    rules.KEY_TWICE: "name a key twice",
}


def of_cells(
    table: schema.Table, sources: Sequence[Source], starts: Mapping[str, int], found: Mapping[tuple[str, str], Found]
) -> list[Finding]:
    """Findings on cells that were read as null or changed, one by code and column; `starts` are the first rows of the files."""
    files = {source.file: source for source in sources}
    groups: dict[tuple[str, str], list[tuple[str, str, Found]]] = defaultdict(list)
    for (file, written), one in found.items():
        code, column, text = parse_fault(written)
        groups[column, code].append((file, text, one))
    places = _places(files, starts, found)
    order = {name: place for place, name in enumerate(table.names)}
    return [
        _of_cells(table, column, code, group, [places[row.row] for _, _, one in group for row in one.first][:SHOWN])
        for (column, code), group in sorted(groups.items(), key=lambda pair: (order[pair[0][0]], pair[0][1]))
    ]


def _of_cells(table: schema.Table, column: str, code: str, group: Sequence[tuple[str, str, Found]], places: Iterable[str]) -> Finding:
    count, example = sum(one.count for *_, one in group), shorten(group[0][2].first[0].value)
    if code == rules.NULL_TEXT:
        by_text: dict[str, int] = defaultdict(int)
        for _, text, one in group:
            by_text[text] += one.count
        message = f"{count:,} values of {column} stand for null: {counted(by_text)}"
    elif code == rules.IDS_CHANGED:
        message = (
            f"{count:,} values of {column} are written otherwise than the id they name, such as {example!r} for {normalise(example)!r}"
        )
    elif code == rules.MINUS_ONE:
        message = f'{count:,} values of {column} are -1, which may stand for none; declare it: null = ["-1"]'
    else:
        message = f"{count:,} values of {column} {_UNREADABLE[code]}, and are null, such as {example!r}"
    return Finding(code=code, table=table.name, column=column, count=count, message=message, places=tuple(places))


def counted(by_text: Mapping[str, int]) -> str:
    """Texts with their numbers, the most frequent first: `'none' (3), 'NA' (1)`."""
    ordered = sorted(by_text.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{text!r} ({count:,})" for text, count in ordered)


def _places(files: Mapping[str, Source], starts: Mapping[str, int], found: Mapping[tuple[str, str], Found]) -> dict[int, str]:
    """The place of each first row, by its number, from one pass over the lines of each file."""
    rows_by_file: dict[str, set[int]] = defaultdict(set)
    for (file, _), one in found.items():
        rows_by_file[file].update(row.row for row in one.first)
    places: dict[int, str] = {}
    for file, rows in rows_by_file.items():
        lines = files[file].lines(row - starts[file] for row in sorted(rows))
        places |= {row: str(Location(file=file, line=line)) for row, line in zip(sorted(rows), lines, strict=True)}
    return places
