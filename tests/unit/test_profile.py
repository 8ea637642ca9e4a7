"""The page about data counts what is there, shows no id, and says what was left out."""

from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from lodestar.data.ingest import ingest
from lodestar.data.tables.tables import Tables
from lodestar.evaluation.report.profile import Profile, page, profile

HEADER = "user_id,item_id,event_type,event_time,price_paid"
ROWS = [f"person-{user},thing-{(user * step) % 7},view,2026-01-0{1 + step}T0{user}:30:00Z,1" for user in range(6) for step in range(6)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "events.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    items = [f"thing-{number},<b>Thing {number}</b>,product,2025-01-01T00:00:00Z,{number}.5" for number in range(9)]
    (folder / "items.csv").write_text("\n".join(["item_id,title,item_type,created_at,price", *items]) + "\n")
    return folder


def looked_at(data: Path, tmp_path: Path) -> Profile:
    report = ingest(str(data), tmp_path / "tables")
    return profile(Tables(root=tmp_path / "tables"), report)


def test_it_counts_what_is_there(data: Path, tmp_path: Path) -> None:
    found = looked_at(data, tmp_path)
    pairs = {tuple(row.split(",")[:2]) for row in ROWS}
    items = [row.split(",")[1] for row in ROWS]
    assert (found.events, found.pairs, found.num_items) == (len(ROWS), len(pairs), 9)
    assert found.types == (("view", len(ROWS)),)
    assert found.by_day.tolist() == [6] * 6
    assert found.by_hour.tolist() == [6] * 6 + [0] * 18
    assert found.per_user.tolist() == [6] * 6
    assert found.per_item.tolist() == sorted(items.count(item) for item in set(items))
    columns = {column.name: column for column in found.columns["items"]}
    assert (columns["price"].share, columns["price"].distinct, columns["price"].min, columns["price"].max) == (1.0, 9, "0.5", "8.5")
    assert "tags" not in columns


def test_days_before_1970_are_days_as_others_are(tmp_path: Path) -> None:
    rows = [f"u{day},i{hour},view,{date}T{hour:02}:00:00Z,1" for day, date in enumerate(["1969-12-30", "1970-01-02"]) for hour in (1, 23)]
    rows = [row.replace("u", f"u{number}") for number, row in enumerate(rows)]
    rows += ["u2,i1,view,1969-12-31T12:00:00Z,1", "u2,i2,view,1970-01-01T12:00:00Z,1"]
    (tmp_path / "events.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    assert looked_at(tmp_path / "events.csv", tmp_path).by_day.tolist() == [2, 1, 1, 2]


def test_the_page_shows_no_id_and_escapes_what_it_shows(data: Path, tmp_path: Path) -> None:
    content = page(looked_at(data, tmp_path))
    assert content == page(looked_at(data, tmp_path / "again"))
    assert "person-" not in content
    assert "thing-" not in content
    assert "<b>" not in content
    assert content.count('<svg class="chart"') == 4


def test_data_with_an_order_only_have_no_charts_of_time(tmp_path: Path) -> None:
    rows = [f"u{user},i{(user + step) % 6},{step}" for user in range(6) for step in range(5)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "interactions.csv").write_text("\n".join(["user_id,item_id,position", *rows]) + "\n")
    content = page(looked_at(tmp_path / "data", tmp_path))
    assert content.count('<svg class="chart"') == 2
    assert "The data have an order but no timestamps" in content


def test_the_command_writes_the_page_and_bad_data_write_none(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "page.html"
    assert main(["data", "profile", "--data", str(data), "--output", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert target.read_text().startswith("<!doctype html>")
    (data / "events.csv").write_text("\n".join([HEADER, *ROWS, "person-1,,view,2026-01-01T00:00:00Z,1"]) + "\n")
    assert main(["data", "profile", "--data", str(data), "--output", str(tmp_path / "other.html")]) == 3
    assert not (tmp_path / "other.html").exists()


def test_a_log_without_a_positive_event_is_described_too(tmp_path: Path) -> None:
    rows = [f"u{user},,search,2026-01-01T00:00:0{user}Z,lamp" for user in range(6)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,event_type,event_time,query_text", *rows]) + "\n")
    found = looked_at(tmp_path / "events.csv", tmp_path)
    assert (found.events, found.by_day.size, int(np.sum(found.by_hour))) == (0, 0, 0)
    assert "search" in page(found)
