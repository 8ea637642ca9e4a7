"""Training may begin at pretrained vectors, and says what is wrong with them otherwise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.bundle import bundle
from lodestar.config import override
from lodestar.errors import ConfigError, DataError
from lodestar.recipes import get_recipe
from lodestar.training.init import pretrained
from lodestar.training.init.item_init import item_vectors
from lodestar.training.run import train
from tests.unit.test_features import built

ITEMS = [f"i{row}" for row in range(12)]


def written(file: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), file)
    return str(file)


def around(count: int = 12, size: int = 5) -> list[list[float]]:
    """Vectors of two groups, about two points."""
    rng = np.random.default_rng(0)
    found: list[list[float]] = (3.0 * (np.arange(count) % 2)[:, None] + rng.normal(size=(count, size))).tolist()
    return found


def test_items_begin_where_their_vectors_lie_about_the_mean(tmp_path: Path) -> None:
    vectors = around()
    address = written(tmp_path / "v.parquet", item_id=[*ITEMS[:11], "another"], vector=vectors)
    found = item_vectors(pretrained.load_item_vectors(address, ITEMS), 8, 0)
    own = np.array(vectors[:11]) - np.mean(vectors[:11], axis=0)
    near, expected = found[:11] @ found[:11].T, own @ own.T
    assert np.corrcoef(near.ravel(), expected.ravel())[0, 1] > 0.97  # all five directions, and a little noise
    assert np.abs(found[11]).max() < np.abs(found[:11]).max() / 3  # no vector: only the noise


def test_an_items_last_vector_counts(tmp_path: Path) -> None:
    vectors = around()
    once = written(tmp_path / "once.parquet", item_id=ITEMS, vector=vectors)
    twice = written(tmp_path / "twice.parquet", item_id=["i3", *ITEMS], vector=[[9.0] * 5, *vectors])
    assert np.allclose(pretrained.load_item_vectors(once, ITEMS).columns, pretrained.load_item_vectors(twice, ITEMS).columns)


def test_the_features_own_vectors_are_a_beginning(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    features = built(
        tmp_path, [(f"u{user}", f"i{item}", 3600 * step) for user in range(30) for step, item in enumerate(rng.permutation(9))]
    )
    address = features / "data" / f"{schema.TEXT_EMBEDDING_VIEW}.parquet"
    changes = {"data": {"min_interactions": 1}, "train": {"item_init": f"pretrained:{address}", "epochs": 1}}
    train(features, tmp_path / "bundle", override(get_recipe("tiny"), json.dumps(changes)), str(tmp_path / "checkpoints"))
    assert bundle.load(tmp_path / "bundle").info.num_items == 9


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"item_id": ITEMS}, "it has the columns item_id"),
        ({"vector": around()}, "it has the columns vector"),
        ({"item_id": ITEMS, "vector": around(), "other": around()}, "item_id, vector, other"),
        ({"item_id": ITEMS[:2], "vector": [[1.0], [1.0, 2.0]]}, "its vectors have 1, 2 numbers"),
        ({"item_id": ITEMS[:2], "vector": [[1.0], None]}, "its vectors have 1, None numbers"),
        ({"item_id": ["x"], "vector": [[1.0]]}, "none of the 12 items"),
    ],
)
def test_a_file_without_vectors_of_the_items_is_refused(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=rf"E155 .*v.parquet: .*{says}"):
        pretrained.load_item_vectors(written(tmp_path / "v.parquet", **columns), ITEMS)


def test_a_vector_that_is_no_number_is_named(tmp_path: Path) -> None:
    vectors = around()
    vectors[7][2] = float("nan")
    with pytest.raises(DataError, match=r"E202 .*v.parquet, line 8, column vector, value 'nan': number 3"):
        pretrained.load_item_vectors(written(tmp_path / "v.parquet", item_id=ITEMS, vector=vectors), ITEMS)


def test_no_file_and_no_parquet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E155 .*there is no such file"):
        pretrained.load_item_vectors(str(tmp_path / "v.parquet"), ITEMS)
    tmp_path.joinpath("v.parquet").write_text("item_id,vector")
    with pytest.raises(DataError, match=r"E155 .*it is not a Parquet file"):
        pretrained.load_item_vectors(str(tmp_path / "v.parquet"), ITEMS)


@pytest.mark.parametrize("start", ["pretrained:", "pretrained", "zero"])
def test_a_start_is_a_name_or_an_address(start: str) -> None:
    with pytest.raises(ConfigError, match="pretrained:ADDRESS"):
        override(get_recipe("sasrec"), json.dumps({"train": {"item_init": start}}))
