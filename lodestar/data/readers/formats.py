"""Format of a file, by its content.

A name says the format only where the content may be of several: text with commas in `.jsonl` is JSON Lines that are malformed.
"""

import json
from pathlib import Path

from lodestar.data.readers import decompression
from lodestar.data.readers.collector_parts import is_part
from lodestar.data.readers.encodings import UTF8, decode_start, encoding_of, read_start
from lodestar.data.readers.file_names import JSON_SUFFIXES, PARQUET_SUFFIXES
from lodestar.data.readers.foreign_kinds import FOLDER, PARQUET_MAGIC, kind_of, not_read
from lodestar.data.readers.json_objects.python_literals import parse_literal
from lodestar.data.readers.options import CSV, JSON, JSON_LINES, PARQUET, PYTHON_LITERAL, ReadOptions
from lodestar.errors import DataError, Location

START_BYTES = 1 << 16


def format_of(path: Path, options: ReadOptions) -> str:
    """The format of a file, one of `options.FORMATS`: the declared one, else by its content.

    DataError E161 for a kind of file that is not read, E175 for Python dictionaries, which are only read where they are declared, E104 for
    UTF-16 without a byte order mark, E108 where the file cannot be read.
    """
    if is_part(path):
        return JSON_LINES
    if path.is_dir():
        raise not_read(path, FOLDER)
    start = read_start(path, START_BYTES)
    if kind := kind_of(path, start):
        raise not_read(path, kind)
    if options.format:
        return options.format
    name = decompression.without_suffix(path.name)
    if start.startswith(PARQUET_MAGIC) or name.endswith(PARQUET_SUFFIXES):
        return PARQUET
    encoding = options.encoding or _narrow_or_marked(path, start)
    found = _json_format(decode_start(start, encoding).lstrip(), is_whole=len(start) < START_BYTES)
    if found == PYTHON_LITERAL:
        remedy = f'Declare format = "{PYTHON_LITERAL}".'
        place = Location(file=path.name, line=1)
        raise DataError("E175", "the lines are Python dictionaries, and not JSON objects", remedy=remedy, place=place)
    is_delimited = options.delimiter or options.columns or options.header is not None or options.quoting
    return found or (JSON_LINES if name.endswith(JSON_SUFFIXES) and not is_delimited else CSV)


def _narrow_or_marked(path: Path, start: bytes) -> str:
    """The encoding by the byte order mark, UTF-8 without one; E104 for UTF-16 without one, in which every other byte of most texts is 0."""
    encoding = encoding_of(start)
    half = max(1, len(start) // 2)
    even, odd = start[0::2].count(0) / half, start[1::2].count(0) / half
    if encoding != UTF8 or max(even, odd) < 0.5 or min(even, odd) > 0.1:
        return encoding
    remedy = f'Declare encoding = "{"utf-16-le" if odd > even else "utf-16-be"}".'
    raise DataError("E104", "every other byte is 0, as in UTF-16, and not UTF-8", remedy=remedy, place=Location(file=path.name))


def _json_format(text: str, *, is_whole: bool) -> str:
    """The form of JSON that a text begins like, empty where it is none for sure; `is_whole`: the text is the whole file."""
    if text.startswith("["):
        return JSON if text[1:].lstrip().startswith(("{", "]")) else ""
    line, newline, rest = text.partition("\n")
    if not text.startswith("{") or _is_object(line):
        return JSON_LINES if text.startswith("{") else ""
    if isinstance(parse_literal(line), dict):
        return PYTHON_LITERAL
    is_first_bad = not newline or _is_object(rest.partition("\n")[0])
    return JSON if not is_first_bad and _opens_object(text, is_whole=is_whole) else ""


def _opens_object(text: str, *, is_whole: bool) -> bool:
    """Whether a text begins with an object over several lines, or with what may become one."""
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        is_cut = not is_whole and error.pos >= len(text) - 1
        return is_cut or text.partition("\n")[0].rstrip().endswith(("{", "[", ",", ":"))
    except (ValueError, RecursionError):
        return True
    return True


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
