"""The leak test finds a dozen kinds of target leakage, with view, entity, time and values, and accuses no honest view."""

from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from lodestar import schema
from lodestar.data.tables import tables
from lodestar.data.tables.tables import Tables
from lodestar.monitoring.leaks import Leak, find_leaks, sample_cutoffs
from lodestar.schema.time_units import HOUR_US, SECOND_US
from tests.factories import EPOCH_US, table

NUM_CUTOFFS = 6


def log(folder: Path, start_us: int = EPOCH_US, seed: int = 0) -> Tables:
    """Sixty views by four users over five hours, some known late, with repeated times; a profile that became known late."""
    rng = np.random.default_rng(seed)
    count = 60
    times = start_us + rng.integers(0, 10, count) * HOUR_US // 2
    events = table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(count)],
        user_id=[f"u{user}" for user in rng.integers(0, 4, count)],
        item_id=[f"i{item}" for item in rng.integers(0, 8, count)],
        event_type=["view"] * count,
        event_time=times.tolist(),
        ingested_at=(times + rng.choice([0, 0, SECOND_US, 3 * HOUR_US], count)).tolist(),
    )
    people = [f"u{number}" for number in range(4)]
    about = {"created_at": [start_us] * 4, "updated_at": [start_us + HOUR_US] * 4, "ingested_at": [start_us + 2 * HOUR_US] * 4}
    users = table(schema.USERS, user_id=people, country=["DE", "FR", "IT", "ES"], **about)
    goods = [f"i{number}" for number in range(8)]
    known = dict.fromkeys(("created_at", "updated_at", "ingested_at"), [start_us] * 8)
    folder.mkdir(parents=True)
    tables.write({"events": events, "users": users, "items": table(schema.ITEMS, item_id=goods, title=goods, **known)}, folder)
    return Tables(root=folder)


def each(value: str, *, timestamp: str = "event_time", known: str = "ingested_at", source: str = "positive") -> str:
    """A view with a row per event."""
    return f"SELECT user_id, {value} AS feature, {timestamp} AS event_timestamp, {known} AS created_timestamp FROM {source}"


UP_TO_NOW = "OVER (PARTITION BY user_id ORDER BY event_time)"
PLANTED = {
    "the whole history's count": each("count(*) OVER (PARTITION BY user_id)"),
    "the next event": each(f"lead(item_id) {UP_TO_NOW}"),
    "the time until the next event": each(f"epoch(lead(event_time) {UP_TO_NOW} - event_time)"),
    "late arrivals treated as known at once": each(f"count(*) {UP_TO_NOW}", known="event_time"),
    "an hour's count at the hour's start": (
        "SELECT user_id, count(*) AS feature, date_trunc('hour', event_time) AS event_timestamp, "
        "date_trunc('hour', event_time) AS created_timestamp FROM positive GROUP BY ALL"
    ),
    "a share of all interactions ever": each(f"count(*) {UP_TO_NOW} / (SELECT count(*) FROM positive)"),
    "a rank among everyone's last": each("(SELECT count(*) FROM positive AS other WHERE other.event_time > positive.event_time)"),
    "an item's final popularity": each("(SELECT count(*) FROM positive AS other WHERE other.item_id = positive.item_id)"),
    "a clock of another zone": each("item_id", timestamp="event_time - INTERVAL 5 HOUR", known="event_time - INTERVAL 5 HOUR"),
    "a profile that became known later": (
        "SELECT user_id, country AS feature, created_at AS event_timestamp, created_at AS created_timestamp FROM users"
    ),
    "a tie settled by who came last": (
        "SELECT user_id, arg_max(item_id, ingested_at) AS feature, event_time AS event_timestamp, min(ingested_at) AS created_timestamp "
        "FROM positive GROUP BY user_id, event_time"
    ),
    "a row that forgets what was known before it": each("max(item_id)", known="max(ingested_at)") + " GROUP BY user_id, event_time",
}


# What is counted is what had become known, and the row says when that was.
HONEST = each("count(*) OVER (PARTITION BY user_id ORDER BY ingested_at)", timestamp="ingested_at")


@pytest.fixture(scope="module")
def leaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Leak]]:
    """Leaks of each view, all views checked at once."""
    found = log(tmp_path_factory.mktemp("leaks") / "tables")
    views = {**PLANTED, "honest": HONEST}
    result = find_leaks(found, sample_cutoffs(found, NUM_CUTOFFS), lambda _database: views)
    return {view: [leak for leak in result.leaks if leak.view == view] for view in result.views}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_caught(leaks: dict[str, list[Leak]], name: str) -> None:
    leak = leaks[name][0]
    assert leak.feature == "feature"
    assert leak.entity in {"u0", "u1", "u2", "u3"}
    assert leak.found != leak.known
    assert leak.cutoff.isoformat() in str(leak)


def test_an_honest_view_is_not_accused(leaks: dict[str, list[Leak]]) -> None:
    assert leaks["honest"] == []


def test_cutoffs_are_drawn_once_and_in_order(tmp_path: Path) -> None:
    found = log(tmp_path / "tables")
    cutoffs_us = sample_cutoffs(found, 10, seed=4)
    assert cutoffs_us == sorted(set(cutoffs_us)) == sample_cutoffs(found, 10, seed=4)
    assert cutoffs_us != sample_cutoffs(found, 10, seed=5)


def test_the_command_says_what_was_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"u{user},i{(user + step) % 7},view,2026-01-0{step + 1}T0{user}:00:00Z" for user in range(6) for step in range(5)]
    (tmp_path / "events.csv").write_text("user_id,item_id,event_type,event_time\n" + "\n".join(rows) + "\n")
    assert main(["features", "leak-test", "--data", str(tmp_path / "events.csv"), "--cutoffs", "5"]) == 0
    said = capsys.readouterr().out
    assert "no leak" in said
    assert f"{len(schema.VIEWS)} views" in said
    assert "5 cutoffs" in said
