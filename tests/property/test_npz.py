"""Texts and arrays survive their file, and one content has one form."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists, text

from lodestar.errors import DataError
from lodestar.features.batch.feature_set import pack_column
from lodestar.io.npz import load, load_mmap, pack, save, unpack


@given(texts=lists(text()))
def test_texts_survive_packing(texts: list[str]) -> None:
    assert unpack("name", pack("name", texts)) == texts


@given(texts=lists(text()), start=integers(0, 3))
def test_a_column_is_packed_as_its_texts_are(texts: list[str], start: int) -> None:
    column = pa.array(texts, pa.string()).slice(start)
    ours, theirs = pack_column("name", column), pack("name", texts[start:])
    assert ours.keys() == theirs.keys()
    assert all(ours[name].dtype == theirs[name].dtype and ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


@given(texts=lists(text(), min_size=1))
def test_arrays_survive_their_file_and_order_does_not_matter(texts: list[str]) -> None:
    arrays = {**pack("b", texts), "a": np.arange(len(texts), dtype=np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first"), Path(folder, "second")
        save(first, arrays)
        save(second, dict(reversed(arrays.items())))
        assert first.read_bytes() == second.read_bytes()
        again = load(first)
    assert set(again) == set(arrays)
    assert unpack("b", again) == texts
    assert all(again[name].dtype == arrays[name].dtype for name in arrays)


def test_texts_longer_than_a_narrow_end_can_say_survive() -> None:
    for size in (255, 256, 65_535, 65_536):
        assert unpack("name", pack("name", ["x" * size, "é"])) == ["x" * size, "é"]


def test_objects_are_not_written_since_reading_them_would_run_code(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        save(tmp_path / "file", {"objects": np.array([{}], dtype=object)})


def test_an_array_in_the_order_of_columns_is_mapped_as_it_is_loaded(tmp_path: Path) -> None:
    by_column = np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3))
    save(tmp_path / "file", {"by_column": by_column, "by_row": by_column.copy("C"), "none": np.zeros((0, 3), order="F")})
    loaded, mapped = load(tmp_path / "file"), load_mmap(tmp_path / "file")
    assert {name: values.tolist() for name, values in mapped.items()} == {name: values.tolist() for name, values in loaded.items()}
    assert mapped["by_column"].tolist() == by_column.tolist()


@pytest.mark.parametrize("read", [load, load_mmap])
def test_what_the_system_refuses_is_no_damage_of_the_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    (tmp_path / "cut").write_bytes(b"PK")
    with pytest.raises(DataError, match="E181"):
        read(tmp_path / "cut")
