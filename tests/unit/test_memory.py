"""The memory points where counting points, and is only as loud as validation wants it."""

import numpy as np
import pytest
import torch

from lodestar.data.splits import Cases
from lodestar.models.cooccurrence import CoOccurrence
from lodestar.models.memory import Memory
from lodestar.training.blend import choose_weight, remembered
from lodestar.training.start import directions, item_vectors, memory
from tests.factories import small_model
from tests.unit.test_loop import NUM_ITEMS, cycles, next_items


def test_all_directions_together_rank_as_co_occurrence_does() -> None:
    sequences = cycles()
    remember, places = memory(directions(sequences, NUM_ITEMS, NUM_ITEMS - 1, seed=0), sequences)
    remember.weight.fill_(1.0)
    histories = [items[-2:] for items in sequences]
    ours = remembered(remember, torch.from_numpy(places), histories).numpy()
    theirs = CoOccurrence().fit(sequences, NUM_ITEMS).score(histories)
    agreement = [np.corrcoef(row, other)[0, 1] for row, other in zip(ours, theirs, strict=True)]
    assert min(agreement) > 0.95


def test_a_users_vector_is_as_long_as_the_weight_and_recent_items_count_more() -> None:
    remember = Memory(torch.eye(2), weight=3.0)
    history = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    user = remember(history, torch.ones(1, 2, dtype=torch.bool))
    assert torch.allclose(user, 3 * torch.tensor([[0.7, 1.0]]) / 1.49**0.5)


def test_padding_is_not_remembered() -> None:
    remember = Memory(torch.eye(2), weight=1.0)
    history = torch.tensor([[[9.0, 9.0], [0.0, 1.0]]])
    assert torch.allclose(remember(history, torch.tensor([[False, True]])), torch.tensor([[0.0, 1.0]]))


def test_the_weight_is_chosen_where_the_memory_helps_and_zero_where_it_misleads() -> None:
    sequences = cycles()
    model = small_model(NUM_ITEMS)
    remember, places = memory(directions(sequences, NUM_ITEMS, 8, seed=0), sequences)
    helped, quality = choose_weight(model, remember, places, next_items(sequences), 10)
    assert helped > 0
    assert quality.ndcg > 0.5
    ahead = np.array([(items[-1] + 6) % NUM_ITEMS for items in sequences], dtype=np.int32)
    cases = next_items(sequences)
    elsewhere = Cases(user=cases.user, history=cases.history, relevant=list(ahead[:, None]))
    unhelped, _ = choose_weight(model, remember, places, elsewhere, 10)
    assert unhelped < helped


def test_item_vectors_have_the_spread_that_the_model_expects() -> None:
    vectors = item_vectors(directions(cycles(), NUM_ITEMS, 8, seed=0), 8, seed=0)
    assert float(vectors.std()) == pytest.approx(8**-0.5, rel=0.2)


def test_a_catalogue_of_one_item_has_no_directions() -> None:
    assert directions([np.zeros(1, dtype=np.int32)], 1, 8, seed=0).columns.shape == (1, 0)
