"""However rows are cut into batches, every table that comes has all rows of its keys, and no row is lost or moved."""

from collections.abc import Iterator
from itertools import accumulate, pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as some

from lodestar.features.spark.spark_mappers import whole_groups


@given(lengths=some.lists(some.integers(1, 5), max_size=12), cuts=some.lists(some.integers(0, 60), max_size=8))
def test_a_key_is_never_cut(lengths: list[int], cuts: list[int]) -> None:
    keys = [f"k{place}" for place, length in enumerate(lengths) for _ in range(length)]
    rows = pa.record_batch({"key": keys, "row": list(range(len(keys)))}, schema=pa.schema({"key": pa.string(), "row": pa.int64()}))
    bounds = sorted({0, len(keys), *(cut for cut in cuts if cut < len(keys))})
    batches = [rows.slice(start, end - start) for start, end in pairwise(bounds)]
    found = list(whole_groups([*batches[:1], rows.slice(0, 0), *batches[1:]], "key"))
    assert [row for table in found for row in table["row"].to_pylist()] == list(range(len(keys)))
    ends = set(accumulate(lengths))
    assert all(end in ends for end in accumulate(len(table) for table in found))
    assert all(len(table) for table in found)


def test_batches_become_tables_as_soon_as_a_key_has_ended() -> None:
    """Memory is that of a batch and of the longest key, not of all rows."""
    groups = []

    def batches() -> Iterator[pa.RecordBatch]:
        for key in "abcd":
            groups.append(key)
            yield pa.record_batch({"key": [key, key]})

    first = next(whole_groups(batches(), "key"))
    assert first["key"].to_pylist() == ["a", "a"]
    assert groups == ["a", "b"]
