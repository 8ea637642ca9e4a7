"""A feature generation is named by all that was built, and by nothing else."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.features.batch import feature_set, generation
from lodestar.schema.store_keys import RATINGS
from tests.unit.test_features import built

ROWS = [(f"u{place % 7}", f"i{place % 11}", 1000 * place) for place in range(60)]
TABLES = [*schema.VIEWS, "labels", RATINGS]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("features"), ROWS)


def test_the_same_tables_are_one_generation(features: Path, tmp_path: Path) -> None:
    assert feature_set.load(built(tmp_path, ROWS)).generation == feature_set.load(features).generation
    assert len(feature_set.load(features).generation) == 16


@pytest.mark.parametrize("lag_s", [60, 7200])
def test_what_became_known_at_other_times_is_another_generation(features: Path, tmp_path: Path, lag_s: int) -> None:
    late = built(tmp_path, ROWS, lag_s=lag_s)
    assert (late / feature_set.SEQUENCE_FILE).read_bytes() == (features / feature_set.SEQUENCE_FILE).read_bytes()
    assert feature_set.load(late).generation != feature_set.load(features).generation


@pytest.mark.parametrize("name", TABLES)
def test_a_row_more_in_any_table_is_another_generation(features: Path, tmp_path: Path, name: str) -> None:
    before = named(features, tmp_path, {})
    rows = pq.read_table(features / feature_set.DATA / f"{name}.parquet")
    more = pa.concat_tables([rows, pa.table({field.name: pa.nulls(1, field.type) for field in rows.schema})])
    assert named(features, tmp_path, {name: more}) != before


def test_the_order_of_rows_and_how_they_lie_in_files_do_not_matter(features: Path, tmp_path: Path) -> None:
    before = named(features, tmp_path, {})
    rows = pq.read_table(features / feature_set.DATA / f"{schema.USER_ACTIVITY_VIEW}.parquet")
    backwards = rows.take(pa.array(range(len(rows) - 1, -1, -1)))
    assert named(features, tmp_path, {schema.USER_ACTIVITY_VIEW: backwards}) == before
    file = tmp_path / "features" / feature_set.DATA / f"{schema.USER_ACTIVITY_VIEW}.parquet"
    file.unlink()
    for part, start in enumerate((0, 9)):
        file.mkdir(exist_ok=True)
        pq.write_table(rows.slice(start, 9 if start == 0 else len(rows)), file / f"part-{part}.parquet")
    assert generation.write(tmp_path / "features") == before


def test_another_scale_is_another_generation(features: Path, tmp_path: Path) -> None:
    before = named(features, tmp_path, {})
    scale = feature_set.count_scale(features)
    (tmp_path / "features" / feature_set.SCALERS).write_text(json.dumps(scale | {"events_1h": scale["events_1h"] + 1}))
    assert generation.write(tmp_path / "features") != before


def named(features: Path, tmp_path: Path, changed: dict[str, pa.Table]) -> str:
    """The name of a copy in which some tables are others."""
    copy = tmp_path / "features"
    (copy / feature_set.DATA).mkdir(parents=True, exist_ok=True)
    for name in (feature_set.SEQUENCE_FILE, feature_set.SCALERS, feature_set.FEEDBACK):
        (copy / name).write_bytes((features / name).read_bytes())
    for file in (features / feature_set.DATA).iterdir():
        (copy / feature_set.DATA / file.name).write_bytes(file.read_bytes())
    for name, rows in changed.items():
        pq.write_table(rows, copy / feature_set.DATA / f"{name}.parquet")
    return generation.write(copy)
