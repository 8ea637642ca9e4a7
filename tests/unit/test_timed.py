"""A model that looks at time: the pace of a history goes with it from the log to the answer, and tells what order does not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lodestar.bundle import bundle, timed_items
from lodestar.bundle.catalogue import Catalogue
from lodestar.config import ModelConfig, Recipe, override
from lodestar.data.split.interactions import Interactions
from lodestar.engine import onnx_runtime
from lodestar.engine.recommender import Recommender
from lodestar.errors import ConfigError
from lodestar.evaluation.metrics import rank_by
from lodestar.features.batch import feature_set
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.models.encoders.hstu import NUM_TIME_BUCKETS, time_buckets
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.progress import Progress
from lodestar.recipes import get_recipe
from lodestar.schema.time_units import DAY_S, SECOND_US
from lodestar.training import run
from lodestar.training.loop.batches import left_pad
from lodestar.training.loop.order_jitter import OrderJitter
from lodestar.training.publish.export import graph_bytes

NUM_ITEMS, DIM = 12, 8
SHORT_S, LONG_S = 60, 40 * DAY_S


def model() -> NextItemModel:
    torch.manual_seed(0)
    made = NextItemModel(
        NUM_ITEMS, ModelConfig(family="hstu", use_time_gaps=True, dim=DIM, num_layers=2, num_heads=2, max_length=10)
    ).eval()
    for name, values in made.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(values, std=0.5)
    return made


def asked(items: list[int], gaps_s: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    paced: NDArray[Any] = timed_items.pack(np.array(items), np.array(gaps_s))
    return left_pad([paced])


def test_an_item_and_its_gap_come_apart_again_and_plain_items_stay() -> None:
    items, gaps_s = np.array([0, 7, 2**31 - 1], dtype=np.int32), np.array([0, 5, timed_items.LONGEST_S])
    paced = timed_items.pack(items, gaps_s)
    np.testing.assert_array_equal(timed_items.unpack_items(paced), items)
    np.testing.assert_array_equal(timed_items.unpack_gaps(paced), gaps_s)
    np.testing.assert_array_equal(timed_items.unpack_gaps(timed_items.pack(items, gaps_s * 1000)), [0, 5000, timed_items.LONGEST_S])
    assert timed_items.unpack_items(items) is items
    assert not timed_items.unpack_gaps(items).any()


def test_gaps_are_what_a_store_holds() -> None:
    time_us = np.array([5, 5, 2_000_004, 90_000_000_000_004]) + 10**15
    np.testing.assert_array_equal(timed_items.seconds_between(time_us), [0, 0, 1, 89_999_998 + 2])
    assert timed_items.seconds_between(np.zeros(0, dtype=np.int64)).tolist() == []


def test_a_span_is_the_power_of_two_that_the_seconds_between_do_not_reach() -> None:
    found = time_buckets(torch.tensor([[99.0, 0.0, 1.0, 7.0, 8.0]]), torch.ones(1, 5, dtype=torch.bool))[0]
    newest = found[-1].tolist()
    assert newest == [5, 5, 4, 4, 0]  # 16, 16, 15 and 8 seconds, none
    assert found[:, 0].tolist() == [0, 0, 1, 4, 5]
    assert (found.triu(1) == 0).all()
    far = time_buckets(torch.tensor([[0.0, float(timed_items.LONGEST_S), 5.0]]), torch.ones(1, 3, dtype=torch.bool))
    assert int(far.max()) == NUM_TIME_BUCKETS - 1


def test_a_longer_window_gives_the_same_spans() -> None:
    rng = torch.Generator().manual_seed(0)
    gap = torch.randint(0, 10**8, (1, 50), generator=rng).float()
    whole, part = (time_buckets(gap[:, start:], torch.ones(1, 50 - start, dtype=torch.bool)) for start in (0, 20))
    torch.testing.assert_close(whole[:, 20:, 20:], part)


@torch.no_grad()
def test_it_is_blind_to_padding_and_to_the_future_and_sees_the_past_s_pace() -> None:
    made = model()
    table = made.items.weight
    history, mask = asked([1, 2, 3, 4], [0, 10, 20, 30])
    users, target, _ = made.encoder.training_targets(table, history, mask, history)
    assert target.tolist() == [[1, 2, 3, 4]]
    later, _ = asked([1, 2, 3, 9], [0, 10, 20, 99_999])
    torch.testing.assert_close(made.encoder.training_targets(table, later, mask, later)[0][:, :3], users[:, :3])
    wide = torch.cat([torch.full((1, 3), 5 << timed_items.ITEM_BITS), history], dim=1)
    shown = torch.cat([torch.zeros(1, 3, dtype=torch.bool), mask], dim=1)
    torch.testing.assert_close(made.encoder.training_targets(table, wide, shown, wide)[0][:, 3:], users)
    slower, _ = asked([1, 2, 3, 4], [0, 10, 99_999, 30])
    assert not torch.allclose(made.scores(slower, mask), made.scores(history, mask))


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 3, 10])
def test_the_graph_gives_the_model_s_answers(length: int, tmp_path: Path) -> None:
    made = model()
    rows, encoder = made.export_parts()
    graph = graph_bytes(encoder, DIM + 1)
    session = onnx_runtime.session(graph, threads=1)
    rng = np.random.default_rng(length)
    paced: NDArray[Any] = timed_items.pack(rng.integers(0, NUM_ITEMS, length), rng.integers(0, 10**7, length))
    vectors = np.concatenate(
        [rows.numpy()[timed_items.unpack_items(paced)], timed_items.unpack_gaps(paced)[:, None]], axis=1, dtype=np.float32
    )
    (found,) = session.run(None, {"history": vectors[None], "mask": np.ones((1, length), dtype=np.bool_)})
    history, mask = left_pad([paced])
    np.testing.assert_allclose(found @ rows.numpy().T, made.scores(history, mask).numpy(), rtol=1e-4, atol=1e-5)


def test_items_stray_and_their_pace_stays() -> None:
    sequences, pace = [np.arange(5, dtype=np.int32), np.arange(5, 9, dtype=np.int32)], [np.arange(5), np.arange(10, 16)]
    steps = [np.zeros(5, dtype=np.uint8), np.zeros(6, dtype=np.uint8)]
    moved = OrderJitter(sequences, steps, 5.0, torch.device("cpu"), pace).jittered(np.random.default_rng(0)).items.numpy()
    assert timed_items.unpack_gaps(moved).tolist() == [0, 1, 2, 3, 4, 10, 11, 12, 13]
    assert sorted(timed_items.unpack_items(moved)[:5].tolist()) == [0, 1, 2, 3, 4]
    assert timed_items.unpack_items(moved).tolist() != list(range(9))


def told_by_time(users: int = 400) -> FeatureSet:
    """After three items of any kind comes 8 or 10 where the last came at once, 9 or 11 where it came long after; twice a user."""
    rng, rows = np.random.default_rng(0), []
    for number in range(users):
        others, (first, second) = rng.permutation(8), ((8, 10), (10, 8))[number % 2]
        long = rng.random(2) < 0.5
        items = [*others[:3], first + long[0], *others[3:6], second + long[1], others[6]]  # the last two validate and test
        waited = [LONG_S if one else SHORT_S for one in long]
        pace = [0, SHORT_S, waited[0], SHORT_S, SHORT_S, SHORT_S, waited[1], SHORT_S, SHORT_S]
        rows += [(number, item, second) for item, second in zip(items, np.cumsum(pace), strict=True)]
    user, item, time_s = np.array(rows, dtype=np.int64).T
    ids = [f"i{row}" for row in range(NUM_ITEMS)]
    interactions = Interactions(
        users=[f"u{row}" for row in range(users)],
        items=ids,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=time_s * SECOND_US,
    )
    catalogue = Catalogue(ids=ids, titles=ids, categories=ids, is_active=np.ones(NUM_ITEMS, dtype=bool))
    return FeatureSet(root=Path(), interactions=interactions, items=catalogue, generation="")


def chosen(*, timed: bool) -> Recipe:
    """A model without time does not tell two paces apart after one epoch or after thirty."""
    model = {"family": "hstu", "use_time_gaps": timed, "dim": 16, "max_length": 10, "dropout": 0.0}
    train = {"epochs": 30 if timed else 1, "patience": 30, "learning_rate": 0.01, "batch_tokens": 256, "refit": True}
    return override(get_recipe("tiny"), json.dumps({"model": model, "train": train}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("timed")
    found = told_by_time()
    (folder / "features").mkdir()
    feature_set.save(found.interactions, found.items, folder / "features")
    for timed in (True, False):
        run.train(folder / "features", folder / str(timed), chosen(timed=timed), str(folder / "checkpoints"))
    return {timed: folder / str(timed) for timed in (True, False)}


def scores(model: Recommender, waited_s: float) -> dict[int, float]:
    found = model.candidates(["i3", "i1", "i4"], NUM_ITEMS, (), [0.0, SHORT_S, waited_s])
    return dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))


def test_what_only_time_tells_is_learned_with_time_alone(made: dict[bool, Path]) -> None:
    leads = {}
    for timed, folder in made.items():
        loaded = bundle.load(folder)
        assert loaded.info.use_time_gaps == timed
        found = [scores(Recommender(loaded), waited_s) for waited_s in (SHORT_S, LONG_S)]
        leads[timed] = [one[10] - one[11] for one in found]
    at_once, long_after = leads[True]
    assert at_once > 1 > -1 > long_after
    assert leads[False][0] == leads[False][1]


def test_evaluation_ranks_as_serving_does(made: dict[bool, Path]) -> None:
    found, model = told_by_time(), Recommender(bundle.load(made[True]))
    cases = found.split(chosen(timed=True).data).test
    with Progress("", 1) as progress:
        ranking = rank_by(model, cases, 3, progress)
    for case in range(20):
        ids = [found.items.ids[row] for row in cases.history[case]]
        gaps_s = [0.0, *(np.diff(cases.time[case]) / SECOND_US)]
        assert model.candidates(ids, 3, (), gaps_s).rows.tolist() == ranking.top[case].tolist()


def test_the_time_of_an_item_that_is_not_known_goes_to_the_next_one(made: dict[bool, Path]) -> None:
    model = Recommender(bundle.load(made[True]))
    whole = model.candidates(["i3", "i1"], 5, (), [0.0, 12.0])
    passed_over = model.candidates(["i3", "gone", "i1"], 5, (), [0.0, 5.0, 7.0])
    np.testing.assert_array_equal(passed_over.scores, whole.scores)
    assert not np.array_equal(model.candidates(["i3", "i1"], 5).scores, whole.scores)


def test_only_hstu_looks_at_time_and_rows_by_themselves_do_not() -> None:
    with pytest.raises(ConfigError, match="hstu"):
        override(get_recipe("sasrec"), '{"model": {"use_time_gaps": true}}')
    with pytest.raises(ConfigError, match="time"):
        override(get_recipe("hstu"), '{"model": {"use_time_gaps": true}, "train": {"optimiser": "rowwise_adagrad", "loss": "bce"}}')
