"""A remedy works when typed: its value is accepted in the file, its option by the command, its command by a shell."""

import gzip
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from cli.main import main
from lodestar import schema
from lodestar.data.contract import row_errors, rules
from lodestar.data.contract.checks import check
from lodestar.data.contract.defaults import checked_name
from lodestar.data.readers.readers import read
from lodestar.data.split.interactions import check_counts
from lodestar.errors import DataError, Location
from lodestar.recipes import load_recipe
from tests.unit.test_checks import GOOD, HEADER, refused, written

NOW_US = 1_800_000_000_000_000  # 2027-01-15
GOOD_USER = "u1,i1,view,"
ANY = {
    schema.Kind.ID: "x1",
    schema.Kind.TEXT: "text",
    schema.Kind.TIME: "2025-06-01T12:00:00Z",
    schema.Kind.FLOAT: "1",
    schema.Kind.INT: "1",
    schema.Kind.BOOL: "true",
    schema.Kind.TEXT_LIST: "a",
    schema.Kind.FLOAT_LIST: '"[0.5, -1.25]"',
    schema.Kind.STRING_MAP: '"{""a"": ""b""}"',
}
COLUMNS = [
    (table, column)
    for table in schema.TABLES.values()
    for column in table.columns
    if column.kind not in {schema.Kind.ID, schema.Kind.TEXT} and column.name not in {schema.INGESTED_AT, schema.DIM}
]


def accept(path: Path, table: schema.Table = schema.EVENTS) -> int:
    """The number of rows that validation keeps; DataError for a row error."""
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        found = check(database, table, [read(path, table.names)], now_us=NOW_US, quarantine=False)
        row = database.execute(f"SELECT count(*) FROM {checked_name(found.table)}").fetchone()
        return int(row[0]) if row else 0


def examples(remedy: str) -> Iterator[str]:
    """The values that a remedy says to write."""
    written_so = remedy.removeprefix("Write ").partition(". Or set bad rows aside")[0].removesuffix(".")
    written_so = re.sub(r"^a (whole )?number such as ", "", written_so)
    yield from written_so.partition(", an offset instead of Z")[0].split(" or ")


def value(table: schema.Table, column: schema.Column) -> str:
    """A value of a required column, as a CSV file has it."""
    if column.name == schema.EVENT_TYPE:
        return "view"
    if column.name in {schema.DIM, schema.INGESTED_AT}:
        return {schema.DIM: "2", schema.INGESTED_AT: "2026-12-01T00:00:00Z"}[column.name]
    choices = rules.ARMS if column.name == schema.ARM else column.choices
    return choices[0] if choices else ANY[column.kind]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{table.name}.{column.name}" for table, column in COLUMNS])
def test_a_value_is_accepted_as_the_remedy_writes_it(table: schema.Table, column: schema.Column, tmp_path: Path) -> None:
    remedy = row_errors.bad_row("E107", table, Location(file="rows.csv", column=column.name, value="?")).remedy
    typed = list(examples(remedy))
    assert typed
    for number, one in enumerate(typed):
        row = {other.name: value(table, other) for other in table.columns if other.required or other.name == schema.ITEM_ID}
        row[column.name] = one
        path = tmp_path / f"{table.name}-{number}.csv"
        path.write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
        assert accept(path, table) == 1, one


@pytest.mark.parametrize("kind", row_errors.JSON_EXAMPLES)
def test_json_is_written_plainly_in_a_file_of_json(kind: schema.Kind) -> None:
    table, column = next((table, column) for table, column in COLUMNS if column.kind is kind)
    typed = list(examples(row_errors.bad_row("E107", table, Location(file="rows.jsonl.gz", column=column.name, value="?")).remedy))
    assert json.loads(typed[-1])


@pytest.mark.parametrize(
    "time", ["2026-01-31", "2026-01-31T12:00", "2026-01-31 12:00", "2026-01-31T12:00:00", "2026-01-31 12:00:00.25", "2026-01-31 "]
)
def test_a_time_without_an_offset_is_accepted_as_the_remedy_writes_it(time: str, tmp_path: Path) -> None:
    error = refused(written(tmp_path, HEADER, GOOD, GOOD_USER + time))
    assert error.code == "E106"
    typed = re.match(r"Write (.+) if it is UTC, or (.+) with its own offset", error.remedy)
    assert typed is not None
    assert [accept(written(tmp_path, HEADER, GOOD, GOOD_USER + one)) for one in typed.groups()] == [2, 2]


def test_an_unknown_event_type_lists_types_that_are_accepted(tmp_path: Path) -> None:
    error = refused(written(tmp_path, HEADER, "u1,i1,clik,2025-06-01T12:00:00Z"))
    listed = error.remedy.partition("or use one of:\n")[2].partition("\nOr set")[0]
    assert set(listed.replace("\n", " ").split(", ")) == set(schema.EventType)
    assert max(map(len, str(error).splitlines()[1:])) <= 80


@pytest.mark.parametrize(("options", "column"), [((), "whoever"), (("--map", "user_id=uidd"), "uid")])
def test_a_column_is_mapped_as_the_remedy_says(
    options: tuple[str, ...], column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, HEADER.replace("user_id", column), *(GOOD.replace("u1", f"u{user}") for user in range(9)))
    assert main(["data", "validate", "--data", str(path), *options]) == 3
    typed = re.search(r"pass (--map \S+)\.", capsys.readouterr().err, re.IGNORECASE)
    assert typed is not None
    assert main(["data", "validate", "--data", str(path), *shlex.split(typed[1])]) == 0


def test_bad_rows_are_set_aside_as_the_remedy_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [GOOD.replace("u1", f"u{user}") for user in range(9)]
    command = ["data", "ingest", "--data", str(written(tmp_path, HEADER, *rows, "u1,i1,view,never")), "--output", str(tmp_path / "tables")]
    assert main(command) == 3
    assert row_errors.QUARANTINE_OPTION.strip() in capsys.readouterr().err
    assert main([*command, "--quarantine"]) == 0


def shell(remedy: str, folder: Path) -> Path:
    """Type the command at the end of a remedy; the file that it writes."""
    typed = remedy.partition(": ")[2]
    done = subprocess.run(["sh", "-c", typed], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / shlex.split(typed)[-1]


@pytest.mark.parametrize("name", ["events of a day.csv", "events.csv.gz"])
def test_a_file_in_latin1_is_converted_as_the_remedy_says(name: str, tmp_path: Path) -> None:
    latin1 = f"{HEADER}\nJosé,i1,view,2025-06-01T12:00:00Z\n".encode("latin-1")
    path = tmp_path / name
    path.write_bytes(gzip.compress(latin1) if name.endswith(".gz") else latin1)
    error = refused(path)
    assert error.code == "E104"
    assert accept(shell(error.remedy, tmp_path)) == 1


def test_a_trial_of_few_rows_goes_on_with_the_overrides_of_the_remedy() -> None:
    counts = (3, 2, 4)
    with pytest.raises(DataError, match="E203") as caught:
        check_counts(*counts, load_recipe("sasrec", "").data)
    option, overrides = shlex.split(caught.value.remedy.partition("for a trial: ")[2])
    assert option == "--overrides"
    check_counts(*counts, load_recipe("sasrec", overrides).data)


def test_a_number_of_a_remedy_lies_within_the_columns_bounds() -> None:
    for table, column in COLUMNS:
        if column.kind in row_errors.NUMBERS:
            remedy = row_errors.bad_row("E107", table, Location(file="a.csv", column=column.name, value="?")).remedy
            typed = float(next(examples(remedy)))
            assert column.low is None or column.low <= typed
            assert column.high is None or typed <= column.high
