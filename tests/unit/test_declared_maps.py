"""Declared Parquet files with maps and lists: a key that a map has twice is a cell's fault, not the end of the run."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lodestar.data.ingest import validate
from tests.factories import declared_rows, write_files

MAP = pa.map_(pa.string(), pa.string())
DECLARATION = """
    event_type = "view"
    [events]
    files = "log.parquet"
    user_id = "who"
    item_id = "what"
    event_time = "at"
    attrs = "more"
"""


def write_log(folder: Path, maps: list[list[tuple[str, str]] | None]) -> None:
    rows = range(len(maps))
    times = pa.array([1_700_000_000_000_000 + row for row in rows], pa.timestamp("us", tz="UTC"))
    columns = {"who": [f"u{row}" for row in rows], "what": [f"i{row}" for row in rows], "at": times, "more": pa.array(maps, MAP)}
    pq.write_table(pa.table(columns), folder / "log.parquet")


def test_a_map_with_a_key_twice_is_null_and_counted(tmp_path: Path) -> None:
    write_files(tmp_path, {"dataset.toml": DECLARATION})
    write_log(tmp_path, [[("k", "1"), ("k", "2")], [("a", 'b"\n')], None, [("n", "ü")], []])
    texts = ['{"k": "1", "k": "2"}', '{"a": "b\\"\\n"}', None, '{"n": "ü"}', "{}"]
    assert [row["attrs"] for row in declared_rows(tmp_path, "events")] == texts
    report = validate(str(tmp_path))
    assert (report.tables["events"].rows_kept, [(one.code, one.column, one.count) for one in report.findings if one.places]) == (
        5,
        [("E173", "attrs", 1)],
    )


def test_a_joined_file_may_have_nested_columns(tmp_path: Path) -> None:
    joined = DECLARATION.replace('attrs = "more"', '[[events.join]]\n    files = "orders.parquet"\n    on = "what"')
    write_files(tmp_path, {"dataset.toml": joined.replace('event_time = "at"', 'event_time = "at"\n    query_text = "note"')})
    write_log(tmp_path, [None, None])
    orders = {"what": ["i0", "i1"], "note": ["a", "b"], "tags": [["x"], []], "more": pa.array([[("k", "1"), ("k", "2")], None], MAP)}
    pq.write_table(pa.table(orders), tmp_path / "orders.parquet")
    assert [row["query_text"] for row in declared_rows(tmp_path, "events")] == ["a", "b"]
