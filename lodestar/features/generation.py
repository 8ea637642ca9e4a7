"""A feature generation: one name for everything that was built together, by which its online rows are kept and its models know them."""

import hashlib
from pathlib import Path
from typing import Any

from lodestar.features.store import DATA, DIGEST_DIGITS, SCALERS, SEQUENCES
from lodestar.schema.places import GENERATION


def write(folder: Path, database: Any = None) -> str:
    """Name what lies in a folder of features, 16 hex digits, and keep the name there: by it rows go online.

    It covers the interactions and the catalogue, every row of every table (labels and ratings too), and the scale of the counts. The same
    rows have the same name in whatever order and files they lie, so DuckDB and Spark agree. `database` is a DuckDB connection, if there is
    one; reading takes no memory that grows with the rows.
    """
    import duckdb

    total = hashlib.sha256()
    for name in (SEQUENCES, SCALERS):
        with (folder / name).open("rb") as content:
            total.update(f"{name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    with (database or duckdb.connect()).cursor() as cursor:
        for table in sorted((folder / DATA).iterdir()):
            total.update(f"{table.name} {_rows_of(cursor, table)}\n".encode())
    digest = total.hexdigest()[:DIGEST_DIGITS]
    (folder / GENERATION).write_text(digest)
    return digest


def _rows_of(database: Any, table: Path) -> str:
    """Names of a table's columns, how many rows there are, and the sum of a hash of each: the order does not matter to it."""
    files = str(table / "**" / "*.parquet" if table.is_dir() else table).replace("'", "''")
    source = f"read_parquet('{files}', hive_partitioning = false)"
    columns = sorted(name for name, *_ in database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall())
    named = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    (found,) = database.execute(f"SELECT count(*), sum(hash({named})) FROM {source}").fetchall()
    return f"{columns} {found}"
