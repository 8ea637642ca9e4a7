"""Exception tree with exit codes; each message names the place, the value and a remedy, most a code of `lodestar.error_codes`.

LodestarError
├── UsageError         exit 2   invalid command line or request
│   └── ConfigError    exit 2   invalid recipe or override
│       └── Diverged   exit 2   the loss of training is not finite (E194)
├── DataError          exit 3   the data violate the data contract
│   ├── DataErrors     exit 3   several violations in one answer
│   └── SchemaMismatch exit 3   a bundle or a table was written for another schema (E150)
├── GateFailed         exit 4   the model is below a baseline, or a check (leakage, skew) failed
└── EnvironmentFault   exit 5   a device, a server or a file system failed
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lodestar.error_codes import CODES
from lodestar.process.safe_text import printable, shorten

MAX_FINDINGS = 20  # of one answer


class LodestarError(Exception):
    """Base of all errors that are reported without a stack trace; `code` is empty where the message alone says what to do.

    A code decides the exit code, by its row of `lodestar.error_codes`; an error without one has that of its class.
    """

    exit_code = 1

    def __init__(self, message: str, *, code: str = "") -> None:
        self.code, self.message = code, message
        if code and (exit_code := CODES[code].exit_code) is not None:
            self.exit_code = exit_code
        super().__init__(f"{code} {message}" if code else message)

    def __str__(self) -> str:
        """The message, sanitised: secrets masked, control characters escaped, and further lines indented so that none can be forged."""
        return printable(super().__str__()).replace("\n", "\n  ")


class UsageError(LodestarError):
    """Invalid command line or request; exit code 2."""

    exit_code = 2


class ConfigError(UsageError):
    """Invalid recipe, override or setting; exit code 2."""


class Diverged(ConfigError):
    """Training diverged: its loss is not finite (E194); exit code 2."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """Location of an error in the input; `line` counts from 1 and includes the header."""

    file: str
    line: int | None = None
    column: str | None = None
    value: str | None = None

    def __str__(self) -> str:
        parts = [self.file]
        if self.line is not None:
            parts.append(f"line {self.line}")
        if self.column is not None:
            parts.append(f"column {self.column}")
        if self.value is not None:
            parts.append(f"value {shorten(self.value)!r}")
        return ", ".join(parts)


class DataError(LodestarError):
    """The data violate the data contract. Exit code 3."""

    exit_code = 3

    def __init__(self, code: str, message: str, *, remedy: str, place: Location | None = None) -> None:
        where = f"{place}: " if place is not None else ""
        super().__init__(f"{where}{message}{'' if message.endswith('?') else '.'} {remedy}", code=code)
        self.message, self.remedy, self.place = message, remedy, place


class DataErrors(DataError):
    """Several violations of the data contract in one answer, so that a file is mended once: code, place and remedy are the first one's.

    `findings` are those that are shown, a line each; `num_more` counts further kinds. `together` makes one.
    """

    def __init__(self, findings: Sequence[DataError], num_more: int = 0) -> None:
        first = findings[0]
        super().__init__(first.code, first.message, remedy=first.remedy, place=first.place)
        self.findings, self.num_more = tuple(findings), num_more
        others = [*map(_text, findings[1:]), *([f"and {num_more:,} more kinds of errors"] if num_more else [])]
        self.args = ("\n".join((_text(first), *others)),)


def together(errors: Sequence[DataError]) -> DataError:
    """One error of all, at least one, in their order: itself if it is the only one, else DataErrors that show at most MAX_FINDINGS."""
    flat = [one for error in errors for one in (error.findings if isinstance(error, DataErrors) else (error,))]
    num_more = sum(error.num_more for error in errors if isinstance(error, DataErrors))
    if len(flat) == 1 and not num_more:
        return flat[0]
    return DataErrors(flat[:MAX_FINDINGS], num_more + max(0, len(flat) - MAX_FINDINGS))


def _text(error: DataError) -> str:
    """The error's text as it was given, which is sanitised where it is shown."""
    return str(error.args[0])


class SchemaMismatch(DataError):
    """A bundle or table was written for another schema; code E150, exit code 3."""

    def __init__(self, message: str) -> None:
        super().__init__("E150", message, remedy="Retrain with this version, or roll back to the version that wrote it.")


class GateFailed(LodestarError):
    """A gate failed: the model is below a baseline, or a leakage or skew test found a difference; exit code 4."""

    exit_code = 4


class EnvironmentFault(LodestarError):
    """A device, a server or a file system failed. Exit code 5."""

    exit_code = 5

    def __init__(self, code: str, message: str, *, remedy: str) -> None:
        super().__init__(f"{message}. {remedy}", code=code)
        self.message, self.remedy = message, remedy
