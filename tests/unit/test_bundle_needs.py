"""A bundle names the features that it needs: it is refused where one is missing or another, and served where there are more."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from lodestar.bundle import bundle
from lodestar.engine.recommender import Recommender
from lodestar.errors import DataError
from lodestar.schema import ranker_inputs
from tests import bundle_damage
from tests.bundle_damage import NUM_ITEMS
from tests.factories import counting_ranker, small_bundle


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return bundle_damage.whole(tmp_path / "bundle")


def test_the_feature_that_is_missing_is_named(root: Path) -> None:
    bundle_damage.counts(root, bundle_damage.month_for_day)
    with pytest.raises(DataError, match=r"needs the feature item_stats\.interactions_30d, which this version does not have"):
        bundle.load(root)


def test_the_feature_that_is_another_is_named_with_what_differs(root: Path) -> None:
    bundle_damage.counts(root, bundle_damage.window)
    with pytest.raises(DataError, match=r"item_stats\.interactions_1d with window_h 720, and this version has 24"):
        bundle.load(root)


def test_a_bundle_that_needs_fewer_features_is_served_as_it_was_trained(root: Path, tmp_path: Path) -> None:
    few = replace(counting_ranker(NUM_ITEMS, 4), count_names=("interactions_1d", "events_1d"))
    older = Recommender(bundle.load(small_bundle(tmp_path / "older", ranker=replace(few, graph=narrow(few.count_names)))))
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
