"""A ranker answers for each candidate alone, sees no padding and is the same after export; it orders by retrieval plus task scores."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lodestar.bundle import bundle
from lodestar.bundle.ranker import Ranker as Bundled
from lodestar.config import RankerConfig
from lodestar.engine.recommender import Recommender
from lodestar.engine.reranker import Reranker
from lodestar.errors import DataError
from lodestar.models.ranker.ranker import Ranker
from lodestar.schema import ranker_inputs
from lodestar.training.ranker.ranker_stage import WeightedTaskScore, export_onnx
from tests.factories import counting_ranker, small_bundle

DIM, WIDTH, TASKS = 6, 8, 2


@pytest.fixture
def model() -> Ranker:
    torch.manual_seed(0)
    return Ranker(DIM, len(ranker_inputs.NAMES), TASKS, RankerConfig(candidates=10, dim=WIDTH)).eval()


def asked(length: int, candidates: int, requests: int = 1) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(length * 100 + candidates)
    shapes = ((requests, length, DIM), (requests, candidates, DIM), (requests, candidates, len(ranker_inputs.NAMES)))
    history, items, counts = (torch.randn(shape, generator=rng) for shape in shapes)
    return history, torch.ones(requests, length, dtype=torch.bool), items, counts


@torch.no_grad()
def test_padding_and_other_candidates_change_nothing(model: Ranker) -> None:
    history, mask, items, counts = asked(4, 5)
    whole = model(history, mask, items, counts)
    padded = torch.cat([torch.randn(1, 3, DIM), history], dim=1), torch.cat([torch.zeros(1, 3, dtype=torch.bool), mask], dim=1)
    torch.testing.assert_close(model(*padded, items, counts), whole)
    for place in range(5):
        torch.testing.assert_close(model(history, mask, items[:, [place]], counts[:, [place]]), whole[:, [place]])


@torch.no_grad()
def test_who_has_no_history_is_answered_all_the_same(model: Ranker) -> None:
    history, mask, items, counts = asked(1, 5)
    answers = model(history, ~mask, items, counts)
    assert answers.isfinite().all()
    torch.testing.assert_close(model(torch.randn_like(history), ~mask, items, counts), answers)


@torch.no_grad()
def test_the_newest_places_are_told_from_the_others(model: Ranker) -> None:
    model.age.copy_(torch.arange(len(model.age)).float())
    history, mask, items, counts = asked(4, 5)
    assert not torch.allclose(model(history, mask, items, counts), model(history.flip(1), mask, items, counts))


@torch.no_grad()
@pytest.mark.parametrize(("length", "candidates"), [(1, 1), (7, 10), (50, 100)])
def test_the_graph_gives_the_model_s_answers(model: Ranker, length: int, candidates: int) -> None:
    weights = [0.5, 0.25]
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, DIM)).astype(np.float32)
    rows = model.item(torch.from_numpy(vectors)).numpy().astype(np.float16)
    served = Reranker(
        Bundled(graph=export_onnx(WeightedTaskScore(model, weights), WIDTH), vectors=rows, candidates=candidates, max_length=50), 1
    )
    history, items = rng.integers(0, 200, length).astype(np.int32), rng.permutation(200)[:candidates].astype(np.intp)
    counts = rng.random((candidates, len(ranker_inputs.NAMES)), dtype=np.float32)
    found = served.score(history, items, counts)
    table = torch.from_numpy(vectors)
    answers = model(
        table[history.astype(np.int64)][None], torch.ones(1, length, dtype=torch.bool), table[items][None], torch.from_numpy(counts)[None]
    )
    np.testing.assert_allclose(found, (answers[0] @ torch.tensor(weights)).numpy(), rtol=1e-2, atol=2e-3)  # rows are rounded


def test_a_list_is_ordered_by_retrieval_and_task_scores_and_what_was_not_looked_at_follows(tmp_path: Path) -> None:
    plain = Recommender(bundle.load(small_bundle(tmp_path / "plain")))
    ranked = Recommender(bundle.load(small_bundle(tmp_path / "ranked", ranker=counting_ranker(12, candidates=4, strength=3.0))))
    by_retrieval = plain.candidates(["i1", "i2"], 8)
    found = ranked.candidates(["i1", "i2"], 8)
    np.testing.assert_array_equal(found.rows, by_retrieval.rows)
    counts = np.zeros((4, len(ranker_inputs.NAMES)), dtype=np.float32)
    counts[:, ranker_inputs.NAMES.index("interactions_1d")] = [0.0, 0.9, 0.1, 0.8]
    wanted = found.scores[:4] + 3.0 * counts[:, ranker_inputs.NAMES.index("interactions_1d")]
    order = np.argsort(-wanted, kind="stable")
    assert not np.array_equal(order, np.arange(4))
    ordered = ranked.rerank(found, counts)
    np.testing.assert_array_equal(ordered.rows, [*found.rows[:4][order], *found.rows[4:]])
    np.testing.assert_allclose(ordered.scores[:4], wanted[order], rtol=1e-5)
    assert [place.item_id for place in ranked.to_recommendations(ordered)] == [f"i{row}" for row in ordered.rows]


def test_more_are_looked_at_than_are_asked_for_and_none_for_who_is_new(tmp_path: Path) -> None:
    ranked = Recommender(bundle.load(small_bundle(tmp_path, ranker=counting_ranker(12, candidates=6))))
    assert len(ranked.candidates(["i1"], 2).rows) == 6
    new = ranked.candidates([], 2)
    assert len(new.rows) == 2
    assert ranked.rerank(new, np.ones((2, len(ranker_inputs.NAMES)), dtype=np.float32)) is new
    assert len(ranked.recommend(["i1"], 2)) == 2


def test_a_bundle_keeps_its_ranker_and_notices_when_it_is_altered(tmp_path: Path) -> None:
    given = counting_ranker(12, candidates=6)
    folder = small_bundle(tmp_path, ranker=given)
    loaded = bundle.load(folder).ranker
    assert loaded is not None
    assert (loaded.graph, loaded.candidates, loaded.max_length) == (given.graph, given.candidates, given.max_length)
    np.testing.assert_array_equal(loaded.vectors, given.vectors)
    (folder / "ranker.onnx").write_bytes(given.graph + b"x")
    with pytest.raises(DataError, match="E156"):
        bundle.load(folder)
