"""The Transformer: causal, blind to padding, and the same numbers after export."""

import numpy as np
import onnxruntime
import pytest
import torch

from lodestar.config import ModelConfig
from lodestar.models.sasrec import Dropout, SASRec
from lodestar.training.export import encoder_bytes

TOLERANCE = 1e-5
NUM_ITEMS = 30


@pytest.fixture
def model() -> SASRec:
    torch.manual_seed(0)
    model = SASRec(NUM_ITEMS, ModelConfig(dim=8, layers=2, heads=2, max_length=12)).eval()
    for name, values in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(values)
    return model


def batch(rows: int, places: int) -> tuple[torch.Tensor, torch.Tensor]:
    history = torch.randint(0, NUM_ITEMS, (rows, places), generator=torch.Generator().manual_seed(1))
    return history, torch.ones(rows, places, dtype=torch.bool)


def test_the_future_does_not_change_the_past(model: SASRec) -> None:
    history, mask = batch(3, 7)
    later = history.clone()
    later[:, 4:] = 0
    assert torch.allclose(model(history, mask)[:, :4], model(later, mask)[:, :4], atol=TOLERANCE)


def test_order_matters(model: SASRec) -> None:
    history, mask = batch(1, 7)
    assert not torch.allclose(model.user(history, mask), model.user(history[:, [1, 0, 2, 3, 4, 5, 6]], mask), atol=1e-3)


def test_padding_on_the_left_changes_nothing(model: SASRec) -> None:
    history, mask = batch(3, 5)
    padded = torch.cat([torch.zeros(3, 4, dtype=torch.int64), history], dim=1)
    reach = torch.cat([torch.zeros(3, 4, dtype=torch.bool), mask], dim=1)
    assert torch.allclose(model.user(padded, reach), model.user(history, mask), atol=TOLERANCE)


def test_the_newest_place_alone_equals_the_last_of_all_places(model: SASRec) -> None:
    history, mask = batch(3, 7)
    assert torch.allclose(model.user(history, mask), model(history, mask)[:, -1], atol=TOLERANCE)


def test_an_empty_history_gives_a_finite_user(model: SASRec) -> None:
    assert torch.isfinite(model.user(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.bool))).all()


@pytest.mark.parametrize(("rows", "places"), [(1, 1), (4, 3), (2, 12), (1, 20)])
def test_the_exported_encoder_gives_the_same_user(model: SASRec, rows: int, places: int) -> None:
    history, mask = batch(rows, places)
    mask[0, : places // 2] = False
    session = onnxruntime.InferenceSession(encoder_bytes(model.encoder), providers=["CPUExecutionProvider"])
    vectors = model.items(history).detach().numpy() * mask.numpy()[:, :, None]
    exported = session.run(["user"], {"history": vectors, "mask": mask.numpy()})[0]
    np.testing.assert_allclose(exported, model.user(history, mask).detach().numpy(), atol=TOLERANCE)


def test_dropout_keeps_the_mean_and_is_silent_when_serving() -> None:
    ones, layer = torch.ones(100_001), Dropout(0.25)
    torch.manual_seed(0)
    dropped = layer(ones)
    assert (dropped == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    assert layer.eval()(ones) is ones
