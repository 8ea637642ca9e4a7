"""Read JSON Lines, one object per line, with values as text, so that JSON is validated as the same rows in CSV would be."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar.data.contract import rules
from lodestar.data.readers import decompression, lines
from lodestar.data.readers.collector_parts import MAX_PART_BYTES, is_part
from lodestar.data.readers.lines import SHOWN_BYTES, Block, OnMalformed
from lodestar.data.readers.source import Malformed, Source, empty, unreadable
from lodestar.errors import DataError, Location
from lodestar.process.safe_text import quote

LINES = "lines"
MAX_OTHERS = 1000
MAX_BAD_LINES, FETCHED = 10_000, 1000
MORE = "further lines of parts that are no rows"
_BLANK = r"trim(line, ' ' || chr(9) || chr(10) || chr(13)) = ''"
_IS_OBJECT = "json_valid(line) AND json_type(CASE WHEN json_valid(line) THEN line ELSE '0' END) = 'OBJECT'"
_KEYS = "json_keys(CASE WHEN is_object THEN line ELSE '{}' END)"
# A set is slow to build for few keys, a scan per key slow for many.
_IS_UNIQUE = """
    CASE WHEN len(keys) <= 64 THEN len(list_filter(keys, lambda key, place: list_position(keys, key) <> place)) = 0
    ELSE len(keys) = len(list_distinct(keys)) END"""


@dataclass(kw_only=True)
class _ReadState:
    """Result of reading the rows: whether lines are malformed, and line number minus row number (from which row on, shift).

    `inexact` holds, by column, the rows of the last batch with a number that is not kept exactly.
    """

    is_bad: bool = False
    shifts: list[NDArray[np.int64]] = field(default_factory=list)
    inexact: dict[str, list[int]] = field(default_factory=dict)


def read_json_lines(path: Path, wanted: Collection[str]) -> Source:
    """Read the wanted keys of every object as text; nested values stay JSON, a null is the same as an absent key.

    Malformed lines: E109 for no JSON object, E104 for no UTF-8, E171 for one that is too long, E173 for a duplicate key, which readers
    interpret differently. DataError E108 for a damaged file, E175 for JSON of another form, E201 for an empty file. A collector's part has
    all wanted columns, whatever is in it, and is read up to where it is damaged.
    """
    is_landed = is_part(path)
    names = _names(path, wanted, is_landed=is_landed)
    if is_landed:
        names = tuple(dict.fromkeys((*wanted, *names)))
    elif not names:
        _check_objects(path)
    columns = tuple(name for name in names if name in wanted)
    state, left_out = _ReadState(), dict[str, int]()
    return Source(
        file=path.name,
        names=names,
        columns=columns,
        batches=partial(_batches, path, columns, state, is_landed),
        lines=partial(_lines, state),
        malformed=lambda: _malformed(path, is_landed, left_out) if state.is_bad else (),
        skipped_rows=left_out,
        is_landed=is_landed,
        inexact=lambda name: state.inexact.get(name, ()),
    )


def _lines(state: _ReadState, rows: Iterable[int]) -> Iterator[int]:
    """The line number of each row."""
    starts, shift = np.concatenate(state.shifts, axis=1)
    return (row + int(shift[np.searchsorted(starts, row, side="right") - 1]) for row in rows)


def _read_blocks(path: Path, on_malformed: OnMalformed, *, is_landed: bool) -> Iterator[Block]:
    try:
        yield from lines.read_blocks(path, on_malformed, MAX_PART_BYTES if is_landed else None)
    except decompression.DECOMPRESSION_ERRORS as error:
        raise unreadable(path, f"cannot be read ({error})") from error


def _ignore(_malformed: Malformed) -> None:
    """Malformed lines are ignored in this pass; `_malformed` reports them."""


def _names(path: Path, wanted: Collection[str], *, is_landed: bool) -> tuple[str, ...]:
    """The keys of all objects in the order they first appear, from a pass over the whole file, since its last line may have a new key.

    Keys that are not wanted are limited to the first `MAX_OTHERS`, as every object may have keys of its own.
    """
    import duckdb

    names: dict[str, None] = {}
    with duckdb.connect() as database:
        for block in _read_blocks(path, _ignore, is_landed=is_landed):
            database.register(LINES, pa.table({"line": block.lines}))
            found = database.execute(f"""
                SELECT name FROM (SELECT unnest({_KEYS}) AS name, line_number FROM (
                    SELECT line, {_IS_OBJECT} AS is_object, row_number() OVER () AS line_number FROM {LINES}))
                GROUP BY name ORDER BY min(line_number), name""").fetchall()
            for (name,) in found:
                if name in wanted or len(names) < MAX_OTHERS:
                    names[name] = None
    return tuple(names)


def _objects(database: Any, block: Block) -> None:
    """Create the table `objects` of a block: number and text of each line that is not blank, and whether it is a valid object."""
    database.register(LINES, pa.table({"number": block.numbers, "line": block.lines}))
    database.execute(f"""
        CREATE OR REPLACE TABLE objects AS SELECT number, line, is_object, is_object AND {_IS_UNIQUE} AS is_good
        FROM (SELECT number, line, is_object, {_KEYS} AS keys
            FROM (SELECT number, line, {_IS_OBJECT} AS is_object FROM {LINES} WHERE NOT {_BLANK}))""")


def _batches(path: Path, columns: Sequence[str], state: _ReadState, is_landed: bool) -> "Iterator[pa.Table]":
    """Batches of the wanted values of all valid lines."""
    import duckdb

    state.is_bad, state.shifts = False, []
    row = 0
    pointers = ", ".join(_quoted("/" + name.replace("~", "~0").replace("/", "~1")) for name in columns)
    values = "".join(f', found[{index}] AS "{_escaped(name)}"' for index, name in enumerate(columns, start=1))
    with duckdb.connect() as database:
        for block in _read_blocks(path, lambda _: _mark_malformed(state), is_landed=is_landed):
            _objects(database, block)
            rows = database.execute(f"""
                SELECT number{values}
                FROM (SELECT number, json_extract_string(line, [{pointers}]::VARCHAR[]) AS found FROM objects WHERE is_good)
                ORDER BY number""").to_arrow_table()
            if database.execute("SELECT 1 FROM objects WHERE NOT is_good LIMIT 1").fetchone():
                _mark_malformed(state)
            shift = rows["number"].to_numpy() - np.arange(row, row + len(rows))
            changed = np.flatnonzero(np.diff(shift, prepend=-1))
            state.shifts.append(np.stack([changed + row, shift[changed]]))
            row += len(rows)
            state.inexact = _inexact(database, rows["number"].to_numpy(), columns, pointers)
            yield rows.drop_columns(["number"])
    if is_landed and not row:
        _mark_malformed(state)


def _inexact(database: Any, numbers: NDArray[np.int64], columns: Sequence[str], pointers: str) -> dict[str, list[int]]:
    """By column, the rows with a JSON number with a decimal point or exponent that is too large for a float to keep exactly."""
    found: dict[str, list[int]] = {}
    rows = database.execute(f"""
        SELECT number, json_type(line, [{pointers}]::VARCHAR[]), json_extract_string(line, [{pointers}]::VARCHAR[])
        FROM objects WHERE is_good AND regexp_matches(line, '{rules.LARGE_NUMBER}')""").fetchall()
    for number, kinds, texts in rows:
        for name, kind, text in zip(columns, kinds, texts, strict=True):
            if kind == "DOUBLE" and not text.lstrip("-").isdigit() and abs(float(text)) >= rules.NOT_EXACT:
                found.setdefault(name, []).append(int(np.searchsorted(numbers, number)))
    return found


def _mark_malformed(state: _ReadState) -> None:
    state.is_bad = True


def _malformed(path: Path, is_landed: bool, left_out: dict[str, int]) -> Iterator[Malformed]:
    """Each malformed line, in order, from a pass of its own, so that none is kept in memory.

    At most `MAX_BAD_LINES` for a collector's part; `left_out` then has the number of further ones after the last is yielded.
    """
    left_out.clear()
    for num_malformed, one in enumerate(_all_malformed(path, is_landed), start=1):
        if is_landed and num_malformed > MAX_BAD_LINES:
            left_out[MORE] = num_malformed - MAX_BAD_LINES
        else:
            yield one


def _all_malformed(path: Path, is_landed: bool) -> Iterator[Malformed]:
    """All malformed lines in order: those that cannot be split into lines, and those that are no valid objects."""
    import duckdb

    pending: list[Malformed] = []
    rows = num_bad = 0
    with duckdb.connect() as database:
        for block in _read_blocks(path, pending.append, is_landed=is_landed):
            _objects(database, block)
            found = database.execute(f"SELECT number, line[:{SHOWN_BYTES}], is_object FROM objects WHERE NOT is_good ORDER BY number")
            bad = (
                _malformed_object(line, text, has_duplicate_key=has_duplicate_key)
                for some in iter(partial(found.fetchmany, FETCHED), [])
                for line, text, has_duplicate_key in some
            )
            rows, num_bad = rows + len(block.lines), num_bad + len(pending)
            yield from merge(sorted(pending, key=_line), bad, key=_line)
            pending.clear()
    yield from pending
    if is_landed and not rows and not num_bad and not pending:
        yield Malformed(line=1, text="", message="the part is empty", code="E174")


def _line(one: Malformed) -> int:
    return one.line


def _malformed_object(line: int, text: str, *, has_duplicate_key: bool) -> Malformed:
    if has_duplicate_key:
        return Malformed(line=line, text=text, message="the object names a key twice", code="E173")
    return Malformed(line=line, text=text, message="the line is not a JSON object")


def _check_objects(path: Path) -> None:
    """DataError for a file without an object on a line: E175 for JSON of another form, with a command that converts it; E201 if empty."""
    with decompression.open_decompressed(path) as content:
        beginning = content.read(lines.SHOWN_BYTES).removeprefix(lines.BYTE_ORDER_MARK).strip()
    if not beginning:
        raise empty(path)
    if beginning.startswith(b"[") or _opens_object(beginning):
        form, query = ("a JSON array", ".[]") if beginning.startswith(b"[") else ("JSON over several lines", ".")
        unpack = "gzip -dc" if decompression.is_gzip(path) else "cat"
        target = quote("lines-" + path.name.removesuffix(".gz"))
        remedy = f"Convert it: {unpack} -- {quote(str(path))} | jq -c {quote(query)} > {target}"
        raise DataError(
            "E175", f"the file is {form}, and not an object on each line", remedy=remedy, place=Location(file=path.name, line=1)
        )


def _opens_object(beginning: bytes) -> bool:
    """Whether the first line opens an object and does not close it."""
    first, newline, _ = beginning.partition(b"\n")
    return bool(newline) and first.startswith(b"{") and first.rstrip().endswith((b"{", b",", b"[", b":"))


def _escaped(name: str) -> str:
    return name.replace('"', '""')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
