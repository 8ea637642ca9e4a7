"""A bundle names its content, and refuses to be anything else than what was published."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from lodestar import schema
from lodestar.bundle import bundle
from lodestar.bundle.item_table import PRECISIONS, Precision
from lodestar.errors import DataError, SchemaMismatch
from tests.factories import small_bundle, small_model

FILES = (bundle.INFO, bundle.ENCODER, bundle.TABLE, bundle.ITEMS)


def content(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in root.iterdir()}


def test_what_is_written_is_loaded(tmp_path: Path) -> None:
    loaded = bundle.load(small_bundle(tmp_path / "bundle", num_items=4, inactive=("i2",)))
    assert loaded.items.ids == ["i0", "i1", "i2", "i3"]
    assert loaded.items.titles == ["Item 0", "Item 1", "Item 2", "Item 3"]
    assert loaded.items.categories == ["a", "b", "c", "a"]
    assert loaded.items.is_active.tolist() == [True, True, False, True]
    assert loaded.popularity.tolist() == [4, 3, 2, 1]
    assert np.array_equal(loaded.table.vectors(np.arange(4)), small_model(4).items.weight.detach().numpy())
    assert loaded.info.metrics == {"validation_ndcg_at_10": 0.5}


def test_the_same_content_gives_the_same_bytes_and_digest(tmp_path: Path) -> None:
    first, second = small_bundle(tmp_path / "first"), small_bundle(tmp_path / "second")
    assert content(first) == content(second)
    assert bundle.load(first).digest == bundle.load(second).digest


def test_other_content_gives_another_digest(tmp_path: Path) -> None:
    first, second = small_bundle(tmp_path / "first"), small_bundle(tmp_path / "second", inactive=("i0",))
    assert bundle.load(first).digest != bundle.load(second).digest


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_one_altered_byte_anywhere_is_refused(tmp_path: Path, name: str, place: float) -> None:
    root = small_bundle(tmp_path / "bundle")
    altered = bytearray((root / name).read_bytes())
    altered[round(place * (len(altered) - 1))] ^= 1
    (root / name).write_bytes(altered)
    with pytest.raises(DataError, match=f"E156 .*{name}"):
        bundle.load(root)


def test_a_file_that_may_not_be_read_is_no_altered_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_bundle(tmp_path / "bundle")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "refused")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="refused"):
        bundle.load(root)


def test_no_byte_of_the_description_may_change(tmp_path: Path) -> None:
    root = small_bundle(tmp_path / "bundle")
    intact = (root / bundle.INFO).read_bytes()
    for place in range(len(intact)):
        (root / bundle.INFO).write_bytes(intact[:place] + bytes([intact[place] ^ 2]) + intact[place + 1 :])
        with pytest.raises(DataError, match="E156"):
            bundle.load(root)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    root = small_bundle(tmp_path / "bundle")
    (root / name).unlink()
    with pytest.raises(DataError, match="E152" if name == bundle.INFO else "E156"):
        bundle.load(root)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"files": {}}'])
def test_a_description_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    root = small_bundle(tmp_path / "bundle")
    (root / bundle.INFO).write_text(text)
    with pytest.raises(DataError, match="E156"):
        bundle.load(root)


def test_a_bundle_of_another_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_bundle(tmp_path / "bundle")
    monkeypatch.setattr(schema, "HASH", "another")
    with pytest.raises(SchemaMismatch, match="another"):
        bundle.load(root)


def test_files_beside_the_bundle_are_allowed_and_not_counted(tmp_path: Path) -> None:
    root = small_bundle(tmp_path / "bundle")
    before = bundle.load(root)
    (root / "epochs.jsonl").write_text("{}\n")
    after = bundle.load(root)
    assert (after.digest, after.num_bytes) == (before.digest, before.num_bytes)
    assert before.num_bytes == sum((root / name).stat().st_size for name in FILES)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_says_the_precision_of_its_table(tmp_path: Path, precision: Precision) -> None:
    root = small_bundle(tmp_path / "bundle", precision=precision)
    assert bundle.load(root).table.precision == json.loads((root / bundle.INFO).read_text())["precision"] == precision
