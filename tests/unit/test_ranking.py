"""Training rows of a ranker: nothing of later, no item twice, errors named; its weights are those that rank best."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from lodestar import schema
from lodestar.bundle.catalogue import Catalogue
from lodestar.config import RankerConfig
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.splits import EvalCases, training_cutoffs
from lodestar.errors import ConfigError, DataError
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.models.ranker.ranker import Ranker
from lodestar.schema import ranker_inputs
from lodestar.schema.store_keys import TRAINING_SET
from lodestar.schema.time_units import SECOND_US
from lodestar.training.ensemble import neighbour_blend
from lodestar.training.ranker import ranker_blend, ranker_training
from lodestar.training.ranker.ranker_blend import Shortlists
from tests.factories import EPOCH_US

NUM_ITEMS, NEVER = 10, np.iinfo(np.int64).max
LOG = [("a", "i0", 10), ("a", "i1", 20), ("a", "i2", 30), ("b", "i3", 15), ("b", "i0", 40)]


def interactions(rows: list[tuple[str, str, int]]) -> Interactions:
    users = list(dict.fromkeys(user for user, _, _ in rows))
    return Interactions(
        users=users,
        items=[f"i{row}" for row in range(NUM_ITEMS)],
        user=np.array([users.index(user) for user, _, _ in rows], dtype=np.int32),
        item=np.array([int(item[1:]) for _, item, _ in rows], dtype=np.int32),
        time=np.array([EPOCH_US + second * SECOND_US for _, _, second in rows], dtype=np.int64),
    )


def training_set(folder: Path, rows: list[tuple[str, str, int, int]], **columns: Any) -> Path:
    """Of (user, item, second, label), in which all counts are a half."""
    users, items, seconds, labels = zip(*rows, strict=True)
    timestamps = pd.to_datetime([EPOCH_US + second * SECOND_US for second in seconds], unit="us", utc=True).astype("datetime64[us, UTC]")
    content = {schema.USER_ID: users, schema.ITEM_ID: items, schema.FEATURE_TIME: timestamps, schema.LABEL: labels}
    content |= {name: [None] * len(rows) for name in (schema.BOUGHT, schema.COMPLETED, schema.RATING)}
    content |= {name: np.full(len(rows), 0.5, dtype=np.float32) for name in ranker_inputs.NAMES}
    pd.DataFrame(content | columns).to_parquet(folder / TRAINING_SET)
    return folder


def test_a_row_knows_the_history_before_its_time_and_no_more(tmp_path: Path) -> None:
    rows = [("a", "i7", 10, 0), ("a", "i8", 25, 1), ("b", "i9", 100, 1), ("nobody", "i1", 5, 1), ("a", "unheard of", 5, 1)]
    found = ranker_training.read(training_set(tmp_path, rows), interactions(LOG), np.full(2, NEVER))
    assert found.item.tolist() == [7, 8, 9]
    assert list(zip(found.start.tolist(), found.end.tolist(), strict=True)) == [(0, 0), (0, 2), (3, 5)]
    assert (found.tasks, found.labels[:, 0].tolist()) == ((schema.LABEL,), [0.0, 1.0, 1.0])


def test_seen_items_are_no_candidates_and_held_out_ones_are_no_training_rows(tmp_path: Path) -> None:
    rows = [("a", "i0", 10, 1), ("a", "i0", 11, 1), ("a", "i2", 30, 1), ("a", "i9", 31, 0), ("b", "i9", 31, 0)]
    until = np.array([EPOCH_US + 30 * SECOND_US, NEVER])
    found = ranker_training.read(training_set(tmp_path, rows), interactions(LOG), until)
    assert (found.item.tolist(), found.end.tolist()) == ([0, 9], [0, 4])


def test_answers_are_shares_and_a_task_without_two_of_them_is_none(tmp_path: Path) -> None:
    rows = [("a", "i5", 5, 1), ("a", "i6", 6, 1), ("a", "i7", 7, 0)]
    columns = {schema.RATING: [1.0, 5.0, None], schema.BOUGHT: [0.0, 0.0, None]}
    found = ranker_training.read(training_set(tmp_path, rows, **columns), interactions(LOG), np.full(2, NEVER))
    assert found.tasks == (schema.LABEL, schema.RATING)
    np.testing.assert_array_equal(found.labels, np.array([[1, 0], [1, 1], [0, np.nan]], dtype=np.float32))


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_class_are_refused(label: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E210.*all 2 labels"):
        ranker_training.read(training_set(tmp_path, [("a", "i5", 5, label), ("b", "i6", 6, label)]), interactions(LOG), np.full(2, NEVER))


def test_a_count_that_is_no_number_is_named(tmp_path: Path) -> None:
    heat = np.array([0.5, np.nan], dtype=np.float32)
    with pytest.raises(DataError, match=r"E202.*nan for heat in row 1"):
        ranker_training.read(
            training_set(tmp_path, [("a", "i5", 5, 1), ("b", "i6", 6, 0)], heat=heat), interactions(LOG), np.full(2, NEVER)
        )


def test_features_that_were_not_published_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="E151"):
        ranker_training.read(tmp_path, interactions(LOG), np.full(2, NEVER))


def test_nothing_of_the_validation_part_is_trained_on() -> None:
    cases = EvalCases(user=np.array([1], dtype=np.int32), history=[], relevant=[], cutoff_us=np.array([7]))
    assert training_cutoffs(2, cases, by_time=False).tolist() == [NEVER, 7]
    assert training_cutoffs(2, cases, by_time=True).tolist() == [7, 7]


def drawn(count: int) -> tuple[ranker_training.RankerDataset, Interactions]:
    """Rows in which an item is a positive where its first count and a number of its own both are high."""
    rng = np.random.default_rng(0)
    counts, item = rng.random((count, len(ranker_inputs.NAMES)), dtype=np.float32), rng.integers(0, NUM_ITEMS, count)
    label = (counts[:, 5] > 0.5) & (item % 2 == 0)
    nowhere = np.zeros(count, dtype=np.int64)
    rows = ranker_training.RankerDataset(
        tasks=(schema.LABEL,), start=nowhere, end=nowhere, item=item, counts=counts, labels=label[:, None].astype(np.float32)
    )
    return rows, interactions(LOG)


def trained(seed: int = 0) -> Ranker:
    rows, interacted = drawn(4000)
    config = RankerConfig(candidates=10, dim=16, epochs=15, batch_size=64, learning_rate=1e-2)
    return ranker_training.train_ranker(rows, interacted, vectors(), config, seed)


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    rows, interacted = drawn(100)
    config = RankerConfig(candidates=10, dim=16, epochs=2)
    with pytest.raises(ConfigError, match=r"loss is nan in epoch 1: lower rank\.learning_rate"):
        ranker_training.train_ranker(replace(rows, counts=rows.counts * np.float32(np.nan)), interacted, vectors(), config, 0)


def vectors() -> NDArray[np.float32]:
    return np.eye(NUM_ITEMS, dtype=np.float32)


@torch.no_grad()
def answers(model: Ranker) -> NDArray[np.float32]:
    """To every item with a low count, then with a high one, [2, items]."""
    counts = torch.full((2, NUM_ITEMS, len(ranker_inputs.NAMES)), 0.5)
    counts[0, :, 5], counts[1, :, 5] = 0.1, 0.9
    items = torch.from_numpy(vectors())[None].expand(2, -1, -1)
    found: NDArray[np.float32] = model(torch.zeros(2, 1, NUM_ITEMS), torch.zeros(2, 1, dtype=torch.bool), items, counts)[:, :, 0].numpy()
    return found


def test_a_rule_of_two_inputs_is_learned_and_the_same_seed_learns_the_same() -> None:
    model = trained()
    low, high = answers(model)
    assert (high[::2] > 1).all()
    assert max(high[1::2].max(), low.max()) < -1
    np.testing.assert_array_equal(answers(model), answers(trained()))
    assert not np.array_equal(answers(model), answers(trained(seed=1)))


def test_the_cases_that_weights_are_fitted_on_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranker_blend, "MAX_CASES", 10)
    each = [np.array([case], dtype=np.int32) for case in range(50)]
    cases = EvalCases(user=np.arange(50, dtype=np.int32), history=each, relevant=each, cutoff_us=np.arange(50))
    first, again, other = (ranker_blend.sample_cases(cases, seed).user.tolist() for seed in (3, 3, 4))
    assert first == again == sorted({*first})
    assert (len(first), first == other) == (10, False)
    orders = [np.concatenate([*neighbour_blend._batches(cases, 8, seed)]).tolist() for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]


class Fixed(torch.nn.Module):
    """Answers that are given."""

    def __init__(self, answers_MCK: torch.Tensor) -> None:
        super().__init__()
        self.answers = answers_MCK

    def forward(self, history: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        part, self.answers = self.answers[: len(history)], self.answers[len(history) :]
        return part


@pytest.mark.parametrize("tells", [True, False])
def test_a_ranker_speaks_as_loud_as_it_is_right(tells: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases, width, rng = 200, NUM_ITEMS, np.random.default_rng(0)
    item = np.stack([rng.permutation(width) for _ in range(cases)])
    wanted = rng.integers(0, width, cases)
    is_relevant = torch.from_numpy(item == wanted[:, None])
    score = torch.from_numpy(np.sort(rng.normal(size=(cases, width)).astype(np.float32), axis=1)[:, ::-1].copy()) + is_relevant
    noise = torch.from_numpy(rng.normal(size=(cases, width, 2)).astype(np.float32))
    noise[:, :, 1] += 2 * is_relevant * tells
    asked = EvalCases(
        user=np.zeros(cases, dtype=np.int32),
        history=[np.array([0], dtype=np.int32)] * cases,
        relevant=[np.array([one], dtype=np.int32) for one in wanted],
        cutoff_us=np.zeros(cases, dtype=np.int64),
    )
    given = "lodestar.training.ranker.ranker_blend.historical_counts.counts"
    monkeypatch.setattr(given, lambda _, view, rows, __: np.zeros((len(rows), len(schema.VIEWS[view].counts))))
    names = [f"i{row}" for row in range(NUM_ITEMS)]
    items = Catalogue(ids=names, titles=names, categories=names, is_active=np.ones(NUM_ITEMS, dtype=bool))
    found = FeatureSet(root=tmp_path, interactions=interactions(LOG), items=items, generation="")
    lists = Shortlists(cases=asked, item=item, score=score, is_relevant=is_relevant)
    weights, before, after = ranker_blend.fit_ranker_blend(Fixed(noise), vectors(), lists, found, 5)  # type: ignore[arg-type]
    if tells:
        assert weights[1] > 10 * weights[0]
        assert after > before + 0.05
    else:
        assert max(weights) < 0.3
        assert before <= after < before + 0.02
