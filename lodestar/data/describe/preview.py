"""A preview of described tables: the first rows as they would be understood, on lines of 80 columns."""

import re
from collections.abc import Mapping
from pathlib import Path

from lodestar import schema
from lodestar.data.declaration.declared_dataset import open_declared
from lodestar.data.declaration.model import FILE, Declaration
from lodestar.errors import DataError
from lodestar.process.safe_text import one_line

ROWS, WIDTH, CELL = 10, 80, 26
SEPARATOR = "  "
_ZEROS = re.compile(r"\.0{6}Z$")  # of a time


def preview(declaration: Declaration, folder: Path, rows: int = ROWS) -> str:
    """The first rows of each table that a declaration makes of the files below a folder."""
    dataset = open_declared(declaration, folder, FILE)
    parts = []
    for name, sources in dataset.tables.items():
        try:
            source = next(iter(sources()))
            batch = next(iter(source.batches()), None)
            content = [] if batch is None else batch.slice(0, rows).to_pylist()
            columns = [one for one in schema.TABLES[name].names if one in source.columns]
            parts.append("\n".join([f"{name}:", *table_lines(columns, content)]))
        except DataError as error:
            parts.append(f"{name}: {error}")
    return "\n\n".join(parts) + "\n"


def table_lines(columns: list[str], rows: list[Mapping[str, object]]) -> list[str]:
    """Lines of a table with its columns aligned, as many of them as fit into the width; the names of the others follow."""
    shown = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(row[place]) for row in shown) for place in range(len(columns))]
    fitting = _fitting(widths)
    padded = ([text.ljust(width) for text, width in zip(row, widths, strict=True)][:fitting] for row in shown)
    others = [f"  and {', '.join(columns[fitting:])}"[:WIDTH]] if fitting < len(columns) else []
    return [*(f"  {SEPARATOR.join(row).rstrip()}" for row in padded), *others]


def _fitting(widths: list[int]) -> int:
    """How many columns fit into the width."""
    total = 2
    for place, width in enumerate(widths):
        total += width + (len(SEPARATOR) if place else 0)
        if total > WIDTH:
            return max(1, place)
    return len(widths)


def _cell(value: object) -> str:
    text = "" if value is None else _ZEROS.sub("Z", one_line(str(value)))
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
