"""The plain path: files in the contract's shape go straight on; of others what is sure is used and said, and a guess is refused.

The shape is seen from the first rows of a few files of each table; whether every row fits is for the contract's validator to say.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lodestar import schema
from lodestar.data.contract import defaults
from lodestar.data.dataset import DataSet
from lodestar.data.declaration.declared_dataset import open_declared
from lodestar.data.declaration.model import FILE
from lodestar.data.declaration.parse import parse
from lodestar.data.describe.columns.cells import column_form
from lodestar.data.describe.columns.event_source import EventsContext, find_events
from lodestar.data.describe.columns.roles import choose
from lodestar.data.describe.declaration_text import declaration_text
from lodestar.data.describe.description import Description, Given, describe, duckdb_in_memory, spread
from lodestar.data.describe.findings import Line
from lodestar.data.describe.refusal import declared_lines, refusal
from lodestar.data.describe.samples.file_sample import FileSample
from lodestar.data.describe.samples.reading import read_sample
from lodestar.data.files import Files
from lodestar.data.readers import collector_parts
from lodestar.errors import DataError
from lodestar.io.private_folders import workspace

HEAD_BYTES = 1 << 16
LOOKED_AT = 3  # files of each table


def described_dataset(files: Files, given: Given, is_ingested: Callable[[Path], bool], address: str) -> DataSet | None:
    """The dataset that a description makes of files; None where they are in the contract's shape, which needs none.

    DataError for what a person must decide, with all of it; `address` is the path for its command.
    """
    with workspace() as folder:
        if not files.others and _is_contract_shaped(files, given, folder / "heads"):
            return None
        found = describe(files, given, folder / "sample")
    if found.needed:
        raise refusal(found, address)
    if not found.lines and not found.unused and not _has_new_tables(found, files):
        return None
    dataset = open_declared(parse(declaration_text(found, FILE).encode()), files.root, FILE, is_ingested)
    return replace(dataset, notes=(*notes(found), *dataset.notes))


def _has_new_tables(found: Description, files: Files) -> bool:
    return any(source.table not in files.named for source in found.sources)


def notes(found: Description) -> list[str]:
    """What is used of a description, for the report: each line with its reason, and files that are not read."""
    new = [source for source in found.sources if source.table not in found.files.named]
    tables = [f"{', '.join(source.files[:3])}: {source.table}" for source in new]
    lines = [_note(line) for line in found.lines]
    return [*(f"found: {one}" for one in (*tables, *lines)), *(f"{name} is not read: {reason}" for name, reason in found.unused.items())]


def _note(line: Line) -> str:
    text = ", ".join(declared_lines(line))
    return f"{text} ({line.reason})" if line.reason else text


def _is_contract_shaped(files: Files, given: Given, folder: Path) -> bool:
    """Whether the first rows of each table's files need no description, or cannot be read at all, which reading them says better."""
    with duckdb_in_memory() as database:
        for table, paths in files.named.items():
            own = [path for path in paths if not collector_parts.is_part(path)]
            for path in spread(own, LOOKED_AT):
                name = files.name_of(path)
                try:
                    sample = read_sample(path, name, folder / name, database, most_bytes=HEAD_BYTES)
                except DataError:
                    continue
                if not is_shaped(schema.TABLES[table], sample, given):
                    return False
    return True


def is_shaped(table: schema.Table, sample: FileSample, given: Given) -> bool:
    """Whether the contract reads a sample as it is: columns under its names, in its forms, and none under another name."""
    if sample.doubts or not sample.has_header or sample.options.format:
        return False
    chosen = choose(table, sample, given.mapping)
    if any(not choice.is_own and not choice.is_given for choice in chosen.values()):
        return False
    if not set(defaults.required_columns(table, chosen)) <= chosen.keys():
        return False
    forms = (column_form(table, ours, sample, choice.theirs) for ours, choice in chosen.items())
    if any(form.options or form.decisions or (form.needs_zone and not given.time_zone) for form in forms):
        return False
    found = find_events(sample, chosen, EventsContext()) if table is schema.EVENTS else None
    return found is None or not (found.lines or any(one.is_needed for one in found.decisions))
