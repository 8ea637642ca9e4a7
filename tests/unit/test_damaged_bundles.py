"""A damaged bundle is refused with a code before anyone is answered by it, wherever a bundle is opened."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from lodestar import recipes
from lodestar.bundle import bundle
from lodestar.compression.run import compress
from lodestar.config import Recipe, override
from lodestar.engine.onnx_probe import probe
from lodestar.engine.recommender import Recommender
from lodestar.errors import DataError
from lodestar.evaluation.run import evaluate
from lodestar.features.batch import feature_set
from lodestar.schema import ranker_inputs
from lodestar.training.run import train
from tests import bundle_damage
from tests.bundle_damage import NUM_ITEMS
from tests.bundle_damage_cases import CUT, DAMAGES, SLOW
from tests.cycles import features as build
from tests.factories import counting_ranker, small_bundle
from tests.unit.test_parent_death import is_there, waited

Step = Callable[[Path, Path, Path, Recipe], Any]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_damage.whole(tmp_path_factory.mktemp("intact") / "bundle")


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "bundle"))


def test_the_bundle_is_whole_before_it_is_damaged(root: Path) -> None:
    bundle_damage.seal(root)
    assert len(Recommender(bundle.load(root)).recommend(["i1", "i2"], 5)) == 5


@pytest.mark.parametrize("name", [*CUT, *DAMAGES])
def test_a_damaged_bundle_is_refused_with_a_code(root: Path, name: str) -> None:
    code, spoil = {**CUT, **DAMAGES}[name]
    spoil(root)
    with pytest.raises(DataError, match=f"^{code} "):
        Recommender(bundle.load(root))


@pytest.mark.parametrize(
    "name", ["table.npz cut off at 50%, sealed", "a count of a month where a day's was", "a graph that makes terabytes"]
)
def test_nothing_is_served_from_a_damaged_bundle(root: Path, name: str) -> None:
    code, spoil = {**CUT, **DAMAGES}[name]
    spoil(root)
    served = subprocess.run(
        [sys.executable, "-m", "serving", "--bundle", str(root), "--port", "0"], capture_output=True, text=True, check=False
    )
    assert served.returncode == DataError.exit_code, served.stderr
    assert served.stderr.startswith(f"lodestar serve: {code} ")
    assert "Traceback" not in served.stderr


def test_the_feature_that_is_missing_is_named(root: Path) -> None:
    bundle_damage.counts(root, bundle_damage.month_for_day)
    with pytest.raises(DataError, match=r"needs the feature item_stats\.interactions_30d, which this version does not have"):
        bundle.load(root)


def test_the_feature_that_is_another_is_named_with_what_differs(root: Path) -> None:
    bundle_damage.counts(root, bundle_damage.window)
    with pytest.raises(DataError, match=r"item_stats\.interactions_1d with window_h 720, and this version has 24"):
        bundle.load(root)


def test_a_graph_that_takes_too_long_is_ended(root: Path) -> None:
    SLOW["a graph of hours"][1](root)
    loaded = bundle.load(root)
    with pytest.raises(DataError, match=r"E184 .*(within 3 s|time)"):
        probe(loaded.graph, bundle_damage.inputs(), "user", (1, bundle_damage.DIM), limit_s=3)


OPENED = """
import sys
from pathlib import Path
from lodestar.bundle import bundle
from lodestar.engine.onnx_probe import probe
from serving.http import graceful_shutdown
from tests import bundle_damage
graceful_shutdown.stop_on_signals("test")  # as a predictor does, whose children have its signals blocked
probe(bundle.load(Path(sys.argv[1])).graph, bundle_damage.inputs(), "user", (1, bundle_damage.DIM))
"""


def test_a_graph_that_is_tried_ends_with_the_process_that_tries_it(root: Path) -> None:
    SLOW["a graph of hours"][1](root)
    with subprocess.Popen([sys.executable, "-c", OPENED, str(root)], stderr=subprocess.DEVNULL) as tried:
        child = waited(lambda: next(iter(probes(tried.pid)), 0))
        tried.kill()
    assert child
    assert waited(lambda: not is_there(child))


def probes(parent: int) -> list[int]:
    """Children that have read all of a graph and are about to run it."""
    children = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return [child for child in children if "onnxruntime_pybind" in Path(f"/proc/{child}/maps").read_text()]


def test_a_bundle_that_needs_fewer_features_is_served_as_it_was_trained(root: Path, tmp_path: Path) -> None:
    few = replace(counting_ranker(NUM_ITEMS, 4), counts=("interactions_1d", "events_1d"))
    older = Recommender(bundle.load(small_bundle(tmp_path / "older", ranker=replace(few, graph=narrow(few.counts)))))
    newer = Recommender(bundle.load(small_bundle(tmp_path / "newer", ranker=counting_ranker(NUM_ITEMS, 4))))
    counts_CF = np.random.default_rng(0).random((4, len(ranker_inputs.NAMES)), dtype=np.float32)
    lists = [model.to_recommendations(model.rerank(model.candidates(["i1", "i2"], 4), counts_CF)) for model in (older, newer)]
    assert lists[0] == lists[1]
    assert [need["name"] for need in older.bundle.info.inputs["counts"]] == ["interactions_1d", "events_1d"]


def narrow(counts: tuple[str, ...]) -> bytes:
    """The graph of `counting_ranker` for fewer numbers."""
    model = onnx.load_from_string(counting_ranker(NUM_ITEMS, 4).graph)
    next(value for value in model.graph.input if value.name == "counts").type.tensor_type.shape.dim[2].dim_value = len(counts)
    for tensor in (*model.graph.initializer, *(a.t for node in model.graph.node for a in node.attribute if a.name == "value")):
        if tensor.data_type == onnx.TensorProto.INT64 and onnx.numpy_helper.to_array(tensor).tolist() == ranker_inputs.NAMES.index(
            "interactions_1d"
        ):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(counts.index("interactions_1d")), tensor.name))
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("features") / "features")


@pytest.mark.parametrize("name", ["weights.npz cut off", "weights.npz of terabytes"])
def test_nothing_begins_at_damaged_weights(tmp_path: Path, features: Path, name: str) -> None:
    entries = {"until.npy": bundle_damage.claimed((1 << 40,), "<i8")} if name.endswith("terabytes") else {}
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights.npz").write_bytes(b"PK\x03\x04")
    if entries:
        bundle_damage.packed(tmp_path / "bundle" / "weights.npz", entries)
    recipe = override(recipes.get_recipe("tiny"), json.dumps({"train": {"warm_start": str(tmp_path / "bundle")}}))
    with pytest.raises(DataError, match=r"^E181 "):
        train(features, tmp_path / "made", recipe, str(tmp_path / "checkpoints"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("step", [evaluate, compress])
@pytest.mark.parametrize("name", ["a table with NaN", "a graph that makes terabytes"])
def test_no_step_takes_a_damaged_bundle(tmp_path: Path, features: Path, step: Step, name: str) -> None:
    recipe, code = recipes.get_recipe("tiny"), DAMAGES[name][0]
    found = feature_set.load(features)
    root = small_bundle(tmp_path / "bundle", num_items=len(found.items), features=found.digest)
    DAMAGES[name][1](root)
    with pytest.raises(DataError, match=rf"^{code} "):
        step(features, root, tmp_path / "made", recipe)
    assert not (tmp_path / "made").exists()
