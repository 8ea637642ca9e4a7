"""What an ingest did, row by row accounted for: a person reads it as Markdown, a program as JSON."""

from dataclasses import dataclass, field

from lodestar.safe_text import line, markdown

ROWS = "| table | rows in | kept | dropped | named by events only |\n|---|---:|---:|---:|---:|"


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """One table: rows_in = kept + everything dropped; `added` are rows that no file gives, `offenders` the first few of each code."""

    rows_in: int = 0
    kept: int = 0
    added: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    offenders: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every table of the contract, by name."""

    source: str
    order_only: bool
    known_files: int = 0
    notes: tuple[str, ...] = ()
    tables: dict[str, TableReport]

    def markdown(self) -> str:
        """The report as a person reads it."""
        source = line(self.source).replace("`", "'")
        lines = [f"# Ingest of `{source}`", "", ROWS]
        for name, table in self.tables.items():
            lines.append(f"| {name} | {table.rows_in:,} | {table.kept:,} | {sum(table.dropped.values()):,} | {table.added:,} |")
        lines += _section("Dropped", [f"{name}: {rule}: {count:,}" for name, rule, count in self._dropped()])
        lines += _section(
            "First offenders",
            [
                f"{name}: {code}: {place}"
                for name, table in self.tables.items()
                for code, places in table.offenders.items()
                for place in places
            ],
        )
        lines += _section(
            "Derived", [f"{name}: {column} is {how}" for name, table in self.tables.items() for column, how in table.derived.items()]
        )
        ignored = [f"{name}: {', '.join(table.ignored)}" for name, table in self.tables.items() if table.ignored]
        lines += _section("Columns that are not of the contract, left out", ignored)
        notes = [*self.notes, *(f"{name}: {note}" for name, table in self.tables.items() for note in table.notes)]
        if self.known_files:
            notes.insert(0, f"{self.known_files:,} files were taken in before, and left out.")
        if self.order_only:
            notes.insert(0, "The data give an order and no times: event_time is 2000-01-01 plus a second per position.")
        lines += _section("Notes", notes)
        return "\n".join(lines) + "\n"

    def _dropped(self) -> list[tuple[str, str, int]]:
        return [(name, rule, count) for name, table in self.tables.items() for rule, count in table.dropped.items()]


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {markdown(text)}" for text in lines)] if lines else []
