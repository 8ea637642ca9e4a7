"""Builders that tests share: small tables with only what a test says about them."""

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lodestar import schema
from lodestar.bundle import bundle
from lodestar.bundle.catalogue import Catalogue
from lodestar.bundle.item_table import Precision, quantise
from lodestar.bundle.neighbours import NeighbourTable
from lodestar.bundle.ranker import Ranker
from lodestar.bundle.ratings import Ratings
from lodestar.data.declaration.declared_dataset import open_declared
from lodestar.data.declaration.parse import read as read_declaration
from lodestar.data.split.interactions import Interactions
from lodestar.data.tables import manifest, tables
from lodestar.data.tables.tables import Tables, arrow_schema
from lodestar.features.batch import duckdb_views, event_partitions, feature_set, sequences
from lodestar.features.batch.duckdb_views import connect
from lodestar.features.batch.interaction_columns import InteractionColumns
from lodestar.io import storage
from lodestar.schema.feedback import BINARY, Feedback
from lodestar.schema.time_units import SECOND_US

if TYPE_CHECKING:
    from lodestar.models.encoders.next_item import NextItemModel

EPOCH_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
MAX_LENGTH = 12
ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "tests"
EXPORT_SOURCES = [
    *(ROOT / "lodestar" / name for name in ("config.py", "schema/features.py", "schema/ranker_inputs.py")),
    *(ROOT / "lodestar" / "training" / name for name in ("publish/export.py", "ranker/ranker_stage.py")),
]


def table(of: schema.Table, **columns: list[Any]) -> pa.Table:
    """A table of the contract with the given columns; the others are empty."""
    count = len(next(iter(columns.values())))
    shape = arrow_schema(of)
    arrays = [pa.array(columns.get(field.name, [None] * count), pa.int64() if _is_time(field) else field.type) for field in shape]
    return pa.table(arrays, names=shape.names).cast(shape)


def events(*rows: tuple[str, str, int], event_type: str = "view") -> pa.Table:
    """Events of (user, item, second)."""
    users, items, seconds = zip(*rows, strict=True) if rows else ((), (), ())
    timestamps = [EPOCH_US + second * SECOND_US for second in seconds]
    return table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(len(rows))],
        user_id=list(users),
        item_id=list(items),
        event_type=[event_type] * len(rows),
        event_time=timestamps,
        ingested_at=timestamps,
    )


def items(*names: str) -> pa.Table:
    """A catalogue of items that are called as their ids."""
    return table(schema.ITEMS, item_id=list(names), title=list(names))


def interactions(events: pa.Table, items: pa.Table, rules: Feedback = BINARY) -> Interactions:
    """The interactions with items of the catalogue, as building features finds them."""
    with tempfile.TemporaryDirectory() as folder:
        tables.write({"events": events, "items": items}, Path(folder))
        declare(Path(folder), rules)
        with connect(Tables(root=Path(folder))) as database:
            columns = InteractionColumns(Path(folder), duckdb_views.rules_of(database))
            users = event_partitions.ids(database, schema.USER_ID)
            for chunk in sequences.user_events(database):
                columns.append(chunk, users)
            arrays = {name: np.concatenate([np.zeros(0, column.dtype), *column.blocks()]) for name, column in columns.filled.items()}
            return feature_set.interactions_from(arrays, columns.users.to_pylist(), items[schema.ITEM_ID].to_pylist())


def declare(root: Path, rules: Feedback) -> None:
    """Let a folder of tables follow these rules of feedback, as if they had been declared at its first ingest."""
    found = manifest.read(root)
    if found is None:  # written by `tables.write`
        parts = {
            name: (manifest.Part(path=tables.file_name(of), rows=pq.read_metadata(root / tables.file_name(of)).num_rows, sha256="0" * 64),)
            for name, of in schema.TABLES.items()
        }
        found = manifest.Manifest(parts=parts)
    manifest.write(root, replace(found, feedback=rules))


def _is_time(field: pa.Field) -> bool:
    return bool(pa.types.is_timestamp(field.type))


def small_model(num_items: int = 12, dim: int = 8, seed: int = 0, *, timed: bool = False) -> "NextItemModel":
    """An untrained model of one layer, biases included, in the state that serves; HSTU if it is to look at time."""
    import torch

    from lodestar.config import ModelConfig
    from lodestar.models.encoders.next_item import NextItemModel

    torch.manual_seed(seed)
    shape = ModelConfig(
        family="hstu" if timed else "sasrec", use_time_gaps=timed, dim=dim, num_layers=1, num_heads=2, max_length=MAX_LENGTH
    )
    model = NextItemModel(num_items, shape).eval()
    for name, values in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(values, std=0.1)
    return model


def small_bundle(
    folder: Path,
    *,
    num_items: int = 12,
    dim: int = 8,
    inactive: tuple[str, ...] = (),
    precision: Precision = "fp32",
    features: str = "0" * 16,
    neighbours: NeighbourTable | None = None,
    ranker: Ranker | None = None,
    ratings: Ratings | None = None,
    timed: bool = False,
    rules: Feedback = BINARY,
    reads_filters: bool = False,
) -> Path:
    """A bundle of `small_model`: items i0, i1, … called "Item 0", …, the first the most popular; categories go a, b, c, a, …"""
    ids = [f"i{row}" for row in range(num_items)]
    vectors, graph = _exported(num_items, dim, timed)
    info = bundle.BundleInfo(
        family="hstu" if timed else "sasrec",
        recipe="tiny",
        dim=dim,
        max_length=MAX_LENGTH,
        num_items=num_items,
        precision=precision,
        encoder_precision="fp32",
        features=features,
        metrics={"validation_ndcg_at_10": 0.5},
        use_time_gaps=timed,
        feedback=rules.to_json(),
        reads_filters=reads_filters,
        files={},
    )
    catalogue = Catalogue(
        ids=ids,
        titles=[f"Item {row}" for row in range(num_items)],
        categories=["abc"[row % 3] for row in range(num_items)],
        is_active=np.array([item not in inactive for item in ids]),
    )
    popularity = np.arange(num_items, 0, -1, dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    bundle.write(folder, info, graph, quantise(vectors.copy(), precision), catalogue, popularity, neighbours, ranker, ratings)
    return folder


@cache
def _exported(num_items: int, dim: int, timed: bool) -> tuple[NDArray[np.float32], bytes]:
    """Item vectors and ONNX graph of `small_model`."""
    return _kept(f"{num_items}-{dim}-{timed}", lambda: _export(num_items, dim, timed))


def _export(num_items: int, dim: int, timed: bool) -> tuple[NDArray[np.float32], bytes]:
    from lodestar.training.publish.export import graph_bytes

    rows, encoder = small_model(num_items, dim, timed=timed).export_parts()
    return rows.numpy(), graph_bytes(encoder, dim + timed)


def _kept(name: str, export: Callable[[], tuple[NDArray[Any], bytes]]) -> tuple[NDArray[Any], bytes]:
    """Item vectors and a graph that need torch to be made.

    They are kept in build/ until a model, its export or torch changes, so that tests of bundles do without torch (3 s to import).
    """
    file = BUILD / f"{_version()}-{name}.npz"
    if not file.exists():
        vectors, graph = export()
        file.parent.mkdir(parents=True, exist_ok=True)
        with storage.publish_file(file) as work, work.open("wb") as out:
            np.savez(out, vectors=vectors, graph=np.frombuffer(graph, dtype=np.uint8))
    with np.load(file) as found:
        return found["vectors"], found["graph"].tobytes()


@cache
def _version() -> str:
    """Hash of what is kept depends on."""
    sources = [*(ROOT / "lodestar" / "models").rglob("*.py"), *EXPORT_SOURCES, Path(__file__)]
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    for source in sorted(sources):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def counting_ranker(num_items: int, candidates: int, strength: float = 100.0) -> Ranker:
    """A ranker that adds to an item's score its count of the last day, times a strength that nothing withstands."""
    vectors, graph = _kept(f"counting-{num_items}-{strength}", lambda: _counting(num_items, strength))
    return Ranker(graph=graph, vectors=vectors, candidates=candidates, max_length=MAX_LENGTH)


def _counting(num_items: int, strength: float) -> tuple[NDArray[np.float16], bytes]:
    import torch
    from torch import Tensor, nn

    from lodestar.schema import ranker_inputs
    from lodestar.training.ranker.ranker_stage import export_onnx

    class Counting(nn.Module):
        def forward(self, history_BTD: Tensor, mask_BT: Tensor, candidates_BCD: Tensor, counts_BCF: Tensor) -> Tensor:
            nothing = 0 * (history_BTD.sum(dim=(1, 2)) + mask_BT.sum(dim=1))[:, None] + 0 * candidates_BCD.sum(dim=2)
            return strength * counts_BCF[:, :, ranker_inputs.NAMES.index("interactions_1d")] + nothing

    vectors = torch.randn(num_items, 4, generator=torch.Generator().manual_seed(0)).numpy().astype(np.float16)
    return vectors, export_onnx(Counting(), 4)


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Text files below a folder, by relative path; returns the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def declared_rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table that the folder's dataset.toml declares, before validation."""
    dataset = open_declared(read_declaration(folder / "dataset.toml"), folder, "dataset.toml")
    return [row for source in dataset.tables[table]() for batch in source.batches() for row in batch.to_pylist()]
