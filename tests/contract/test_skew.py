"""What was served is what history gives, to the bit; a dozen ways of serving something else are caught with the feature and both values."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.features import DEFAULT_OUTPUT
from cli.main import main
from components.release.release import release
from lodestar import schema
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError
from lodestar.io import storage
from lodestar.monitoring import skew
from lodestar.schema.time_units import SECOND_US
from tests.contract.conftest import StartServing, generation_of, publish
from tests.contract.generation_harness import EARLY, LATE, made
from tests.factories import EPOCH_US, small_bundle
from tests.unit.test_features import built

NUM_ITEMS, LATE_S = 230, 90
DAY = timedelta(hours=24)
USERS = ("u0", "u1", "u2", "nobody")
Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, features and a proof log of some requests; one user has more items than are kept, some of them twice."""
    folder = tmp_path_factory.mktemp("proof")
    rows = [("u0", f"i{n % NUM_ITEMS}", 60 * n) for n in range(NUM_ITEMS + 40)]
    rows += [("u1", "i3", 30), ("u1", "i1", 10), ("u1", "i3", 5), ("u2", "i9", 77)]
    publish(built(folder, rows, lag_s=LATE_S))
    return folder


@pytest.fixture(scope="module")
def served(folder: Path, start_serving: StartServing, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """What a real process logs when users ask."""
    return logged(folder, start_serving, tmp_path_factory.mktemp("log") / "feature-log.jsonl")


def logged(folder: Path, start_serving: StartServing, log: Path) -> list[Row]:
    online = folder / "features" / "online" / "online.db"
    made = small_bundle(log.with_name("bundle"), features=generation_of(folder / "features"))
    server = start_serving("--bundle", made, "--online-store", f"sqlite:{online}", "--feature-log", log)
    for user in USERS * 2:
        httpx.get(f"{server.address}/v1/recommend", params={"user": user}).raise_for_status()
    assert server.stop() == (0, "")
    return [json.loads(line) for line in log.read_text().splitlines()]


def proof(folder: Path, rows: list[Row], log: Path, last: timedelta = DAY) -> skew.SkewReport:
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = skew.read([log])
    return skew.check_skew(read, dict.fromkeys(read.generations(last), Tables(root=folder / "tables")), last, {})


def test_what_a_process_serves_is_what_history_gives(folder: Path, served: list[Row], tmp_path: Path) -> None:
    assert [len(row[schema.RECENT_ITEMS]) for row in served] == [schema.MAX_HISTORY, 2, 1, 0] * 2
    found = proof(folder, served, tmp_path / "feature-log.jsonl")
    assert (found.requests, found.identical, found.differences) == (8, 8, ())
    age = datetime.now(UTC) - datetime.fromtimestamp(EPOCH_US // SECOND_US, UTC)
    assert timedelta(0) < age - found.oldest < timedelta(hours=1)


def test_what_became_known_after_a_vector_changes_nothing(served: list[Row], tmp_path: Path) -> None:
    """The same log beside tables to which a late event, and one of the same item before its first, were added."""
    rows = [("u0", f"i{n % NUM_ITEMS}", 60 * n) for n in range(NUM_ITEMS + 40)]
    rows += [("u1", "i3", 30), ("u1", "i1", 10), ("u1", "i3", 5), ("u2", "i9", 77)]
    built(tmp_path, [*rows, ("u1", "i7", 86_400), ("u2", "i8", 99_999)], lag_s=LATE_S)
    assert proof(tmp_path, served, tmp_path / "feature-log.jsonl").differences == ()


def changed(name: str, value: Callable[[Any], Any], user: str = "u1") -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        row = next(row for row in rows if row[schema.USER_ID] == user)
        row[name] = value(row[name])

    return change


ITEMS = schema.RECENT_ITEMS
PLANTED: dict[str, tuple[Callable[[list[Row]], None], str]] = {
    "an item in another's place": (
        changed(ITEMS, lambda items: [*items[:100], items[101], items[100], *items[102:]], "u0"),
        f"{ITEMS}[100]",
    ),
    "an item without an interaction": (changed(ITEMS, lambda items: [*items, "i5"]), f"{ITEMS}[2]"),
    "an item that is missing": (changed(ITEMS, lambda items: items[:-1]), f"{ITEMS}[1]"),
    "a repeated item at its last time": (changed(ITEMS, lambda items: [items[1], items[0]]), f"{ITEMS}[0]"),
    "a repeated item twice": (changed(ITEMS, lambda items: [*items, items[0]]), f"{ITEMS}[2]"),
    "one item fewer than are kept": (changed(ITEMS, lambda items: items[1:], "u0"), f"{ITEMS}[0]"),
    "the first items for the last": (changed(ITEMS, lambda items: [f"i{n}" for n in range(schema.MAX_HISTORY)], "u0"), f"{ITEMS}[0]"),
    "an id that was trimmed": (changed(ITEMS, lambda items: [item.removeprefix("i") for item in items]), f"{ITEMS}[0]"),
    "an id of other capitals": (changed(ITEMS, lambda items: [item.upper() for item in items]), f"{ITEMS}[0]"),
    "the newest first": (changed(ITEMS, lambda items: items[::-1], "u0"), f"{ITEMS}[0]"),
    "nothing where something was known": (changed(ITEMS, lambda _: [], "u2"), f"{ITEMS}[0]"),
    "something where nothing was": (changed(ITEMS, lambda _: ["i1"], "nobody"), f"{ITEMS}[0]"),
    "someone else's items": (changed(schema.USER_ID, lambda _: "u2"), f"{ITEMS}[0]"),
    "an older time than that of the items": (changed(schema.KNOWN_US, lambda known: known - 1, "u2"), f"{ITEMS}[0]"),
    "a time in the future": (changed(schema.KNOWN_US, lambda known: known + 10**16, "u2"), schema.KNOWN_US),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_skew_is_caught(folder: Path, served: list[Row], tmp_path: Path, name: str) -> None:
    plant, feature = PLANTED[name]
    rows = [dict(row) for row in served]
    plant(rows)
    found = proof(folder, rows, tmp_path / "feature-log.jsonl")
    assert found.identical == found.requests - 1
    (difference,) = found.differences
    place = next(place for place, row in enumerate(rows) if row != served[place])
    assert (difference.request_id, difference.feature) == (rows[place][schema.REQUEST_ID], feature)
    assert difference.served != difference.history
    assert difference.served in str(difference)


@pytest.fixture(scope="module")
def served_with_time(folder: Path, start_serving: StartServing, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The same of a model that looks at time."""
    work = tmp_path_factory.mktemp("timed")
    server = start_serving(
        *("--bundle", small_bundle(work / "bundle", num_items=NUM_ITEMS, timed=True, features=generation_of(folder / "features"))),
        *("--online-store", f"sqlite:{folder / 'features' / 'online' / 'online.db'}", "--feature-log", work / "feature-log.jsonl"),
    )
    for user in USERS:
        httpx.get(f"{server.address}/v1/recommend", params={"user": user}).raise_for_status()
    assert server.stop() == (0, "")
    return [json.loads(line) for line in (work / "feature-log.jsonl").read_text().splitlines()]


def test_the_seconds_between_items_are_what_history_gives(folder: Path, served_with_time: list[Row], tmp_path: Path) -> None:
    assert [len(row.get(schema.RECENT_GAPS_S, ())) for row in served_with_time] == [schema.MAX_HISTORY, 2, 1, 0]
    assert served_with_time[0][schema.RECENT_GAPS_S][1] == 60
    found = proof(folder, served_with_time, tmp_path / "feature-log.jsonl")
    assert (found.requests, found.differences) == (4, ())
    served_with_time[1][schema.RECENT_GAPS_S][1] += 1
    (different,) = proof(folder, served_with_time, tmp_path / "feature-log.jsonl").differences
    assert (different.user, different.feature) == ("u1", f"{schema.RECENT_GAPS_S}[1]")
    assert float(different.served) == float(different.history) + 1


def test_only_the_last_hours_are_looked_at(folder: Path, served: list[Row], tmp_path: Path) -> None:
    rows = [dict(row) for row in served]
    rows[0] |= {schema.SHOWN_AT: (datetime.fromisoformat(rows[0][schema.SHOWN_AT]) - DAY).isoformat(), ITEMS: ["wrong"]}
    assert proof(folder, rows, tmp_path / "feature-log.jsonl").requests == len(rows) - 1
    assert proof(folder, rows, tmp_path / "feature-log.jsonl", 2 * DAY).identical == len(rows) - 1


def test_the_command_says_how_many_are_identical_and_names_the_first_that_is_not(
    folder: Path, served: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log" / "feature-log.jsonl"
    log.parent.mkdir()
    log.write_text("".join(json.dumps(row) + "\n" for row in served))
    command = ["features", "skew-test", "--feature-log", str(log.parent), "--tables", str(folder / "tables"), "--last", "24h"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("8/8 identical; ")
    log.write_text(log.read_text().replace('"i9"', '"i8"', 1))
    assert main(command) == 4
    said = capsys.readouterr()
    assert f"of u2: {ITEMS}[0] was served as 'i8', and history gives 'i9'" in said.out
    assert "7/8 identical" in said.err


def test_beside_a_run_the_command_needs_no_more_than_how_far_back(
    folder: Path, served: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "lodestar-run"
    lay(folder, run / ".pipeline" / "recommend-1")
    monkeypatch.chdir(tmp_path)
    assert main(["features", "skew-test", "--last", "24h"]) == 2  # nothing was served yet
    (run / "feature-log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in served))
    assert main(["features", "skew-test", "--last", "24h"]) == 0
    assert capsys.readouterr().out.startswith("8/8 identical")
    shutil.rmtree(run / ".pipeline")
    assert main(["features", "skew-test", "--last", "24h"]) == 2


def lay(made: Path, run: Path) -> None:
    """Tables and features as steps of a run leave them."""
    shutil.copytree(made / "tables", run / "ingest" / "tables")
    shutil.copytree(made / "features", run / "build-features" / "features")


@pytest.fixture(scope="module")
def released_twice(tmp_path_factory: pytest.TempPathFactory, start_serving: StartServing) -> Path:
    """A folder with `lodestar-run`, in which two generations were released one after another; `feature-log.jsonl` is of the first alone."""
    folder = tmp_path_factory.mktemp("twice")
    output = folder / DEFAULT_OUTPUT
    for day, rows in enumerate((EARLY, LATE), 1):
        (folder / f"day{day}").mkdir()
        one = made(folder / f"day{day}", rows)
        lay(folder / f"day{day}", output / ".pipeline" / f"recommend-{day}")
        release(one.bundle, one.features, str(output), f"2026-01-0{day}T00:00:00Z")
        if day == 1:
            online, log = output / "current" / "online" / "online.db", output / "feature-log.jsonl"
            server = start_serving("--bundle", output / "current" / "bundle", "--online-store", f"sqlite:{online}", "--feature-log", log)
            for user in ("u0", "u1", "nobody"):
                httpx.get(f"{server.address}/v1/recommend", params={"user": user}).raise_for_status()
            assert server.stop() == (0, "")
    return folder


@pytest.fixture
def twice(released_twice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to change, in which we are."""
    shutil.copytree(released_twice, tmp_path / "twice", symlinks=True)
    monkeypatch.chdir(tmp_path / "twice")
    return tmp_path / "twice"


def test_what_was_served_is_held_to_the_tables_of_its_own_generation(twice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And not to those of the release after it, which know of a visit that was not known then."""
    assert main(["features", "skew-test"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("3/3 identical")
    assert f"feature generation {generation_of(twice / 'day1' / 'features')}: " in said.err
    assert "recommend-1/ingest/tables" in said.err
    log = twice / DEFAULT_OUTPUT / "feature-log.jsonl"
    first, second = (generation_of(twice / f"day{day}" / "features") for day in (1, 2))
    log.write_text(log.read_text() + log.read_text().replace(first, second))
    assert main(["features", "skew-test"]) == 4  # as it would be had the second generation served the same
    assert "4/6 identical" in capsys.readouterr().err


def test_a_generation_whose_tables_are_gone_is_held_to_no_others(twice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = twice / DEFAULT_OUTPUT / ".pipeline" / "recommend-1" / "ingest" / "tables"
    tables.rename(twice / "moved")
    assert main(["features", "skew-test"]) == 5
    said = capsys.readouterr().err
    generation = generation_of(twice / "day1" / "features")
    assert f"E575 the tables that feature generation {generation} was built from are in none of 1 folders. Add `--tables PATH`" in said
    assert main(["features", "skew-test", "--tables", "moved"]) == 0
    assert main(["features", "skew-test", "--tables", "moved", "--tables", "day2/tables"]) == 0
    assert main(["features", "skew-test", "--tables", "day2/tables"]) == 4  # a person's word
    shutil.rmtree(twice / DEFAULT_OUTPUT / ".pipeline" / "recommend-1")
    assert main(["features", "skew-test"]) == 5
    assert "no given features record which they were" in capsys.readouterr().err
    assert main(["features", "skew-test", "--tables", "moved"]) == 0
    assert main(["features", "skew-test", "--tables", "day2/tables", "--tables", "moved", "--features", "day1/features"]) == 0
    assert main(["features", "skew-test", "--tables", "moved", "--features", "moved"]) == 3


def test_a_row_that_names_no_generation_is_held_to_tables_that_are_named(twice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = twice / DEFAULT_OUTPUT / "feature-log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps({name: row[name] for name in row if name != schema.FEATURE_GENERATION}) + "\n" for row in rows))
    assert main(["features", "skew-test"]) == 5
    assert "E575 the tables that feature generation without a name was built from" in capsys.readouterr().err
    assert main(["features", "skew-test", "--tables", "day1/tables"]) == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{}", "E101"),
        ("[]", "E109"),
        ("nonsense", "E109"),
        ('{"request_id":"r","user_id":"u","shown_at":"2026-01-01T00:00:00","known_us":1,"item_ids":[]}', "E109"),
        ('{"request_id":"r","user_id":"u","shown_at":"2026-01-01T00:00:00Z","known_us":"x","item_ids":[]}', "E109"),
    ],
)
def test_a_log_that_is_none_is_a_coded_error_with_its_line(tmp_path: Path, served: list[Row], line: str, code: str) -> None:
    log = tmp_path / "feature-log.jsonl"
    log.write_text(json.dumps(served[0]) + "\n" + line + "\n")
    with pytest.raises(DataError, match=rf"{code} feature-log.jsonl, line 2"):
        skew.read([log])


def test_a_log_that_is_not_there_is_a_usage_error(folder: Path, tmp_path: Path) -> None:
    assert main(["features", "skew-test", "--feature-log", str(tmp_path / "none"), "--tables", str(folder / "tables")]) == 2
    with pytest.raises(SystemExit):
        main(["features", "skew-test", "--feature-log", str(tmp_path), "--tables", str(folder / "tables"), "--last", "soon"])


def test_a_proof_log_in_a_bucket_is_read_from_there(
    folder: Path, served: list[Row], bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:

    content = "".join(json.dumps(row) + "\n" for row in served).encode()
    storage.put(content, f"{bucket}/feature-log/date=2026-01-01/part.jsonl")
    assert main(["features", "skew-test", "--feature-log", f"{bucket}/feature-log/", "--tables", str(folder / "tables")]) == 0
    assert capsys.readouterr().out.startswith("8/8 identical")
