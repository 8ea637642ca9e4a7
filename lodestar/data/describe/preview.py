"""A preview of described tables: the first rows as they would be understood, on lines of 80 columns, and what is wrong with others."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lodestar import schema
from lodestar.data.contract.cells.sql import quoted
from lodestar.data.contract.checks import CheckedTable, check
from lodestar.data.contract.defaults import checked_name
from lodestar.data.datasets.datasets import open_dataset
from lodestar.data.declaration.model import FILE, Declaration
from lodestar.data.describe.description import duckdb_in_memory
from lodestar.error_codes import CODES
from lodestar.errors import DataError
from lodestar.process.safe_text import one_line

ROWS, WIDTH, CELL = 10, 80, 26
MAX_PROBLEMS = 20
SEPARATOR = "  "
_ZEROS = re.compile(r"(?:\.0+|(\.\d*[1-9])0*)Z$")  # of a time
_SHOWN = {
    schema.Kind.TIME: "strftime(make_timestamp({0}), '%Y-%m-%dT%H:%M:%S.%fZ')",
    schema.Kind.TEXT_LIST: "array_to_string({0}, ' | ')",
}


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The first rows of each table, and what the validator finds in the rows of the sample, a line each."""

    text: str
    problems: tuple[str, ...]


def preview(declaration: Declaration, folder: Path) -> Preview:
    """The tables that a declaration makes of the files below a folder, as the validator reads them."""
    parts, problems = list[str](), list[str]()
    with duckdb_in_memory() as database:
        for name, sources in open_dataset(declaration, folder, FILE).tables.items():
            table = schema.TABLES[name]
            try:
                checked = check(database, table, sources(), now_us=time.time_ns() // 1000, quarantine=True)
            except DataError as error:
                problems.append(f"{name}: {str(error).partition(chr(10))[0]}")
                continue
            parts.append("\n".join([f"{name}:", *table_lines(checked.columns, _rows(database, table, checked.columns))]))
            problems += _problems(name, checked)
    return Preview(text="\n\n".join(parts) + "\n", problems=tuple(problems[:MAX_PROBLEMS]))


def _rows(database: Any, table: schema.Table, columns: Sequence[str]) -> list[Sequence[object]]:
    shown = ", ".join(_SHOWN.get(table.column(name).kind, "{0}::VARCHAR").format(quoted(name)) for name in columns)
    found: list[Sequence[object]] = database.execute(f"SELECT {shown} FROM {checked_name(table)} ORDER BY row LIMIT {ROWS}").fetchall()
    return found


def _problems(name: str, checked: CheckedTable) -> list[str]:
    """Rows that are not kept, by code with the place of the first, and cells that are read otherwise than they are written."""
    refused = [
        f"{name}: {checked.dropped[code]:,} rows: {code} {places[0]}: {CODES[code].meaning}" for code, places in checked.offenders.items()
    ]
    return [*refused, *(f"{name}: {finding.code}: {finding.message}" for finding in checked.findings)]


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table with its columns aligned, as many of them as fit into the width; the names of the others follow."""
    shown = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[place]) for row in shown) for place in range(len(columns))]
    fitting = _fitting(widths)
    padded = ([text.ljust(width) for text, width in zip(row, widths, strict=True)][:fitting] for row in shown)
    others = [f"  and {', '.join(columns[fitting:])}"[:WIDTH]] if fitting < len(columns) else []
    return [*(f"  {SEPARATOR.join(row).rstrip()}" for row in padded), *others]


def _fitting(widths: Sequence[int]) -> int:
    """How many columns fit into the width."""
    total = 2
    for place, width in enumerate(widths):
        total += width + (len(SEPARATOR) if place else 0)
        if total > WIDTH:
            return max(1, place)
    return len(widths)


def _cell(value: object) -> str:
    text = "" if value is None else _ZEROS.sub(lambda found: f"{found[1] or ''}Z", one_line(str(value)))
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
