"""Exception tree with exit codes; each message has a code of `lodestar.error_codes`, the place, the value and a remedy.

LodestarError
├── UsageError         exit 2   invalid command line or request
│   └── ConfigError    exit 2   invalid recipe or override
├── DataError          exit 3   the data violate the data contract
│   └── SchemaMismatch exit 3   a bundle or a table was written for another schema (E150)
├── GateFailed         exit 4   the model is below a baseline, or a check (leakage, skew) failed
└── EnvironmentFault   exit 5   a device, a server or a file system failed
"""

from dataclasses import dataclass

from lodestar.error_codes import CODES
from lodestar.process.safe_text import printable, shorten


class LodestarError(Exception):
    """Base of all errors that are reported without a stack trace.

    `code` decides the exit code, by its row of `lodestar.error_codes`. It is empty only where a message repeats one that has its own.
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

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message, code=code)


class ConfigError(UsageError):
    """Invalid recipe, override or setting; exit code 2."""


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


class SchemaMismatch(DataError):
    """A bundle or table was written for another schema; code E150, exit code 3."""

    def __init__(self, message: str) -> None:
        super().__init__("E150", message, remedy="Retrain with this version, or roll back to the version that wrote it.")


class GateFailed(LodestarError):
    """A gate failed: the model is below a baseline, or a leakage or skew test found a difference; exit code 4."""

    exit_code = 4

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message, code=code)


class EnvironmentFault(LodestarError):
    """A device, a server or a file system failed. Exit code 5."""

    exit_code = 5

    def __init__(self, code: str, message: str, *, remedy: str) -> None:
        super().__init__(f"{message}. {remedy}", code=code)
        self.message, self.remedy = message, remedy
