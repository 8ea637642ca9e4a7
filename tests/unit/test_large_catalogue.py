"""Where there are too many users and items for the full cross: what is counted in ranges, ranked once for all, or sampled."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lodestar.config import Recipe, override
from lodestar.data.split import splits
from lodestar.data.split.splits import EvalCases, affordable
from lodestar.errors import EnvironmentFault
from lodestar.evaluation import fitted_baselines
from lodestar.evaluation.gate import EVALUATION
from lodestar.evaluation.metrics import rank, rank_shared
from lodestar.evaluation.run import CARD, REPORT, evaluate
from lodestar.features.batch import feature_set
from lodestar.models.closed_form import blocked_counts, ease, memory
from lodestar.models.closed_form.cooccurrence import CoOccurrence
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.closed_form.dan_ease import NormalisedEASE
from lodestar.models.closed_form.ease import EASE, inverse, products, solver
from lodestar.models.closed_form.item_knn import ItemKNN, Similarity
from lodestar.progress import Progress
from tests.factories import small_bundle
from tests.unit.test_evaluation import NUM_ITEMS, RECIPE, walkers

ITEMS = 9
lists = st.lists(st.integers(0, ITEMS - 1), max_size=12)


def shop(seed: int, users: int = 60, items: int = 40) -> Sequences:
    rng = np.random.default_rng(seed)
    return [(items * rng.random(rng.integers(0, 12)) ** 2).astype(np.int32) for _ in range(users)]


@given(
    rows=st.lists(st.tuples(lists, st.sets(st.integers(0, ITEMS - 1), min_size=1)), min_size=1, max_size=5),
    counts=st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0]), min_size=ITEMS, max_size=ITEMS),
)
def test_scores_that_all_share_are_ranked_as_if_each_had_their_own(rows: list[tuple[list[int], set[int]]], counts: list[float]) -> None:
    scores_N = np.array(counts, dtype=np.float32)
    cases = EvalCases(
        user=np.arange(len(rows), dtype=np.int32),
        history=[np.array(history, dtype=np.int32) for history, _ in rows],
        relevant=[np.array(sorted(relevant), dtype=np.int32) for _, relevant in rows],
    )
    with Progress("test", 1) as progress:
        own = rank(lambda histories: np.tile(scores_N, (len(histories), 1)), cases, ITEMS, 4, progress)
        shared = rank_shared(scores_N, cases, 4, progress)
    assert [values.tolist() for values in (own.rank, own.case, own.top)] == [
        values.tolist() for values in (shared.rank, shared.case, shared.top)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_cooccurrence_counted_in_ranges_is_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, whole = shop(seed), CoOccurrence().fit(shop(seed), 40)
    for name, value in (("MAX_PAIRS", 0), ("PAIRS_AT_ONCE", 50)):
        monkeypatch.setattr(blocked_counts, name, value)
    assert np.array_equal(CoOccurrence().fit(sequences, 40).score(sequences), whole.score(sequences))
    monkeypatch.setattr(blocked_counts, "NUM_NEIGHBOURS", 5)
    few = CoOccurrence().fit(sequences, 40)
    assert np.diff(few.affinity.indptr).max() == 5
    assert few.kept == blocked_counts.TRUNCATION_NOTE
    for own, all_of in ((few.neighbours(5, 1.0), whole.neighbours(5, 1.0)),):
        assert np.array_equal(own.item, all_of.item)
        assert np.array_equal(own.similarity, all_of.similarity)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard", "pearson"])
def test_neighbours_counted_in_ranges_are_the_same(similarity: Similarity, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = shop(1)
    whole = ItemKNN(similarity=similarity).fit(sequences, 40)
    for name, value in (("MAX_PAIRS", 0), ("PAIRS_AT_ONCE", 50)):
        monkeypatch.setattr(blocked_counts, name, value)
    assert np.array_equal(
        ItemKNN(similarity=similarity).fit(sequences, 40).similarities.toarray(), whole.similarities.toarray().astype(np.float32)
    )
    monkeypatch.setattr(blocked_counts, "NUM_NEIGHBOURS", 3)
    assert np.array_equal(ItemKNN(similarity=similarity).fit(sequences, 40).neighbours(3).item, whole.neighbours(3).item)


def test_no_verdict_is_of_a_few_users() -> None:
    cases = EvalCases(user=np.arange(1_200, dtype=np.int32), history=shop(0, 1_200), relevant=shop(1, 1_200), cutoff_us=np.arange(1_200))
    assert len(affordable(cases, 40, replace(Recipe(name="any").evaluation, max_scores=1), "test")) == 1_000


def test_users_are_drawn_where_there_are_too_many_and_the_report_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "MIN_EVALUATED_USERS", 1)
    features = walkers(tmp_path / "features")
    bundle = small_bundle(tmp_path / "bundle", num_items=NUM_ITEMS, features=feature_set.load(features).generation)
    few = override(RECIPE, json.dumps({"evaluation": {"max_scores": 10 * NUM_ITEMS}}))
    evaluate(features, bundle, tmp_path / "evaluation", few)
    protocol = json.loads((tmp_path / "evaluation" / EVALUATION).read_text())["protocol"]
    assert (protocol["users"], protocol["eligible_users"]) == (10, 30)
    assert "10 users (0 cold-start users without a history left out), sampled from 30" in (tmp_path / "evaluation" / CARD).read_text()
    assert "sampled from 30" in (tmp_path / "evaluation" / REPORT).read_text()
    assert "Coverage@10 to the 10 sampled users" in (tmp_path / "evaluation" / CARD).read_text()
    assert (tmp_path / "evaluation" / REPORT).read_text().count("to the 10 sampled users") == 3
    assert '{"lodestar": "sampled", "part": "test", "users": 10, "of": 30, "items": 12, ' in capsys.readouterr().err


def test_the_same_seed_draws_the_same_users_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MIN_EVALUATED_USERS", 1)
    cases = EvalCases(user=np.arange(50, dtype=np.int32), history=shop(0, 50), relevant=shop(1, 50), cutoff_us=np.arange(50))
    config = replace(Recipe(name="any").evaluation, max_scores=400)
    first, again = affordable(cases, 40, config, "test"), affordable(cases, 40, config, "test")
    assert first.user.tolist() == again.user.tolist() == sorted(first.user.tolist())
    assert (len(first), len(first.history), len(first.relevant)) == (10, 10, 10)
    assert first.cutoff_us.tolist() == first.user.tolist()
    assert affordable(cases, 40, replace(config, max_scores=50 * 40), "test") is cases


def test_an_inverse_is_one() -> None:
    rows = np.random.default_rng(0).standard_normal((70, 50)).astype(np.float32)
    gram = rows.T @ rows + np.eye(50, dtype=np.float32)
    np.testing.assert_allclose(inverse(gram.copy()) @ gram, np.eye(50), atol=1e-4)


@pytest.mark.parametrize("model", [EASE(), NormalisedEASE()])
def test_what_does_not_fit_into_memory_is_refused_before_it_is_made(model: EASE | NormalisedEASE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    with pytest.raises(EnvironmentFault, match=r"^E185 .*8\.7 GB of memory, and 0\.0 GB are free"):
        model.fit([np.array([1, 2], dtype=np.int32)], 33_000)


def test_memory_that_is_short_is_an_error_and_lets_no_model_past_a_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    with pytest.raises(EnvironmentFault, match=r"^E185 the baseline EASE of 10,000 items"):
        fitted_baselines.skipped_baselines(10_000)
    assert list(fitted_baselines.skipped_baselines(20_001)) == ["ease"]


def test_a_gpu_is_used_only_where_it_is_allowed_and_has_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100_000_000, 100_000_000))
    assert [solver("cpu", 1000).type, solver("auto", 1000).type, solver("auto", 5000).type] == ["cpu", "cuda", "cpu"]
    with pytest.raises(EnvironmentFault, match=r"^E185 the inverse needs 0\.3 GB of GPU memory"):
        solver("cuda", 5000)
    np.testing.assert_allclose(inverse(2 * np.eye(3, dtype=np.float32)), np.eye(3) / 2)


def test_products_take_no_more_than_the_memory_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "PRODUCTS_AT_ONCE", 3 * 300)
    user_item = sparse.csr_matrix((np.random.default_rng(0).random((40, 300)) < 0.3).astype(np.float32))
    tracemalloc.start()
    found = products(user_item)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, (user_item.T @ user_item).toarray())
    assert peak < 1.7 * found.nbytes  # a sparse product of all pairs alone takes twice as much


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"max": "1000", "current": "900", "stat": "anon 1\ninactive_file 50\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.available() == 150
