"""One JSON object per line; values become text, so that a file of JSON is judged as the same file of CSV would be."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from lodestar.data.delimited import BLOCK_BYTES
from lodestar.data.source import Malformed, Source, check_text, empty, not_utf8, unreadable

# Raw control characters cannot be part of a JSON text, so that this one never splits a line.
NEVER = "\x01"
_LINE = "line"
_IS_OBJECT = "json_valid(line) AND json_type(CASE WHEN json_valid(line) THEN line ELSE '0' END) = 'OBJECT'"


def read_json_lines(path: Path, wanted: Collection[str]) -> Source:
    """The wanted keys of every object as text; nested values stay JSON, null and absent are alike."""
    check_text(path)
    if path.stat().st_size == 0:
        raise empty(path)
    names = _names(path)
    columns = tuple(name for name in names if name in wanted)
    shifts: list[Any] = []
    broken: list[Malformed] = []
    return Source(
        file=path.name,
        names=names,
        columns=columns,
        batches=partial(_batches, path, columns, shifts, broken),
        lines=partial(_lines, shifts),
        malformed=lambda: broken,
    )


def _lines(shifts: Sequence[Any], rows: Sequence[int]) -> list[int]:
    """The line of each row: a shift holds from its row on."""
    starts, shift = np.concatenate(shifts, axis=1)
    return (np.asarray(rows) + shift[np.searchsorted(starts, rows, side="right") - 1]).tolist()  # type: ignore[no-any-return]


def _blocks(path: Path) -> "Iterator[tuple[int, pa.Table]]":
    """Lines of the file, some 16 MB at a time, and how many there were before them."""
    before = 0
    try:
        with (
            pa.input_stream(str(path), compression="detect") as stream,
            arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(column_names=[_LINE], block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(delimiter=NEVER, quote_char=False, ignore_empty_lines=False),
                arrow_csv.ConvertOptions(column_types={_LINE: pa.string()}),
            ) as reader,
        ):
            for batch in reader:
                yield before, pa.Table.from_batches([batch])
                before += len(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise not_utf8(path) or unreadable(path, f"cannot be parsed ({error})") from error


def _names(path: Path) -> tuple[str, ...]:
    """The keys of all objects, as they come; a first reading, since one that a file's end brings must be known at its start."""
    import duckdb

    names: dict[str, None] = {}
    with duckdb.connect() as database:
        for _, lines in _blocks(path):
            database.register("lines", lines)
            found = database.execute(f"""
                SELECT name FROM (SELECT unnest(json_keys(line)) AS name, line_number FROM (
                    SELECT CASE WHEN {_IS_OBJECT} THEN line ELSE '{{}}' END AS line, row_number() OVER () AS line_number FROM lines))
                GROUP BY name ORDER BY min(line_number), name""").fetchall()
            names.update(dict.fromkeys(name for (name,) in found))
    return tuple(names)


def _batches(path: Path, columns: Sequence[str], shifts: list[Any], broken: list[Malformed]) -> "Iterator[pa.Table]":
    """The values of good lines; the lines that are no object, and where rows fall behind lines, go to the two lists."""
    import duckdb

    shifts.clear()
    broken.clear()
    row = 0
    pointers = ", ".join(_quoted("/" + name.replace("~", "~0").replace("/", "~1")) for name in columns)
    values = "".join(f', found[{place}] AS "{_escaped(name)}"' for place, name in enumerate(columns, start=1))
    with duckdb.connect() as database:
        for before, lines in _blocks(path):
            database.register("lines", lines)
            database.execute(f"""
                CREATE OR REPLACE TABLE objects AS SELECT number, line, {_IS_OBJECT} AS good
                FROM (SELECT line, {before} + row_number() OVER () AS number FROM lines) WHERE trim(line) <> ''""")
            rows = database.execute(f"""
                SELECT number{values}
                FROM (SELECT number, json_extract_string(line, [{pointers}]::VARCHAR[]) AS found FROM objects WHERE good)
                ORDER BY number""").to_arrow_table()
            shift = rows["number"].to_numpy() - np.arange(row, row + len(rows))
            changed = np.flatnonzero(np.diff(shift, prepend=-1))
            shifts.append(np.stack([changed + row, shift[changed]]))
            row += len(rows)
            bad = database.execute("SELECT number, line FROM objects WHERE NOT good ORDER BY number").fetchall()
            broken += [Malformed(line=line, text=text, message="the line is not a JSON object") for line, text in bad]
            yield rows.drop_columns(["number"])


def _escaped(name: str) -> str:
    return name.replace('"', '""')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
