"""Users and items of any year that the contract has are in every online view, like those of today."""

import sqlite3
from collections.abc import Iterator

import pytest

from feature_repo import materialise
from feature_repo.stores.time_us import microseconds, to_datetime
from lodestar.data.contract import rules
from lodestar.data.ingest import ingest
from lodestar.features.batch.build import build_features
from lodestar.recipes import load_recipe
from lodestar.schema import packed

YEARS = ("0001-01-01", "1066-10-14", "1599-12-31", "1677-01-01", "1899-12-31", "1937-12-21", "1969-12-31", "1970-01-01", "2023-11-14")


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """The online store of a log with an event in each year, and an item that began in each."""
    folder = tmp_path_factory.mktemp("early")
    events = [f"u{user},i{user},view,{year}T12:00:0{second}Z" for user, year in enumerate(YEARS) for second in range(3)]
    items = [f"i{number},Film,{year}T00:00:00Z,{year}T00:00:00Z" for number, year in enumerate(YEARS)]
    (folder / "data").mkdir()
    (folder / "data/events.csv").write_text("\n".join(("user_id,item_id,event_type,event_time", *events)) + "\n")
    (folder / "data/items.csv").write_text("\n".join(("item_id,title,created_at,updated_at", *items)) + "\n")
    ingest(str(folder / "data"), folder / "tables")
    build_features(folder / "tables", folder / "features", load_recipe("sasrec", '{"data": {"min_interactions": 1}}'))
    materialise.materialise_sqlite(folder / "features", folder / "features")
    with sqlite3.connect(folder / "features/online/online.db") as database:
        yield database


@pytest.mark.parametrize("view", ["user_profile", "user_activity", "user_sequence", "item_profile", "item_stats", "item_text_embedding"])
def test_every_user_and_item_is_online(view: str, online: sqlite3.Connection) -> None:
    found = {key for (key,) in online.execute(f"SELECT entity FROM lodestar_{view}")}
    prefix = "u" if view.startswith("user") else "i"
    assert {str(key, "utf-8") if isinstance(key, bytes) else key for key in found} == {f"{prefix}{number}" for number in range(len(YEARS))}


def test_a_row_keeps_its_time(online: sqlite3.Connection) -> None:
    times = {to_datetime(packed.event_us(row)).year for (row,) in online.execute("SELECT row FROM lodestar_item_profile")}
    assert times == {int(year[:4]) for year in YEARS}


@pytest.mark.parametrize("time_us", [rules.EARLIEST_US, -1, 0, rules.LATEST_US])
def test_times_of_the_stores_reach_as_far_as_the_contract(time_us: int) -> None:
    assert microseconds(to_datetime(time_us)) == time_us
