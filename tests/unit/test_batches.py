"""Windows and batches: each item is a target once an epoch, and nothing is padded beyond the budget."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lodestar.models.closed_form.counts import Sequences
from lodestar.schema.arrays import Longs
from lodestar.training.loop.batches import (
    Batch,
    BatchPlan,
    TrainingItems,
    bucket_batches,
    cut_windows,
    fixed_shape_batches,
    gather_batch,
    left_pad,
)
from lodestar.training.optimisation.negatives import popularity_probabilities, sample


def numbered(lengths: list[int]) -> Sequences:
    """Sequences in which every item is another."""
    ends = np.cumsum(lengths)
    return [np.arange(end - length, end, dtype=np.int32) for length, end in zip(lengths, ends, strict=True)]


def batches(sequences: Sequences, max_length: int, batch_tokens: int, rng: np.random.Generator) -> list[Batch]:
    return gather(sequences, bucket_batches(cut_windows(lengths_of(sequences), max_length, rng), batch_tokens, rng))


def lengths_of(sequences: Sequences) -> Longs:
    return np.array([len(sequence) for sequence in sequences], dtype=np.int64)


def gather(sequences: Sequences, made: list[BatchPlan]) -> list[Batch]:
    items = torch.from_numpy(np.concatenate(sequences)).long()
    return [
        gather_batch(TrainingItems(items=items), torch.from_numpy(pack.windows.begin), torch.from_numpy(pack.windows.count), pack.width)
        for pack in made
    ]


def pairs(packs: list[Batch]) -> Counter[tuple[int, int]]:
    return Counter(
        pair for batch in packs for pair in zip(batch.history[batch.mask].tolist(), batch.target[batch.mask].tolist(), strict=True)
    )


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8), max_length=st.integers(1, 12), seed=st.integers(0, 99))
def test_each_item_but_the_first_is_a_target_once_and_follows_its_predecessor(lengths: list[int], max_length: int, seed: int) -> None:
    sequences = numbered(lengths)
    expected = Counter((int(item) - 1, int(item)) for sequence in sequences for item in sequence[1:])
    packs = batches(sequences, max_length, 24, np.random.default_rng(seed))
    assert pairs(packs) == expected
    assert all(batch.history.shape[1] <= max_length for batch in packs)
    assert all(batch.history.numel() <= 24 or len(batch.history) == 1 for batch in packs)


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30), budget=st.integers(1, 50), seed=st.integers(0, 99))
def test_few_shapes_hold_the_same(lengths: list[int], budget: int, seed: int) -> None:
    sequences, rng = numbered(lengths), np.random.default_rng(seed)
    windows = cut_windows(lengths_of(sequences), 12, rng)
    made = fixed_shape_batches(windows, budget, (4, 8, 12), rng)
    expected = Counter((int(item) - 1, int(item)) for sequence in sequences for item in sequence[1:])
    assert pairs(gather(sequences, made)) == expected
    assert {(len(pack.windows), pack.width) for pack in made} <= {(max(1, budget // width), width) for width in (4, 8, 12)}
    is_partial = [pack.windows.count.min() == 0 for pack in made]
    assert sum(is_partial) <= 1


@given(lengths=st.lists(st.integers(2, 9), min_size=1, max_size=6), size=st.integers(1, 4))
def test_workers_share_a_batch_without_overlap(lengths: list[int], size: int) -> None:
    [batch] = batches(numbered(lengths), 10, 1000, np.random.default_rng(0))
    assert sum((pairs([batch.part(rank, size)]) for rank in range(size)), Counter()) == pairs([batch])


def test_cuts_of_a_long_history_move_between_epochs() -> None:
    rng = np.random.default_rng(0)
    epochs = [batches(numbered([50]), 10, 1000, rng)[0].history.tolist() for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_padding_stands_on_the_left() -> None:
    items, mask = left_pad(numbered([1, 3]))
    assert items.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert mask.tolist() == [[False, False, True], [True, True, True]]


def test_no_history_is_one_empty_place() -> None:
    assert left_pad([np.zeros(0, dtype=np.int32)])[1].tolist() == [[False]]


def test_negatives_are_drawn_as_often_as_their_rates_say() -> None:
    rates = popularity_probabilities([*numbered([4])] * 15, 8)
    drawn = torch.bincount(sample(rates, 100_000, torch.Generator().manual_seed(0)), minlength=8) / 100_000
    assert rates.sum().item() == pytest.approx(1)
    assert (rates[0] / rates[7]).item() == pytest.approx(16**0.75)
    torch.testing.assert_close(drawn, rates, atol=0.01, rtol=0)
