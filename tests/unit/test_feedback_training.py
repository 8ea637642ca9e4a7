"""What the rules of feedback change in training: weights count in closed forms and losses, and refused items are negatives."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lodestar.bundle.catalogue import Catalogue
from lodestar.config import DataConfig
from lodestar.data.split.ragged_array import from_lists
from lodestar.data.split.splits import split
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.models.closed_form.baselines import BASELINES, Baseline
from lodestar.models.closed_form.closed_form_retrievers import FAMILIES, Retriever
from lodestar.models.closed_form.counts import Pairs, TrainingData, cooccurrence_counts, user_item
from lodestar.models.closed_form.dan_ease import NormalisedEASE
from lodestar.models.closed_form.ials import IALS
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.schema.feedback import BINARY, Feedback
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop.batches import NO_ITEM, TrainingItems, gather_batch
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.loop.loop import fit
from lodestar.training.loop.order_jitter import OrderJitter
from lodestar.training.optimisation.losses import below_target
from lodestar.training.publish.refused_items import mostly_refused
from tests.cycles import NUM_ITEMS
from tests.factories import events, interactions, items
from tests.unit.test_loop import short, stage

USES_WEIGHTS = ("popularity", "item_knn", "cooccurrence", "ease", "gf_cf", "dan_ease", "ials")


def sequences(*rows: list[int]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.int32) for row in rows]


def weights(*rows: list[float]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.float32) for row in rows]


# Item 0 goes as often with 1 as with 2, but with 2 it is a purchase.
LOG = sequences([0, 1], [0, 2], [0, 1], [0, 2], [3, 4], [4, 3])
BOUGHT = weights([1, 1], [1, 5], [1, 1], [1, 5], [1, 1], [1, 1])


def models() -> Iterator[Callable[[], Baseline]]:
    yield from (BASELINES[name] for name in ("cooccurrence", "ease"))
    yield lambda: NormalisedEASE(popularity_power=0.5)


@pytest.mark.parametrize("make", [*models()])
def test_what_was_bought_is_ahead_of_what_was_viewed_as_often(make: Callable[[], Baseline]) -> None:
    asked = sequences([0])
    (plain,), (weighted,) = make().fit(LOG, 5).score(asked), make().fit(LOG, 5, BOUGHT).score(asked)
    assert plain[2] == pytest.approx(plain[1], rel=0.05)
    assert weighted[2] > weighted[1] * 1.05


def test_weights_are_confidences_of_ials() -> None:
    """A user's vector is the least weighted error: sum of c (1 - u·i)² over the history, plus the unobserved and the ridge."""
    model = IALS(dim=3, epochs=3).fit(LOG, 5, BOUGHT)
    interactions = user_item(LOG, 5, BOUGHT)
    (user,) = model._solve(interactions[1], model.items)
    observed, confidence = model.items[[0, 2]].astype(np.float64), np.array([1.0, 5.0])
    ridge = model.regularisation * (2 + model.unobserved_weight * 5)
    normal = model.unobserved_weight * model.items.T @ model.items + (observed.T * confidence) @ observed + ridge * np.eye(3)
    np.testing.assert_allclose(user, np.linalg.solve(normal, observed.T @ confidence), rtol=1e-4)


def test_popularity_adds_weights_up() -> None:
    assert BASELINES["popularity"]().fit(LOG, 5, BOUGHT).score(sequences([0]))[0].tolist() == [4, 2, 10, 2, 2]


@pytest.mark.parametrize("name", USES_WEIGHTS)
def test_a_family_that_can_uses_weights(name: str) -> None:
    times = [np.arange(len(row), dtype=np.int64) for row in LOG]
    data = TrainingData(sequences=LOG, times_us=times, num_items=5)
    factory, grid = FAMILIES[name]
    plain, weighted, ones = (
        factory(replace(data, weights=given), 4, 0)(grid[0]) for given in ((), BOUGHT, weights(*([1.0] * len(row) for row in LOG)))
    )

    def scores(model: Retriever) -> NDArray[np.float32]:
        table = torch.from_numpy(model.vectors)
        found: NDArray[np.float32] = (model.encoder(table[None, [0]], torch.ones(1, 1, dtype=torch.bool)) @ table.T).detach().numpy()
        if model.neighbours is not None:
            model.neighbours.add_to(found, sequences([0]))
        return found

    np.testing.assert_allclose(scores(ones), scores(plain), atol=1e-5)
    assert not np.allclose(scores(weighted), scores(plain), atol=1e-3)


def test_blocks_of_pairs_weigh_as_the_whole_matrix_does() -> None:
    rng = np.random.default_rng(0)
    log = [rng.integers(0, 9, length).astype(np.int32) for length in (5, 1, 8)]
    given = [rng.random(len(row)).astype(np.float32) for row in log]
    whole, pairs = cooccurrence_counts(log, 9, 3, given).toarray(), Pairs.of(log, 3, given)
    np.testing.assert_allclose(np.vstack([pairs.rows(at, at + 3, 9, ahead=True).toarray() for at in (0, 3, 6)]), whole, rtol=1e-5)
    np.testing.assert_allclose(pairs.degrees(9)[0], whole.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(pairs.degrees(9)[1], whole.sum(axis=0), rtol=1e-5)


def test_weights_are_one_on_average_and_stay_with_their_interactions() -> None:
    log = events(("a", "i", 1), ("a", "j", 2), ("b", "i", 3), event_type="view")
    bought = log.set_column(log.schema.get_field_index("event_type"), "event_type", [["view", "purchase", "view"]])
    found = split(interactions(bought, items("i", "j"), Feedback()), short().data)
    np.testing.assert_allclose(from_lists(found.weights).flat(), [3 / 7, 15 / 7, 3 / 7], rtol=1e-6)
    np.testing.assert_allclose(user_item(found.before_test, 2, found.weights).toarray(), [[3 / 7, 15 / 7], [3 / 7, 0]], rtol=1e-6)


def test_equal_weights_are_none() -> None:
    assert len(split(interactions(events(("a", "i", 1), ("a", "j", 2)), items("i", "j"), Feedback()), short().data).weights) == 0


def test_a_batch_has_the_weight_of_each_item_and_one_refused_item_of_each_user() -> None:
    log = sequences([0, 1, 2], [3, 4], [5, 6])
    given = weights([1, 2, 3], [4, 5], [6, 7])
    refused = sequences([7, 8], [], [9])
    jitter = OrderJitter(log, [np.full(len(row), 1, dtype=np.uint8) for row in log], 3.0, torch.device("cpu"), None, given, refused)
    drawn = set()
    for seed in range(20):
        found = jitter.jittered(np.random.default_rng(seed))
        assert found.weight is not None
        assert found.refused is not None
        assert found.weight.tolist() == [item + 1 for item in found.items.tolist()]
        batch = gather_batch(found, torch.tensor([0, 3, 5]), torch.tensor([2, 1, 1]), 3)
        assert batch.weight is not None
        assert batch.refused is not None
        for row in range(3):
            valid = batch.mask[row]
            assert batch.weight[row, :-1][valid].tolist() == [item + 1 for item in batch.history[row][valid].tolist()]
            assert batch.weight[row, 1:][valid].tolist() == [item + 1 for item in batch.target[row][valid].tolist()]
        assert batch.refused[1:].tolist() == [NO_ITEM, 9]
        drawn.add(int(batch.refused[0]))
    assert drawn == {7, 8}


def test_without_rules_a_batch_has_neither() -> None:
    batch = gather_batch(TrainingItems(items=torch.arange(4)), torch.tensor([0]), torch.tensor([3]), 3)
    assert (batch.weight, batch.refused) == (None, None)


def test_a_refused_item_is_pushed_below_the_target_and_none_costs_nothing() -> None:
    users, table = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]], requires_grad=True)
    loss = below_target(users, table, torch.tensor([0]), torch.tensor([1]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(np.log(1 + np.e))
    assert table.grad is not None
    assert table.grad[1, 0] > 0 > table.grad[0, 0]
    for nothing in (NO_ITEM, 0):
        assert below_target(users, table, torch.tensor([0]), torch.tensor([nothing])).item() == 0


@pytest.mark.parametrize("optimiser", ["adamw", "rowwise_adagrad"])
@pytest.mark.parametrize("loss", ["sampled_softmax", "gbce", "bce", "bpr"])
def test_a_family_that_samples_negatives_learns_to_rank_refused_items_low(loss: str, optimiser: str) -> None:
    """All users refuse the last item, which nobody has: trained on that, it is further below the others."""
    train = {"loss": loss, "optimiser": optimiser, "epochs": 2, "patience": 9, "num_negatives": 4, "embedding_learning_rate": 0.1}
    recipe = short(str({"train": train, "model": {"dropout": 0.0}}).replace("'", '"'))
    margins = []
    for is_refused in (False, True):
        torch.manual_seed(0)
        model, given = NextItemModel(NUM_ITEMS + 1, recipe.model), stage(recipe)
        refused = [np.array([NUM_ITEMS], dtype=np.int32)] * len(given.sequences) if is_refused else ()
        fit(model, replace(given, refused=refused, validate=None), recipe, Group(), TrainingState(stage="search"))
        history = torch.arange(6)[None]
        scores = model.eval().scores(history, torch.ones_like(history, dtype=torch.bool))[0]
        margins.append(float((scores[6] - scores[NUM_ITEMS]).detach()))
    assert margins[1] > margins[0]


@pytest.mark.parametrize("loss", ["softmax", "gbce", "sampled_softmax", "bce", "bpr"])
def test_a_target_of_more_weight_is_learned_more(loss: str) -> None:
    """After item 0 half of the users go to 1 and half to 2, which weighs more."""
    recipe = short(f'{{"train": {{"loss": "{loss}", "epochs": 10, "patience": 20}}, "model": {{"dropout": 0.0}}}}')
    log = sequences(*([[0, 1]] * 30), *([[0, 2]] * 30))
    torch.manual_seed(0)
    model = NextItemModel(NUM_ITEMS, recipe.model)
    given = replace(
        stage(recipe),
        sequences=log,
        gap_classes=[np.ones(2, dtype=np.uint8)] * len(log),
        weights=weights(*([[1, 0.2]] * 30), *([[1, 1.8]] * 30)),
        validate=None,
    )
    fit(model, given, recipe, Group(), TrainingState(stage="search"))
    scores = model.eval().scores(torch.tensor([[0]]), torch.ones(1, 1, dtype=torch.bool))[0]
    assert scores[2] > scores[1]


def test_what_most_users_refuse_is_recommended_to_nobody_whoever_refused_it() -> None:
    """Four refusals without a like are enough; with as many likes they are not; who liked nothing counts too."""
    rated = [(f"critic{user}", "hated", "1") for user in range(4)]
    rated += [(f"u{user}", "good", "5") for user in range(6)]
    rated += [(f"u{user}", "flop", "1") for user in range(4)]
    rated += [(f"u{user}", "few", "1") for user in range(3)]
    rated += [(f"u{user}", "split", "1" if user % 2 else "5") for user in range(6)]
    names = ("good", "flop", "few", "split", "hated")
    plain = events(*((user, item, place) for place, (user, item, _) in enumerate(rated)), event_type="rating")
    log = plain.set_column(plain.schema.get_field_index("rating"), "rating", [[float(rating) for *_, rating in rated]])
    catalogue = Catalogue(ids=list(names), titles=list(names), categories=[""] * 5, is_active=np.ones(5, dtype=np.bool_))
    for rules, expected in ((Feedback(), [False, True, False, False, True]), (BINARY, [False] * 5)):
        found = FeatureSet(root=Path(), interactions=interactions(log, items(*names), rules), items=catalogue, generation="", rules=rules)
        assert mostly_refused(found, DataConfig(split="time", test_share=0.01, validation_share=0.01)).tolist() == expected
