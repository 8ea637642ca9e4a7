"""Known data sets are read from their folders as they lie; look-alikes of a few rows stand in for them."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lodestar.data.ingest import ingest
from lodestar.data.tables import manifest, tables

START = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    folder = tmp_path / "ratings"
    folder.mkdir()
    (folder / "u.data").write_text("".join(f"{user}\t{user % 2 + 1}\t{user % 5 + 1}\t{1_000_000_000 + user}\n" for user in range(1, 7)))
    (folder / "u.genre").write_text("odd|0\nDull|1\nLoud|2\n\n")
    films = ["1|Café (1999)|01-Jan-1999||http://one|0|1|1", "2|Plain (1998)|01-Jan-1998|||1|0|0", "3|Unseen||||0|0|0"]
    (folder / "u.item").write_bytes(("\n".join(films) + "\n").encode("latin1"))
    return folder


def test_ratings_with_films_keep_titles_genres_and_times(ratings: Path, tmp_path: Path) -> None:
    report = ingest(str(ratings), tmp_path / "out")
    found = tables.Tables(root=tmp_path / "out")
    assert [(item["title"], item["category_path"], item["item_type"]) for item in found.items().to_pylist()] == [
        ("Café (1999)", ["Dull", "Loud"], "video"),
        ("Plain (1998)", ["odd"], "video"),
        ("Unseen", None, "video"),
    ]
    first = found.events().to_pylist()[0]
    assert (first["user_id"], first["item_id"], first["rating"], first["event_type"]) == ("1", "2", 2.0, "rating")
    assert first["event_time"] == datetime(2001, 9, 9, 1, 46, 41, tzinfo=UTC)
    assert not report.order_only


def held(root: Path) -> manifest.Manifest:
    found = manifest.read(root)
    assert found is not None
    return found


def packed(path: Path, *lines: str) -> None:
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def test_positions_become_seconds_and_the_manifest_says_so(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    packed(
        tmp_path / "set" / "interactions.csv.gz", "user_id,item_id,position", *(f"u{user},i{at},{at}" for user in range(5) for at in (1, 0))
    )
    packed(tmp_path / "set" / "items.csv.gz", "item_id,title,genres", "i0,Zero,Quiet|Slow", "i1,One,Loud")
    ingest(str(tmp_path / "set"), tmp_path / "out")
    found = tables.Tables(root=tmp_path / "out")
    assert [event["event_time"] - START for event in found.events().to_pylist()[:2]] == [timedelta(seconds=1), timedelta(0)]
    assert found.items()["category_path"].to_pylist() == [["Quiet", "Slow"], ["Loud"]]
    assert held(tmp_path / "out").order_only


def test_without_positions_the_order_of_the_file_counts(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    rows = [f"u{user},i{at}" for at in range(2) for user in range(5)]
    packed(tmp_path / "set" / "interactions.csv.gz", "user_id,item_id", *rows)
    packed(tmp_path / "set" / "items.csv.gz", "item_id,attribute_ids", "i0,7 8", "i1,")
    ingest(str(tmp_path / "set"), tmp_path / "out")
    found = tables.Tables(root=tmp_path / "out")
    times = [(event["event_time"] - START).total_seconds() for event in found.events().to_pylist()]
    assert times == [0.0] * 5 + [1.0] * 5
    assert found.items()["tags"].to_pylist() == [["7", "8"], None]
