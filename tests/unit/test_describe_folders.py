"""Describe folders: which files are which table, how they join, and what is left out."""

import re
from pathlib import Path

from tests.describing import (
    EVENTS,
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


def test_users_and_items_join_by_columns_that_a_person_confirms(tmp_path: Path) -> None:
    files = {
        "events.csv": log("customer_id,item_id,event_type,ts", plain),
        "users.csv": "id,country\n" + "".join(f"u{user},DE\n" for user in range(7)),
        "items.csv": "item_id,name,category,brand\n" + "".join(f"i{item},Lamp {item},Home,Lux\n" for item in range(9)),
    }
    found = described(tmp_path, "", files)
    assert candidates(found.text) == ['users.user_id = "id"', 'events.user_id = "customer_id"']
    assert "7 of the 7 ids of users are in the events" in re.sub(r"\n# ", " ", found.text)
    lines = declared_lines(found.text)
    assert 'items.title = "name"' in lines
    assert 'items.category_path = "category"' in lines
    assert 'items.attrs = { names = { brand = "brand" } }' in lines
    path = declare(tmp_path, decided(found.text)[0])
    assert {row["country"] for row in ingested(path, "users")} == {"DE"}
    assert {row["title"] for row in ingested(path, "items")} == {f"Lamp {item}" for item in range(9)}


def test_a_name_of_both_files_joins_them_for_sure(tmp_path: Path) -> None:
    files = {
        "ratings.csv": log("userId,movieId,rating,timestamp", lambda user, item, time: f"{user},{item},4,{time.timestamp():.0f}"),
        "movies.csv": "movieId,title,genres\n" + "".join(f"i{item},Film {item},Drama|War\n" for item in range(9)),
        "links.csv": "movieId,imdbId\n" + "".join(f"i{item},{item}\n" for item in range(9)),
        "README.txt": "About these data.\n",
    }
    found = described(tmp_path, "", files)
    assert found.num_decisions == 0
    path = declare(tmp_path, found.text)
    assert triples(ingested(path)) == EVENTS
    assert ingested(path, "items")[0]["category_path"] == ["Drama", "War"]
    assert "# links.csv: " in found.text


def test_a_table_whose_ids_no_event_names_is_not_joined(tmp_path: Path) -> None:
    found = described(tmp_path, "", {"events.csv": PLAIN, "customers.csv": "id,country\n" + "".join(f"c{user},DE\n" for user in range(7))})
    assert found.num_decisions == 0
    assert declared_lines(found.text) == ['events.files = "events.csv"']
    assert "# customers.csv: none of its 7 users is in the events" in found.text


def test_order_lines_find_their_user_and_time_in_the_orders(tmp_path: Path) -> None:
    orders = "".join(f"{row},{user},{time.isoformat()}\n" for row, (user, _, time) in enumerate(EVENTS))
    lines = "".join(f"{row},{item}\n{row},i0\n" for row, (_, item, _) in enumerate(EVENTS))
    found = described(tmp_path, "", {"orders.csv": f"order_id,customer,ordered_at\n{orders}", "order_lines.csv": f"order_id,sku\n{lines}"})
    assert 'events.join = { files = "orders.csv", on = "order_id" }' in declared_lines(found.text)
    assert candidates(found.text)[0] == 'event_type = "purchase"'
    kept = triples(ingested(declare(tmp_path, decided(found.text)[0])))
    assert kept == [(user, one, time) for user, item, time in EVENTS for one in (item, "i0")]


def test_files_of_several_shapes_are_several_sources(tmp_path: Path) -> None:
    row = lambda user, item, time: f"{user},{item},{time.isoformat()}"  # noqa: E731
    files = {"views.csv": log("user,item,ts", row), "purchases.csv": log("buyer,sku,ordered_at", row)}
    found = described(tmp_path, "", files)
    rows = ingested(declare(tmp_path, decided(found.text)[0]))
    assert sorted(triples(rows)) == sorted([*EVENTS, *EVENTS])
    assert {row["event_type"] for row in rows} == {"view", "purchase"}


def test_many_files_of_one_shape_are_one_source(tmp_path: Path) -> None:
    files = {f"2023-11-{day:02}.csv": log("visitorid,itemid,event_type,ts", plain) for day in range(1, 13)}
    found = described(tmp_path, "", files)
    assert declared_lines(found.text)[0] == 'events.files = "2023-11-*.csv"'
    assert found.num_decisions == 0


def test_properties_a_row_each_become_columns_with_their_latest_value(tmp_path: Path) -> None:
    properties = "".join(
        f"{1700000000 + step},i{item},name,Lamp {item} {step}\n{1700000000},i{item},colour,red\n" for step in range(2) for item in range(9)
    )
    files = {
        "events.csv": log("visitorid,itemid,event_type,ts", plain),
        "item_properties.csv": f"timestamp,itemid,property,value\n{properties}",
    }
    found = described(tmp_path, "", files)
    assert found.num_decisions == 0
    assert 'items.key_value = { key = "property", value = "value", latest = "timestamp" }' in declared_lines(found.text)
    items = {row["item_id"]: row for row in ingested(declare(tmp_path, found.text), "items")}
    assert items["i3"]["title"] == "Lamp 3 1"
    assert dict(items["i3"]["attrs"]) == {"colour": "red"}
