"""Who reads tables reads one manifest's parts to the end, whatever is ingested meanwhile; a manifest leads nowhere else."""

import json
from pathlib import Path

import duckdb
import pytest

from lodestar import schema
from lodestar.data.ingest import append, validate
from lodestar.data.resolve import resolve_tables
from lodestar.data.tables import manifest
from lodestar.data.tables.tables import Tables
from lodestar.errors import EnvironmentFault


def views(path: Path, *users: str) -> str:
    rows = [f"{user},i{number % 7},view,2026-01-0{1 + number % 9}T00:00:0{number % 10}Z" for user in users for number in range(4)]
    path.write_text("\n".join(["user_id,item_id,event_type,event_time", *rows]) + "\n")
    return str(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    append(views(tmp_path / "first.csv", *(f"u{number}" for number in range(6))), tmp_path / "shop")
    return tmp_path / "shop"


def ingest_twice(root: Path) -> None:
    """The first replaces the users' part; the second removes what nobody reads of what was replaced."""
    for name in ("x", "y"):
        append(views(root.parent / f"{name}.csv", name), root)


def users(found: Tables) -> int:
    files = ", ".join(f"'{path}'" for path in found.paths(schema.USERS))
    return int(duckdb.sql(f"SELECT count(*) FROM read_parquet([{files}])").fetchall()[0][0])


def test_tables_are_of_one_generation_though_others_ingest(root: Path) -> None:
    found = Tables(root=root)
    events = len(found.events())
    ingest_twice(root)
    assert (users(found), len(found.users()), len(found.events())) == (6, 6, events)
    assert users(Tables(root=root)) == 8


def test_what_has_been_replaced_goes_when_nobody_reads_it(root: Path) -> None:
    found = Tables(root=root)
    kept = {path.resolve() for path in found.paths(schema.USERS)}
    ingest_twice(root)
    assert all(path.exists() for path in kept)
    del found
    append(views(root.parent / "z.csv", "z"), root)
    assert not any(path.exists() for path in kept)


def test_a_data_command_reads_what_it_began_with(root: Path) -> None:
    dataset = resolve_tables(str(root), {})
    ingest_twice(root)
    rows = [source.read() for source in dataset.tables[schema.USERS.name]()]
    assert sum(map(len, rows)) == 6


@pytest.mark.parametrize(("path", "code"), [("../secret.parquet", "E560"), ("/etc/passwd", "E560"), ("users/link.parquet", "E562")])
def test_a_manifest_leads_nowhere_else(root: Path, path: str, code: str) -> None:
    (root / "users" / "link.parquet").symlink_to(root.parent / "first.csv")
    content = json.loads((root / manifest.FILE).read_text())
    content["parts"]["users"][0]["path"] = path
    (root / manifest.FILE).write_text(json.dumps(content))
    for read in (lambda: Tables(root=root).users(), lambda: validate(str(root)), lambda: append(str(root.parent / "first.csv"), root)):
        with pytest.raises(EnvironmentFault, match=code):
            read()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"contract": 1', "null"])
def test_a_manifest_that_is_none_is_said_to_be_none(root: Path, content: str) -> None:
    (root / manifest.FILE).write_text(content)
    with pytest.raises(EnvironmentFault, match=r"E568 .*manifest\.json"):
        Tables(root=root).users()
