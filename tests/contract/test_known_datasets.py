"""Public data sets, where they are on this machine, have the sizes that are known of them."""

from pathlib import Path

import pytest

from lodestar import schema
from lodestar.data.ingest import ingest
from lodestar.data.tables import manifest

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
COUNTS = {
    "movielens-100k": (943, 1_682, 100_000),
    "movielens-1m": (6_040, 3_416, 993_571),
    "amazon-beauty": (22_363, 12_101, 198_502),
    "amazon-sports": (35_598, 18_357, 296_337),
    "gowalla": (29_858, 40_981, 810_128),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_real_sets_have_their_known_sizes(name: str, tmp_path: Path) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not on this machine")
    ingest(str(SHARED / name), tmp_path / "out")
    found = manifest.read(tmp_path / "out")
    assert found is not None
    assert tuple(map(found.rows, (schema.USERS, schema.ITEMS, schema.EVENTS))) == COUNTS[name]
