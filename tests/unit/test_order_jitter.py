"""Noise in the order of a history stays within a sitting."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from lodestar.data.split.interactions import Interactions
from lodestar.models.closed_form.counts import Sequences
from lodestar.schema.time_units import HOUR_US, SECOND_US
from lodestar.training.loop.order_jitter import GAP_DISTANCES, GapClasses, OrderJitter, gap_classes


def interactions(*users: list[int]) -> Interactions:
    lengths = [len(times) for times in users]
    return Interactions(
        users=[f"u{row}" for row in range(len(users))],
        items=[f"i{row}" for row in range(max(lengths, default=0))],
        user=np.repeat(np.arange(len(users), dtype=np.int32), lengths),
        item=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]) if users else np.zeros(0, dtype=np.int32),
        time=np.concatenate([np.array(times, dtype=np.int64) for times in users]) if users else np.zeros(0, dtype=np.int64),
    )


def jittered(sequences: Sequences, known: Sequence[GapClasses], spread: float, rng: np.random.Generator) -> Sequences:
    moved = OrderJitter(sequences, known, spread, torch.device("cpu")).jittered(rng).items.numpy()
    return np.split(moved, np.cumsum([len(sequence) for sequence in sequences])[:-1])


def test_one_time_is_close_together_and_a_break_is_far() -> None:
    (found,) = gap_classes(interactions([0, 0, SECOND_US, 3 * HOUR_US]))
    close, step, far = (GAP_DISTANCES[how] for how in found[1:])
    assert close < step < far


def test_nobody_has_no_places() -> None:
    assert len(gap_classes(interactions())) == 0


@pytest.mark.parametrize("length", [1, 4, 8])
def test_a_part_of_a_history_keeps_its_items(length: int) -> None:
    (known,) = gap_classes(interactions([0] * 8))
    (moved,) = jittered([np.arange(length, dtype=np.int32)], [known], 2.0, np.random.default_rng(0))
    assert sorted(moved) == list(range(length))


def test_no_noise_changes_nothing() -> None:
    (moved,) = jittered([np.arange(3, dtype=np.int32)], gap_classes(interactions([0, 0, 0])), 0.0, np.random.default_rng(0))
    assert moved.tolist() == [0, 1, 2]


def test_items_stray_within_a_sitting_and_not_over_a_break() -> None:
    known = gap_classes(interactions([0, 0, 0, 0, HOUR_US, HOUR_US, HOUR_US], [0, HOUR_US, 2 * HOUR_US]))
    sequences, rng = [np.arange(7, dtype=np.int32), np.arange(3, dtype=np.int32)], np.random.default_rng(1)
    moved = [jittered(sequences, known, 2.0, rng) for _ in range(50)]
    assert {tuple(sorted(first[:4])) for first, _ in moved} == {(0, 1, 2, 3)}
    assert len({tuple(first[:4]) for first, _ in moved}) > 10
    assert {tuple(second) for _, second in moved} == {(0, 1, 2)}
