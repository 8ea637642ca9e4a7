"""Every family that learns from order: blind to padding, honest about the future, and the same numbers after export."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from lodestar.bundle.catalogue import Catalogue, from_arrays
from lodestar.config import TRAINED_FAMILIES, ModelConfig
from lodestar.engine import onnx_runtime
from lodestar.models.encoders.attention import Dropout
from lodestar.models.encoders.item_text import ItemTokens, words_of
from lodestar.models.encoders.next_item import ENCODERS, NextItemModel
from lodestar.training.publish.export import graph_bytes

TOLERANCE = 1e-5
NUM_ITEMS, MAX_LENGTH = 30, 12
WORDY = ("content", "two_tower")
CAUSAL = [family for family in TRAINED_FAMILIES if family != "bert4rec"]


def catalogue(titles: Iterable[str]) -> Catalogue:
    titles = list(titles)
    ids = [f"i{row}" for row in range(len(titles))]
    return Catalogue(ids=ids, titles=titles, categories=["", "toy"] * (len(ids) // 2), is_active=np.ones(len(ids), dtype=bool))


def written() -> ItemTokens:
    return words_of(catalogue(f"colour {row % 3} size {row % 4}" for row in range(NUM_ITEMS)))


def made(family: str) -> NextItemModel:
    torch.manual_seed(0)
    has_words = family in WORDY
    config = ModelConfig(family=family, dim=8, num_layers=2, num_heads=2, max_length=MAX_LENGTH, use_text=has_words)  # type: ignore[arg-type]
    model = NextItemModel(NUM_ITEMS, config, written() if has_words else None).eval()
    for name, values in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(values)
    return model


@pytest.fixture(params=TRAINED_FAMILIES)
def model(request: pytest.FixtureRequest) -> NextItemModel:
    return made(request.param)


def batch(rows: int, places: int) -> tuple[torch.Tensor, torch.Tensor]:
    history = torch.randint(0, NUM_ITEMS, (rows, places), generator=torch.Generator().manual_seed(1))
    return history, torch.ones(rows, places, dtype=torch.bool)


def everywhere(model: NextItemModel, history: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    users: torch.Tensor = model.encoder(functional.embedding(history, model.tables()[0]), mask)
    return users


def test_every_family_has_an_encoder() -> None:
    assert tuple(ENCODERS) == TRAINED_FAMILIES


@pytest.mark.parametrize("family", CAUSAL)
def test_the_future_does_not_change_the_past(family: str) -> None:
    model, (history, mask) = made(family), batch(3, 7)
    later = history.clone()
    later[:, 4:] = 0
    assert torch.allclose(everywhere(model, history, mask)[:, :4], everywhere(model, later, mask)[:, :4], atol=TOLERANCE)


@pytest.mark.parametrize("family", CAUSAL)
def test_the_newest_place_alone_equals_the_last_of_all_places(family: str) -> None:
    model, (history, mask) = made(family), batch(3, 7)
    users = everywhere(model, history, mask)[:, -1]
    assert torch.allclose(model.scores(history, mask), users @ model.tables()[1].T, atol=TOLERANCE)


def test_order_matters(model: NextItemModel) -> None:
    history, mask = batch(1, 7)
    assert not torch.allclose(model.scores(history, mask), model.scores(history[:, [0, 1, 2, 3, 4, 6, 5]], mask), atol=1e-3)


def test_padding_on_the_left_changes_nothing(model: NextItemModel) -> None:
    history, mask = batch(3, 5)
    padded = torch.cat([torch.zeros(3, 4, dtype=torch.int64), history], dim=1)
    reach = torch.cat([torch.zeros(3, 4, dtype=torch.bool), mask], dim=1)
    assert torch.allclose(model.scores(padded, reach), model.scores(history, mask), atol=TOLERANCE)


def test_an_empty_history_gives_finite_scores(model: NextItemModel) -> None:
    assert torch.isfinite(model.scores(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.bool))).all()


@pytest.mark.parametrize(("rows", "places"), [(1, 1), (4, 3), (2, 12), (1, 20)])
def test_what_is_exported_gives_the_same_scores(model: NextItemModel, rows: int, places: int) -> None:
    history, mask = batch(rows, places)
    mask[0, : places // 2] = False
    table, encoder = model.export_parts()
    session = onnx_runtime.session(graph_bytes(encoder, table.shape[1]), threads=1)
    vectors = table[history].numpy() * mask.numpy()[:, :, None]
    users = session.run(["user"], {"history": vectors, "mask": mask.numpy()})[0]
    np.testing.assert_allclose(users @ table.numpy().T, model.scores(history, mask).detach().numpy(), atol=1e-4)


def test_a_batch_teaches_each_place_or_what_was_hidden(model: NextItemModel) -> None:
    history, mask = batch(4, 6)
    mask[0, :3] = False
    target = torch.roll(history, -1, dims=1)
    users, targets, counts, answers = model.train()(history, mask, target)
    users, targets = users[counts], targets[counts]
    assert users.shape == (len(targets), 8)
    assert answers.shape == (NUM_ITEMS, 8)
    expected = set(target[mask].tolist()) | set(history[mask].tolist())
    assert set(targets.tolist()) <= expected
    if model.encoder.__class__.__name__ != "BERT4Rec":
        assert targets.tolist() == target[mask].tolist()


def test_masked_items_are_predicted_without_being_seen() -> None:
    """An item at a hidden place does not reach what is said of it, whichever it is."""
    model, (history, mask) = made("bert4rec"), batch(1, 1)
    tables = [model.tables()[0].clone() for _ in range(2)]
    tables[1][5] += 1
    heard = []
    for table in tables:
        torch.manual_seed(3)
        users, targets, hidden = model.encoder.training_targets(table, torch.full_like(history, 7), mask, torch.full_like(history, 5))
        heard.append(users[hidden & (targets == 5)])
    assert len(heard[0]) == 1
    assert torch.equal(heard[0], heard[1])


def test_all_parts_of_a_path_and_all_tags_are_words_of_their_own() -> None:
    items = replace(
        catalogue(["Toy", "toy"]), categories_and_tags=[("category toy", "category wood", "tag red"), ("tag red", "category wood")]
    )
    found = words_of(from_arrays(items.arrays()))
    assert found.num_words == 3  # category wood, tag red, toy
    parts = [found.word[start:end].tolist() for start, end in zip(found.starts, found.starts[1:], strict=False)]
    assert parts == [[2, 0, 1], [2, 1, 0]]


def test_words_are_shared_and_lonely_ones_left_out() -> None:
    found = words_of(catalogue(["Red ball", "red BALL red", "Unheard", "ball"]))
    assert found.num_words == 3  # ball, category toy, red
    parts = [found.word[start:end].tolist() for start, end in zip(found.starts, found.starts[1:], strict=False)]
    assert parts == [[2, 0], [2, 0, 1], [], [0, 1]]


@pytest.mark.parametrize("count", [0, 2])
def test_a_catalogue_without_words_is_one_too(count: int) -> None:
    found = words_of(Catalogue(ids=["a"] * count, titles=[""] * count, categories=[""] * count, is_active=np.ones(count, dtype=bool)))
    assert (found.num_words, found.starts.tolist()) == (0, [0] * (count + 1))


def test_an_item_without_interactions_is_where_its_words_put_it() -> None:
    model = made("two_tower")
    model.zero_unseen_items([np.arange(1, NUM_ITEMS, dtype=np.int32)])
    table, _ = model.export_parts()
    assert model.words is not None
    assert torch.equal(table[0], model.words()[0])
    assert not torch.equal(table[12], model.words()[12])


def test_dropout_keeps_the_mean_and_is_silent_when_serving() -> None:
    ones, layer = torch.ones(100_001), Dropout(0.25)
    torch.manual_seed(0)
    dropped = layer(ones)
    assert (dropped == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    assert layer.eval()(ones) is ones
