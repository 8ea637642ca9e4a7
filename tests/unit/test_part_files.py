"""Events are kept by month, in few files and little memory, whatever months there are."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.data.tables import part_files
from lodestar.data.tables.manifest import Part
from lodestar.data.tables.tables import arrow_schema

SHAPE = arrow_schema(schema.EVENTS)


def batch(months: Sequence[str]) -> "pa.RecordBatch":
    times = pa.array(np.array(months, "datetime64[M]").astype("datetime64[us]"), pa.timestamp("us", "UTC"))
    own = {schema.EVENT_TIME: times, schema.EVENT_ID: pa.array([f"{place}-{month}" for place, month in enumerate(months)])}
    return pa.record_batch([own.get(column.name, pa.nulls(len(months), column.type)) for column in SHAPE], schema=SHAPE)


def written(batches: Iterator["pa.RecordBatch"], root: Path, before: Sequence[Part] = ()) -> dict[str, list[str]]:
    """The months of the rows of each part."""
    found = {}
    for part in part_files.write(batches, schema.EVENTS, root, before):
        times = pq.read_table(root / part.path)[schema.EVENT_TIME].cast(pa.int64()).to_numpy()
        found[part.path] = times.astype("datetime64[us]").astype("datetime64[M]").astype(str).tolist()
        assert part.rows == len(found[part.path])
    return found


def scattered(count: int) -> list[str]:
    return [str(np.datetime64("2026-01", "M") - place) for place in range(count)]


def test_months_that_somebody_scatters_share_a_part(tmp_path: Path) -> None:
    usual = ["2026-01"] * part_files.FEW_ROWS
    found = written(iter([batch([*usual, *scattered(1500)])]), tmp_path)
    assert {path: len(months) for path, months in found.items()} == {
        "events/2026-01/part-0000.parquet": part_files.FEW_ROWS + 1,
        "events/scattered/part-0000.parquet": 1499,
    }


def test_a_few_small_months_are_kept_by_themselves(tmp_path: Path) -> None:
    months = scattered(part_files.MAX_MONTHS_WITH_FEW)
    assert written(iter([batch(months)]), tmp_path) == {f"events/{month}/part-0000.parquet": [month] for month in months}


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_kept_and_few_files_are_open(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_files, "MAX_MONTHS", 3)
    monkeypatch.setattr(part_files, "FEW_ROWS", 10)
    monkeypatch.setattr(part_files, "MAX_MONTHS_WITH_FEW", 2)
    monkeypatch.setattr(part_files, "GROUP_ROWS", 40)
    monkeypatch.setattr(part_files, "MAX_BUFFERED_ROWS", 100)
    opened = [0]
    writer = pq.ParquetWriter

    class Counted(writer):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)
            opened[0] += 1
            assert opened[0] <= part_files.MAX_MONTHS + 1

        def close(self) -> None:
            opened[0] -= self.is_open
            super().close()

    monkeypatch.setattr(pq, "ParquetWriter", Counted)
    rng = np.random.default_rng(seed)
    batches = [
        [str(np.datetime64("2020-01", "M") + int(month)) for month in place // 2 + rng.integers(0, 9, 60) ** 2 // 9] for place in range(12)
    ]
    found = written(map(batch, batches), tmp_path)
    assert Counter(month for months in found.values() for month in months) == Counter(month for months in batches for month in months)
    assert all(set(months) == {path.split("/")[1]} for path, months in found.items() if part_files.SHARED not in path)


def test_a_part_in_use_is_never_written_over(tmp_path: Path) -> None:
    before = part_files.write(iter([batch(scattered(1500))]), schema.EVENTS, tmp_path)
    assert list(written(iter([batch(scattered(1500))]), tmp_path, before)) == ["events/scattered/part-0001.parquet"]
