"""Steps of few shapes, recorded on a GPU, teach what steps of any shape do."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from lodestar.config import Recipe, override
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.recipes import get_recipe
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop.batches import cut_windows, fixed_shape_batches, gather_batch
from lodestar.training.loop.epoch_runner import EpochRunner
from lodestar.training.loop.objective import Objective
from lodestar.training.optimisation.ema import WeightEMA
from lodestar.training.optimisation.negatives import sampling_probabilities
from lodestar.training.optimisation.optimiser import Optimiser

NUM_ITEMS = 40
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def random_histories(users: int) -> Sequences:
    rng = np.random.default_rng(0)
    return [rng.integers(0, NUM_ITEMS, size=rng.integers(2, 60)).astype(np.int32) for _ in range(users)]


def flat(sequences: Sequences, device: str = "cpu") -> tuple[Tensor, np.ndarray]:
    return torch.from_numpy(np.concatenate(sequences)).long().to(device), np.array([len(items) for items in sequences])


def chosen(family: str, **train: object) -> Recipe:
    values = {"batch_tokens": 256, "order_jitter": 0.0, "learning_rate": 0.01, **train}
    changes = {"model": {"dropout": 0.0, "max_length": 20, "dim": 16, "num_heads": 2}, "train": values}
    return override(get_recipe(family), json.dumps(changes))


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "gbce", "bce", "bpr"])
@pytest.mark.parametrize("family", ["sasrec", "hstu", "gru", "caser", "two_tower"])
def test_a_place_that_does_not_count_teaches_nothing(family: str, loss: str) -> None:
    """Left out or computed and counted as nothing: the loss and all gradients are the same."""
    run = override(chosen(family, loss=loss), '{"model": {"use_text": false}}')
    sequences, found = random_histories(9), []
    items, lengths = flat(sequences)
    (pack,) = fixed_shape_batches(cut_windows(lengths, 20, np.random.default_rng(0)), 20 * 64, [20], np.random.default_rng(0))
    assert pack.windows.count.min() == 0
    batch = gather_batch(items, torch.from_numpy(pack.windows.begin), torch.from_numpy(pack.windows.count), pack.width)
    negatives = torch.randint(0, NUM_ITEMS, (64 * 21,), generator=torch.Generator().manual_seed(1))
    for is_shaped in (False, True):
        torch.manual_seed(0)
        objective = Objective(
            NextItemModel(NUM_ITEMS, run.model),
            sampling_probabilities(run.train, sequences, NUM_ITEMS),
            run.train,
            Group(),
            is_shaped=is_shaped,
        )
        # A place's own negative is the one at its number among those that are looked at.
        own = negatives if is_shaped or loss not in {"bce", "bpr"} else negatives[: 64 * 20].view(64, 20)[batch.mask]
        total = objective(batch, own, None)
        total.backward()
        found.append([total.detach(), *(weight.grad for weight in objective.parameters())])
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


def trained(run: Recipe, epochs: int, *, is_recorded: bool) -> tuple[list[float], dict[str, Tensor]]:
    sequences, group = random_histories(200), Group(device=torch.device("cuda"))
    items, lengths = flat(sequences, "cuda")
    torch.manual_seed(0)
    model = NextItemModel(NUM_ITEMS, run.model).to(group.device)
    runner = EpochRunner(model, sequences, Optimiser(model, run.train), WeightEMA(model, run.train.ema_decay), run, group)
    if not is_recorded:
        runner._step = runner.step
    losses = []
    for epoch in range(epochs):
        rng = np.random.default_rng(epoch)
        torch.manual_seed(epoch)
        losses.append(runner.epoch(items, cut_windows(lengths, 20, rng), epoch, rng)[0])
    return losses, model.state_dict()


@ON_GPU
@pytest.mark.parametrize("family", ["sasrec", "hstu", "gru", "lstm", "caser", "bert4rec"])
def test_a_replayed_step_is_the_step(family: str) -> None:
    run = override(chosen(family, loss="softmax", ema_decay=0.9), '{"model": {"dropout": 0.2}}' if family != "bert4rec" else "{}")
    (expected, weights), (found, replayed) = (trained(run, 3, is_recorded=recorded) for recorded in (False, True))
    assert found == pytest.approx(expected, rel=1e-3)
    torch.testing.assert_close(replayed, weights, rtol=0.02, atol=2e-3)


@ON_GPU
@pytest.mark.parametrize("train", [{"loss": "gbce"}, {"loss": "bce"}, {"loss": "sampled_softmax"}, {"precision": "bf16"}])
def test_every_loss_can_be_replayed(train: dict[str, str]) -> None:
    losses, _ = trained(chosen("sasrec", **train), 4, is_recorded=True)
    assert losses[-1] < losses[0]


def test_how_steps_are_made_is_the_own_devices_affair() -> None:
    """What a GPU records its steps with is kept beside the weights, and a CPU goes on without; the other way round too."""
    run = chosen("sasrec")
    before, after = (Optimiser(NextItemModel(NUM_ITEMS, run.model), run.train) for _ in range(2))
    state = before.state_dict()
    for group in state["dense"]["param_groups"]:
        group |= {"fused": True, "capturable": True, "lr": torch.tensor(0.01)}
    after.load_state_dict(state)
    ours, theirs = ([{**group, "params": []} for group in one.state_dict()["dense"]["param_groups"]] for one in (after, before))
    assert ours == theirs
