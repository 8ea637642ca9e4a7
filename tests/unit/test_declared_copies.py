"""Declared sources of public datasets: numbers and digests of texts, one row of a key, and copies that lack columns or files."""

import hashlib
import json
from pathlib import Path

import pytest

from lodestar.data.ingest import validate
from lodestar.errors import DataError
from tests.factories import declared_rows, write_files


def test_values_are_numbered_in_their_order_and_texts_become_digests(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "log.csv": "query,song\nred hat,A\nblue hat,B\nred hat,C\n",
            "dataset.toml": """
                event_type = "view"
                order = "file"
                [events]
                files = "log.csv"
                user_id = { column = "query", numbered = true, prefix = "q" }
                item_id = { column = "song", digest = true }
            """,
        },
    )
    rows = declared_rows(tmp_path, "events")
    assert [(row["user_id"], row["event_time"][17:19]) for row in rows] == [("q0", "00"), ("q1", "01"), ("q0", "02")]
    assert [row["item_id"] for row in rows] == [hashlib.sha256(text.encode()).hexdigest()[:16] for text in "ABC"]


def test_files_in_one_order_are_numbered_on(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "1.csv": "user_id,item_id\nu,a\nv,b\n",
            "2.csv": "user_id,item_id\nu,c\n",
            "dataset.toml": "event_type = 'view'\norder = 'file'\n[events]\nfiles = ['1.csv', '2.csv']",
        },
    )
    assert [(row["item_id"], row["event_time"][17:19]) for row in declared_rows(tmp_path, "events")] == [
        ("a", "00"),
        ("b", "01"),
        ("c", "02"),
    ]


def test_the_first_of_several_rows_is_kept(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "log.csv": "user_id,item_id,title,event_type,event_time\n"
            + "".join(f"u{n},i{n % 2},title {n},view,2026-01-01T00:00:0{n}Z\n" for n in range(6)),
            "dataset.toml": "[events]\nfiles = 'log.csv'\n[items]\nfiles = 'log.csv'\ndistinct = true",
        },
    )
    assert [(row["item_id"], row["title"]) for row in declared_rows(tmp_path, "items")] == [("i0", "title 0"), ("i1", "title 1")]
    assert sum(validate(str(tmp_path)).tables["items"].dropped.values()) == 4


def test_entities_in_texts_and_in_lists_of_texts_become_characters(tmp_path: Path) -> None:
    item = {"item_id": "i", "title": "A &amp; B", "category_path": ["C &amp; D", "&quot;E&quot;"]}
    columns = "title = {column = 'title', html = true}\ncategory_path = {column = 'category_path', html = true}"
    write_files(tmp_path, {"items.jsonl": json.dumps(item) + "\n", "dataset.toml": f"[items]\nfiles = 'items.jsonl'\n{columns}"})
    row = declared_rows(tmp_path, "items")[0]
    assert (row["title"], json.loads(row["category_path"])) == ("A & B", ["C & D", '"E"'])


def test_columns_and_files_that_a_copy_of_a_public_dataset_lacks_are_left_out(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "log.csv": "user,item\nu,1\n",
            "books.csv": "id,name\n1,One\n",
            "dataset.toml": """
                order = "row"
                [events]
                files = ["log.csv", "log.csv.gz"]
                recognise.columns = ["user", "item"]
                user_id = "user"
                item_id = "item"
                event_type = { column = "kind", default = "view" }
                rating = "stars"
                [[items]]
                files = "books.csv"
                join = { files = "shelves.csv", on = "shelf", optional = true }
                recognise = { columns = ["id"], without = "isbn", optional = true }
                item_id = "id"
                title = { first = ["headline", "name"] }
                tags = { together = ["genre", "shelf"] }
                attrs = { names = { year = "year" } }
                [[items]]
                files = "books.csv"
                recognise = { columns = ["isbn"], optional = true }
                item_id = "isbn"
                [users]
                files = "users.csv"
                recognise.optional = true
            """,
        },
    )
    event = declared_rows(tmp_path, "events")[0]
    assert (event["event_type"], "rating" in event) == ("view", False)
    assert declared_rows(tmp_path, "items") == [{"item_id": "1", "title": "One"}]


@pytest.mark.parametrize("missing", ["2.csv", "3*.csv"])
def test_a_file_that_a_person_names_must_be_there(tmp_path: Path, missing: str) -> None:
    write_files(tmp_path, {"1.csv": "user_id\nu\n", "dataset.toml": f"[events]\nfiles = ['1.csv', '{missing}']"})
    with pytest.raises(DataError, match="E142"):
        declared_rows(tmp_path, "events")


def test_rows_of_one_key_are_told_by_the_id_that_they_become(tmp_path: Path) -> None:
    rows = ["m1\tThe Band\tu1", "m1\tTHE BAND\tu2", "\tOther\tu1", "\tOther\tu3", "\t\tu4"]
    source = "files = 'plays.tsv'\ncolumns = ['id', 'name', 'user']\ndelimiter = \"\\t\"\nitem_id = { first = ['id', 'name'] }"
    write_files(tmp_path, {"plays.tsv": "\n".join(rows) + "\n", "dataset.toml": f"[items]\n{source}\ntitle = 'name'\ndistinct = true"})
    found = [(row["item_id"], row["title"]) for row in declared_rows(tmp_path, "items")]
    assert found == [("m1", "The Band"), ("Other", "Other"), (None, "")]
