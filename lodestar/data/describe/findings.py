"""What a description finds: lines of a declaration that are sure, and decisions, each with the lines of which a person chooses one."""

from dataclasses import dataclass

from lodestar.errors import Location


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a declaration and its reason: a key of the whole declaration, or with `table` one of that table's source."""

    key: str
    value: object
    reason: str = ""
    table: str = ""

    @property
    def path(self) -> str:
        """The key as a declaration has it where the table has one source."""
        return f"{self.table}.{self.key}" if self.table else self.key


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Something that a person decides: what is found, under a code, and candidate lines, of which one is meant, the likeliest first.

    A mere suggestion has no code. Without an answer the data cannot be read (`is_needed`), or something optional is left out. `is_join`:
    a join of two tables depends on it.
    """

    code: str
    message: str
    candidates: tuple[Line, ...]
    place: Location
    is_needed: bool = True
    is_join: bool = False


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Lines and decisions of a file; `needs_zone` is the decision on the zone of its times, None where they have one."""

    lines: tuple[Line, ...] = ()
    decisions: tuple[Decision, ...] = ()
    needs_zone: Decision | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is found of one source of a table: its files, by name below the dataset's folder, sure lines and decisions."""

    table: str
    files: tuple[str, ...]
    lines: tuple[Line, ...] = ()
    decisions: tuple[Decision, ...] = ()
