"""Ingest report: every row in accounted for as kept or dropped, per table; Markdown for people, JSON for programs."""

from dataclasses import dataclass, field

from lodestar.data.contract.findings.findings import Finding
from lodestar.process.safe_text import markdown, one_line

ROWS = "| table | rows in | kept | dropped | implied by events |\n|---|---:|---:|---:|---:|"


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """Counts of one table: rows_in = rows_kept + the sum of `dropped` (by row error code or reason).

    `added` counts rows derived from events, `derived` says how missing columns were filled, `ignored` names columns outside the contract,
    `offenders` lists the first few locations of each row error code, `repeats` counts events that repeat an earlier one of the same user,
    item and type.
    """

    rows_in: int = 0
    rows_kept: int = 0
    added: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    repeats: int = 0
    offenders: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Ingest report of all tables of the contract, by name; `known_files` counts input files skipped as ingested before.

    `findings` are what was read otherwise than it was written, and what may mean something else than it says.
    """

    source: str
    order_only: bool
    known_files: int = 0
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    tables: dict[str, TableReport]

    def markdown(self) -> str:
        """The report as Markdown, with control characters and markup of the data escaped."""
        source = one_line(self.source).replace("`", "'")
        lines = [f"# Ingest of `{source}`", "", ROWS]
        for name, table in self.tables.items():
            lines.append(f"| {name} | {table.rows_in:,} | {table.rows_kept:,} | {sum(table.dropped.values()):,} | {table.added:,} |")
        lines += _section("Dropped", [f"{name}: {rule}: {count:,}" for name, rule, count in self._drop_counts()])
        lines += _section("Findings", [str(one) for one in self.findings])
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
            notes.insert(0, f"{self.known_files:,} files were ingested before, and skipped.")
        repeats = [(name, table.repeats) for name, table in self.tables.items() if table.repeats]
        notes += [f"{name}: {count:,} interactions repeat an earlier one of the same user, item and type" for name, count in repeats]
        if self.order_only:
            notes.insert(0, "The data give an order and no times: event_time is 2000-01-01 plus a second per position.")
        lines += _section("Notes", notes)
        return "\n".join(lines) + "\n"

    def _drop_counts(self) -> list[tuple[str, str, int]]:
        return [(name, rule, count) for name, table in self.tables.items() for rule, count in table.dropped.items()]


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {markdown(text)}" for text in lines)] if lines else []
