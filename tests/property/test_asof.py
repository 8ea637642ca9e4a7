"""The as-of join equals asking every row of the history in turn, whatever ties, comes late, expires or is looked up twice."""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as some

from lodestar.features.asof import asof
from lodestar.features.asof.history import FeatureSource

STAMP = pa.timestamp("us", tz="UTC")
FAR = 6 * 10**17  # µs between times that share no word with an entity
WHO = some.sampled_from("aaaab") | some.sampled_from(["c", None])
KIND = some.sampled_from([1, 1, 1, 2, None])
TIME = some.sampled_from([0, 2, 2, 3, 3, 4, 6, 8, None])
ROWS = some.lists(some.tuples(WHO, KIND, TIME, TIME), max_size=24) | some.lists(some.tuples(WHO, KIND, TIME, TIME), min_size=9, max_size=24)
ASKED = some.lists(
    some.tuples(some.sampled_from(["a", "a", "a", "b", "d", "e", None]), KIND, some.integers(-1, 9) | some.none()), max_size=12
)
Row = tuple[Any, ...]


def by_asking_all(rows: list[Row], entity_rows: Row, ttl: int, *, keys: int, only_known: bool) -> int | None:
    """The place of the row that holds, found as the definition says."""
    *who, timestamp = entity_rows
    found = []
    for place, (*whose, happened, known) in enumerate(rows):
        is_same = None not in who[:keys] and who[:keys] == whose[:keys]
        if not is_same or timestamp is None or happened is None or happened > timestamp or (ttl and happened < timestamp - ttl):
            continue
        if only_known and (known is None or known > timestamp):
            continue
        found.append((happened, -1 if known is None else known, place))
    return max(found)[-1] if found else None


def written(folder: Path, rows: list[Row], scale: int, sizes: tuple[int, int]) -> list[str]:
    """Files of so many rows in groups of so many."""
    per_file, per_group = sizes
    table = pa.table(
        {
            "who": pa.array([row[0] for row in rows], pa.string()),
            "kind": pa.array([row[1] for row in rows], pa.int64()),
            "happened": stamps([row[2] for row in rows], scale),
            "known": stamps([row[3] for row in rows], scale),
            "place": pa.array(range(len(rows)), pa.int64()),
            "texts": pa.array([[str(place), None] for place in range(len(rows))], pa.list_(pa.string())),
        }
    )
    files = []
    for start in range(0, max(1, len(rows)), per_file):
        files.append(str(folder / f"{start:03d}.parquet"))
        pq.write_table(table.slice(start, per_file), files[-1], row_group_size=per_group)
    return files


def stamps(times: list[int | None], scale: int) -> Any:
    return pa.array([None if time is None else time * scale for time in times], STAMP)


@given(
    rows=ROWS,
    entity_rows=ASKED,
    ttl=some.integers(0, 4),
    keys=some.integers(0, 2),
    only_known=some.booleans(),
    scale=some.sampled_from([1, FAR]),
    sizes=some.sampled_from([(100, 100), (7, 3), (100, 2)]),
)
def test_a_join_equals_asking_every_row(
    rows: list[Row], entity_rows: list[Row], ttl: int, keys: int, only_known: bool, scale: int, sizes: tuple[int, int]
) -> None:
    table = pa.table(
        {
            "subject": pa.array([one[0] for one in entity_rows], pa.large_string()),
            "kind": pa.array([one[1] for one in entity_rows], pa.int32()),
            "timestamp": stamps([one[2] for one in entity_rows], scale),
        }
    )
    with tempfile.TemporaryDirectory() as name:
        history = FeatureSource(
            files=written(Path(name), rows, scale, sizes),
            filesystem=None,
            keys=dict([("subject", "who"), ("kind", "kind")][:keys]),
            features={"found": "place", "list": "texts"},
            time="happened",
            known="known",
            ttl_us=ttl * scale,
        )
        joined = asof.join(table, "timestamp", [history], only_known=only_known)
    expected = [by_asking_all(rows, one, ttl, keys=keys, only_known=only_known) for one in entity_rows]
    assert joined.select(table.column_names).equals(table)
    assert joined["found"].to_pylist() == expected
    assert joined["list"].to_pylist() == [None if place is None else [str(place), None] for place in expected]


@given(rows=ROWS, bounds=some.tuples(some.integers(0, 6), some.integers(0, 6)))
def test_the_latest_rows_are_those_of_an_as_of_join_within_bounds(rows: list[Row], bounds: tuple[int, int]) -> None:
    start, end = bounds
    inside = {row[0] for row in rows if row[0] is not None and row[2] is not None and start <= row[2] <= end}
    kept = [row if row[2] is not None and start <= row[2] <= end else (*row[:2], None, None) for row in rows]
    expected = {by_asking_all(kept, (who, None, end), 0, keys=1, only_known=False) for who in inside}
    with tempfile.TemporaryDirectory() as name:
        history = FeatureSource(
            files=written(Path(name), rows, 1, (7, 3)),
            filesystem=None,
            keys={"who": "who"},
            features={"place": "place"},
            time="happened",
            known="known",
            ttl_us=0,
        )
        found = asof.latest(history, start, end)
    assert sorted(found["place"].to_pylist()) == sorted(place for place in expected if place is not None)
    assert found.column_names == ["who", "place", "happened", "known"]
