"""The losses against the plain formulas."""

import pytest
import torch
from torch.nn import functional

from lodestar.config import TrainConfig
from lodestar.training.optimisation.losses import CHUNK, bce, bpr, gbce, sampled_softmax, softmax
from lodestar.training.optimisation.negatives import Negatives


def random_places(places: int, items: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(places)
    users = torch.randn(places, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    table = torch.randn(items, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    return users, table, torch.randint(0, items, (places,), generator=rng)


@pytest.mark.parametrize("places", [1, CHUNK, CHUNK + 1, 3 * CHUNK - 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_chunked_softmax_has_the_value_and_gradients_of_cross_entropy(places: int, smoothing: float) -> None:
    users, table, target = random_places(places, 11)
    plain = functional.cross_entropy(users @ table.T, target, reduction="sum", label_smoothing=smoothing)
    expected = torch.autograd.grad(plain, [users, table])
    loss = softmax(users, table, target, smoothing)
    assert loss.item() == pytest.approx(plain.item())
    for ours, theirs in zip(torch.autograd.grad(3 * loss, [users, table]), expected, strict=True):
        torch.testing.assert_close(ours, 3 * theirs)


def test_a_place_counts_as_much_as_its_share() -> None:
    users, table, target = random_places(7, 11)
    share = torch.tensor([1.0, 0, 1, 0.5, 0, 1, 1], dtype=torch.float64)
    plain = (functional.cross_entropy(users @ table.T, target, reduction="none", label_smoothing=0.1) * share).sum()
    loss = softmax(users, table, target, 0.1, share)
    assert loss.item() == pytest.approx(plain.item())
    for ours, theirs in zip(torch.autograd.grad(loss, [users, table]), torch.autograd.grad(plain, [users, table]), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_places_cost_nothing() -> None:
    users, table, target = random_places(0, 11)
    loss = softmax(users, table, target)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, table)[0].any()


def test_sampled_softmax_over_every_item_once_is_the_full_softmax() -> None:
    users, table, target = random_places(5, 11)
    sampled = sampled_softmax(users, table, target, torch.arange(11), torch.zeros(11, dtype=torch.float64))
    assert sampled.sum().item() == pytest.approx(softmax(users, table, target).item())


def test_gbce_without_calibration_is_binary_cross_entropy() -> None:
    users, table, target = random_places(1, 3)
    negatives = torch.tensor([item for item in range(3) if item != target.item()])
    scores = users @ table.T
    truth = functional.one_hot(target, 3).double()
    expected = functional.binary_cross_entropy_with_logits(scores, truth)
    assert gbce(users, table, target, negatives, calibration=0.0, num_items=3).sum().item() == pytest.approx(expected.item())


def test_calibration_makes_the_clicked_item_count_less() -> None:
    users, table, target = random_places(5, 101)
    negatives = torch.arange(10)
    assert gbce(users, table, target, negatives, 1.0, 101).sum() < gbce(users, table, target, negatives, 0.0, 101).sum()


def test_gbce_takes_at_most_one_negative_per_item_but_the_target_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for items, expected in ((101, 100), (2, 1), (1, 1)):
        train, rates = TrainConfig(loss="gbce", num_negatives=1024), torch.full((items,), 1 / items)
        negatives = Negatives(rates, train, 1).sample_batch(3, 4, seed=0)
        assert len(negatives) == expected
        users, table, target = random_places(2, items)
        at_most = gbce(users, table, target, negatives, 0.75, items)
        assert at_most.isfinite().all()
        torch.testing.assert_close(at_most, gbce(users, table, target, negatives, 0.0, items))  # BCE: nothing is left to calibrate
    assert len(Negatives(torch.full((2_000,), 1 / 2_000), train, 1).sample_batch(3, 4, seed=0)) == 1024
    assert capsys.readouterr().err.count("capped") == 3


def test_bce_is_that_of_the_target_and_of_the_places_negative_unless_they_are_one() -> None:
    users, table, target = random_places(5, 11)
    negative = torch.tensor([0, 3, 7, int(target[3]), 10])
    scores = users @ table.T
    each = functional.softplus(-scores.gather(1, target[:, None]))[:, 0]
    each = each + functional.softplus(scores.gather(1, negative[:, None]))[:, 0] * torch.tensor([1, 1, 1, 0, 1])
    assert bce(users, table, target, negative).sum().item() == pytest.approx(each.sum().item() / 2)


def test_bpr_is_how_far_each_target_is_from_beating_its_negative() -> None:
    users, table, target = random_places(5, 11)
    negative = torch.tensor([0, 3, 7, int(target[3]), 10])
    scores = users @ table.T
    ahead = (scores.gather(1, target[:, None]) - scores.gather(1, negative[:, None]))[:, 0]
    expected = functional.softplus(-ahead)[[0, 1, 2, 4]].sum()
    assert bpr(users, table, target, negative).sum().item() == pytest.approx(expected.item())
