"""Every error a person can meet, as one tree: what went wrong, where, and what to do about it.

LodestarError
├── UsageError         exit 2   the command line or a request asks for something impossible
│   └── ConfigError    exit 2   a recipe or an override is not a complete, consistent run
├── DataError          exit 3   the data break the contract (codes E101–E299)
│   └── SchemaMismatch exit 3   a bundle or a table was made for another schema
├── GateRefused        exit 4   the model loses to a baseline
└── EnvironmentFault   exit 5   a device, a server or a file system says no (codes E501–)
"""

from dataclasses import dataclass

from lodestar.safe_text import printable


class LodestarError(Exception):
    """Base of all errors that are shown to a person without a stack trace."""

    exit_code = 1

    def __str__(self) -> str:
        """What a person is shown: nothing in it moves a cursor or gives a password away, and no value makes a line that looks like ours."""
        return printable(super().__str__()).replace("\n", "\n  ")


class UsageError(LodestarError):
    exit_code = 2


class ConfigError(UsageError):
    pass


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the input an offence lies; `line` counts from 1 and includes the header."""

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
    """The data break the contract; `code` is one of the contract's and is never reused."""

    exit_code = 3

    def __init__(self, code: str, message: str, *, remedy: str, place: Place | None = None) -> None:
        self.code, self.message, self.remedy, self.place = code, message, remedy, place
        where = f"{place}: " if place is not None else ""
        super().__init__(f"{code} {where}{message}{'' if message.endswith('?') else '.'} {remedy}")


class SchemaMismatch(DataError):
    def __init__(self, message: str) -> None:
        super().__init__("E150", message, remedy="Retrain with this version, or roll back to the version that made it.")


class GateRefused(LodestarError):
    exit_code = 4


class EnvironmentFault(LodestarError):
    exit_code = 5

    def __init__(self, code: str, message: str, *, remedy: str) -> None:
        self.code, self.remedy = code, remedy
        super().__init__(f"{code} {message}. {remedy}")


def shorten(value: str, limit: int = 60) -> str:
    """At most `limit` characters of a value that may be anything, for a message."""
    return value if len(value) <= limit else value[: limit - 1] + "…"
