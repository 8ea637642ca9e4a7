"""One JSON object per line; values become text, so that a file of JSON is judged as the same file of CSV would be."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from lodestar.data.delimited import BLOCK_BYTES
from lodestar.data.source import Malformed, Source, check_gzip, empty, not_utf8, open_bytes, unreadable

# Raw control characters cannot be part of a JSON text, so that this one never splits a line.
NEVER = "\x01"
LINES_NAMING_COLUMNS = 100
_LINE = "line"


def read_json_lines(path: Path, wanted: Collection[str]) -> Source:
    """The wanted keys of every object as text; nested values stay JSON, null and absent are alike."""
    check_gzip(path)
    if path.stat().st_size == 0:
        raise empty(path)
    lines = _read(path)
    names = _names(path)
    rows, numbers, broken = _extract(lines, sorted(wanted))
    present = [name for name in rows.column_names if name in names or rows[name].null_count < len(rows)]
    return Source(
        file=path.name,
        names=tuple(dict.fromkeys([*names, *present])),
        rows=rows.select(present),
        lines=lambda chosen: [numbers[row] for row in chosen],
        malformed=tuple(Malformed(line=line, text=text, message="the line is not a JSON object") for line, text in broken),
    )


def _read(path: Path) -> "pa.Table":
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            return arrow_csv.read_csv(
                stream,
                arrow_csv.ReadOptions(column_names=[_LINE], block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(delimiter=NEVER, quote_char=False, ignore_empty_lines=False),
                arrow_csv.ConvertOptions(column_types={_LINE: pa.string()}),
            )
    except pa.ArrowInvalid as error:
        raise not_utf8(path) or unreadable(path, f"cannot be parsed ({error})") from error


def _names(path: Path) -> tuple[str, ...]:
    names: dict[str, None] = {}
    with open_bytes(path) as content:
        for _, line in zip(range(LINES_NAMING_COLUMNS), content, strict=False):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            names.update(dict.fromkeys(value if isinstance(value, dict) else ()))
    return tuple(names)


def _extract(lines: "pa.Table", wanted: Sequence[str]) -> "tuple[pa.Table, Any, list[tuple[int, str]]]":
    """The values of good lines, their line numbers, and the lines that are no object."""
    import duckdb

    pointers = ", ".join(_quoted("/" + name.replace("~", "~0").replace("/", "~1")) for name in wanted)
    columns = ", ".join(f'found[{place}] AS "{_escaped(name)}"' for place, name in enumerate(wanted, start=1))
    with duckdb.connect() as database:
        database.execute("SET enable_progress_bar = false")
        database.register("lines", lines)
        database.execute("""
            CREATE TABLE objects AS
            SELECT number, line, json_valid(line) AND json_type(CASE WHEN json_valid(line) THEN line ELSE '0' END) = 'OBJECT' AS good
            FROM (SELECT line, row_number() OVER () AS number FROM lines) WHERE trim(line) <> ''""")
        good = database.execute(f"""
            SELECT number, {columns}
            FROM (SELECT number, json_extract_string(line, [{pointers}]) AS found FROM objects WHERE good) ORDER BY number""")
        rows = good.to_arrow_table()
        broken = database.execute("SELECT number, line FROM objects WHERE NOT good ORDER BY number").fetchall()
    return rows.drop_columns(["number"]), rows["number"].to_numpy(), broken


def _escaped(name: str) -> str:
    return name.replace('"', '""')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
