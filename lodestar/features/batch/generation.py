"""Feature generation: a digest of everything built together, which keys its rows in the online store and is recorded in models."""

import hashlib
from pathlib import Path
from typing import Any

from lodestar.features.batch.feature_set import DATA, DIGEST_DIGITS, FEEDBACK, SCALERS, SEQUENCE_FILE
from lodestar.schema.store_keys import GENERATION


def write(folder: Path, database: Any = None) -> str:
    """Compute the feature generation of a folder, 16 hex digits, and record it there.

    It covers interactions, catalogue and rules of feedback, every row of every table (labels and ratings included), and the scale of
    counts. It does not
    depend on the order of rows or files, so DuckDB and Spark agree. `database` is an open DuckDB connection, if any; memory does not grow
    with the rows.
    """
    import duckdb

    total = hashlib.sha256()
    for name in (SEQUENCE_FILE, SCALERS, FEEDBACK):
        with (folder / name).open("rb") as content:
            total.update(f"{name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    with (database or duckdb.connect()).cursor() as cursor:
        for table in sorted((folder / DATA).iterdir()):
            total.update(f"{table.name} {_table_digest(cursor, table)}\n".encode())
    digest = total.hexdigest()[:DIGEST_DIGITS]
    (folder / GENERATION).write_text(digest)
    return digest


def _table_digest(database: Any, table: Path) -> str:
    """Column names, number of rows and the sum of row hashes of a table, which do not depend on the order of rows."""
    files = str(table / "**" / "*.parquet" if table.is_dir() else table).replace("'", "''")
    source = f"read_parquet('{files}', hive_partitioning = false)"
    columns = sorted(name for name, *_ in database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall())
    column_list = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    (count_and_hash,) = database.execute(f"SELECT count(*), sum(hash({column_list})) FROM {source}").fetchall()
    return f"{columns} {count_and_hash}"
