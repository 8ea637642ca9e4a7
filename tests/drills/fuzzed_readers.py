"""Files that were cut, overwritten, packed, renamed or made of nothing, read by any options: a coded error, or every row accounted for.

Where a file has a line for each row, its lines are counted by other code than the readers', and each row is compared with its line.
"""

import bz2
import gzip
import io
import json
import lzma
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from lodestar.data.readers import decompression
from lodestar.data.readers.formats import format_of
from lodestar.data.readers.options import CSV, FORMATS, JSON_LINES, PARQUET, PYTHON_LITERAL, ReadOptions
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.errors import LodestarError

NAMES = ("user_id", "item_id", "event_type", "event_time", "note")
FEARED = [
    *(b"\x00", b'"', b'""', b'"\n', b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\n\n", b",,,,", b"::", b"\t", b"|", b";", b"\\"),
    *(
        b'\\"',
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
        b"null",
        b"#",
        b"# x,y\n",
        b"\x1f",
        b"\x01",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\x85",
        b"\xe2\x80\xa8",
    ),
    *(b"user_id,item_id\n", b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"9" * 400, b"NaN"),
    *(
        b'{"a":' * 50,
        b"[" * 2000,
        b'"\\ud800"',
        b"a" * 9000,
        b"{'a': 1}\n",
        b'{"user_id": "u1", "user_id": "u2"}\n',
        b"version https://git-lfs",
    ),
]
SUFFIXES = ("", ".csv", ".tsv", ".txt", ".dat", ".jsonl", ".json", ".parquet", ".csv.gz", ".JSONL.GZ", ".xlsx", ".csv.zst")
DELIMITERS = (",", ",", "\t", ";", "|", "::", "\x01", " ", "¦")
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "latin1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis")
_LINE_END = re.compile(b"\r\n|\r|\n")


def drill(seed: int, cases: int) -> dict[str, object]:
    """Read so many files; AssertionError with the file and its options where another exception is raised, or a row is not accounted for."""
    rng, refused, rows, held = Random(seed), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(cases):
            content, options = _file(rng), _options(rng)
            path = Path(folder) / f"log{rng.choice(SUFFIXES)}"
            path.write_bytes(content)
            try:
                with mock.patch.object(decompression, "CHUNK_BYTES", rng.choice([1 << 20, 7, 50])):  # lines and marks lie across chunks
                    read_rows, is_held = _check(path, content, options)
                rows, held = rows + read_rows, held + is_held
            except LodestarError as error:
                if not error.code:
                    raise AssertionError(f"case {number} of seed {seed}: {path.name}, {options}: no code: {error}") from error
                refused[error.code] += 1
            except BaseException as error:
                raise AssertionError(f"case {number} of seed {seed}: {path.name}, {options}: {content[:4000]!r}") from error
            path.unlink()
    return {"rows": rows, "files_held_against_lines": held, "refused": dict(sorted(refused.items()))}


def _check(path: Path, content: bytes, options: ReadOptions) -> tuple[int, bool]:
    """The number of rows of a file, and whether its lines say how many there are; AssertionError where they say another number."""
    wanted = NAMES[:3]
    source = read(path, wanted, options)
    table = source.read() if source.columns else None
    rows = sum(len(batch) for batch in source.batches())
    malformed = list(source.malformed())
    lines = list(source.lines(range(rows))) if rows else []
    assert lines == sorted(lines), "lines are not ascending"
    assert table is None or len(table) == rows, "a second reading gives another number of rows"
    found = format_of(path, options)
    if found == PARQUET and source.columns:
        assert rows == pq.ParquetFile(path).metadata.num_rows
    if found in {CSV, JSON_LINES, PYTHON_LITERAL}:
        assert not {*lines} & {one.line for one in malformed}, "a line is a row and malformed"
        assert len({*lines}) == rows, "two rows have one line"
    plain = content if found == CSV and options.quoting == "none" and _is_plain(content, options) else b""
    if found in {JSON_LINES, PYTHON_LITERAL} and _is_plain(content, options):
        assert rows + len(malformed) + sum(source.skipped_rows.values()) == len(_lines(content, b"\n")), "a line is neither"
        return rows, True
    if plain:
        _check_lines(plain, source, table, lines, [one.line for one in malformed])
    return rows, bool(plain)


def _is_plain(content: bytes, options: ReadOptions) -> bool:
    """Whether a file's bytes are its lines: it is neither packed nor of another encoding."""
    packed = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
    return not content.startswith(packed) and options.encoding in {"", "utf-8"}


def _lines(content: bytes, ends: bytes) -> list[tuple[int, bytes]]:
    """Number and text of each line that is not blank."""
    text = content.removeprefix(b"\xef\xbb\xbf")
    lines = _LINE_END.split(text) if b"\r" in ends else text.split(b"\n")
    is_blank: Callable[[bytes], bool] = (lambda line: not line) if b"\r" in ends else (lambda line: not line.strip(b" \t\r\n"))
    return [(number, line) for number, line in enumerate(lines, start=1) if not is_blank(line)]


def _check_lines(content: bytes, source: Source, table: "pa.Table | None", lines: Sequence[int], malformed: Sequence[int]) -> None:
    """Every line after the header is a row or malformed, and each value of a row is on its line."""
    texts = dict(_lines(content, b"\r\n"))
    told = {*lines, *malformed}
    comments = sum(text.lstrip().startswith(b"#") for text in texts.values())
    assert {number for number in texts if told and number >= min(told)} == told, "a line is neither"
    assert len(texts) - len(told) <= 1 + comments, "a line before the rows is no header"
    for row, line in zip(table.to_pylist(), lines, strict=True) if table is not None else ():
        assert all(value.encode() in texts[line] for value in row.values()), f"line {line} has not the values of its row"


def _options(rng: Random) -> ReadOptions:
    if rng.random() < 0.4:
        return ReadOptions()
    columns = rng.choice([(), (), NAMES, NAMES[:2]])
    return ReadOptions(
        format=rng.choice(["", "", "", "", "csv", "csv", "python-literal", *FORMATS]),
        delimiter=rng.choice(["", "", *DELIMITERS]),
        columns=columns,
        header=rng.choice([None, None, True, False]),
        encoding=rng.choice(["", "", "", *ENCODINGS]),
        quoting=rng.choice(["", "none", "none", '"', "'", "backslash"]),
    )


def _file(rng: Random) -> bytes:
    """A file of some kind, changed, and packed before or after it is changed."""
    content = rng.choice([_delimited, _delimited, _json_lines, _json, _literals, _parquet, _noise])(rng)
    if rng.random() < 0.2:
        return _packed(_changed(content, rng), rng)
    return _changed(_packed(content, rng) if rng.random() < 0.15 else content, rng)


def _rows(rng: Random) -> list[dict[str, str]]:
    texts = ["", "plain", 'say "hi"', "a,b", "a::b", "é", "東", "two\nlines", '5" disc', "'", "\\", "#"]
    return [
        {
            "user_id": f"u{rng.randrange(9)}",
            "item_id": rng.choice(["i1", "7", "a-b"]),
            "event_type": "view",
            "event_time": f"2026-01-{rng.randrange(1, 29):02}T00:00:00Z",
            "note": rng.choice(texts),
        }
        for _ in range(rng.randrange(14))
    ]


def _delimited(rng: Random) -> bytes:
    delimiter, end, quote = rng.choice(DELIMITERS), rng.choice(["\n", "\n", "\r\n", "\r"]), rng.choice(['"', '"', "", "'"])
    is_quoted = rng.random() < 0.4
    header = [NAMES] if rng.random() < 0.8 else []
    lines = []
    for values in [*header, *(tuple(row.values()) for row in _rows(rng))]:
        cells = [quote + value.replace(quote, 2 * quote) + quote if quote and (is_quoted or quote in value) else value for value in values]
        lines.append(delimiter.join(cells))
    text = end.join(lines) + rng.choice(["", end])
    return text.encode(rng.choice(ENCODINGS), "replace")


def _json_lines(rng: Random) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n" for row in _rows(rng)).encode()


def _json(rng: Random) -> bytes:
    rows: Any = _rows(rng)
    indent = rng.choice([None, 1])
    return (json.dumps(rows, indent=indent) if rng.random() < 0.6 else "\n".join(json.dumps(row, indent=1) for row in rows)).encode()


def _literals(rng: Random) -> bytes:
    return "".join(f"{row}\n" for row in _rows(rng)).encode()


def _parquet(rng: Random) -> bytes:
    sink = io.BytesIO()
    names, rows = rng.choice([NAMES, ("user_id",), ("other",)]), _rows(rng)
    pq.write_table(pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}), sink)
    return sink.getvalue()


def _noise(rng: Random) -> bytes:
    return rng.randbytes(rng.randrange(300)) if rng.random() < 0.5 else b"".join(rng.choices(FEARED, k=rng.randrange(1, 8)))


def _packed(content: bytes, rng: Random) -> bytes:
    packers: list[Callable[[bytes], bytes]] = [gzip.compress, lzma.compress, bz2.compress, _zstd]
    return rng.choice(packers)(content)


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def _changed(content: bytes, rng: Random) -> bytes:
    """The content after a few changes."""
    found = bytearray(content)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        here, there = sorted(rng.randrange(len(found) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0 if found:
                found[min(here, len(found) - 1)] = rng.randrange(256)
            case 1:
                found[here:here] = rng.choice(FEARED)
            case 2:
                found[here : here + rng.randrange(1, 30)] = rng.choice(FEARED)
            case 3:
                del found[here : min(there, here + 200)]
            case 4:
                found[here:here] = found[here : min(there, here + 400)]
            case _:
                del found[there:]
    return bytes(found)
