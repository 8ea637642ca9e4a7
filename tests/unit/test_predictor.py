"""Between the protocols and the engine: a store or a disk that fails costs no answer, and long work holds up no probe."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lodestar.engine.recommender import Candidates
from serving.predictor import measure_inline_queries
from tests.unit.test_app import Served


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def test_a_store_that_fails_costs_the_history_and_is_counted(served: Served) -> None:
    served.store.fails = True
    assert served.ask("GET", "/v1/recommend?user=u1").json()["retriever"] == "popular"
    assert "lodestar_feature_fallbacks_total 1.0" in served.ask("GET", "/metrics").text


def test_a_store_that_fails_is_logged_once_and_once_when_it_is_back(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    for fails in (True, True, True, False, False):
        served.store.fails = fails
        served.ask("GET", "/v1/recommend?user=u1")
    assert [record.getMessage() for record in caplog.records if record.name == "serving.predictor"] == [
        "the online store fails: gone",
        "the online store works again",
    ]


def test_a_store_that_is_away_at_the_start_is_no_reason_not_to_start(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.store.fails = True
    asyncio.run(served.predictor.open())
    assert "the online store fails: gone" in caplog.text


@pytest.mark.parametrize(("count", "thread"), [(2, "MainThread"), (3, "rank")])
def test_long_rankings_run_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, thread: str) -> None:
    served, ran_in = Served(tmp_path, short_asks=2), set()
    candidates = served.predictor.recommender.candidates

    def noted(*asked: Any, **more: Any) -> Candidates:
        ran_in.add(threading.current_thread().name.partition("_")[0])
        return candidates(*asked, **more)

    monkeypatch.setattr(served.predictor.recommender, "candidates", noted)
    answers = served.ask("POST", "/v1/models/recommend:predict", json={"instances": ["u1"] * count}).json()["predictions"]
    assert (len(answers), ran_in) == (count, {thread})
    asyncio.run(served.predictor.close())


def test_a_small_model_ranks_many_lists_at_once(served: Served) -> None:
    assert measure_inline_queries(served.predictor.recommender) > 1


def test_a_log_that_cannot_be_written_costs_no_answer(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    assert served.predictor.impression_log is not None
    served.predictor.impression_log.close()
    assert [served.ask("GET", "/v1/recommend?user=u1").status_code for _ in range(2)] == [200, 200]
    assert "lodestar_lists_unlogged_total 2.0" in served.ask("GET", "/metrics").text
    assert caplog.text.count("the impression log fails") == 1


@pytest.mark.parametrize("asked", ["user=5.0", "user=%205", "user=5", "user=5.000"])
def test_a_user_is_known_however_its_id_is_written(asked: str, served: Served) -> None:
    served.store.known["5"] = ("i1", "i2")
    answer = served.ask("GET", f"/v1/recommend?{asked}").json()
    assert (answer["retriever"], answer["user"]) == ("personal", "5")


def test_an_id_that_was_declared_a_text_is_found_as_it_is(served: Served) -> None:
    served.store.known |= {"5.0": ("i1", "i2"), "5": ("i3",)}
    answers = served.ask("POST", "/v1/models/recommend:predict", json={"instances": ["5.0", "5", "5.00", "unknown"]}).json()["predictions"]
    assert [(answer["user"], answer["retriever"]) for answer in answers] == [
        ("5.0", "personal"),
        ("5", "personal"),
        ("5", "personal"),
        ("unknown", "popular"),
    ]


def test_a_session_is_known_as_the_user_that_stands_for_it(served: Served) -> None:
    served.store.known["session:s1"] = ("i1", "i2")
    assert served.ask("GET", "/v1/recommend?session=s1").json()["retriever"] == "personal"


def test_an_excluded_item_is_left_out_however_its_id_is_written(served: Served) -> None:
    every = {item["item_id"] for item in served.ask("GET", "/v1/recommend?user=u1&k=100").json()["items"]}
    left = {item["item_id"] for item in served.ask("GET", "/v1/recommend?user=u1&k=100&exclude=%20i5&exclude=i6").json()["items"]}
    assert every - left == {"i5", "i6"}


def test_logs_close_side_by_side_as_both_share_the_grace(served: Served) -> None:
    together = threading.Barrier(2, timeout=20)

    class SlowLog:
        def close(self) -> None:
            together.wait()

    slow: Any = SlowLog()
    asyncio.run(replace(served.predictor, impression_log=slow, feature_log=slow).close())
    assert not together.broken
