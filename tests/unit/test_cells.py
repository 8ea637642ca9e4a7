"""One rule for cells: what a row needs and cannot be read is refused, the rest is null and counted, and a blank cell is as none."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar.data.contract.findings.findings import Finding
from lodestar.data.contract.report import Report
from lodestar.data.ingest import ingest, validate
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError, DataErrors

HEADER = "user_id,item_id,event_type,event_time"
TIME = "2025-06-01T12:00:00Z"


def rows(number: int = 6, more: str = "") -> list[str]:
    return [f"u{user},i{user % 3},view,2025-06-01T12:00:0{user}Z{more}" for user in range(number)]


def data(folder: Path, *lines: str, header: str = HEADER, name: str = "events.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join((header, *lines)) + "\n")
    return folder


def declared(folder: Path, *tables: str) -> str:
    """The folder with a declaration that names a file of each table and nothing else, so that nothing is inferred."""
    (folder / "dataset.toml").write_text("".join(f'[{name}]\nfiles = "{name}.csv"\n' for name in tables))
    return str(folder)


def found(report: Report, code: str) -> list[Finding]:
    return [one for one in report.findings if one.code == code]


def events(folder: Path, target: Path) -> tuple[Report, list[dict[str, Any]]]:
    return ingest(str(folder), target), Tables(root=target).events().to_pylist()


def test_an_optional_cell_that_cannot_be_read_is_null_and_counted_with_its_places(tmp_path: Path) -> None:
    lines = [*rows(6, ",0.5"), f"u7,i1,view,{TIME},seven", f"u8,i1,view,{TIME},", f"u9,i1,view,{TIME},?"]
    report, kept = events(data(tmp_path / "a", *lines, header=f"{HEADER},value"), tmp_path / "out")
    (one,) = found(report, "E107")
    assert (one.table, one.column, one.count, one.places) == ("events", "value", 2, ("events.csv, line 8", "events.csv, line 10"))
    assert "'seven'" in one.message
    assert [row["value"] for row in kept] == [0.5] * 6 + [None] * 3
    assert "E107 events: 2 values of value" in report.markdown()


def test_a_blank_cell_is_as_a_missing_column(tmp_path: Path) -> None:
    header = f"event_id,{HEADER},ingested_at"
    lines = [f"e1,{rows()[0]},2025-06-01T13:00:00Z", *(f",{row}," for row in rows()[1:])]
    report, kept = events(data(tmp_path / "a", *lines, header=header), tmp_path / "out")
    alone, derived = events(data(tmp_path / "b", *rows()), tmp_path / "other")
    assert kept[0]["event_id"] == "e1"
    assert [row["event_id"] for row in kept[1:]] == [row["event_id"] for row in derived[1:]]
    assert kept[0]["ingested_at"].hour == 13
    assert [(one.column, one.count) for one in found(report, "E125")] == [("event_id", 5), ("ingested_at", 5)]
    assert found(alone, "E125") == []


def test_an_item_without_a_title_has_its_id(tmp_path: Path) -> None:
    data(tmp_path / "a", *rows())
    data(tmp_path / "a", "i0,Lamp,nonsense", "i1,,2024-01-01T00:00:00Z", "i2,None,", header="item_id,title,created_at", name="items.csv")
    report = ingest(str(tmp_path / "a"), tmp_path / "out")
    items = Tables(root=tmp_path / "out").items().to_pylist()
    assert [row["title"] for row in items] == ["Lamp", "i1", "i2"]
    assert [row["created_at"].year for row in items] == [2025, 2024, 2025]
    assert [(one.column, one.count) for one in found(report, "E125")] == [("title", 2), ("created_at", 2)]
    assert [(one.column, one.message) for one in found(report, "E114")] == [("title", "1 values of title stand for null: 'None' (1)")]


@pytest.mark.parametrize(("column", "value"), [("consent_personalise", "nein"), ("consent_personalise", "2")])
def test_consent_is_not_guessed(column: str, value: str, tmp_path: Path) -> None:
    data(tmp_path / "a", *rows())
    data(tmp_path / "a", f"u1,{value}", "u2,false", "u3,", header=f"user_id,{column}", name="users.csv")
    with pytest.raises(DataError, match=rf"E107 users\.csv, line 2, column {column}"):
        validate(str(tmp_path / "a"))


def test_all_problems_of_all_tables_come_in_one_answer(tmp_path: Path) -> None:
    lines = [*rows(), "none,i1,view,2025-06-01 12:00:00", "u1,NA,view,yesterday", "u2,none,VIEW,2025-06-01", "u3,i1,buy,tomorrow"]
    data(tmp_path / "a", *lines)
    data(tmp_path / "a", "i1,maybe", header="item_id,is_active", name="items.csv")
    data(tmp_path / "a", "u1", header="name", name="users.csv")
    with pytest.raises(DataErrors) as caught:
        validate(declared(tmp_path / "a", "events", "items", "users"))
    shown = [(one.code, one.place and one.place.file, one.place and one.place.column) for one in caught.value.findings]
    assert set(shown) == {
        ("E103", "events.csv", "user_id"),
        ("E106", "events.csv", "event_time"),
        ("E107", "events.csv", "event_time"),
        ("E107", "items.csv", "is_active"),
        ("E101", "users.csv", "user_id"),
    }
    assert caught.value.exit_code == 3
    assert (caught.value.code, caught.value.place and caught.value.place.line) == ("E103", 8)
    assert "in 2 rows" in str(caught.value)


def test_problems_are_bounded_and_the_rest_counted(tmp_path: Path) -> None:
    names = ("events", "users", "items", "impressions", "item_content", "relations", "goals")
    for name in names:
        data(tmp_path / "a", "x", header="c", name=f"{name}.csv")
    with pytest.raises(DataErrors) as caught:
        validate(declared(tmp_path / "a", *names))
    assert {one.code for one in caught.value.findings} == {"E101"}
    assert len(caught.value.findings) == 20
    assert caught.value.num_more > 0
    assert str(caught.value).endswith(f"and {caught.value.num_more} more kinds of errors")


def test_unknown_event_types_are_counted_one_by_one_with_what_they_may_mean(tmp_path: Path) -> None:
    lines = [row.replace("view", kind) for row, kind in zip(rows(), ("VIEW", "VIEW", "addtocart", "pv", "buy", "VIEW"), strict=True)]
    with pytest.raises(DataError, match="E110") as caught:
        validate(declared(data(tmp_path / "a", *lines), "events"))
    assert "in 6 rows: 'VIEW' (3), 'addtocart' (1), 'buy' (1), 'pv' (1)" in str(caught.value)
    for line in (
        'event_types.VIEW = "view"',
        'event_types.addtocart = "add_to_cart"',
        'event_types.buy = "purchase"',
        'event_types.pv = "view"',
    ):
        assert line in caught.value.remedy


@pytest.mark.parametrize("text", ["none", "None", "NA", "N/A", "n/a", "nil", "undefined", "(not set)", "\\N", "null", "nan", "-"])
def test_a_text_that_stands_for_null_is_no_id_and_null_elsewhere(text: str, tmp_path: Path) -> None:
    header = f"{HEADER},device"
    report, kept = events(data(tmp_path / "a", *rows(6, ",phone"), f"u7,i1,view,{TIME}, {text} ", header=header), tmp_path / "out")
    assert kept[-1]["device"] is None
    assert [(one.column, one.count) for one in found(report, "E114")] == [("device", 1)]
    lines = [*rows(6, ","), f"{text},i1,view,{TIME},", f"u1,{text},view,{TIME},"]
    with pytest.raises(DataErrors) as caught:
        validate(str(data(tmp_path / "b", *lines, header=header)))
    assert [(one.code, one.place and one.place.column) for one in caught.value.findings] == [("E103", "user_id"), ("E103", "item_id")]
    report = validate(str(tmp_path / "b"), quarantine=True)
    assert report.tables["events"].dropped == {"E103": 2}


def test_more_texts_that_stand_for_null_are_declared(tmp_path: Path) -> None:
    data(tmp_path / "a", *rows(6, ",phone,1"), f"u7,i1,view,{TIME},?,?", f"?,i1,view,{TIME},phone,1", header=f"{HEADER},device,value")
    (tmp_path / "a/dataset.toml").write_text('null = ["?"]\n[events]\nfiles = "events.csv"\n')
    report = validate(str(tmp_path / "a"), quarantine=True)
    assert [(one.column, one.count) for one in found(report, "E114")] == [("device", 1), ("value", 1)]
    assert report.tables["events"].dropped == {"E103": 1}


def test_namibia_is_a_country(tmp_path: Path) -> None:
    data(tmp_path / "a", *rows())
    data(tmp_path / "a", "u1,NA", "u2,N/A", header="user_id,country", name="users.csv")
    ingest(str(tmp_path / "a"), tmp_path / "out")
    assert Tables(root=tmp_path / "out").users()["country"].to_pylist() == ["NA", None]


def test_minus_one_is_only_reported(tmp_path: Path) -> None:
    report, kept = events(data(tmp_path / "a", *rows(), f"-1,-1,view,{TIME}"), tmp_path / "out")
    assert kept[-1]["user_id"] == "-1"
    assert [(one.column, one.count) for one in found(report, "E126")] == [("user_id", 1), ("item_id", 1)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_one_id_is_one_in_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    users = [0.0, 1.0, 2.0, 3.0, 4.0, 1234567890125.0]
    table = pa.table(
        {"user_id": users, "item_id": [7.0] * 6, "event_type": ["view"] * 6, "event_time": [1_700_000_000 + n for n in range(6)]}
    )
    (tmp_path / "a").mkdir()
    if kind == "parquet":
        pq.write_table(table, tmp_path / "a/events.parquet")
    elif kind == "csv":
        lines = [f"{user},7.0,view,{1_700_000_000 + number}" for number, user in enumerate(users)]
        data(tmp_path / "a", *lines)
    else:
        lines = [
            f'{{"user_id": {user}, "item_id": 7.0, "event_type": "view", "event_time": {1_700_000_000 + n}}}'
            for n, user in enumerate(users)
        ]
        (tmp_path / "a/events.jsonl").write_text("\n".join(lines))
    report, kept = events(tmp_path / "a", tmp_path / "out")
    assert [row["user_id"] for row in kept] == ["0", "1", "2", "3", "4", "1234567890125"]
    assert {row["item_id"] for row in kept} == {"7"}
    assert [(one.column, one.count) for one in found(report, "E116")] == [("user_id", 6), ("item_id", 6)]


def test_ids_that_are_declared_texts_are_left_alone(tmp_path: Path) -> None:
    lines = [f"{user},1.0,view,2025-06-01T12:00:0{number}Z" for number, user in enumerate(("5.0", "5", " 5", "5.00", "1.23e+12", "x"))]
    data(tmp_path / "a", *lines)
    (tmp_path / "a/dataset.toml").write_text('id_type = "text"\n[events]\nfiles = "events.csv"\n')
    report, kept = events(tmp_path / "a", tmp_path / "out")
    assert [row["user_id"] for row in kept] == ["5.0", "5", " 5", "5.00", "1.23e+12", "x"]
    assert found(report, "E116") == []


def test_an_id_whose_digits_may_be_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E107 events\.csv, line 8, column user_id, value '1\.23E\+12'"):
        validate(str(data(tmp_path / "a", *rows(), f"1.23E+12,i1,view,{TIME}")))


def test_one_id_in_two_spellings_is_found_and_not_merged(tmp_path: Path) -> None:
    lines = [*rows(), f"U1,i1,view,{TIME}", f"007,i-1,view,{TIME}", f"7,I 1,view,{TIME}"]
    report, kept = events(data(tmp_path / "a", *lines), tmp_path / "out")
    spelt = {one.column: one for one in found(report, "E117")}
    assert {name: one.count for name, one in spelt.items()} == {"user_id": 2, "item_id": 1}
    assert "'007' and '7'" in spelt["user_id"].message
    assert len({row["user_id"] for row in kept}) == 9


def test_a_parquet_column_of_another_type_is_read_or_counted(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": pa.array(range(6), pa.int64()),
            "item_id": ["a"] * 6,
            "event_type": ["view"] * 6,
            "event_time": pa.array([1_700_000_000 + number for number in range(6)], pa.int32()),
            "value": pa.array(["1.5", "x", None, "2", "n/a", ""], pa.large_string()),
            "position": pa.array([1.0, 2.5, None, float("nan"), 3.0, 4.0]),
            "device": pa.array([["a"]] * 6, pa.list_(pa.string())),
        }
    )
    (tmp_path / "a").mkdir()
    pq.write_table(table, tmp_path / "a/events.parquet")
    report, kept = events(tmp_path / "a", tmp_path / "out")
    assert [row["value"] for row in kept] == [1.5, None, None, 2.0, None, None]
    assert [row["position"] for row in kept] == [1, None, None, None, 3, 4]
    counted = {(one.code, one.column): one.count for one in report.findings if one.places}
    assert counted == {("E107", "value"): 1, ("E114", "value"): 1, ("E107", "position"): 1, ("E107", "device"): 6}
