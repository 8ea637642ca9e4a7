"""Texts of others made fit to be printed, logged and pasted: ids, names, paths and what servers say may hold anything.

Control characters move a terminal's cursor and forge lines of a log, bidirectional ones make a text read as another, lone surrogates
(bytes of file names that are not UTF-8) cannot be written at all: each is shown as its code. Passwords in addresses are left out.
"""

import argparse
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_MASK = "***"
# A password before a host may hold anything but blanks and quotes; the last @ ends it.
_USER_INFO = re.compile(r"(?<=://)([^\s/@:'\"]*):[^\s'\"]*@")
# Names of secrets: those that a longer name may end with, and those that stand alone or behind a sign.
_ENDS_OF_NAMES = r"password|passwd|passphrase|secret|credential|(?:api|access|account|private|signing)[_-]?key"
_NAMES = (
    r"pwd|token|sig|signature|x-amz-signature|x-amz-security-token|awsaccesskeyid|aws_secret_access_key|aws_access_key_id|(?<=_)(?-i:KEY)"
)
# Behind a name its closing quote and a sign; then what is in quotes, these escaped or not, or all up to what begins another setting.
# In a query & begins another; a password of a setting may hold it.
_QUOTED = r"""(?P<escaped>\\+["'])(?:(?!(?P=escaped)).)*|(?P<quote>["'])(?:\\.|(?!(?P=quote))[^\\])*"""
_OPEN = r"""(?:[^\s&,;'"]|(?(query)(?!)|&)|[,;](?![\s]|[\w.-]+\s?[=:]|$))+"""
_SECRET = re.compile(
    rf"""(?P<name>(?P<query>[?&][\w.-]{{0,40}}?)?(?:{_ENDS_OF_NAMES}|(?<![A-Za-z0-9])(?:{_NAMES}))(?:\\*["'])?\s?[=:]\s?)"""
    rf"""(?!\s)(?:{_QUOTED}|{_OPEN})""",
    re.IGNORECASE | re.DOTALL,
)
# KEY stands for one in what is said to users.
_TOKEN = re.compile(r"\b(Bearer|(?<=Authorization: )Basic)(\s+)(?!KEY\b)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_MARKDOWN = re.compile(r"([\\`\[\]<|])")


def printable(text: str) -> str:
    """The text without passwords, each character that is not to be seen as its code; line ends and tabs stay."""
    return _UNFIT.sub(_code, masked(text))


def line(text: str) -> str:
    """As `printable`, in one line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def masked(text: str) -> str:
    """The text with what looks like a password replaced by ***: in addresses, in their queries, and in settings."""
    return _TOKEN.sub(rf"\1\2{_MASK}", _SECRET.sub(_without_value, _USER_INFO.sub(rf"\1:{_MASK}@", text)))


def markdown(text: str) -> str:
    """One line that is nothing but text in Markdown and in the HTML that is made of it."""
    return _MARKDOWN.sub(r"\\\1", line(text))


def command(words: Sequence[str]) -> str:
    """Words as a shell takes them, to be pasted: none of them runs anything, whatever it holds."""
    return " ".join(map(_quoted, words))


def say(text: str) -> None:
    """Write to standard output, as `printable` has it."""
    sys.stdout.write(printable(text))


def warn(text: str) -> None:
    """Write to standard error, as `printable` has it."""
    sys.stderr.write(printable(text))


class Parser(argparse.ArgumentParser):
    """A parser whose complaints repeat what was typed without passwords, and as `printable` has it."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


class Formatter(logging.Formatter):
    """A record is one line, whatever its values hold; a stack trace keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        record.message = line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: "logging._SysExcInfoType") -> str:  # noqa: N802  # logging's name
        return printable(super().formatException(ei))


def log_to_stderr(level: int = logging.WARNING) -> None:
    """Log as all our processes do, level, logger and message; nothing where a handler is there already."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def _without_value(found: "re.Match[str]") -> str:
    return f"{found['name']}{found['escaped'] or found['quote'] or ''}{_MASK}"


def _quoted(word: str) -> str:
    """In the shell's quotes, or with codes in $'…' where a terminal would not take the characters themselves."""
    if word == line(word):
        return shlex.quote(word)
    escaped = _UNFIT.sub(_code, word.replace("\\", "\\\\").replace("'", "\\'")).replace("\n", "\\n").replace("\t", "\\t")
    return f"$'{escaped}'"


def _code(found: "re.Match[str]") -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
