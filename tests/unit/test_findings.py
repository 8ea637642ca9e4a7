"""What is right row by row and may be wrong together is a finding with a code and an example; an error where results would be wrong."""

from pathlib import Path

import pytest

from cli.main import main
from lodestar.data.contract.findings.findings import Finding
from lodestar.data.contract.report import Report
from lodestar.data.ingest import append, ingest, validate
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError

HEADER = "user_id,item_id,event_type,event_time"


def data(folder: Path, *lines: str, header: str = HEADER, name: str = "events.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join((header, *lines)) + "\n")
    return folder


def views(users: list[str], items: list[str], minute: int = 0) -> list[str]:
    return [
        f"{user},{items[number % len(items)]},view,2025-06-01T12:{minute:02}:{number % 60:02}Z" for number, user in enumerate(users * 2)
    ]


def found(report: Report, code: str) -> list[Finding]:
    return [one for one in report.findings if one.code == code]


def named(prefix: str, number: int) -> list[str]:
    return [f"{prefix}{one}" for one in range(number)]


def test_events_of_one_second_have_no_order(tmp_path: Path) -> None:
    same = [f"u{user},i1,view,2025-06-01T12:00:00.{user}Z" for user in range(6)]
    (one,) = found(validate(str(data(tmp_path / "a", *same))), "E118")
    assert (one.column, one.count) == ("event_time", 6)
    assert found(validate(str(data(tmp_path / "b", *same, "u1,i2,view,2025-06-01T12:00:01Z"))), "E118") == []


def test_one_event_for_each_user_is_a_warning(tmp_path: Path) -> None:
    lines = [f"u{user},i1,view,2025-06-01T12:{user:02}:00Z" for user in range(30)]
    assert [one.count for one in found(validate(str(data(tmp_path / "a", *lines))), "E127")] == [30]
    assert found(validate(str(data(tmp_path / "b", *lines, "u1,i2,view,2025-06-01T13:00:00Z"))), "E127") == []


def test_repeated_interactions_are_counted(tmp_path: Path) -> None:
    lines = [f"u{user},i{number % 2},view,2025-06-01T12:0{number}:0{user}Z" for user in range(6) for number in range(5)]
    report = validate(str(data(tmp_path / "a", *lines)))
    assert report.tables["events"].repeats == 18
    assert "events: 18 interactions repeat an earlier one of the same user, item and type" in report.markdown()


def test_rows_without_a_rating_are_left_out_and_counted(tmp_path: Path) -> None:
    header = "user_id,item_id,rating,event_time"
    lines = [f"u{user},i1,{rating},2025-06-01T12:00:0{user}Z" for user, rating in enumerate(("4", "", "0.5", "5", "n/a", "3", "2"))]
    report = ingest(str(data(tmp_path / "a", *lines, header=header)), tmp_path / "out")
    events = report.tables["events"]
    assert (events.rows_in, events.rows_kept, events.dropped) == (7, 5, {"E123": 2})
    assert events.offenders["E123"][0] == "events.csv, line 3, column rating, value ''"
    assert Tables(root=tmp_path / "out").events()["rating"].null_count == 0


def test_ratings_of_another_scale_are_refused_until_it_is_declared(tmp_path: Path) -> None:
    header = "user_id,item_id,rating,event_time"
    folder = data(tmp_path / "a", *[f"u{user},i1,{user},2025-06-01T12:00:0{user}Z" for user in range(8)], header=header)
    with pytest.raises(DataError, match=r"E102 events\.csv, line 2, column rating, value '0'") as caught:
        validate(str(folder))
    assert "in 3 rows" in str(caught.value)
    assert "rating_scale = [0, 10]" in caught.value.remedy
    (folder / "dataset.toml").write_text('rating_scale = [0, 10]\n[events]\nfiles = "events.csv"\n')
    assert validate(str(folder)).tables["events"].rows_kept == 8


@pytest.mark.parametrize(("value", "code"), [("0", "E102"), ("-3.5", "E102"), ("3.5", ""), ("", "")])
def test_the_value_of_a_purchase_is_positive(value: str, code: str, tmp_path: Path) -> None:
    lines = [f"u{user},i1,purchase,2025-06-01T12:00:0{user}Z,1" for user in range(6)]
    folder = data(tmp_path / "a", *lines, f"u7,i1,purchase,2025-06-01T12:00:00Z,{value}", header=f"{HEADER},value")
    if code:
        with pytest.raises(DataError, match=rf"{code} events\.csv, line 8, column value") as caught:
            validate(str(folder))
        assert "of a purchase, above 0" in str(caught.value)
    else:
        lacking = [one.count for one in found(validate(str(folder)), "E111") if one.column == "value"]
        assert lacking == ([] if value else [1])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("propensity", "0", "above 0 and at most 1"),
        ("propensity", "1.01", "above 0 and at most 1"),
        ("arm", "blue", 'arms = ["blue", "green"]'),
    ],
)
def test_impressions_keep_the_contract(column: str, value: str, message: str, tmp_path: Path) -> None:
    row = {
        **{"request_id": "r1", "user_id": "u1", "item_id": "i1", "position": "1", "shown_at": "2025-06-01T12:00:00Z"},
        **{"surface": "home", "model_digest": "d", "arm": "control", "propensity": "1", "feature_hash": "h"},
    }
    folder = data(tmp_path / "a", *views(named("u", 6), ["i1"]))
    data(folder, ",".join(row.values()), header=",".join(row), name="impressions.csv")
    assert validate(str(folder)).tables["impressions"].rows_kept == 1
    data(folder, ",".join((row | {column: value}).values()), header=",".join(row), name="impressions.csv")
    with pytest.raises(DataError, match=rf"E102 impressions\.csv, line 2, column {column}") as caught:
        validate(str(folder))
    assert message in str(caught.value)
    if column == "arm":
        (folder / "dataset.toml").write_text(
            'arms = ["blue", "green"]\n[events]\nfiles = "events.csv"\n[impressions]\nfiles = "impressions.csv"\n'
        )
        assert validate(str(folder)).tables["impressions"].rows_kept == 1


def test_a_table_that_joins_with_less_than_half_is_found(tmp_path: Path) -> None:
    items = named("i", 10)
    folder = data(tmp_path / "a", *views(named("u", 6), items))
    data(folder, *(f"{item},t" for item in (*items[:4], *named("x", 9))), header="item_id,title", name="items.csv")
    (one,) = found(validate(str(folder)), "E121")
    assert (one.table, one.count, one.message) == ("items", 6, "the events name 10 items, of which 4 are in the table")
    data(folder, *(f"{item},t" for item in items[:5]), header="item_id,title", name="items.csv")
    assert found(validate(str(folder)), "E121") == []


def test_a_join_that_fails_by_spelling_is_an_error_with_a_pair(tmp_path: Path) -> None:
    folder = data(tmp_path / "a", *views(named("u", 6), named("sku-", 10)))
    data(folder, *(f"SKU{number},t" for number in range(8)), header="item_id,title", name="items.csv")
    with pytest.raises(
        DataError, match="E121 the events name 10 items, of which 0 are in the table, and 8 more are spelt otherwise"
    ) as caught:
        validate(str(folder))
    assert "'sku-0' of the events and 'SKU0' of the table are two" in caught.value.remedy


def test_a_file_of_users_that_nobody_knew_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    folder = tmp_path / "a/events"
    data(folder, *views(named("u", 25), ["i1"]), name="1.csv")
    data(folder, *views(named("v", 60), ["i1"], 1), name="2.csv")
    (one,) = found(validate(str(tmp_path / "a")), "E124")
    assert (one.count, one.places) == (60, ("events/2.csv",))
    data(folder, *views([*named("v", 55), *named("u", 5)], ["i1"], 1), name="2.csv")
    assert found(validate(str(tmp_path / "a")), "E124") == []


def test_users_that_are_written_otherwise_than_before_are_an_error(tmp_path: Path) -> None:
    data(tmp_path / "a", *views(named("u-", 25), ["i1"]))
    append(str(tmp_path / "a/events.csv"), tmp_path / "tables")
    later = data(tmp_path / "b", *views(named("U", 25), ["i1"], 1))
    with pytest.raises(DataError, match=r"E124 events\.csv names 25 users that were not known, where 25 were before") as caught:
        append(str(later / "events.csv"), tmp_path / "tables")
    assert "are two" in caught.value.remedy
    assert Tables(root=tmp_path / "tables").events().num_rows == 50


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("session_id,item_id,event_type,event_time", "{user},i1,view,2025-06-01T12:00:0{second}Z"),
        ("user_id,event_type,event_time,query_text", "{user},search,2025-06-01T12:00:0{second}Z,red shoes"),
        ("user_id,event_type,event_time,target_user_id", "{user},follow,2025-06-01T12:00:0{second}Z,u1"),
    ],
    ids=["sessions", "searches", "follows"],
)
def test_a_log_of_one_kind_is_accepted(header: str, line: str, tmp_path: Path) -> None:
    lines = [line.format(user=f"u{second}", second=second) for second in range(8)]
    folder = data(tmp_path / "a", *lines, header=header)
    for command in (["validate"], ["profile", "--output", str(tmp_path / "p.html")], ["ingest", "--output", str(tmp_path / "out")]):
        assert main(["data", *command, "--data", str(folder)]) == 0
    assert Tables(root=tmp_path / "out").events().num_rows == 8


def test_views_without_an_item_are_refused_among_searches(tmp_path: Path) -> None:
    lines = [f"u{user},search,2025-06-01T12:00:0{user}Z,red" for user in range(6)]
    header = "user_id,event_type,event_time,query_text"
    with pytest.raises(DataError, match=r"E103 events\.csv, line 8, column item_id"):
        validate(str(data(tmp_path / "a", *lines, "u1,view,2025-06-01T12:00:00Z,", header=header)))
