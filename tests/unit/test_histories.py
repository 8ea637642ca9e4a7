"""Parts of one array, as if they were many arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lodestar.data.split.ragged_array import RaggedArray, from_lists
from lodestar.io import npz


@given(lengths=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=8))
def test_parts_are_what_slices_are(lengths: list[tuple[int, int]]) -> None:
    """Each of `gap` values that are no part's, and then a part."""
    sizes = np.array(lengths, dtype=np.int64).reshape(-1, 2)
    end = np.cumsum(sizes.sum(axis=1))
    found = RaggedArray(values=np.arange(int(sizes.sum()) + 2), start=end - sizes[:, 1], end=end)
    expected = [list(range(stop - size, stop)) for stop, size in zip(end.tolist(), sizes[:, 1].tolist(), strict=True)]
    assert [part.tolist() for part in found] == expected
    assert [found[place].tolist() for place in range(len(found))] == expected
    assert found.lengths.tolist() == sizes[:, 1].tolist()
    assert found.flat().tolist() == [value for part in expected for value in part]
    half = found.lengths // 2
    assert [part.tolist() for part in found.head(half)] == [part[: len(part) // 2] for part in expected]
    assert [part.tolist() for part in found.skip(half)] == [part[len(part) // 2 :] for part in expected]
    assert [part.tolist() for part in found[1:3]] == expected[1:3]
    assert [part.tolist() for part in from_lists(list(found))] == expected


def test_parts_that_touch_are_the_array_itself() -> None:
    values = np.arange(9)
    found = RaggedArray(values=values, start=np.array([1, 4]), end=np.array([4, 9]))
    assert np.shares_memory(found.flat(), values)
    assert from_lists(found) is found
    with pytest.raises(IndexError):
        found[2]


def test_arrays_are_read_where_they_lie(tmp_path: Path) -> None:
    held: dict[str, NDArray[Any]] = {
        "odd": np.arange(7, dtype=np.int8),
        "naïve": np.arange(5, dtype=np.int64),
        "none": np.zeros((0, 2), dtype=np.float32),
        "table": np.ones((3, 4)),
    }
    npz.save(tmp_path / "held.npz", held)
    copied, mapped = npz.load(tmp_path / "held.npz"), npz.load_mmap(tmp_path / "held.npz")
    assert copied.keys() == mapped.keys() == held.keys()
    for name, values in held.items():
        assert (copied[name].dtype, mapped[name].dtype) == (values.dtype, values.dtype)
        np.testing.assert_array_equal(copied[name], values)
        np.testing.assert_array_equal(mapped[name], values)
    assert mapped["naïve"].ctypes.data % 64 == 0
    assert not mapped["naïve"].flags.writeable
