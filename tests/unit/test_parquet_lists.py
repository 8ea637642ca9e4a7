"""A list in Parquet is as long as its values, of whatever type, however few bytes they take in the file."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lodestar.data.ingest import validate
from lodestar.errors import DataError
from tests.unit.test_limits import MB
from tests.unit.test_parquet_limits import TEXTS, dropped, write_items

ITEMS: dict[str, tuple[list[Any], pa.DataType, dict[str, int]]] = {
    "a text at the limit": (["x" * (MB - 1)], TEXTS, {}),
    "a text too long": (["x" * MB], TEXTS, {"E170": 1}),
    "many texts": (["x"] * (MB // 2), TEXTS, {}),
    "a text too many": (["x"] * (MB // 2) + [""], TEXTS, {"E170": 1}),
    "empty texts": ([""] * (MB + 1), TEXTS, {"E170": 1}),
    "nothing": ([None] * (MB + 1), TEXTS, {"E170": 1}),
    "whole numbers": ([1] * (MB + 1), pa.list_(pa.int8()), {"E170": 1}),
    "a large list": (["x" * MB], pa.large_list(pa.string()), {"E170": 1}),
    "a list of a set length": (["x"] * MB, pa.list_(pa.string(), MB), {"E170": 1}),
}


@pytest.mark.parametrize("what", ITEMS)
def test_a_list_is_as_long_as_its_values(what: str, tmp_path: Path) -> None:
    value, kind, expected = ITEMS[what]
    folder = write_items(tmp_path, tags=pa.array([None, value], kind))
    assert dropped(folder) == expected
    if expected:
        with pytest.raises(DataError, match=r"E170 items\.parquet, line 2, column tags, .* at most 1,048,576 bytes"):
            validate(str(folder))
