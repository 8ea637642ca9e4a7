"""Data version: a hash of the data at an address, which changes if and only if an ingest would read something else.

For an object store it covers keys, sizes and ETags, so that nothing is downloaded; for files sizes, modification times and contents. Other
files beside the data do not count, but for objects below a prefix without a declaration or manifest, where contents decide what is read.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from lodestar.data.address import Address, parse_address
from lodestar.data.declaration.model import FILE as DECLARATION
from lodestar.data.resolve import folder_of, input_paths, resolve_tables
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
    address = parse_address(data)
    total = hashlib.sha256(str(address).encode())
    for line in chain(_data_lines(address), *map(_warm_start_lines, begins_from)):
        total.update(f"\n{line}".encode())
    return total.hexdigest()[:DIGITS]


def _data_lines(address: Address) -> Iterator[str]:
    """A line for each file or object that an ingest reads, sorted by name; none for the simulator."""
    if is_simulated(address.path):
        return
    if storage.is_remote(address.path):
        yield from _object_lines(address)
        return
    for path in sorted(resolve_tables(address.path, address.mapping).paths):
        # One that is missing belongs to a public data set; ingest reports it.
        yield _file_line(path) if path.is_file() else f"{path} is not there"


def _warm_start_lines(where: str) -> Iterator[str]:
    """A line for each file of a warm start's bundle or vectors; training reports missing ones."""
    if not storage.is_remote(where):
        path = Path(where)
        return chain((f"{where} begins",), map(_file_line, sorted(file for file in (path, *path.rglob("*")) if file.is_file())))
    with workspace() as folder:
        _, found = storage.listed(where, Path(folder))
        return iter([f"{where} begins", *sorted(f"{source} {stored.size} {stored.etag}" for source, stored in found.values())])


def _file_line(path: Path) -> str:
    stat = path.stat()
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return f"{path} {stat.st_size} {stat.st_mtime_ns} {digest}"


def _object_lines(address: Address) -> Iterator[str]:
    """A line for each object that an ingest would read, resolved over empty files with the names of the objects."""
    with workspace() as folder:
        prefix, declaration = folder_of(address.path)
        root, listed = storage.listed(prefix, Path(folder))
        for path, (source, _) in listed.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            if path.name in {manifest.FILE, DECLARATION, declaration}:
                path.write_bytes(storage.get(source) or b"")
        read = [listed[path] for path in input_paths(str(root / declaration), address.mapping, address.path) if path in listed]
        yield from sorted(f"{source} {stored.size} {stored.etag}" for source, stored in read)
