"""JSON objects wherever they stand in a text: in an array, one after another over several lines, or several on a line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.readers.encodings import read_text
from lodestar.data.readers.json_objects.lines import SHOWN_BYTES, Block
from lodestar.data.readers.source import unreadable
from lodestar.errors import DataError, Location

_BETWEEN = re.compile(r"[\s,\[\]]*")
_INCOMPLETE = "Unterminated"


def _ignore(_text: str) -> int:
    """Numbers stay text, and to convert a long one takes time."""
    return 0


_DECODER = json.JSONDecoder(parse_int=_ignore, parse_float=_ignore, parse_constant=_ignore)


def read_objects(path: Path, encoding: str) -> Iterator[Block]:
    """Blocks of the values of a file, in order, each with the line that it begins on; arrays are opened.

    DataError E109 where the text is no JSON, E171 for a value longer than a line may be, E108 for a damaged file or an array that is not
    closed, E104 for the wrong encoding.
    """
    numbers, values, size = list[int](), list[str](), 0
    for number, value in _values(path, read_text(path, encoding)):
        numbers.append(number)
        values.append(value)
        size += len(value)
        if size > MAX_LINE_BYTES:
            yield _block(numbers, values)
            numbers, values, size = [], [], 0
    if values:
        yield _block(numbers, values)


def _block(numbers: list[int], values: list[str]) -> Block:
    return Block(pa.array(numbers, pa.int64()).to_numpy(), pa.array(values, pa.string()))


def _values(path: Path, chunks: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Each value with its line; at most a value and a chunk are in memory."""
    text, line, place, depth = "", 1, 0, 0
    chunk: str | None = ""
    while True:
        between = _BETWEEN.match(text, place).group()  # type: ignore[union-attr]
        depth += between.count("[") - between.count("]")
        line, place = line + between.count("\n"), place + len(between)
        if end := _end(path, text, place, line, is_whole=chunk is None):
            yield line, text[place:end]
            line, place = line + text.count("\n", place, end), end
        elif chunk is None:
            break
        else:
            chunk = next(chunks, None)
            text, place = text[place:] + (chunk or ""), 0
    if depth > 0:
        raise unreadable(path, "ends before its array does")


def _end(path: Path, text: str, place: int, line: int, *, is_whole: bool) -> int:
    """The end of the value that begins at a place, 0 where there is none or more text is needed to say."""
    if place == len(text):
        return 0
    try:
        end = _DECODER.raw_decode(text, place)[1]
    except RecursionError as error:
        raise _broken(path, text, place, line, "it is nested too deeply") from error
    except json.JSONDecodeError as error:
        if not is_whole and len(text) - place <= MAX_LINE_BYTES:
            return 0
        if not is_whole and (error.msg.startswith(_INCOMPLETE) or error.pos >= len(text) - 1):
            remedy = "Write smaller objects, and close texts and brackets."
            message = f"the value has more than {MAX_LINE_BYTES:,} bytes"
            raise DataError("E171", message, remedy=remedy, place=Location(file=path.name, line=line)) from error
        raise _broken(path, text, error.pos, line + text.count("\n", place, error.pos), error.msg) from error
    return end if is_whole or end < len(text) or text[end - 1] in '}"' else 0


def _broken(path: Path, text: str, place: int, line: int, reason: str) -> DataError:
    start = max(text.rfind("\n", 0, place) + 1, place - SHOWN_BYTES // 2)
    found = Location(file=path.name, line=line, value=text[start : start + SHOWN_BYTES].partition("\n")[0])
    return DataError("E109", f"the text is no JSON from here on ({reason})", remedy="Correct it, or write the file again.", place=found)
