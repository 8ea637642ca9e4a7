"""Declared sources: columns, times, numbers and lists in other people's forms, joins, lists of rows, orders; every row is counted."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lodestar.data.ingest import validate
from lodestar.errors import DataError
from tests.describing import ingested
from tests.factories import declared_rows, write_files


def test_columns_by_name_number_and_path(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "log.csv": "a,b,c\nu1,i1,2026-01-01T00:00:00Z\n",
            "nested.jsonl": json.dumps({"who": {"id": "u2"}, "what": "i2", "at": "2026-01-02T00:00:00Z"}) + "\n",
            "dataset.toml": """
                event_type = "view"
                [[events]]
                files = "log.csv"
                user_id = "a"
                item_id = 2
                event_time = "c"
                [[events]]
                files = "nested.jsonl"
                user_id = "who.id"
                item_id = "what"
                event_time = "at"
            """,
        },
    )
    assert [(row["user_id"], row["item_id"], row["event_type"]) for row in declared_rows(tmp_path, "events")] == [
        ("u1", "i1", "view"),
        ("u2", "i2", "view"),
    ]


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("time_unit = 's'", "1700000000", "2023-11-14T22:13:20.000000Z"),
        ("time_unit = 's'", "1700000000.25", "2023-11-14T22:13:20.250000Z"),
        ("time_unit = 'ms'", "1700000000123", "2023-11-14T22:13:20.123000Z"),
        ("time_unit = 'us'", "-1", "1969-12-31T23:59:59.999999Z"),
        ("time_unit = 'ns'", "1700000000123456789", "2023-11-14T22:13:20.123456Z"),
        ("time_unit = 'date'\ntime_zone = 'UTC'", "20260131", "2026-01-31T00:00:00.000000Z"),
        ("time_format = '%d/%m/%Y %H:%M'\ntime_zone = 'Europe/Berlin'", "31/01/2026 12:30", "2026-01-31T11:30:00.000000Z"),
        ("time_format = '%a %b %d %H:%M:%S %z %Y'", "Fri Jul 08 13:00:00 -0700 2016", "2016-07-08T20:00:00.000000Z"),
        ("time_zone = 'UTC'", "no time", "no time"),
        ("time_unit = 's'", "no time", "no time"),
        ("time_format = '%d/%m/%Y'", "31/01/2026", "2026-01-31T00:00:00.000000"),
    ],
)
def test_times_in_declared_forms(tmp_path: Path, form: str, text: str, expected: str) -> None:
    write_files(
        tmp_path, {"events.csv": f"user_id,item_id,event_time\nu,i,{text}\n", "dataset.toml": f"{form}\n[events]\nfiles = 'events.csv'"}
    )
    assert [row["event_time"] for row in declared_rows(tmp_path, "events")] == [expected]


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("Europe/Berlin", "2026-07-01 12:00:00", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("Europe/Berlin", "2026-07-01T12:00:00Z", datetime(2026, 7, 1, 12, tzinfo=UTC)),
        ("UTC", "1066-10-14", datetime(1066, 10, 14, tzinfo=UTC)),
        ("America/New_York", "20260701", datetime(2026, 7, 1, 4, tzinfo=UTC)),
        ("Asia/Kolkata", "31/01/2026 12:30", datetime(2026, 1, 31, 7, tzinfo=UTC)),
    ],
)
def test_times_without_an_offset_are_read_in_the_declared_zone(tmp_path: Path, zone: str, text: str, expected: datetime) -> None:
    rows = f"user_id,item_id,event_type,event_time\nu,i,view,{text}\n"
    write_files(tmp_path, {"events.csv": rows, "dataset.toml": f"time_zone = '{zone}'\nevents.files = 'events.csv'"})
    assert [row["event_time"] for row in ingested(tmp_path)] == [expected]


@pytest.mark.parametrize("form", ["time_zone = 'UTC'", "time_format = '%Y-%m-%d'\ntime_zone = 'UTC'"])
def test_dates_without_a_clock_are_said_to_have_no_order_within_a_day(tmp_path: Path, form: str) -> None:
    rows = "user_id,item_id,event_type,event_time\n" + "".join(f"u{user},i,view,2026-01-0{user + 1}\n" for user in range(6))
    write_files(tmp_path, {"events.csv": rows, "dataset.toml": f"{form}\nevents.files = 'events.csv'"})
    notes = validate(str(tmp_path)).tables["events"].notes
    assert any("the order within a day is not known" in note for note in notes)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("decimal = ','", '"12,50"', "12.50"),
        ("decimal = ','\nthousands = '.'", '"1.299,00 €"', "1299.00"),
        ("decimal = '.'\nthousands = ','", '"$1,299.50"', "1299.50"),
        ("decimal = '.'", "USD 5", "5"),
        ("decimal = '.'", "45%", "45"),
        ("decimal = '.'", "free", "free"),
        ("", "5", "5"),
    ],
)
def test_numbers_in_declared_forms(tmp_path: Path, form: str, text: str, expected: str) -> None:
    write_files(tmp_path, {"items.csv": f"item_id,price\ni,{text}\n", "dataset.toml": f"{form}\n[items]\nfiles = 'items.csv'"})
    assert [row["price"] for row in declared_rows(tmp_path, "items")] == [expected]


def test_lists_flags_values_and_constants(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "films.csv": "id,name,genres,Action,Drama,rel,country\n1,Caf&eacute; &amp; Co,Action|Drama,1,0,y,n/a\n2,B,,0,0,n,France\n",
            "dataset.toml": """
                null = "n/a"
                [items]
                files = "films.csv"
                item_id = { column = "id", prefix = "film-" }
                title = { column = "name", html = true }
                item_type = { constant = "video" }
                category_path = { column = "genres", separator = "|" }
                tags = { flags = ["Action", "Drama"] }
                is_active = { column = "rel", values = { y = "true", n = "false" } }
                attrs = { names = { country = "country" } }
            """,
        },
    )
    first, second = declared_rows(tmp_path, "items")
    assert first["item_id"] == "film-1"
    assert first["title"] == "Café & Co"
    assert first["item_type"] == "video"
    assert json.loads(first["category_path"]) == ["Action", "Drama"]
    assert json.loads(first["tags"]) == ["Action"]
    assert first["is_active"] == "true"
    assert json.loads(first["attrs"]) == {}
    assert second["category_path"] is None
    assert second["tags"] is None
    assert json.loads(second["attrs"]) == {"country": "France"}


def test_event_types_are_mapped_and_left_out_rows_counted(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "log.csv": "user_id,item_id,kind,t\n" + "".join(f"u{n},i{n},{'pv' if n % 2 else 'ping'},170000000{n}\n" for n in range(10)),
            "dataset.toml": """
                event_types = { pv = "view", ping = "ignore" }
                [events]
                files = "log.csv"
                event_type = "kind"
                event_time = { column = "t", time_unit = "s" }
            """,
        },
    )
    report = validate(str(tmp_path)).tables["events"]
    assert report.rows_in == 10
    assert report.rows_kept == 5
    assert list(report.dropped.values()) == [5]
    assert "'ping'" in next(iter(report.dropped))


def test_joined_rows_keep_their_order_and_a_row_without_a_match_is_kept(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "lines.csv": "order_id,product\n2,b\n1,a\n2,c\n9,d\n",
            "orders.csv": "order_id,user,at\n1,u1,2026-01-01T00:00:00Z\n2,u2,2026-01-02T00:00:00Z\n",
            "dataset.toml": """
                event_type = "view"
                [events]
                files = "lines.csv"
                join = { files = "orders.csv", on = "order_id" }
                user_id = "user"
                item_id = "product"
                event_time = "at"
            """,
        },
    )
    assert [(row["user_id"], row["item_id"]) for row in declared_rows(tmp_path, "events")] == [
        ("u2", "b"),
        ("u1", "a"),
        ("u2", "c"),
        (None, "d"),
    ]


def test_a_join_by_a_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "lines.csv": "order_id,item_id\n1,a\n",
            "orders.csv": "order_id,user_id\n1,u1\n1,u2\n",
            "dataset.toml": "[events]\nfiles = 'lines.csv'\njoin = {files = 'orders.csv', on = 'order_id'}\nuser_id = 'user_id'",
        },
    )
    with pytest.raises(DataError, match=r"E144 orders.csv, column order_id, value '1'"):
        declared_rows(tmp_path, "events")


def test_lists_are_exploded_in_order_and_rows_know_their_lines(tmp_path: Path) -> None:
    sessions: list[dict[str, Any]] = [
        {"session": n, "events": [{"aid": n * 10 + k, "ts": 1_700_000_000_000 + k, "type": "clicks"} for k in range(3)]} for n in range(6)
    ]
    sessions[3]["events"][1]["ts"] = "bad"
    write_files(
        tmp_path,
        {
            "train.jsonl": "".join(json.dumps(one) + "\n" for one in sessions),
            "dataset.toml": """
                event_types.clicks = "click"
                [events]
                files = "train.jsonl"
                explode = "events"
                session_id = "session"
                item_id = "events.aid"
                event_type = "events.type"
                event_time = { column = "events.ts", time_unit = "ms" }
            """,
        },
    )
    rows = declared_rows(tmp_path, "events")
    assert [row["item_id"] for row in rows[:4]] == ["0", "1", "2", "10"]
    with pytest.raises(DataError, match=r"train.jsonl, line 4, column event_time, value 'bad'"):
        validate(str(tmp_path))


def test_plain_sequences_of_users_and_items(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "train.txt": "u1 a b c\nu2 d\nu3\n",
            "dataset.toml": """
                event_type = "view"
                order = "row"
                [events]
                files = "train.txt"
                delimiter = "\\t"
                columns = ["line"]
                explode = { column = "line", into = "item", skip = 1 }
                user_id = { column = "line", split = " ", part = 1 }
                item_id = "item"
            """,
        },
    )
    report = [(row["user_id"], row["item_id"], row["event_time"][17:19]) for row in declared_rows(tmp_path, "events")]
    assert report == [("u1", "a", "00"), ("u1", "b", "01"), ("u1", "c", "02"), ("u2", "d", "00")]


def test_the_latest_of_several_rows_and_of_properties(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "events.csv": "user_id,item_id,event_type,event_time\nu,i1,view,2026-01-01T00:00:00Z\n",
            "properties.csv": "t,item,property,value\n1,i1,categoryid,7\n3,i1,categoryid,8\n2,i1,categoryid,9\n1,i2,price,5\n",
            "tree.csv": "id,parent\n8,2\n2,1\n1,\n",
            "dataset.toml": """
                [events]
                files = "events.csv"
                [items]
                files = "properties.csv"
                key_value = { key = "property", value = "value", latest = "t" }
                item_id = "item"
                price = "price"
                category_path = { column = "categoryid", parents = { files = "tree.csv", child = "id", parent = "parent" } }
            """,
        },
    )
    first, second = declared_rows(tmp_path, "items")
    assert (first["item_id"], first["price"], json.loads(first["category_path"])) == ("i1", None, ["1", "2", "8"])
    assert (second["item_id"], second["price"], second["category_path"]) == ("i2", "5", None)
    (tmp_path / "dataset.toml").write_text("[items]\nfiles = 'properties.csv'\nitem_id = 'item'\nprice = 'value'\nlatest = 't'")
    assert [(row["item_id"], row["price"]) for row in declared_rows(tmp_path, "items")] == [("i1", "8"), ("i2", "5")]


def test_an_order_stands_for_times(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "log.csv": "user_id,item_id,big,small\nu,c,2,1\nv,x,1,1\nu,a,1,1\nu,b,1,2\n",
            "dataset.toml": "event_type = 'view'\norder = ['big', 'small']\n[events]\nfiles = 'log.csv'",
        },
    )
    rows = declared_rows(tmp_path, "events")
    assert [(row["item_id"], row["event_time"][-10:-1]) for row in rows] == [
        ("c", "02.000000"),
        ("x", "00.000000"),
        ("a", "00.000000"),
        ("b", "01.000000"),
    ]
    (tmp_path / "dataset.toml").write_text("event_type = 'view'\norder = 'big'\n[events]\nfiles = 'log.csv'")
    assert next(row["event_time"] for row in declared_rows(tmp_path, "events")) == "2000-01-01T00:00:02.000000Z"


def test_every_row_is_counted_and_gzip_is_read(tmp_path: Path) -> None:
    lines = "u,i,t\n" + "".join(f"u{n % 7},i{n},{1_700_000_000 + n}\n" for n in range(50)) + "u1,i1,\n"
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "dataset.toml").write_text(
        "event_type = 'view'\n[events]\nfiles = '*.gz'\nuser_id = 'u'\nitem_id = 'i'\nevent_time = {column = 't', time_unit = 's'}"
    )
    report = validate(str(tmp_path), quarantine=True).tables["events"]
    assert report.rows_in == 51 == report.rows_kept + sum(report.dropped.values())
