"""Options of reading a file, for what its content does not say or a person knows better."""

import codecs
from dataclasses import dataclass

from lodestar.errors import ConfigError
from lodestar.process.suggestions import unknown_name

CSV, JSON_LINES, JSON, PYTHON_LITERAL, PARQUET = FORMATS = ("csv", "json-lines", "json", "python-literal", "parquet")
NO_QUOTES, BACKSLASH = "none", "backslash"
MAX_DELIMITER = 8
_LINE_ENDS = ("\r", "\n")
# Python calls these text encodings, and they are none of files.
_NOT_OF_FILES = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    r"""How a file is read; what is empty or None is decided from its content.

    `format` is one of FORMATS; csv is text with any delimiter, of one to MAX_DELIMITER characters. `columns` name the columns in order: the
    file then has no header, unless `header` is true, whose line is skipped. With `header` false and no names the columns are 1, 2, ….
    `quoting` is the quote character, `none` where quotes are plain text, or `backslash` for " with \\" within. ConfigError E178 for a value
    that is none of these.
    """

    format: str = ""
    delimiter: str = ""
    columns: tuple[str, ...] = ()
    header: bool | None = None
    encoding: str = ""
    quoting: str = ""

    def __post_init__(self) -> None:
        if self.format and self.format not in FORMATS:
            raise _invalid(unknown_name("format: there is no format", self.format, FORMATS))
        if len(self.delimiter) > MAX_DELIMITER or any(character in _LINE_ENDS for character in self.delimiter):
            raise _invalid(f"delimiter: {self.delimiter!r} is not one to {MAX_DELIMITER} characters of a line")
        if repeated := sorted({name for name in self.columns if self.columns.count(name) > 1}):
            raise _invalid(f"columns: {repeated[0]!r} is named twice; name each column once")
        if self.quoting not in ("", NO_QUOTES, BACKSLASH) and not _is_quote(self.quoting):
            raise _invalid(f"quoting: {self.quoting!r} is neither {NO_QUOTES}, {BACKSLASH} nor one ASCII character")
        if self.quoting == self.delimiter != "":
            raise _invalid(f"quoting: {self.quoting!r} is the delimiter as well")
        if self.encoding and not _is_encoding(self.encoding):
            raise _invalid(f"encoding: {self.encoding!r} is no encoding, such as utf-8, latin1, cp1252 or utf-16")


FROM_CONTENT = ReadOptions()  # nothing is declared


def _is_quote(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isprintable() and not text.isalnum()


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
        return codecs.lookup(name).name.replace("-", "_") not in _NOT_OF_FILES
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        return False


def _invalid(message: str) -> ConfigError:
    return ConfigError(message, code="E178")
