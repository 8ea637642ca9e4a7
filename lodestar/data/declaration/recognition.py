"""Whether the beginning of a file is what a source of a declaration looks like: its columns, and the values in them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa

from lodestar import schema
from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.declaration.about import Recognition
from lodestar.data.declaration.model import Declaration, TableSource
from lodestar.data.declaration.relations import EVERY, options_of
from lodestar.data.readers import decompression
from lodestar.data.readers.collector_parts import is_part
from lodestar.data.readers.file_names import PARQUET_SUFFIXES
from lodestar.data.readers.options import FROM_CONTENT, JSON_LINES, PYTHON_LITERAL, ReadOptions
from lodestar.data.readers.readers import read
from lodestar.errors import LodestarError
from lodestar.io.private_folders import workspace

HEAD_BYTES = 1 << 16
MAX_MALFORMED = 0.05  # of the rows of a head

Head = tuple[tuple[str, ...], "pa.Table"]  # all columns of a file, and its first rows


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Beginnings of files, each read once for each way of reading it; `folder` holds copies of them."""

    folder: Path
    texts: dict[Path, bytes] = field(default_factory=dict)
    read: dict[tuple[Path, ReadOptions], Head | None] = field(default_factory=dict)

    def text(self, path: Path) -> bytes:
        """The first whole lines of a file, decompressed; empty where it cannot be read."""
        if path not in self.texts:
            try:
                with decompression.open_decompressed(path) as content:
                    found = content.read(HEAD_BYTES)
                    found += content.readline(MAX_LINE_BYTES)  # the rest of the last line
            except decompression.DECOMPRESSION_ERRORS:
                found = b""
            self.texts[path] = found
        return self.texts[path]

    def head(self, path: Path, options: ReadOptions) -> Head | None:
        """The columns and first rows of a file, None where it cannot be read by these options."""
        key = path, options
        if key not in self.read:
            self.read[key] = _first_rows(path, options, 1) if path.name.endswith(PARQUET_SUFFIXES) else self._of_copy(path, options)
        return self.read[key]

    def _of_copy(self, path: Path, options: ReadOptions) -> Head | None:
        copy = self.folder / decompression.without_suffix(path.name)
        copy.write_bytes(self.text(path))
        return _first_rows(copy, options)


@contextmanager
def heads() -> Iterator[Heads]:
    """Beginnings of files, whose copies are removed at the end."""
    with workspace() as folder:
        yield Heads(folder=Path(folder))


def fits(declaration: Declaration, source: TableSource, path: Path, beginnings: Heads) -> bool:
    """Whether the beginning of a file is what the source is recognised by; where nothing is said, it is."""
    recognition = source.recognise
    if recognition is None:
        return True
    options = options_of(source, declaration)
    if not path.name.endswith(PARQUET_SUFFIXES) and not _may_fit(recognition, options, beginnings.text(path)):
        return False
    head = beginnings.head(path, options)
    if head is None:
        return False
    names, rows = head
    if not {*recognition.columns, *recognition.values} <= set(names) or set(recognition.without) & set(names):
        return False
    return all(_all_match(rows[column], pattern) for column, pattern in recognition.values.items())


def with_header(source: TableSource) -> TableSource | None:
    """The source for a file whose first line repeats the names that the source gives; None where it gives none."""
    return source.model_copy(update={"header": True}) if source.columns and source.header is None else None


def has_contract_columns(path: Path) -> bool:
    """Whether a file of events has the contract's own columns: a user or session, a time, and a type or rating."""
    if is_part(path):
        return True
    with heads() as beginnings:
        head = beginnings.head(path, FROM_CONTENT)
    names = set(head[0]) if head else set()
    is_told = {schema.EVENT_TYPE, schema.RATING} & names and {schema.USER_ID, schema.SESSION_ID} & names
    return bool(is_told) and schema.EVENT_TIME in names


def _may_fit(recognition: Recognition, options: ReadOptions, text: bytes) -> bool:
    """Whether a file's first lines may be what is looked for, by signs that cost nothing: most files are no dataset's."""
    encoding = options.encoding or "utf8"
    needed = [name.encode(encoding, "replace") for name in {*recognition.columns, *recognition.values}]
    if options.format in (JSON_LINES, PYTHON_LITERAL):
        return text.lstrip().startswith(b"{") and all(name in text for name in needed)
    first = text.partition(b"\n")[0]
    if options.columns:
        return first.count(options.delimiter.encode(encoding, "replace")) >= len(options.columns) - 1
    return all(name in text for name in needed) if text.startswith(b"{") else all(name in first for name in needed)


def _all_match(values: "pa.ChunkedArray", pattern: str) -> bool:
    """Whether all values that are not empty match a regular expression, and there is one."""
    texts = {text for value in values.cast(pa.string()).unique().to_pylist() if value is not None and (text := value.strip())}
    return bool(texts) and all(re.fullmatch(pattern, text) for text in texts)


def _first_rows(path: Path, options: ReadOptions, batches: int | None = None) -> Head | None:
    try:
        source = read(path, EVERY, options)
        rows = list(islice(source.batches(), batches))
        malformed = sum(1 for _ in source.malformed())
    except LodestarError:
        return None
    count = sum(map(len, rows))
    return (source.names, pa.concat_tables(rows)) if count and malformed <= MAX_MALFORMED * (count + malformed) else None
