"""Public datasets are recognised by their files and read as their declarations say; small files of their shape stand in for them."""

import shutil
from pathlib import Path

import pytest

from lodestar.data.datasets import catalogue
from lodestar.data.datasets.recognition import Recognised, data_files, recognise
from lodestar.data.declaration.parse import parse
from lodestar.data.ingest import ingest
from lodestar.data.tables import manifest
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError
from lodestar.schema.feedback import BINARY
from tests.factories import write_files
from tests.known_datasets import films, shops, texts
from tests.known_datasets.known import KNOWN
from tests.known_datasets.log import EVENTS, ITEMS, USERS

AWKWARD = Path(__file__).parents[2].parent / "shared" / "data" / "awkward"


def described(folder: Path) -> Recognised:
    """What a folder is recognised as, with its declaration written beside its files."""
    found = recognise(folder, data_files(folder))
    assert found is not None
    (folder / "dataset.toml").write_text(found.text())
    return found


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_dataset_is_recognised_and_read(name: str, tmp_path: Path) -> None:
    known = KNOWN[name]
    known.write(tmp_path / "data")
    assert described(tmp_path / "data").name == name
    report = ingest(str(tmp_path / "data"), tmp_path / "tables")
    tables = Tables(root=tmp_path / "tables")
    events, items = tables.events().to_pylist(), tables.items().to_pylist()
    assert (len(events), len(items), len(tables.users())) == (known.events, ITEMS, USERS)
    assert all(table.rows_in == table.rows_kept + sum(table.dropped.values()) for table in report.tables.values())
    assert any(known.event.items() <= event.items() for event in events)
    assert any(known.item.items() <= item.items() for item in items)


@pytest.mark.parametrize("name", ["movielens-1m", "retailrocket", "interactions", "mind"])
def test_a_plain_path_is_read_as_the_declaration_says(name: str, tmp_path: Path) -> None:
    KNOWN[name].write(tmp_path / "data")
    report = ingest(str(tmp_path / "data"), tmp_path / "plain")
    assert f"recognised as {catalogue.declarations()[name].about.title} by " in report.markdown()
    described(tmp_path / "data")
    ingest(str(tmp_path / "data"), tmp_path / "declared")
    plain, declared = (manifest.read(tmp_path / one) for one in ("plain", "declared"))
    assert plain is not None
    assert declared is not None
    assert (plain.parts, plain.order_only, plain.feedback) == (declared.parts, declared.order_only, declared.feedback)


def test_every_declaration_says_what_it_is_and_is_tried() -> None:
    assert set(KNOWN) == set(catalogue.declarations())
    for name, declaration in catalogue.declarations().items():
        about = declaration.about
        assert all((about.title, about.licence, about.size or about.editions, about.good_for or about.editions)), name
        assert parse(catalogue.text(name).encode()) == declaration


def test_protocols_that_count_every_rating_say_so_and_music_and_baskets_repeat() -> None:
    binary = {name for name, one in catalogue.declarations().items() if one.feedback.protocol == "binary"}
    assert {"movielens-100k", "movielens-1m", "amazon-2014", "interactions", "sequences", "pairs", "home-depot"} <= binary
    assert not {"movielens-20m", "yelp", "book-crossing", "retailrocket", "goodreads"} & binary
    repeat = {name for name, one in catalogue.declarations().items() if one.feedback.consumption == "repeat"}
    assert repeat == {"instacart", "lastfm-1k", "lastfm-360k"}


def test_every_event_counts_alike_in_a_published_protocol(tmp_path: Path) -> None:
    films.movielens_1m(tmp_path / "data")
    ingest(str(tmp_path / "data"), tmp_path / "tables")
    found = manifest.read(tmp_path / "tables")
    assert found is not None
    assert found.feedback == BINARY


def test_files_under_other_names_are_recognised_by_their_columns_and_values(tmp_path: Path) -> None:
    shops.taobao(tmp_path / "data")
    content = (tmp_path / "data" / "UserBehavior.csv").read_text()
    write_files(tmp_path, {"log.csv": f"user_id,item_id,category_id,behavior_type,timestamp\n{content}"})
    report = ingest(str(tmp_path / "log.csv"), tmp_path / "tables")
    assert report.tables["events"].rows_in == EVENTS
    assert "recognised as Taobao" in report.markdown()
    recognised = recognise(tmp_path, [tmp_path / "log.csv"])
    assert recognised is not None
    assert 'files = "log.csv"\nheader = true\n' in recognised.text()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("ratings.dat", "1::2::six::978300760\n"),
        ("u.data", "user\titem\trating\ttime\n"),
        ("UserBehavior.csv", "1,2,3,seen,1511544070\n"),
        ("events.csv", "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,bought,355908,\n"),
        ("behaviors.tsv", "1\tU1\t11/11/2019 9:05:58 AM\tN1\tN2\n"),
        ("combined_data_1.txt", "1,3,2005-09-06\n"),
    ],
)
def test_a_name_is_not_enough_where_the_content_contradicts_it(file: str, content: str, tmp_path: Path) -> None:
    write_files(tmp_path, {file: content})
    assert recognise(tmp_path, data_files(tmp_path)) is None


def test_two_datasets_that_fit_are_told_apart_or_refused(tmp_path: Path) -> None:
    films.movielens_1m(tmp_path)
    assert described(tmp_path).name == "movielens-1m"
    for name in ("users.dat", "movies.dat", "dataset.toml"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"E146 ratings.dat: the files look like MovieLens 10M and MovieLens 1M.*data list movielens-1m >"):
        ingest(str(tmp_path), tmp_path / "tables")
    films.movielens_10m(tmp_path)
    assert described(tmp_path).name == "movielens-10m"


def test_python_dictionaries_are_read_where_a_person_declares_them(tmp_path: Path) -> None:
    texts.steam(tmp_path / "data")
    with pytest.raises(DataError, match=r'E175 .* recognised as Steam. Declare format = "python-literal", as `lodestar data describe'):
        ingest(str(tmp_path / "data"), tmp_path / "tables")


def test_files_of_a_known_dataset_that_are_not_read_are_named(tmp_path: Path) -> None:
    shops.otto(tmp_path / "data")
    assert "files that are not read: otto-recsys-test.jsonl" in ingest(str(tmp_path / "data"), tmp_path / "tables").notes


def test_plain_interactions_keep_the_times_that_they_have(tmp_path: Path) -> None:
    rows = "".join(f"u{n},i1,2026-01-0{7 - n}T00:00:00Z\n" for n in range(1, 6))
    write_files(tmp_path, {"data/interactions.csv": f"user_id,item_id,event_time\n{rows}"})
    report = ingest(str(tmp_path / "data"), tmp_path / "tables")
    assert not report.order_only
    assert [event["event_time"].day for event in Tables(root=tmp_path / "tables").events().to_pylist()] == [6, 5, 4, 3, 2]


def test_a_folders_interactions_with_types_are_events_as_they_are(tmp_path: Path) -> None:
    rows = "".join(f"u{n},i1,purchase,2026-01-01T00:00:00Z\n" for n in range(5))
    write_files(tmp_path, {"data/interactions.csv": f"user_id,item_id,event_type,event_time\n{rows}"})
    ingest(str(tmp_path / "data"), tmp_path / "tables")
    assert {event["event_type"] for event in Tables(root=tmp_path / "tables").events().to_pylist()} == {"purchase"}


@pytest.mark.parametrize(
    ("name", "title", "events", "items"),
    [
        ("d01_retailrocket", "Retailrocket", 200, 30),
        ("d02_instacart", "Instacart baskets", 480, 30),
        ("d06_bookcrossing", "Book-Crossing", 200, 30),
        ("d08b_amazon_folder", "Amazon reviews 2023", 200, 30),
        ("d13b_taobao_header.csv", "Taobao user behaviour", 200, 30),
        ("f08_ml1m", "MovieLens 1M", 96, 15),
    ],
)
def test_awkward_copies_of_known_datasets_are_read(name: str, title: str, events: int, items: int, tmp_path: Path) -> None:
    if not AWKWARD.is_dir():
        pytest.skip("the awkward inputs are not beside the project")
    report = ingest(str(AWKWARD / name), tmp_path / "tables")
    tables = Tables(root=tmp_path / "tables")
    assert f"recognised as {title}" in report.markdown()
    assert (len(tables.events()), len(tables.items())) == (events, items)


def test_an_awkward_copy_of_steam_is_refused_and_read_as_it_is_declared(tmp_path: Path) -> None:
    if not AWKWARD.is_dir():
        pytest.skip("the awkward inputs are not beside the project")
    shutil.copytree(AWKWARD / "d05_steam", tmp_path / "data", copy_function=shutil.copyfile)
    (tmp_path / "data").chmod(0o755)
    with pytest.raises(DataError, match=r'E175 .*format = "python-literal"'):
        ingest(str(tmp_path / "data"), tmp_path / "tables")
    described(tmp_path / "data")
    assert ingest(str(tmp_path / "data"), tmp_path / "tables").tables["events"].rows_kept == 200
