"""Sanitise untrusted text (ids, names, paths, server messages) for terminals, logs, Markdown and shell commands; mask secrets.

Control characters can move the cursor and forge log lines, bidirectional ones can disguise a text, and lone surrogates (file names that are
not UTF-8) cannot be written: each is shown as its escape code. Passwords in addresses are masked.
"""

import logging
import re
import shlex
import sys
import time
from collections.abc import Sequence

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_MASK = "***"
# A password before a host may hold anything but blanks and quotes; the last @ of the word ends it. What is a port and a query is none.
_WORD = re.compile(r"[^\s'\"]+")
_PASSWORD = re.compile(r"(?<=://)(?!\[[\da-f:.]+\])([^/@:]*):(?!(?<!/:)\d{1,5}(?:/[^?#@:]*)?[?#]).*", re.IGNORECASE)
_HTTP_USER = re.compile(r"\b(https?://)[^/@?#]+@", re.IGNORECASE)  # where a token stands as often as a name
# Names of secrets: suffixes of longer names, and names that stand alone or behind punctuation.
_ENDS_OF_NAMES = (
    r"password|passwd|passphrase|secret|credential|token|signature|"
    r"(?:api|access|account|private|signing|secret|shared|master|encryption)[_-]?key"
)
_NAMES = r"pwd|sig|awsaccesskeyid|aws_access_key_id|(?<=_)(?-i:KEY)"
# After a name: its closing quote and `=` or `:`, or a blank if it is an option's; then a quoted value (quotes escaped or not), or
# everything up to the next setting.
# In a URL query `&` starts the next one; elsewhere a password may contain it.
_QUOTED = r"""(?P<escaped>\\+["'])(?:(?!(?P=escaped)).)*|(?P<quote>["'])(?:\\.|(?!(?P=quote))[^\\])*"""
_OPEN = r"""(?:[^\s&,;'"]|(?(query)(?!)|&)|[,;](?![\s]|[\w.-]+\s?[=:]|$))+"""
_SECRET = re.compile(
    rf"""(?P<name>--[\w-]{{0,40}}?(?:{_ENDS_OF_NAMES}|pwd)(?:\\*["'],)?\s+(?!--)|"""
    rf"""(?P<query>[?&][\w.-]{{0,40}}?)?(?:{_ENDS_OF_NAMES}|(?<![A-Za-z0-9])(?:{_NAMES}))(?:\\*["'])?\s?[=:]\s?)"""
    rf"""(?!\s)(?:{_QUOTED}|{_OPEN})""",
    re.IGNORECASE | re.DOTALL,
)
# KEY is the placeholder in our own messages.
_TOKEN = re.compile(
    r"\b(Bearer|Authorization\W{1,6}(?:Basic|Digest|Negotiate|Token|ApiKey))(\s+)(?!KEY\b)[A-Za-z0-9._~+/=-]+", re.IGNORECASE
)
_MARKDOWN = re.compile(r"([\\`\[\]<|])")


def printable(text: str) -> str:
    """The text with secrets masked and control characters escaped; line ends and tabs stay."""
    return _UNPRINTABLE.sub(_escape_code, masked(text))


def one_line(text: str) -> str:
    """`printable` text on one line: line ends and tabs are escaped too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def masked(text: str) -> str:
    """The text with secrets replaced by ***: passwords in URLs, query parameters, settings and authorization headers."""
    without_users = _WORD.sub(_mask_user, text) if "://" in text else text
    return _TOKEN.sub(rf"\1\2{_MASK}", _SECRET.sub(_mask_value, without_users))


def shorten(value: str, limit: int = 60) -> str:
    """A value truncated to `limit` characters for a message."""
    return value if len(value) <= limit else value[: limit - 1] + "…"


def quoted(value: str) -> str:
    """A value in quotes for a message, truncated; secrets are masked first, since half of one is no longer recognised."""
    return repr(shorten(masked(value)))


def markdown(text: str) -> str:
    """The text on one line, escaped for Markdown and for the HTML rendered from it."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def command(words: Sequence[str]) -> str:
    """A shell command line from words, quoted so that it is safe to paste."""
    return " ".join(map(quote, words))


def quote(word: str) -> str:
    """A word in shell quotes; unprintable characters as the codes of their bytes in $'…', whatever the shell's encoding."""
    if word == one_line(word):
        return shlex.quote(word)
    escaped = _UNPRINTABLE.sub(_escape_bytes, word.replace("\\", "\\\\").replace("'", "\\'")).replace("\n", "\\n").replace("\t", "\\t")
    return f"$'{escaped}'"


def write_stdout(text: str) -> None:
    """Write `printable` text to standard output."""
    sys.stdout.write(printable(text))


def write_stderr(text: str) -> None:
    """Write `printable` text to standard error."""
    sys.stderr.write(printable(text))


class Formatter(logging.Formatter):
    """Log formatter that writes each record on one sanitised line, times in UTC (ISO 8601); a stack trace keeps its lines."""

    converter = staticmethod(time.gmtime)
    default_time_format, default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The record's message on one line."""
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: "logging._SysExcInfoType") -> str:  # noqa: N802  # logging's name
        """The stack trace, sanitised."""
        return printable(super().formatException(ei))


def log_to_stderr(level: int = logging.WARNING) -> None:
    """Configure logging to standard error in the format of all our processes; no effect if a handler is configured already."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def _mask_value(match: "re.Match[str]") -> str:
    return f"{match['name']}{match['escaped'] or match['quote'] or ''}{_MASK}"


def _mask_user(word: "re.Match[str]") -> str:
    """A word without the passwords of its addresses. One pattern for it all would take the square of a text's length."""
    head, at, tail = word[0].rpartition("@")
    return _HTTP_USER.sub(rf"\1{_MASK}@", _PASSWORD.sub(rf"\1:{_MASK}", head) + at + tail)


def _escape_bytes(match: "re.Match[str]") -> str:
    """A byte that is not UTF-8 is a surrogate in a name that Python reads."""
    is_byte = "\udc80" <= match[0] <= "\udcff"
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode(errors="surrogateescape" if is_byte else "surrogatepass"))


def _escape_code(match: "re.Match[str]") -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
