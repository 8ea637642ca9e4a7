"""A compressed bundle is a real bundle, its price is measured, and a dear one is not chosen."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from lodestar.bundle import bundle
from lodestar.bundle.catalogue import Catalogue
from lodestar.compression.encoder_quantisation import with_int8_weights
from lodestar.compression.latency import request_times_ms
from lodestar.compression.quality import mean_ndcg, overlap, rank_cases
from lodestar.compression.run import compress
from lodestar.compression.selection import Variant, markdown, select_variant
from lodestar.compression.variants import COMBINATIONS
from lodestar.config import DataConfig, Recipe, override
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.splits import EvalCases
from lodestar.engine import onnx_runtime
from lodestar.engine.recommender import Recommender
from lodestar.errors import DataError, UsageError
from lodestar.evaluation.metrics import NO_ITEM
from lodestar.features.batch import feature_set
from lodestar.progress import Progress
from tests.factories import small_bundle

NUM_ITEMS, NUM_USERS = 12, 30
RECIPE = override(Recipe(name="test", data=DataConfig()), '{"compression": {"latency_requests": 20}}')
ALONE_TOLERANCE = 1e-5
STEP_TOLERANCE = 0.05  # user vectors are of length one or so


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Path]:
    """Features in which everyone walks round the catalogue, and an untrained bundle of them."""
    return made(tmp_path, length=5)


def made(folder: Path, length: int) -> tuple[Path, Path]:
    ids = [f"i{row}" for row in range(NUM_ITEMS)]
    user = np.repeat(np.arange(NUM_USERS), length).astype(np.int32)
    item = ((user + np.tile(np.arange(length), NUM_USERS)) % NUM_ITEMS).astype(np.int32)
    log = Interactions(users=[f"u{row}" for row in range(NUM_USERS)], items=ids, user=user, item=item, time=np.arange(len(user)))
    folder.joinpath("features").mkdir()
    feature_set.save(log, Catalogue(ids=ids, titles=ids, categories=ids, is_active=np.ones(NUM_ITEMS, dtype=bool)), folder / "features")
    generation = feature_set.load(folder / "features").generation
    return folder / "features", small_bundle(folder / "trained", num_items=NUM_ITEMS, features=generation)


def variant(low: float = 0.0, size_bytes: int = 100, change: float = -0.001) -> Variant:
    return Variant(
        table="int8",
        encoder="fp32",
        digest="d",
        size_bytes=size_bytes,
        latency_p50_ms=1,
        latency_p99_ms=2,
        ndcg_at_10=0.5,
        ndcg_change=change,
        low=low,
        high=0.1,
        same_top_10=1,
    )


def test_the_chosen_bundle_serves(trained: tuple[Path, Path], tmp_path: Path) -> None:
    weighed = compress(*trained, tmp_path / "small", RECIPE)
    loaded = bundle.load(tmp_path / "small")
    chosen = [variant for variant in weighed if variant.is_chosen]
    assert [variant.digest for variant in chosen] == [loaded.digest]
    assert (loaded.info.precision, loaded.info.encoder_precision) == (chosen[0].table, chosen[0].encoder)
    assert len(Recommender(loaded).recommend(["i1", "i2"], 3)) == 3


def test_the_same_input_gives_the_same_bundle(trained: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (compress(*trained, tmp_path / name, RECIPE) for name in ("first", "second"))
    assert [variant.digest for variant in first] == [variant.digest for variant in second]
    assert [variant.low for variant in first] == [variant.low for variant in second]
    assert (tmp_path / "first" / bundle.INFO).read_bytes() == (tmp_path / "second" / bundle.INFO).read_bytes()


def test_the_first_variant_is_the_trained_bundle_unchanged(trained: tuple[Path, Path], tmp_path: Path) -> None:
    first = compress(*trained, tmp_path / "small", RECIPE)[0]
    assert first.digest == bundle.load(trained[1]).digest
    assert (first.ndcg_change, first.low, first.high, first.same_top_10) == (0, 0, 0, 1)


def test_the_price_of_every_variant_is_left_beside_the_bundle(trained: tuple[Path, Path], tmp_path: Path) -> None:
    compress(*trained, tmp_path / "small", RECIPE)
    report = json.loads((tmp_path / "small" / "compression.json").read_text())
    assert [(row["table"], row["encoder"]) for row in report["variants"]] == list(COMBINATIONS)
    assert (report["k"], report["split"], report["users"], report["seed"]) == (10, "validation", NUM_USERS, 0)
    assert all(0 < row["latency_p50_ms"] <= row["latency_p99_ms"] for row in report["variants"])
    assert (tmp_path / "small" / "compression.md").read_text().count("\n|") == 2 + len(COMBINATIONS)


def test_what_lay_beside_the_trained_bundle_goes_along(trained: tuple[Path, Path], tmp_path: Path) -> None:
    (trained[1] / "epochs.jsonl").write_text('{"epoch": 1}\n')
    compress(*trained, tmp_path / "small", RECIPE)
    assert (tmp_path / "small" / "epochs.jsonl").read_text() == '{"epoch": 1}\n'


def test_a_bundle_is_not_compressed_twice(trained: tuple[Path, Path], tmp_path: Path) -> None:
    whole = bundle.load(trained[1])
    small = small_bundle(tmp_path / "small", num_items=NUM_ITEMS, precision="int8", features=whole.info.features)
    with pytest.raises(UsageError, match="already"):
        compress(trained[0], small, tmp_path / "smaller", RECIPE)
    assert not (tmp_path / "smaller").exists()


def test_features_of_another_run_are_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0000000000000000"):
        compress(trained[0], small_bundle(tmp_path / "other"), tmp_path / "small", RECIPE)


def test_a_damaged_bundle_is_not_compressed(trained: tuple[Path, Path], tmp_path: Path) -> None:
    (trained[1] / bundle.TABLE).unlink()
    with pytest.raises(DataError, match="E156"):
        compress(*trained, tmp_path / "small", RECIPE)


def test_where_nobody_can_be_asked_nothing_is_given_up(tmp_path: Path) -> None:
    weighed = compress(*made(tmp_path, length=2), tmp_path / "small", RECIPE)
    assert [variant.is_chosen for variant in weighed] == [True, False, False, False]


@pytest.mark.parametrize(
    ("lows", "sizes", "expected"),
    [
        ((0, -0.004, -0.004), (100, 50, 20), 2),
        ((0, -0.004, -0.006), (100, 50, 20), 1),  # 1 % of 0.5 is the most that may be lost
        ((0, -0.006, -0.006), (100, 50, 20), 0),
        ((0, -0.005, -0.9), (100, 50, 20), 1),
        ((0, -0.004, -0.004), (100, 150, 120), 0),
    ],
)
def test_the_smallest_that_is_not_worse_is_chosen(lows: tuple[float, ...], sizes: tuple[int, ...], expected: int) -> None:
    weighed = select_variant([variant(low, size) for low, size in zip(lows, sizes, strict=True)], margin=0.01)
    assert [place for place, made in enumerate(weighed) if made.is_chosen] == [expected]


def test_without_a_margin_the_trained_bundle_goes_out_as_it_is() -> None:
    weighed = select_variant(
        [variant(size_bytes=100, change=0), variant(size_bytes=50, change=0), variant(low=0.01, size_bytes=20)], margin=0
    )
    assert [made.is_chosen for made in weighed] == [True, False, False]
    assert [made.reason for made in weighed] == ["uncompressed", "the margin is 0", "the margin is 0"]


def test_the_table_says_why() -> None:
    weighed = select_variant(
        [variant(size_bytes=4000, change=0), variant(size_bytes=1000), variant(low=-0.01, size_bytes=500)], margin=0.01
    )
    whole, chosen, worse = markdown(weighed, "Measured so.").splitlines()[-3:]
    assert whole.endswith("| larger |")
    assert "4.0×" in chosen
    assert chosen.endswith("| **chosen**: the smallest that is not worse |")
    assert worse.endswith("| may lose more than 0.0050 |")


def test_quality_is_that_of_the_first_ranks(tmp_path: Path) -> None:
    whole = bundle.load(small_bundle(tmp_path / "bundle", num_items=NUM_ITEMS))
    # Without a history items are ranked i0, i1, …: the first, the third and none are found.
    relevant = [np.array(rows, dtype=np.int32) for rows in ([0], [2], [11])]
    cases = EvalCases(user=np.arange(3, dtype=np.int32), history=[np.zeros(0, dtype=np.int32)] * 3, relevant=relevant)
    with Progress("test", 3) as progress:
        ranking = rank_cases(Recommender(whole), cases, progress)
    assert mean_ndcg(ranking) == pytest.approx((1 + 0.5 + 0) / 3)
    assert ranking.top.tolist() == [list(range(10))] * 3


def test_overlap_counts_items_wherever_they_stand() -> None:
    full = np.array([[1, 2, 3], [4, NO_ITEM, NO_ITEM]])
    assert overlap(np.array([[3, 1, 9], [4, NO_ITEM, NO_ITEM]]), full) == 3 / 4
    assert overlap(full, full) == 1


def test_every_request_is_timed_for_every_bundle(tmp_path: Path) -> None:
    recommender = Recommender(bundle.load(small_bundle(tmp_path / "bundle")))
    times_ms = request_times_ms([recommender, recommender], [["i1"], ["i2", "i3"]], requests=7)
    assert times_ms.shape == (2, 7)
    assert (times_ms > 0).all()


def test_only_weight_matrices_become_int8(tmp_path: Path) -> None:
    content = (small_bundle(tmp_path / "bundle") / bundle.ENCODER).read_bytes()
    whole, small = (onnx.load_from_string(graph).graph for graph in (content, with_int8_weights(content)))
    matrices = {node.input[1] for node in whole.node if node.op_type == "MatMul"}
    kept = sorted(tuple(tensor.dims) for tensor in whole.initializer if tensor.name not in matrices)
    steps = sorted(tuple(tensor.dims)[1:] for tensor in whole.initializer if tensor.name in matrices)
    floats = sorted(tuple(tensor.dims) for tensor in small.initializer if tensor.data_type == TensorProto.FLOAT)
    assert floats == sorted(kept + steps)
    assert sum(tensor.data_type == TensorProto.INT8 for tensor in small.initializer) == len(steps) == 5


def test_an_int8_encoder_answers_nearly_the_same_and_alone_as_among_others(tmp_path: Path) -> None:
    content = (small_bundle(tmp_path / "bundle") / bundle.ENCODER).read_bytes()
    whole, small = (onnx_runtime.session(graph, threads=1) for graph in (content, with_int8_weights(content)))
    vectors = np.random.default_rng(0).normal(scale=0.4, size=(5, 9, 8)).astype(np.float32)
    vectors[0] *= 100  # a row that would widen the others' steps if they shared one
    together = small.run(None, {"history": vectors, "mask": np.ones((5, 9), dtype=bool)})[0]
    np.testing.assert_allclose(together, whole.run(None, {"history": vectors, "mask": np.ones((5, 9), dtype=bool)})[0], atol=STEP_TOLERANCE)
    for row in range(5):
        alone = small.run(None, {"history": vectors[row : row + 1], "mask": np.ones((1, 9), dtype=bool)})[0]
        np.testing.assert_allclose(alone[0], together[row], atol=ALONE_TOLERANCE)
