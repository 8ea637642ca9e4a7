"""A ranker from the log to the answer: what it is trained, evaluated and served with is the same, and it finds what no history has."""

import copy
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import uvloop
from numpy.typing import NDArray

from feature_repo import materialise
from lodestar import schema
from lodestar.bundle import bundle
from lodestar.config import Recipe, override
from lodestar.data.tables.tables import Tables
from lodestar.engine.recommender import Recommender
from lodestar.errors import DataError, UsageError
from lodestar.evaluation import metrics
from lodestar.evaluation.evaluator import Evaluator
from lodestar.evaluation.metric_titles import MODEL
from lodestar.evaluation.metrics import ndcg, rank
from lodestar.evaluation.rerank_cases import reordering
from lodestar.features.asof import historical_counts
from lodestar.features.asof.history import to_microseconds
from lodestar.features.batch import feature_set as features_store
from lodestar.monitoring import skew
from lodestar.progress import Progress
from lodestar.recipes import get_recipe
from lodestar.schema import ranker_inputs
from lodestar.schema.store_keys import TRAINING_SET
from lodestar.schema.time_units import DAY_S, HOUR_S, SECOND_US
from lodestar.training import run
from lodestar.training.loop.checkpoints import Checkpoints, TrainingState
from serving.features.feature_client import Counts, connect
from tests.contract.conftest import StartRedis, StartServing, generation_of, publish
from tests.factories import EPOCH_US
from tests.ports import free_port
from tests.unit.test_features import built

DAYS, USERS, HOT_A_DAY, ITEMS, CANDIDATES = 12, 80, 4, 80, 60


def chosen() -> Recipe:
    changes = {
        "train": {"epochs": 3, "refit": True},
        "rank": {"candidates": CANDIDATES, "dim": 16, "batch_size": 64, "epochs": 20, "learning_rate": 0.005},
    }
    return override(get_recipe("tiny"), json.dumps(changes))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each day has items of its own that most users choose, and a few that they choose on any day. The log ends now."""
    rng = np.random.default_rng(0)
    last = int(time.time()) - EPOCH_US // SECOND_US
    of_day = rng.permutation(ITEMS)[: DAYS * HOT_A_DAY].reshape(DAYS, HOT_A_DAY)
    rows = []
    for day in range(DAYS):
        for user in range(USERS):
            wanted = [*rng.choice(of_day[day], 3, replace=False), rng.integers(ITEMS)]
            begins = last - (DAYS - day) * DAY_S + int(rng.integers(20 * HOUR_S))
            rows += [(f"u{user}", f"i{item}", begins + 60 * place) for place, item in enumerate(wanted)]
    folder = built(tmp_path_factory.mktemp("ranked"), sorted(rows, key=lambda row: row[2]))
    publish(folder)
    return folder


@pytest.fixture(scope="module")
def made(features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    run.train(features, folder / "bundle", chosen(), str(folder / "checkpoints"))
    return folder / "bundle"


def now(count: int) -> NDArray[np.int64]:
    return np.full(count, time.time_ns() // 1000, dtype=np.int64)


def test_serving_inputs_are_training_inputs(features: Path) -> None:
    joined = pd.read_parquet(features / TRAINING_SET)
    timestamps = to_microseconds(pq.read_table(features / TRAINING_SET)[schema.FEATURE_TIME])
    user_counts = historical_counts.counts(features, schema.USER_ACTIVITY_VIEW, joined[schema.USER_ID].tolist(), timestamps)
    item_counts = historical_counts.counts(features, schema.ITEM_STATS_VIEW, joined[schema.ITEM_ID].tolist(), timestamps)
    np.testing.assert_array_equal(ranker_inputs.pair_features(user_counts, item_counts), joined[list(ranker_inputs.NAMES)].to_numpy())
    assert len(np.unique(joined[ranker_inputs.RECENCY_COUNTS])) > 10


@pytest.mark.parametrize(("stage", "epoch"), [("search", 2), ("refit", 1)])
def test_a_run_that_was_stopped_ends_with_the_same_ranker(
    stage: str, epoch: int, features: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, state: TrainingState) -> None:
        save(self, state)
        if (state.stage, state.epoch) == (stage, epoch):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "SAVE_INTERVAL_FACTOR", 0)  # of each epoch
        patch.setattr(Checkpoints, "save", save_and_stop)
        run.train(features, tmp_path / "bundle", chosen(), str(tmp_path / "checkpoints"))
    assert not (tmp_path / "bundle").exists()
    run.train(features, tmp_path / "bundle", chosen(), str(tmp_path / "checkpoints"))
    assert bundle.load(tmp_path / "bundle").digest == bundle.load(made).digest


@pytest.mark.parametrize(("broken", "code"), [("missing", "E151"), ("one class", "E210")])
def test_a_training_set_that_teaches_nothing_is_refused_before_anything_is_trained(
    broken: str, code: str, features: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = shutil.copytree(features, tmp_path / "features")
    joined = pd.read_parquet(found / TRAINING_SET)
    (found / TRAINING_SET).unlink()
    if broken == "one class":
        joined.assign(**{schema.LABEL: 1}).to_parquet(found / TRAINING_SET)
    with pytest.raises(DataError, match=code):
        run.train(found, tmp_path / "bundle", chosen(), str(tmp_path / "checkpoints"))
    assert not (tmp_path / "bundle").exists()
    assert "epoch" not in capfd.readouterr().err


def test_it_finds_what_is_hot_of_late(features: Path, made: Path) -> None:
    loaded, found = bundle.load(made), features_store.load(features)
    assert loaded.ranker is not None
    evaluator = Evaluator(found, loaded, loaded, chosen())
    with Progress("", 1) as progress:
        plain = rank(Recommender(loaded).scores, evaluator.split.test, ITEMS, 10, progress)
    assert ndcg(evaluator.rankings[MODEL], 10).mean() > 2 * ndcg(plain, 10).mean()


@pytest.mark.parametrize("is_one_cutoff", [True, False])
def test_a_case_is_ordered_by_what_was_known_at_its_cutoff(is_one_cutoff: bool, features: Path, made: Path) -> None:
    model, found = Recommender(bundle.load(made)), features_store.load(features)
    cases = found.split(chosen().data).test
    timestamp = np.full(len(cases), cases.cutoff_us.min(), dtype=np.int64) if is_one_cutoff else cases.cutoff_us
    cases = replace(cases, cutoff_us=timestamp)
    scores = metrics.mask_excluded(model.scores(cases.history), cases.history)
    ordered, reorder = scores.copy(), reordering(model, found, cases)
    assert reorder is not None
    for start in range(0, len(cases), 16):
        reorder(start, ordered[start : start + 16])
    for case, history in enumerate(cases.history):
        retrieved = model.candidates([found.items.ids[row] for row in history], ITEMS)
        rows = retrieved.rows[:CANDIDATES]
        item_counts = historical_counts.counts(
            features, schema.ITEM_STATS_VIEW, [found.items.ids[row] for row in rows], np.full(len(rows), timestamp[case])
        )
        user_counts = historical_counts.counts(
            features, schema.USER_ACTIVITY_VIEW, [found.interactions.users[cases.user[case]]], timestamp[[case]]
        )
        wanted = model.rerank(retrieved, ranker_inputs.pair_features(user_counts, item_counts)).rows
        np.testing.assert_array_equal(np.argsort(-ordered[case], kind="stable")[: len(wanted)], wanted)
    assert (np.argsort(-ordered) != np.argsort(-scores)).any()


@pytest.fixture(params=["sqlite", "redis"])
def address(request: pytest.FixtureRequest, features: Path, start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an online store that the features were published to."""
    if request.param == "sqlite":
        return f"sqlite:{features / 'online' / 'online.db'}"
    start_redis(port := free_port())
    monkeypatch.setenv("LODESTAR_REDIS", f"127.0.0.1:{port}")
    materialise.materialise_redis(features)
    return f"redis://127.0.0.1:{port}"


def test_a_store_gives_the_counts_that_history_gives(features: Path, address: str) -> None:
    users, items = [f"u{user}" for user in range(USERS)] + ["nobody"], [f"i{item}" for item in range(ITEMS)] + ["i0", "none"]

    async def asked() -> Counts:
        client = connect(address, generation=generation_of(features))
        try:
            await client.histories([""])  # what opens a connection takes longer than an answer may
            return await client.counts(users, items)
        finally:
            await client.close()

    user_counts, item_counts = (numbers.values for numbers in uvloop.run(asked()))
    assert np.isnan(user_counts[-1]).all()
    assert np.isnan(item_counts[-1]).all()
    for view, entities, given in ((schema.USER_ACTIVITY_VIEW, users, user_counts), (schema.ITEM_STATS_VIEW, items, item_counts)):
        wanted = historical_counts.counts(features, view, entities, now(len(entities)))
        np.testing.assert_array_equal(np.nan_to_num(given).astype(np.float32), wanted)
        assert wanted.any()


def test_an_answer_is_in_the_ranker_s_order(features: Path, made: Path, start_serving: StartServing) -> None:
    address = start_serving("--bundle", made, "--online-store", f"sqlite:{features / 'online' / 'online.db'}").address
    found, model = features_store.load(features), Recommender(bundle.load(made))
    is_moved = False
    for user, history in zip(found.interactions.users[:5], found.interactions.histories(), strict=False):
        answer = httpx.get(f"{address}/v1/recommend?user={user}&k=10").json()
        retrieved = model.candidates([found.items.ids[row] for row in history], 10)
        ids = [found.items.ids[row] for row in retrieved.rows]
        user_counts = historical_counts.counts(features, schema.USER_ACTIVITY_VIEW, [user] * len(ids), now(len(ids)))
        item_counts = historical_counts.counts(features, schema.ITEM_STATS_VIEW, ids, now(len(ids)))
        wanted = model.to_recommendations(model.rerank(retrieved, ranker_inputs.pair_features(user_counts, item_counts)))
        assert [place["item_id"] for place in answer["items"]] == [place.item_id for place in wanted]
        is_moved |= [place.item_id for place in wanted] != ids[:10]
    assert is_moved


@pytest.fixture(scope="module")
def proven(features: Path, made: Path, start_serving: StartServing, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The feature log of a real process."""
    log = tmp_path_factory.mktemp("log") / "feature-log.jsonl"
    server = start_serving("--bundle", made, "--online-store", f"sqlite:{features / 'online' / 'online.db'}", "--feature-log", log)
    for user in ("u0", "u1", "u0", "nobody"):
        httpx.get(f"{server.address}/v1/recommend", params={"user": user, "k": 5}).raise_for_status()
    assert server.stop() == (0, "")
    return [json.loads(line) for line in log.read_text().splitlines()]


def proof(features: Path, rows: list[dict[str, Any]], log: Path) -> skew.SkewReport:
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scales = {generation_of(features): features_store.count_scale(features)}
    read, last = skew.read([log]), timedelta(hours=1)
    return skew.check_skew(read, dict.fromkeys(read.generations(last), Tables(root=features.parent / "tables")), last, scales)


def test_the_counts_of_an_answer_are_what_history_gives(features: Path, proven: list[dict[str, Any]], tmp_path: Path) -> None:
    assert [len(row.get(schema.COUNTS, ())) for row in proven] == [6, 6, 6, 0]  # the user, and what was shown
    assert any(max(values) > 0 for row in proven[:3] for *_, values in row[schema.COUNTS])
    found = proof(features, proven, tmp_path / "feature-log.jsonl")
    assert (found.requests, found.differences) == (4, ())


def greater(row: list[Any]) -> None:
    row[3][1] = float(np.nextafter(np.float32(row[3][1]), np.float32(2)))


def of_before(row: list[Any]) -> None:
    row[2] -= 48 * HOUR_S * SECOND_US


def of_later(row: list[Any]) -> None:
    row[2] += 48 * HOUR_S * SECOND_US


def of_another(row: list[Any]) -> None:
    row[1] = "of whom nothing is known"


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("change", [greater, of_before, of_later, of_another])
def test_a_planted_skew_of_a_count_is_caught(
    change: Callable[[list[Any]], None], place: int, features: Path, proven: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = copy.deepcopy(proven)
    change(rows[1][schema.COUNTS][place])
    (found,) = proof(features, rows, tmp_path / "feature-log.jsonl").differences
    assert found.request_id == rows[1][schema.REQUEST_ID]
    assert rows[1][schema.COUNTS][place][1] in found.feature


def test_a_log_with_counts_of_no_view_is_a_coded_error(features: Path, proven: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = copy.deepcopy(proven)
    rows[1][schema.COUNTS][0][0] = "no such view"
    with pytest.raises(DataError, match=r"E109.*no such view"):
        proof(features, rows, tmp_path / "feature-log.jsonl")


def test_counts_are_held_to_the_scale_of_the_generation_that_they_were_read_from(
    features: Path, proven: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert {row[schema.FEATURE_GENERATION] for row in proven} == {generation_of(features)}
    other = [row | {schema.FEATURE_GENERATION: "f" * 16} for row in proven]
    with pytest.raises(UsageError, match=f"generation {'f' * 16}, and --features gives {generation_of(features)}"):
        proof(features, other, tmp_path / "feature-log.jsonl")
