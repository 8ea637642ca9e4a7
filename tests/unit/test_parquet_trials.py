"""A Parquet file that could unpack to more than the memory is read by a trial first, in a process with a limit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar.data.readers import parquet, parquet_encodings
from lodestar.data.readers.parquet import read_parquet
from lodestar.errors import DataError
from tests.unit.test_limits import MB
from tests.unit.test_parquet_limits import TEXT, write_events


def once(num: int) -> pa.Array:
    """A text of 1 MiB that the file holds once, and names so often."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(num, np.int32)), ["x" * MB])


def one_row(num: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, num], pa.int32()), pa.array([""]).take(pa.array(np.zeros(num, np.int32))))


BOMBS: dict[str, tuple[Callable[[], pa.Array], dict[str, Any]]] = {
    "one value": (lambda: pa.array(["\0" * 192 * MB]), {"use_dictionary": False, "write_statistics": False}),
    "one row": (lambda: one_row(24 * MB), {}),
    "each as the one before": (
        lambda: once(160).cast(TEXT),
        {"use_dictionary": False, "column_encoding": {"query_text": "DELTA_BYTE_ARRAY"}},
    ),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_file_that_unpacks_to_too_much_is_refused_by_a_trial(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, options = BOMBS[what]
    pq.write_table(pa.table({"query_text": make()}), tmp_path / "bomb.parquet", compression="zstd", **options)
    assert (tmp_path / "bomb.parquet").stat().st_size < MB // 8
    monkeypatch.setattr(parquet, "MAX_READING_BYTES", 128 * MB)
    with pytest.raises(DataError, match=r"E176 bomb\.parquet: reading the file takes more than 128 MiB"):
        list(read_parquet(tmp_path / "bomb.parquet", ("query_text",)).batches())


def test_lists_of_a_text_that_the_file_holds_once_take_little_memory(tmp_path: Path) -> None:
    lists = pa.ListArray.from_arrays(pa.array(range(0, 8001, 1000), pa.int32()), once(8000))
    write_events(tmp_path / "events.parquet")
    events = pq.read_table(tmp_path / "events.parquet").append_column("query_text", lists)
    pq.write_table(events, tmp_path / "events.parquet", dictionary_pagesize_limit=8 * MB)
    rows = list(read_parquet(tmp_path / "events.parquet", ("query_text",)).batches())
    assert sum(batch.nbytes for batch in rows) < 64 * MB
    assert min(len(batch["query_text"][0]) for batch in rows) == 1


def test_what_is_large_and_of_short_values_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried, and passes."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(1000 * 384, np.float32)), 384)
    pq.write_table(pa.table({"embedding": vectors}), tmp_path / "item_content.parquet", use_dictionary=False)
    monkeypatch.setattr(parquet_encodings, "TRUSTED_BYTES", MB)
    assert read_parquet(tmp_path / "item_content.parquet", ("embedding",)).read()["embedding"].to_pylist() == vectors.to_pylist()


def test_a_trial_imports_nothing_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("resource", "ctypes", "secrets"):
        (tmp_path / f"{name}.py").write_text('open("planted", "w").close()\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parquet_encodings, "TRUSTED_BYTES", 0)
    assert read_parquet(write_events(tmp_path / "e.parquet"), {"user_id"}).read().num_rows == 8
    assert not (tmp_path / "planted").exists()
