"""DuckDB database in a file, for work that may be larger than memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lodestar.errors import EnvironmentFault

FULL_DISK = re.compile(r"No space left on device|Disk quota exceeded|File too large|Read-only file system")


@contextmanager
def open_database(file: Path, memory: str) -> Iterator[Any]:
    """A new database in a file: UTC, rows in order, `memory` such as 250MB; the rest spills to a folder beside the file.

    Raises EnvironmentFault E506 if the disk is full or read-only.
    """
    import duckdb

    spill = str(file.parent / "spill").replace("'", "''")
    try:
        with duckdb.connect(str(file)) as database:
            database.execute(f"""
                SET TimeZone = 'UTC'; SET preserve_insertion_order = true; SET enable_progress_bar = false;
                SET autoinstall_known_extensions = false; SET memory_limit = '{memory}'; SET temp_directory = '{spill}'""")
            yield database
    except duckdb.Error as error:
        if (full := FULL_DISK.search(str(error))) is None:
            raise
        remedy = "Free disk space there and run the same command again."
        raise EnvironmentFault("E506", f"{file.parent} cannot be written ({full[0]})", remedy=remedy) from error
