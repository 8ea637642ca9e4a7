"""Ratings from the log to the answer: nothing of the test is trained on, and what is served beats biases where tastes differ."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lodestar import schema
from lodestar.bundle import bundle
from lodestar.config import Recipe, Split, override
from lodestar.data.split.splits import training_cutoffs
from lodestar.data.tables import tables
from lodestar.errors import DataError, EnvironmentFault
from lodestar.evaluation import rating_errors
from lodestar.evaluation.metric_titles import MODEL
from lodestar.features.batch import feature_set, ratings_table
from lodestar.features.batch.build import build_features
from lodestar.models.closed_form import memory
from lodestar.recipes import get_recipe
from lodestar.schema.time_units import SECOND_US
from lodestar.training import run
from tests.contract.conftest import StartServing
from tests.factories import EPOCH_US, table
from tests.unit.test_features import RECIPE, built

USERS, ITEMS, SHARE = 60, 40, 0.5
Row = tuple[str, str, float | None, float]


def chosen(**rate: Any) -> Recipe:
    changes = {"train": {"epochs": 1}, "rate": {"dim": 3, "burn_in": 20, "num_samples": 60} | rate}
    return override(get_recipe("tiny"), json.dumps(changes))


def built_of(folder: Path, rows: list[Row]) -> Path:
    """Features of (user, item, rating, second)."""
    timestamps = [EPOCH_US + round(second * SECOND_US) for *_, second in rows]
    events = table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(len(rows))],
        user_id=[user for user, *_ in rows],
        item_id=[item for _, item, *_ in rows],
        event_type=["view" if rating is None else "rating" for *_, rating, _ in rows],
        rating=[rating for *_, rating, _ in rows],
        event_time=timestamps,
        ingested_at=timestamps,
    )
    names = sorted({item for _, item, *_ in rows})
    kinds = [[["light", "dark"][int(name[1:]) % 2]] for name in names]
    items = table(schema.ITEMS, item_id=names, title=names, category_path=kinds, ingested_at=[EPOCH_US] * len(names))
    (folder / "tables").mkdir(parents=True)
    tables.write({"events": events, "items": items}, folder / "tables")
    build_features(folder / "tables", folder / "features", RECIPE)
    return folder / "features"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the users rate even items high and odd ones low, the others the other way round."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((USERS, ITEMS)) < SHARE)
    value = 3 + 1.5 * np.where(user % 2 == item % 2, 1, -1) + rng.normal(scale=0.2, size=len(user))
    rows = zip(user, item, value.clip(1, 5), rng.permutation(len(user)), strict=True)
    found: list[Row] = [(f"u{one}", f"i{other}", float(rating), 60 * int(second)) for one, other, rating, second in rows]
    return built_of(tmp_path_factory.mktemp("rated"), sorted(found, key=lambda row: row[3]))


@pytest.fixture(scope="module")
def made(features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    run.train(features, folder / "bundle", chosen(), str(folder / "checkpoints"))
    return folder / "bundle"


def test_the_last_rating_of_an_item_counts(tmp_path: Path) -> None:
    rows: list[Row] = [("u", "i1", 5.0, 10), ("u", "i2", None, 20), ("v", "i1", 4.0, 30), ("u", "i1", 2.0, 40), ("v", "i2", 3.0, 50)]
    found = feature_set.load(built_of(tmp_path, rows))
    cells = ratings_table.read(found)
    names = [(found.interactions.users[user], found.items.ids[item]) for user, item in zip(cells.user, cells.item, strict=True)]
    assert list(zip(names, cells.value.tolist(), strict=True)) == [(("v", "i1"), 4.0), (("u", "i1"), 2.0), (("v", "i2"), 3.0)]
    assert ((cells.time_us - EPOCH_US) // SECOND_US).tolist() == [30, 40, 50]


def test_the_last_rating_of_an_item_within_one_second_counts(tmp_path: Path) -> None:
    rows: list[Row] = [("u", "i1", 5.0, 10.2), ("u", "i1", 2.0, 10.7), ("u", "i2", 3.0, 10.9), ("v", "i1", 4.0, 10.4)]
    cells = ratings_table.read(feature_set.load(built_of(tmp_path, rows)))
    assert cells.value.tolist() == [4.0, 2.0, 3.0]


@pytest.mark.parametrize("split", ["leave_one_out", "time"])
@pytest.mark.parametrize("fraction_s", [0, 0.5])
def test_a_held_out_rating_stays_held_out_at_any_fraction_of_a_second(tmp_path: Path, split: Split, fraction_s: float) -> None:
    rows: list[Row] = [(f"u{n % 12}", f"i{n // 12}", 4.0 + n % 2, 60 * n + fraction_s) for n in range(96)]
    found = feature_set.load(built_of(tmp_path, rows))
    config = replace(RECIPE.data, split=split)
    train, test = ratings_table.train_test_ratings(found, config)
    cases = found.split(config).test
    held_out = {(user, item) for user, items in zip(cases.user.tolist(), cases.relevant, strict=True) for item in items.tolist()}
    assert set(zip(test.user.tolist(), test.item.tolist(), strict=True)) == held_out
    assert (len(train), len(test)) == {"leave_one_out": (84, 12), "time": (86, 10)}[split]


def test_nothing_of_the_test_is_trained_on(features: Path) -> None:
    found, asked = feature_set.load(features), chosen()
    every, (known, of_test) = ratings_table.read(found), ratings_table.train_test_ratings(found, asked.data)
    test = found.split(asked.data).test
    until = training_cutoffs(found.interactions.num_users, test, by_time=False)
    assert len(test) == USERS
    assert len(known) + len(of_test) == len(every)
    assert (known.time_us <= until[known.user]).all()
    assert (of_test.time_us > until[of_test.user]).all()  # the last that each user likes, and what they refuse after it
    held_out = {(user, item) for user, items in zip(test.user.tolist(), test.relevant, strict=True) for item in items.tolist()}
    assert held_out <= set(zip(of_test.user.tolist(), of_test.item.tolist(), strict=True))


def test_what_is_served_beats_biases_where_tastes_differ(features: Path, made: Path) -> None:
    errors = rating_errors.errors(bundle.load(made).ratings, feature_set.load(features), chosen())
    assert set(errors) == {MODEL, "biases", "item_knn"}
    assert errors[MODEL].high < 1 < errors["biases"].low
    assert all(error.low <= error.value <= error.high for error in errors.values())
    assert rating_errors.errors(None, feature_set.load(features), chosen()) == {}


def test_an_answer_says_how_its_items_would_be_rated(made: Path, start_serving: StartServing) -> None:
    served = start_serving("--bundle", made)
    items = httpx.get(f"{served.address}/v1/recommend?user=u1&k={ITEMS}").json()["items"]
    of_taste, others = ([place["rating"] for place in items if int(place["item_id"][1:]) % 2 == odd] for odd in (1, 0))
    assert len(of_taste) > 10 < len(others)
    assert min(of_taste) > 3 > max(others)


def test_a_log_without_ratings_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    folder = built(tmp_path, [(f"u{n % 7}", f"i{n % 11}", 60 * n) for n in range(200)])
    with pytest.raises(DataError, match="E205 there is no rating"):
        run.train(folder, tmp_path / "bundle", chosen(), str(tmp_path / "checkpoints"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features", "tables"]


def test_too_little_memory_for_ratings_is_said_before_anything_is_trained(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    with pytest.raises(EnvironmentFault, match="E185 rating prediction of 60 users and 40 items"):
        run.train(features, tmp_path / "bundle", chosen(), str(tmp_path / "checkpoints"))
    assert list(tmp_path.iterdir()) == []


def test_features_of_an_older_build_are_to_be_built_again(tmp_path: Path) -> None:
    folder = built(tmp_path, [(f"u{n % 7}", f"i{n % 11}", 60 * n) for n in range(200)])
    (folder / "data" / "ratings.parquet").unlink()
    with pytest.raises(DataError, match="E151"):
        run.train(folder, tmp_path / "bundle", chosen(), str(tmp_path / "checkpoints"))
