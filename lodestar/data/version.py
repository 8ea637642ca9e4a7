"""Data version: a hash of the data at an address, which changes if and only if an ingest would read something else.

For an object store it covers keys, sizes and ETags, so that nothing is downloaded; for files sizes, modification times and contents. Other
files beside the data do not count.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from lodestar.data import address
from lodestar.data.resolve import resolve_tables
from lodestar.data.simulator.simulator import is_simulated
from lodestar.data.tables import manifest
from lodestar.io import storage
from lodestar.io.private_folders import workspace

DIGITS = 32


def data_version(data: str, begins_from: Sequence[str] = ()) -> str:
    """The data version: the first 32 hex digits of a sha256 over the address, its options and the files or objects there.

    `begins_from` are addresses of bundles and vectors for a warm start, whose files count too. UsageError or EnvironmentFault E510 where
    there is nothing to read.
    """
    parsed = address.parse(data)
    total = hashlib.sha256(str(parsed).encode())
    for line in chain(_file_lines(parsed), *map(_warm_start_lines, begins_from)):
        total.update(f"\n{line}".encode())
    return total.hexdigest()[:DIGITS]


def _file_lines(parsed: address.Address) -> Iterator[str]:
    """A line for each file or object that an ingest reads, sorted by name; none for the simulator."""
    if is_simulated(parsed.path):
        return iter(())
    return _objects(parsed) if storage.is_remote(parsed.path) else _files(parsed)


def _warm_start_lines(where: str) -> Iterator[str]:
    """A line for each file of a warm start's bundle or vectors; training reports missing ones."""
    if not storage.is_remote(where):
        path = Path(where)
        return chain((f"{where} begins",), map(_file_line, sorted(file for file in (path, *path.rglob("*")) if file.is_file())))
    with workspace() as folder:
        _, found = storage.listed(where, Path(folder))
        return iter([f"{where} begins", *sorted(f"{source} {stored.size} {stored.etag}" for source, stored in found.values())])


def _files(parsed: address.Address) -> Iterator[str]:
    for file in sorted(resolve_tables(parsed.path, parsed.mapping).files):
        if not file.is_file():  # of a public data set; ingest reports what is missing
            yield f"{file} is not there"
            continue
        yield _file_line(file)


def _file_line(file: Path) -> str:
    stat = file.stat()
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return f"{file} {stat.st_size} {stat.st_mtime_ns} {digest}"


def _objects(parsed: address.Address) -> Iterator[str]:
    """A line for each object that an ingest would read, resolved over empty files with the names of the objects."""
    with workspace() as folder:
        where, listed = storage.listed(parsed.path, Path(folder))
        for file, (source, _) in listed.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            if file.name == manifest.FILE:
                file.write_bytes(storage.get(source) or b"")
        read = [listed[file] for file in resolve_tables(str(where), parsed.mapping).files if file in listed]
        yield from sorted(f"{source} {found.size} {found.etag}" for source, found in read)
