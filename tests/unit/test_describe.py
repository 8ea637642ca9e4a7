"""Describe files: what is sure is declared with its reason, what is a guess is left to choose, and the declaration reads the same rows."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.data.address import Address
from lodestar.data.declaration.parse import parse
from lodestar.data.describe.columns.roles import choose
from lodestar.data.describe.describe_path import describe_path
from lodestar.data.describe.description import duckdb_in_memory
from lodestar.data.describe.samples.reading import read_sample
from lodestar.errors import DataError, UsageError
from lodestar.schema import aliases
from tests.describing import (
    EVENTS,
    HEADER,
    NUM_ROWS,
    PLAIN,
    candidates,
    decided,
    declare,
    declared_lines,
    described,
    ingested,
    log,
    plain,
    triples,
)


def test_a_file_in_the_contracts_shape_needs_no_line(tmp_path: Path) -> None:
    found = described(tmp_path, "log.csv", {"log.csv": PLAIN})
    assert declared_lines(found.text) == ['events.files = "log.csv"']
    assert found.num_decisions == 0
    assert triples(ingested(declare(tmp_path, found.text))) == EVENTS


@pytest.mark.parametrize("ours", [schema.USER_ID, schema.ITEM_ID, schema.EVENT_TIME, schema.EVENT_TYPE, schema.RATING, schema.SESSION_ID])
def test_every_usual_name_of_a_column_of_events_is_sure(ours: str, tmp_path: Path) -> None:
    values = {"user_id": "u", "item_id": "i", "event_type": "view", "event_time": "2026-01-01T00:00:00Z", "rating": "4", "session_id": "s"}
    others = [name for name in ("user_id", "item_id", "event_time") if name != ours and not (name == "user_id" and ours == "session_id")]
    wrong = []
    with duckdb_in_memory() as database:
        for name in aliases.names_of(schema.EVENTS, ours):
            (tmp_path / "log.csv").write_text(f"{','.join([*others, name])}\n{','.join(values[each] for each in [*others, ours])}\n")
            sample = read_sample(tmp_path / "log.csv", "log.csv", tmp_path / "mirror" / "log.csv", database)
            choice = choose(schema.EVENTS, sample, {}).get(ours)
            if choice is None or choice.theirs != name or not choice.is_sure:
                wrong.append(name)
    assert wrong == []


def test_names_are_compared_without_case_spaces_and_dashes(tmp_path: Path) -> None:
    found = described(tmp_path, "log.csv", {"log.csv": log("User-ID,movieId,Event Type,event:TIME", plain)})
    assert declared_lines(found.text)[1:] == [
        'events.user_id = "User-ID"',
        'events.item_id = "movieId"',
        'events.event_time = "event:TIME"',
        'events.event_type = "Event Type"',
    ]


def test_of_two_names_that_fit_a_person_decides(tmp_path: Path) -> None:
    row = lambda user, item, time: f"{user},{item},view,{time.isoformat()},{time.timestamp():.0f}"  # noqa: E731
    found = described(tmp_path, "log.csv", {"log.csv": log("user_id,item_id,event_type,occurred_at,timestamp", row)})
    assert candidates(found.text) == ['events.event_time = "timestamp"', 'events.event_time = "occurred_at"']


def test_a_name_that_its_values_contradict_is_not_suggested(tmp_path: Path) -> None:
    row = lambda user, item, time: f"{user},{item},view,often,{time.isoformat()}"  # noqa: E731
    found = described(tmp_path, "log.csv", {"log.csv": log("user_id,item_id,event_type,time,hour", row)})
    assert candidates(found.text) == ['events.event_time = "hour"']
    assert "'2023-11-01T06:30:05+00:00'" in found.text


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("VIEW", "view"),
        ("pv", "view"),
        ("addtocart", "add_to_cart"),
        ("Add To Cart", "add_to_cart"),
        ("transaction", "purchase"),
        ("fav", "like"),
        ("purchase_completed", "purchase"),
        ("ProductViewed", "view"),
    ],
)
def test_event_types_are_mapped_by_what_such_logs_call_them(theirs: str, ours: str, tmp_path: Path) -> None:
    rows = log("user_id,item_id,event,ts", lambda user, item, time: f"{user},{item},{theirs},{time.isoformat()}")
    found = described(tmp_path, "log.csv", {"log.csv": rows})
    key = theirs if " " not in theirs else f'"{theirs}"'
    assert candidates(found.text) == [f'event_types = {{ {key} = "{ours}" }}']
    assert {row["event_type"] for row in ingested(declare(tmp_path, decided(found.text)[0]))} == {ours}


def test_types_that_none_is_near_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = "".join(f"{user},{item},{('pv', 'zxq')[row % 2]},{time.isoformat()}\n" for row, (user, item, time) in enumerate(EVENTS))
    found = described(tmp_path, "log.csv", {"log.csv": f"user_id,item_id,action,ts\n{rows}"})
    assert candidates(found.text) == ['event_types = { pv = "view", zxq = "ignore" }']
    assert len(ingested(declare(tmp_path, decided(found.text)[0]))) == NUM_ROWS // 2


@pytest.mark.parametrize(
    ("file", "column", "expected"),
    [
        ("log.csv", "", ['event_type = "view"']),
        ("purchases.csv", "", ['event_type = "purchase"', 'event_type = "view"']),
        ("log.csv", "invoice", ['event_type = "purchase"', 'event_type = "view"']),
        ("log.csv", "plays", ['event_type = "play"', 'event_type = "view"']),
    ],
)
def test_a_log_without_types_is_of_one_that_a_person_decides(file: str, column: str, expected: list[str], tmp_path: Path) -> None:
    header = f"user_id,item_id,ts{',' + column if column else ''}"
    rows = log(header, lambda user, item, time: f"{user},{item},{time.isoformat()}{',7' if column else ''}")
    assert candidates(described(tmp_path, file, {file: rows}).text) == expected


def test_flags_may_be_the_types(tmp_path: Path) -> None:
    rows = "".join(f"{user},{item},{time.isoformat()},{row % 2}\n" for row, (user, item, time) in enumerate(EVENTS))
    found = described(tmp_path, "log.csv", {"log.csv": f"user_id,item_id,ts,is_click\n{rows}"})
    assert candidates(found.text)[0] == 'events.event_type = { column = "is_click", values = { 0 = "ignore", 1 = "click" } }'
    assert len(ingested(declare(tmp_path, decided(found.text)[0]))) == NUM_ROWS // 2


def test_nested_json_is_read_by_its_paths(tmp_path: Path) -> None:
    rows = "".join(
        json.dumps({"ts": time.isoformat(), "event": "view", "user": {"id": user}, "properties": {"product_id": item}}) + "\n"
        for user, item, time in EVENTS
    )
    found = described(tmp_path, "log.jsonl", {"log.jsonl": rows})
    assert 'events.user_id = "user.id"' in declared_lines(found.text)
    assert 'events.item_id = "properties.product_id"' in declared_lines(found.text)
    assert triples(ingested(declare(tmp_path, found.text))) == EVENTS


@pytest.mark.parametrize("listed", ['"[""{}"", ""i0""]"', "{} i0", "{}|i0", "{};i0"])
def test_rows_that_list_items_are_a_row_for_each(listed: str, tmp_path: Path) -> None:
    rows = log("user_id,items,event_type,ts", lambda user, item, time: f"{user},{listed.format(item)},view,{time.isoformat()}")
    found = described(tmp_path, "log.csv", {"log.csv": rows})
    assert found.num_decisions == 0
    kept = triples(ingested(declare(tmp_path, found.text)))
    assert kept == [(user, one, time) for user, item, time in EVENTS for one in (item, "i0")]


def test_items_of_json_objects_are_listed_too(tmp_path: Path) -> None:
    rows = "".join(
        json.dumps({"ts": time.isoformat(), "event_type": "view", "user_id": user, "items": [{"item_id": item}, {"item_id": "i0"}]}) + "\n"
        for user, item, time in EVENTS
    )
    found = described(tmp_path, "log.jsonl", {"log.jsonl": rows})
    kept = triples(ingested(declare(tmp_path, found.text)))
    assert kept == [(user, one, time) for user, item, time in EVENTS for one in (item, "i0")]


def test_lines_of_a_user_and_items(tmp_path: Path) -> None:
    lines = [[f"u{row}", *(f"i{place}" for place in range(row % 4 + 1))] for row in range(8)]
    found = described(tmp_path, "train.txt", {"train.txt": "".join(" ".join(line) + "\n" for line in lines)})
    text, edits = decided(found.text)
    assert edits == 3
    rows = ingested(declare(tmp_path, text))
    assert [(row["user_id"], row["item_id"]) for row in rows] == [(line[0], item) for line in lines for item in line[1:]]


def test_names_that_tell_nothing_are_one_decision(tmp_path: Path) -> None:
    rows = log("alpha,beta,gamma", lambda user, item, time: f"{user},{item},{time.isoformat()}")
    found = described(tmp_path, "log.csv", {"log.csv": rows})
    assert candidates(found.text) == ['columns = ["user_id", "item_id", "event_time"]', 'event_type = "view"']
    assert triples(ingested(declare(tmp_path, decided(found.text)[0]))) == EVENTS


def test_typed_files_are_described_by_their_values(tmp_path: Path) -> None:
    naive = [time.replace(tzinfo=None) for _, _, time in EVENTS]
    columns = {"visitorid": [float(row % 7) for row in range(NUM_ROWS)], "sku": list(range(NUM_ROWS)), "at": naive}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    found = described(tmp_path, "log.parquet")
    assert candidates(found.text) == ['time_zone = "UTC"', 'event_type = "view"']
    rows = ingested(declare(tmp_path, decided(found.text)[0]))
    assert [row["event_time"] for row in rows] == [time for _, _, time in EVENTS]
    assert {row["user_id"] for row in rows} == {str(row) for row in range(7)}


def test_text_of_other_encodings(tmp_path: Path) -> None:
    rows = log(HEADER, lambda user, item, time: f"{user} Café,{item},view,{time.isoformat()}")
    found = described(tmp_path, "log.csv", {"log.csv": rows.encode("latin1")})
    assert candidates(found.text) == ['encoding = "latin1"']
    assert ingested(declare(tmp_path, decided(found.text)[0]))[0]["user_id"] == "u0 Café"


def test_repeats_suggest_repeated_consumption(tmp_path: Path) -> None:
    rows = "".join(f"u{row % 3},i{row % 2},purchase,{time.isoformat()}\n" for row, (_, _, time) in enumerate(EVENTS))
    found = described(tmp_path, "log.csv", {"log.csv": f"{HEADER}\n{rows}"})
    assert found.num_decisions == 0
    assert '#feedback.consumption = "repeat"' in found.text


def test_at_most_three_lines_need_editing(tmp_path: Path) -> None:
    files = {
        "events.csv": log("customer_id,product_id,created_at", lambda user, item, time: f"{user},{item},{time:%Y-%m-%d %H:%M:%S}"),
        "users.csv": "id,country\n" + "".join(f"u{user},DE\n" for user in range(7)),
        "products.csv": "id,name\n" + "".join(f"i{item},Lamp {item}\n" for item in range(9)),
    }
    text, edits = decided(described(tmp_path, "", files).text)
    assert edits <= 3
    path = declare(tmp_path, text)
    assert triples(ingested(path)) == EVENTS
    assert {row["title"] for row in ingested(path, "items")} == {f"Lamp {item}" for item in range(9)}


def test_the_sample_of_a_large_file_is_its_beginning_middle_and_end(tmp_path: Path) -> None:
    days = [1 + row % 12 for row in range(200_000)]
    days[100_000] = 25
    rows = "".join(f"user{row % 1000},item{row % 500},view,{day:02}/03/2023\n" for row, day in enumerate(days))
    found = described(tmp_path, "log.csv", {"log.csv": f"{HEADER}\n{rows}"})
    assert re.search(r"found it in [\d,]+ rows \(\d+\.\d\d% of the largest", re.sub(r"\n# ", " ", found.text))
    assert 'events.event_time = { column = "event_time", time_format = "%d/%m/%Y" }' in declared_lines(found.text)


def test_the_preview_shows_ten_rows_of_each_table_on_80_columns_as_safe_text(tmp_path: Path) -> None:
    rows = log(
        "user_id,item_id,event_type,ts,query", lambda user, item, time: f"{user}\x1b[2J,{item},view,{time.isoformat()},{'word ' * 30}"
    )
    found = described(tmp_path, "log.csv", {"log.csv": rows})
    lines = found.preview.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == 1 + 1 + 10 + 1
    assert "\x1b" not in found.preview
    assert "2023-11-01T06:30:05" in found.preview


def test_names_with_quotes_controls_and_dots_are_declared_safely(tmp_path: Path) -> None:
    name = 'user "id"\x7f\\ #'
    rows = log(f'"{name.replace(chr(34), chr(34) * 2)}",item_id,event_type,event_time', plain)
    found = described(tmp_path, "a[1]*.csv", {"a[1]*.csv": rows, "a1x.csv": PLAIN})
    text, _ = decided(found.text)
    assert triples(ingested(declare(tmp_path, text))) == EVENTS
    assert parse(text.encode()).events[0].files == ("a[[]1][*].csv",)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"log.csv": ""}, "E201"),
        ({"log.csv": bytes(range(256)) * 20}, "E104"),
        ({"log.csv.gz": b"\x1f\x8b broken"}, "E108"),
        ({"a.json": "[1, 2"}, "E109"),
    ],
)
def test_what_cannot_be_read_is_a_coded_error(files: dict[str, str | bytes], code: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        described(tmp_path, next(iter(files)), files)
    assert caught.value.code == code
    assert caught.value.place
    assert caught.value.place.file == next(iter(files))


def test_what_needs_no_description_is_refused(tmp_path: Path) -> None:
    for path in ("simulator:users=300", str(tmp_path / "dataset.toml")):
        with pytest.raises(UsageError):
            describe_path(Address(path=path), tmp_path)
