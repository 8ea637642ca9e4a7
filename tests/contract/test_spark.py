"""On Spark the build gives the same tables, row for row, and the same bytes for training."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import main
from lodestar import schema
from lodestar.config import DataConfig, Recipe
from lodestar.data.ingest import ingest
from lodestar.data.tables import tables as written
from lodestar.errors import DataError
from lodestar.features.batch.build import build_features
from lodestar.features.batch.feature_set import SCALERS, SEQUENCE_FILE
from lodestar.features.spark import spark
from lodestar.schema.store_keys import BUILT_FROM, GENERATION
from tests.contract.conftest import ROOT
from tests.contract.kustomize import OVERLAYS, rendered
from tests.factories import EPOCH_US, table
from tests.unit.test_early_logs import STARTS_US, write_log

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RECIPE = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1, training_rows=500))


@pytest.fixture(scope="module")
def session() -> "Iterator[SparkSession]":
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    with spark.session("local[2]") as made:
        yield made


def assert_equal(ours: Path, theirs: Path) -> None:
    """Every view has the same rows; there is one order of them that says so, since no view has a row twice."""
    assert (ours / SEQUENCE_FILE).read_bytes() == (theirs / SEQUENCE_FILE).read_bytes()
    assert (ours / SCALERS).read_bytes() == (theirs / SCALERS).read_bytes()
    assert (ours / GENERATION).read_text() == (theirs / GENERATION).read_text()
    assert (ours / BUILT_FROM).read_text() == (theirs / BUILT_FROM).read_text()
    for file in sorted((theirs / "data").iterdir()):
        found, expected = (ordered(pq.read_table(folder / "data" / file.name)) for folder in (ours, theirs))
        assert found.column_names == expected.column_names
        for name in expected.column_names:
            assert found[name].to_pylist() == expected[name].to_pylist(), (file.name, name)


def ordered(rows: pa.Table) -> pa.Table:
    keys = [name for name in rows.column_names if not pa.types.is_list(rows.schema.field(name).type)]
    return rows.sort_by([(name, "ascending") for name in keys])


@pytest.fixture(scope="module", params=["months, with impressions", "one file, without"])
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shops: one in monthly parts, and one whose labels are drawn, with vectors of texts and of pictures that were provided."""
    folder = tmp_path_factory.mktemp("shop of Spark") / "tables"
    ingest("simulator:users=150,items=60,events=9000,days=45,seed=3", folder)
    if request.param == "one file, without":
        events = pa.concat_tables(pq.read_table(file) for file in sorted((folder / "events").rglob("*.parquet")))
        given = pa.array([1.0 + place % 5 if place % 3 == 0 else None for place in range(len(events))], pa.float64())
        events = events.set_column(events.column_names.index("rating"), "rating", given)
        items = pq.read_table(folder / "items" / "part-0000.parquet")
        ids = items[schema.ITEM_ID].to_pylist()[:7]
        about: dict[str, list[Any]] = {
            "kind": ["text", "image"] * len(ids),
            "encoder": ["bert", "eye"] * len(ids),
            "encoder_version": ["1"] * 2 * len(ids),
            "embedding": [[0.1 * place, 0.5] for place in range(2 * len(ids))],
            "dim": [2] * 2 * len(ids),
            "content_hash": ["h"] * 2 * len(ids),
            "ingested_at": [EPOCH_US] * 2 * len(ids),
        }
        content = table(schema.ITEM_CONTENT, item_id=[item for item in ids for _ in range(2)], **about)
        folder = tmp_path_factory.mktemp("plain") / "tables"
        folder.mkdir()
        written.write({"events": events, "items": items, "item_content": content}, folder)
    return folder


def test_the_same_tables_come_row_for_row(tables: Path, session: "SparkSession", tmp_path: Path) -> None:
    build_features(tables, tmp_path / "one machine", RECIPE)
    spark.build_features(tables, tmp_path / "spark", RECIPE, session)
    assert_equal(tmp_path / "spark", tmp_path / "one machine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one machine", "spark"]


@pytest.mark.parametrize("start_us", [STARTS_US["1965"], STARTS_US["across 1970"]])
def test_the_same_tables_come_of_a_log_before_1970(start_us: int, session: "SparkSession", tmp_path: Path) -> None:
    tables = write_log(tmp_path / "tables", start_us)
    build_features(tables, tmp_path / "one machine", RECIPE)
    spark.build_features(tables, tmp_path / "spark", RECIPE, session)
    assert_equal(tmp_path / "spark", tmp_path / "one machine")


def test_spark_submit_runs_what_the_manifest_names(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    ingest("simulator:users=150,items=60,events=9000,days=45,seed=4", tables)
    (application,) = [thing for thing in rendered(OVERLAYS / "features-on-spark") if thing["kind"] == "SparkApplication"]
    _, _, *options = application["spec"]["arguments"]
    script = ROOT / "cli" / Path(application["spec"]["mainApplicationFile"]).name
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"}
    submit = Path(sys.executable).with_name("spark-submit")
    command = [
        submit,
        "--master",
        "local[2]",
        "--conf",
        "spark.ui.enabled=false",
        "--conf",
        "spark.sql.shuffle.partitions=4",
        script,
        "--tables",
        tables,
        "--output",
        tmp_path / "features",
        *options,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{tmp_path / 'features'}\n")
    assert main(["features", "build", "--tables", str(tables), "--output", str(tmp_path / "ours"), *options]) == 0
    assert_equal(tmp_path / "features", tmp_path / "ours")


def test_tables_that_are_not_there_are_a_coded_error_and_nothing_is_written(tmp_path: Path, session: "SparkSession") -> None:
    (tmp_path / "tables").mkdir()
    with pytest.raises(DataError, match="E151"):
        spark.build_features(tmp_path / "tables", tmp_path / "features", RECIPE, session)
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]
