"""One JSON object per line; values become text, so that a file of JSON is judged as the same file of CSV would be."""

import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar.data import lines, rules, unpacked
from lodestar.data.landed import MOST_PART_BYTES, is_part
from lodestar.data.lines import SHOWN_BYTES, Block, Tell
from lodestar.data.source import Malformed, Source, empty, unreadable
from lodestar.errors import DataError, Place

LINES = "lines"
MOST_OTHERS = 1000
MOST_BAD_LINES, FETCHED = 10_000, 1000
MORE = "further lines of parts that are no rows"
_BLANK = r"trim(line, ' ' || chr(9) || chr(10) || chr(13)) = ''"
_IS_OBJECT = "json_valid(line) AND json_type(CASE WHEN json_valid(line) THEN line ELSE '0' END) = 'OBJECT'"
_KEYS = "json_keys(CASE WHEN is_object THEN line ELSE '{}' END)"
# A set is slow to make for few keys, and to look each up slow for many.
_IS_UNIQUE = """
    CASE WHEN len(keys) <= 64 THEN len(list_filter(keys, lambda key, place: list_position(keys, key) <> place)) = 0
    ELSE len(keys) = len(list_distinct(keys)) END"""


@dataclass(kw_only=True)
class _Seen:
    """What the reading of rows has met: whether some lines are bad, and by how much rows fall behind lines, each shift from its row on."""

    is_bad: bool = False
    shifts: list[NDArray[np.int64]] = field(default_factory=list)
    inexact: dict[str, list[int]] = field(default_factory=dict)


def read_json_lines(path: Path, wanted: Collection[str]) -> Source:
    """The wanted keys of every object as text; nested values stay JSON, null and absent are alike.

    Lines that are no objects are malformed: E107, E104 where they are not UTF-8, E171 where they have no end, E173 where they name a key
    twice, so that two readers would read two things. A file that is not whole is E107. A part that a collector has landed has all wanted
    columns, whatever is in it, and is read as far as it goes.
    """
    is_landed = is_part(path)
    names = _names(path, wanted, is_landed=is_landed)
    if is_landed:
        names = tuple(dict.fromkeys((*wanted, *names)))
    elif not names:
        _check_objects(path)
    columns = tuple(name for name in names if name in wanted)
    seen, left_out = _Seen(), dict[str, int]()
    return Source(
        file=path.name,
        names=names,
        columns=columns,
        batches=partial(_batches, path, columns, seen, is_landed),
        lines=partial(_lines, seen),
        malformed=lambda: _malformed(path, is_landed, left_out) if seen.is_bad else (),
        left_out=left_out,
        is_landed=is_landed,
        inexact=lambda name: seen.inexact.get(name, ()),
    )


def _lines(seen: _Seen, rows: Iterable[int]) -> Iterator[int]:
    """The line of each row."""
    starts, shift = np.concatenate(seen.shifts, axis=1)
    return (row + int(shift[np.searchsorted(starts, row, side="right") - 1]) for row in rows)


def _blocks(path: Path, tell: Tell, *, is_landed: bool) -> Iterator[Block]:
    try:
        yield from lines.blocks(path, tell, MOST_PART_BYTES if is_landed else None)
    except unpacked.DAMAGED as error:
        raise unreadable(path, f"cannot be read ({error})") from error


def _unheard(_malformed: Malformed) -> None:
    """What is bad is told by the reading that looks for it."""


def _names(path: Path, wanted: Collection[str], *, is_landed: bool) -> tuple[str, ...]:
    """The keys of all objects, as they come; a first reading, since one that a file's end brings must be known at its start.

    Of those that are not wanted, only the first `MOST_OTHERS`: where each object has keys of its own there is no end of them.
    """
    import duckdb

    names: dict[str, None] = {}
    with duckdb.connect() as database:
        for block in _blocks(path, _unheard, is_landed=is_landed):
            database.register(LINES, pa.table({"line": block.lines}))
            found = database.execute(f"""
                SELECT name FROM (SELECT unnest({_KEYS}) AS name, line_number FROM (
                    SELECT line, {_IS_OBJECT} AS is_object, row_number() OVER () AS line_number FROM {LINES}))
                GROUP BY name ORDER BY min(line_number), name""").fetchall()
            for (name,) in found:
                if name in wanted or len(names) < MOST_OTHERS:
                    names[name] = None
    return tuple(names)


def _objects(database: Any, block: Block) -> None:
    """The table `objects` of a block: the number of each line that is not blank, what it says, and whether that is a good object."""
    database.register(LINES, pa.table({"number": block.numbers, "line": block.lines}))
    database.execute(f"""
        CREATE OR REPLACE TABLE objects AS SELECT number, line, is_object, is_object AND {_IS_UNIQUE} AS is_good
        FROM (SELECT number, line, is_object, {_KEYS} AS keys
            FROM (SELECT number, line, {_IS_OBJECT} AS is_object FROM {LINES} WHERE NOT {_BLANK}))""")


def _batches(path: Path, columns: Sequence[str], seen: _Seen, is_landed: bool) -> "Iterator[pa.Table]":
    """The values of good lines."""
    import duckdb

    seen.is_bad, seen.shifts = False, []
    row = 0
    pointers = ", ".join(_quoted("/" + name.replace("~", "~0").replace("/", "~1")) for name in columns)
    values = "".join(f', found[{place}] AS "{_escaped(name)}"' for place, name in enumerate(columns, start=1))
    with duckdb.connect() as database:
        for block in _blocks(path, lambda _: _mark(seen), is_landed=is_landed):
            _objects(database, block)
            rows = database.execute(f"""
                SELECT number{values}
                FROM (SELECT number, json_extract_string(line, [{pointers}]::VARCHAR[]) AS found FROM objects WHERE is_good)
                ORDER BY number""").to_arrow_table()
            if database.execute("SELECT 1 FROM objects WHERE NOT is_good LIMIT 1").fetchone():
                _mark(seen)
            shift = rows["number"].to_numpy() - np.arange(row, row + len(rows))
            changed = np.flatnonzero(np.diff(shift, prepend=-1))
            seen.shifts.append(np.stack([changed + row, shift[changed]]))
            row += len(rows)
            seen.inexact = _inexact(database, rows["number"].to_numpy(), columns, pointers)
            yield rows.drop_columns(["number"])
    if is_landed and not row:
        _mark(seen)


def _inexact(database: Any, numbers: NDArray[np.int64], columns: Sequence[str], pointers: str) -> dict[str, list[int]]:
    """By column the rows in which DuckDB has read a number with a point that is too large to be told from its neighbours."""
    found: dict[str, list[int]] = {}
    rows = database.execute(f"""
        SELECT number, json_type(line, [{pointers}]::VARCHAR[]), json_extract_string(line, [{pointers}]::VARCHAR[])
        FROM objects WHERE is_good AND regexp_matches(line, '{rules.LARGE_NUMBER}')""").fetchall()
    for number, kinds, texts in rows:
        for name, kind, text in zip(columns, kinds, texts, strict=True):
            if kind == "DOUBLE" and not text.lstrip("-").isdigit() and abs(float(text)) >= rules.NOT_EXACT:
                found.setdefault(name, []).append(int(np.searchsorted(numbers, number)))
    return found


def _mark(seen: _Seen) -> None:
    seen.is_bad = True


def _malformed(path: Path, is_landed: bool, left_out: dict[str, int]) -> Iterator[Malformed]:
    """Each line that is no row, in order; another reading, so that none need be remembered.

    Of a landed part no more than `MOST_BAD_LINES`: how many more there are is in `left_out` when all are given.
    """
    left_out.clear()
    for num_told, one in enumerate(_all_malformed(path, is_landed), start=1):
        if is_landed and num_told > MOST_BAD_LINES:
            left_out[MORE] = num_told - MOST_BAD_LINES
        else:
            yield one


def _all_malformed(path: Path, is_landed: bool) -> Iterator[Malformed]:
    import duckdb

    told: list[Malformed] = []
    rows = num_bad = 0
    with duckdb.connect() as database:
        for block in _blocks(path, told.append, is_landed=is_landed):
            _objects(database, block)
            found = database.execute(f"SELECT number, line[:{SHOWN_BYTES}], is_object FROM objects WHERE NOT is_good ORDER BY number")
            bad = (
                _no_object(line, text, twice=twice) for some in iter(partial(found.fetchmany, FETCHED), []) for line, text, twice in some
            )
            rows, num_bad = rows + len(block.lines), num_bad + len(told)
            yield from merge(sorted(told, key=_line), bad, key=_line)
            told.clear()
    yield from told
    if is_landed and not rows and not num_bad and not told:
        yield Malformed(line=1, text="", message="the part is empty", code="E174")


def _line(one: Malformed) -> int:
    return one.line


def _no_object(line: int, text: str, *, twice: bool) -> Malformed:
    if twice:
        return Malformed(line=line, text=text, message="the object names a key twice", code="E173")
    return Malformed(line=line, text=text, message="the line is not a JSON object")


def _check_objects(path: Path) -> None:
    """Say what a file is that has no object on a line: DataError E175 where it is JSON of another form, E201 where it is empty."""
    with unpacked.open_bytes(path) as content:
        begin = content.read(lines.SHOWN_BYTES).removeprefix(lines.BYTE_ORDER_MARK).strip()
    if not begin:
        raise empty(path)
    if begin.startswith(b"[") or _is_begun(begin):
        what, query = ("a JSON array", ".[]") if begin.startswith(b"[") else ("JSON over several lines", ".")
        unpack = "gzip -dc" if unpacked.is_packed(path) else "cat"
        target = shlex.quote("lines-" + path.name.removesuffix(".gz"))
        remedy = f"Convert it: {unpack} -- {shlex.quote(str(path))} | jq -c {shlex.quote(query)} > {target}"
        raise DataError("E175", f"the file is {what}, and not an object on each line", remedy=remedy, place=Place(file=path.name, line=1))


def _is_begun(begin: bytes) -> bool:
    """Whether the first line begins an object and does not end it."""
    first, newline, _ = begin.partition(b"\n")
    return bool(newline) and first.startswith(b"{") and first.rstrip().endswith((b"{", b",", b"[", b":"))


def _escaped(name: str) -> str:
    return name.replace('"', '""')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
