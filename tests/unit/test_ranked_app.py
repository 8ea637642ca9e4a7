"""Over HTTP with a ranker: what counts now comes first, and where nothing says what counts, retrieval's order stays."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from serving.features import item_count_cache
from serving.features.feature_client import Counts
from tests.factories import counting_ranker
from tests.unit.test_app import DIGITS, Served


@pytest.mark.parametrize("short_asks", [0, 9])
def test_what_counts_now_comes_first_and_without_counts_retrieval_s_order_stays(
    short_asks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = Served(tmp_path / "plain")
    ranked = Served(tmp_path / "ranked", short_asks, counting_ranker(DIGITS, candidates=6))
    path = "/v1/recommend?user=u1&k=9"
    by_retrieval = listed(plain, path)
    assert listed(ranked, path) == by_retrieval  # nothing is counted yet
    monkeypatch.setattr(item_count_cache, "FRESH_S", 0.0)
    ranked.store.item_counts = {by_retrieval[4]: 0.7, by_retrieval[2]: 0.9, by_retrieval[7]: 1.0}  # the last is beyond what is looked at
    moved = [by_retrieval[2], by_retrieval[4], *(item for place, item in enumerate(by_retrieval) if place not in {2, 4})]
    assert listed(ranked, path) == moved
    several = ranked.ask("POST", "/v1/models/recommend:predict", json={"instances": [{"user": "u1", "k": 9}, "nobody"]}).json()[
        "predictions"
    ]
    assert [[place["item_id"] for place in one["items"]][:2] for one in several] == [moved[:2], ["i0", "i1"]]
    assert "lodestar_rerank_skipped_total 0.0" in ranked.ask("GET", "/metrics").text
    ranked.store.fails_to_count = True
    assert listed(ranked, path) == by_retrieval
    assert listed(ranked, path) == by_retrieval
    assert "lodestar_rerank_skipped_total 2.0" in ranked.ask("GET", "/metrics").text
    ranked.store.fails_to_count = False
    assert listed(ranked, path) == moved
    said = [record.getMessage() for record in caplog.records if "counts" in record.getMessage()]
    assert said == ["reading counts fails: gone", "reading counts works again"]


def test_an_item_s_counts_are_read_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked, asked = Served(tmp_path, ranker=counting_ranker(DIGITS, candidates=6)), list[list[str]]()
    counts = ranked.store.counts

    async def noted(users: Sequence[str], items: Sequence[str]) -> Counts:
        asked.append(list(items))
        return await counts(users, items)

    monkeypatch.setattr(ranked.store, "counts", noted)
    first = listed(ranked, "/v1/recommend?user=u1&k=3")
    listed(ranked, "/v1/recommend?user=u1&k=3")
    listed(ranked, "/v1/recommend?user=u1&k=3&exclude=" + first[0])
    everything, nothing, one_more = asked
    assert (len(everything), nothing, len(one_more)) == (6, [], 1)
    monkeypatch.setattr(item_count_cache, "FRESH_S", 0.0)
    listed(ranked, "/v1/recommend?user=u1&k=3")
    assert asked[-1] == everything


def listed(served: Served, path: str) -> list[str]:
    return [place["item_id"] for place in served.ask("GET", path).json()["items"]]
