"""Files of a table in a folder: `events.csv`, `EVENTS.CSV`, `events/…`, or those of a folder that Spark wrote, `events.parquet/day=1/…`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lodestar.data.readers import collector_parts
from lodestar.data.readers.file_names import has_suffix, stem
from lodestar.data.readers.foreign_kinds import Kind, not_read
from lodestar.data.readers.source import Source
from lodestar.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

HIDDEN = (".", "_")  # names of what is beside the data: _SUCCESS, _temporary, .part-0.crc
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_PARTITION = re.compile(r"([^=/]+)=([^/]*)")
# What Hadoop and Hive write has no suffix.
_UNNAMED_PART = re.compile(r"part-[\w-]+|\d{6}_\d+(_copy_\d+)?", re.ASCII)
_LOGS = (
    ("_delta_log", "delta", "a Delta table"),
    (".hoodie", "hudi", "a Hudi table"),
    ("metadata/*.metadata.json", "iceberg", "an Iceberg table"),
)


def files_of(folder: Path, name: str) -> list[Path]:
    """The files of a table in a folder: one of its name, or all below a folder of its name; UsageError where there are several of these."""
    found = sorted(path for path in folder.iterdir() if not path.name.startswith(HIDDEN) and stem(path.name) == name)
    files = [path for path in found if path.is_file()]
    folders = [path for path in found if path.is_dir() and files_below(path)]
    if len(files) + len(folders) > 1:
        shown = ", ".join([*(path.name for path in files), *(f"{path.name}/" for path in folders)])
        raise UsageError(f"{folder} holds the table {name} more than once: {shown}; keep one")
    return files or [path for one in folders for path in files_below(one)]


def files_below(folder: Path) -> list[Path]:
    """All data files below a folder, sorted; DataError E161 for a table of which not all files are current, as its log has it."""
    for log, form, what in _LOGS:
        if any(folder.glob(log)):
            raise not_read(
                folder, Kind(what, f'Write it as Parquet, in Spark: spark.read.format("{form}").load("FILE").write.parquet("NEW").')
            )
    found = (path for path in folder.rglob("*") if has_suffix(path.name) or _UNNAMED_PART.fullmatch(path.name))
    return sorted(path for path in found if is_wanted(path, folder))


def is_wanted(path: Path, folder: Path) -> bool:
    """Whether a file below a folder is read: not hidden, and no symbolic link in place of a collector's part (other links are followed)."""
    is_hidden = any(part.startswith(HIDDEN) and not _PARTITION.fullmatch(part) for part in path.relative_to(folder).parts)
    return not is_hidden and (collector_parts.is_plain(path) if collector_parts.is_part(path) else path.is_file())


def partitions(path: Path) -> dict[str, str | None]:
    """The columns that the folders of a relative path give to all rows of its file: `date=2026-01-31/country=FR/part-0.parquet`."""
    found = (_PARTITION.fullmatch(part) for part in path.parts[:-1])
    pairs = [(unquote(one[1]), one[2]) for one in found if one]
    return {name: None if value == NULL_PARTITION else unquote(value) for name, value in pairs}


def with_partitions(source: Source, values: Mapping[str, str | None], wanted: Collection[str]) -> Source:
    """The source with the wanted columns of its folders; one that the file has as well keeps the file's values."""
    added = {name: value for name, value in values.items() if name not in source.names}
    if not added:
        return source
    columns = {name: value for name, value in added.items() if name in wanted}

    def batches() -> "Iterator[pa.Table]":
        import pyarrow as pa

        for batch in source.batches():
            for name, value in columns.items():
                batch = batch.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(batch)))  # noqa: PLW2901
            yield batch

    return replace(source, names=(*source.names, *added), columns=(*source.columns, *columns), batches=batches)
