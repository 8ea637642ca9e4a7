"""Which data lie at an address now, as one text: the same as long as nothing that an ingest would read has changed.

Of a store it is the keys, sizes and ETags, so that nothing is downloaded to find out; of files the sizes, times and contents. What lies
beside the data and is not read does not count.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from lodestar import storage
from lodestar.data import address, manifest
from lodestar.data.layout import opened
from lodestar.data.simulator import is_simulated
from lodestar.private import workspace

DIGITS = 32


def data_version(data: str, begins_from: Sequence[str] = ()) -> str:
    """The first 32 hexadecimal digits of a sha256 over the address, its options and what lies there.

    `begins_from` are addresses of bundles and vectors that training begins from, which count with what they hold. UsageError or
    EnvironmentFault E510 where there is nothing to read.
    """
    asked = address.parse(data)
    total = hashlib.sha256(str(asked).encode())
    for line in chain(_described(asked), *map(_start, begins_from)):
        total.update(f"\n{line}".encode())
    return total.hexdigest()[:DIGITS]


def _described(asked: address.Address) -> Iterator[str]:
    """A line for each file that is read, in the order of their names."""
    if is_simulated(asked.path):
        return iter(())
    return _objects(asked) if storage.is_remote(asked.path) else _files(asked)


def _start(where: str) -> Iterator[str]:
    """A line for each file of a bundle, or for one of vectors; training says what is lacking."""
    if not storage.is_remote(where):
        path = Path(where)
        return chain((f"{where} begins",), map(_file, sorted(file for file in (path, *path.rglob("*")) if file.is_file())))
    with workspace() as folder:
        _, found = storage.listed(where, Path(folder))
        return iter([f"{where} begins", *sorted(f"{source} {stored.size} {stored.etag}" for source, stored in found.values())])


def _files(asked: address.Address) -> Iterator[str]:
    for file in sorted(opened(asked.path, asked.mapping).files):
        if not file.is_file():  # of a known data set; ingest says what is lacking
            yield f"{file} is not there"
            continue
        yield _file(file)


def _file(file: Path) -> str:
    about = file.stat()
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return f"{file} {about.st_size} {about.st_mtime_ns} {digest}"


def _objects(asked: address.Address) -> Iterator[str]:
    """Names are laid out as files without content, and what an ingest makes of them says which objects it reads."""
    with workspace() as folder:
        where, listed = storage.listed(asked.path, Path(folder))
        for file, (source, _) in listed.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            if file.name == manifest.FILE:
                file.write_bytes(storage.get(source) or b"")
        read = [listed[file] for file in opened(str(where), asked.mapping).files if file in listed]
        yield from sorted(f"{source} {found.size} {found.etag}" for source, found in read)
