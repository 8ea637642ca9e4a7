"""Over HTTP: every route answers, what is wrong is said in the caller's words, and nothing that identifies a person is in the metrics."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lodestar.bundle import bundle
from lodestar.bundle.ranker import Ranker
from lodestar.bundle.ratings import Ratings
from lodestar.engine.recommender import Recommender
from lodestar.schema.ranker_inputs import ITEM_COUNTS, USER_COUNTS
from serving import request_queue
from serving.app import MAX_BODY_BYTES, App
from serving.features.feature_client import Counts, Histories, StoreUnavailable
from serving.features.packed_reader import Numbers
from serving.features.user_history import UNKNOWN_USER, UserHistory
from serving.http.connection_limits import Load
from serving.impressions import FileLog
from serving.metrics import Metrics
from serving.predictor import Predictor
from tests.factories import small_bundle

DIGITS = 12
KNOWN_US = 1_767_225_600_000_000


class Known:
    """Histories in a dictionary."""

    def __init__(self, histories: dict[str, tuple[str, ...]]) -> None:
        self.known = histories
        self.item_counts: dict[str, float] = {}
        self.fails = self.fails_to_count = False

    async def histories(self, users: Sequence[str]) -> Histories:
        if self.fails:
            raise StoreUnavailable("gone")
        return [UserHistory(self.known[user], KNOWN_US) if user in self.known else UNKNOWN_USER for user in users]

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        if self.fails_to_count:
            raise StoreUnavailable("gone")
        item_counts = [[self.item_counts.get(item, np.nan)] * len(ITEM_COUNTS) for item in items]
        user_counts = np.full((len(users), len(USER_COUNTS)), 0.5)
        found = (user_counts, np.array(item_counts).reshape(-1, len(ITEM_COUNTS)))
        first, second = (Numbers(values, np.full(len(values), KNOWN_US)) for values in found)
        return first, second

    async def close(self) -> None:
        pass


class Served:
    """The application with its parts in reach."""

    def __init__(self, folder: Path, short_asks: int = 9, ranker: Ranker | None = None, ratings: Ratings | None = None) -> None:
        loaded = bundle.load(small_bundle(folder / "bundle", num_items=DIGITS, ranker=ranker, ratings=ratings))
        self.digest, self.log = loaded.digest, folder / "impressions.jsonl"
        self.store = Known({"u1": ("i1", "i2"), "all": tuple(f"i{row}" for row in range(DIGITS))})
        self.predictor = Predictor(
            recommender=Recommender(loaded),
            feature_client=self.store,
            metrics=Metrics("recommend", loaded.digest, "control"),
            impression_log=FileLog(self.log),
            arm="control",
            max_inline_queries=short_asks,
        )
        self.load = Load()
        self.app = App(self.predictor, "recommend", self.load)

    def ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test") as client:
                return await client.request(method, path, **content)

        return asyncio.run(asked())

    def ask_part(self, path: str, *messages: dict[str, Any]) -> tuple[int, Any]:
        """Status and answer where a body arrives as the given messages."""
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
        sent: list[Any] = []

        async def asked() -> None:
            given = iter(messages)

            async def receive() -> Any:
                return next(given)

            async def send(message: Any) -> None:
                sent.append(message)

            await self.app(scope, receive, send)

        asyncio.run(asked())
        return sent[0]["status"], json.loads(sent[1]["body"])

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


@pytest.mark.parametrize("user", ["null", "NaN", "%3CNA%3E", "1.23e%2B12"])
def test_a_user_that_names_nobody_is_refused_and_not_logged(served: Served, user: str) -> None:
    answer = served.ask("GET", f"/v1/recommend?user={user}")
    assert (answer.status_code, answer.json()["field"], served.rows()) == (422, "user", [])


def test_a_list_has_titles_and_no_seen_or_excluded_item(served: Served) -> None:
    answer = served.ask("GET", "/v1/recommend?user=u1&k=20&exclude=i5").json()
    assert answer["retriever"] == "personal"
    assert {place["item_id"] for place in answer["items"]} == {f"i{row}" for row in range(DIGITS)} - {"i1", "i2", "i5"}
    assert all(place["title"] == f"Item {place['item_id'][1:]}" for place in answer["items"])
    assert [place["position"] for place in answer["items"]] == list(range(1, DIGITS - 2))


def test_an_unknown_user_gets_what_is_popular(served: Served) -> None:
    answer = served.ask("GET", "/v1/recommend?user=nobody&k=3").json()
    assert (answer["retriever"], [place["item_id"] for place in answer["items"]]) == ("popular", ["i0", "i1", "i2"])


def test_who_has_seen_everything_gets_an_empty_list(served: Served) -> None:
    assert served.ask("GET", "/v1/recommend?user=all").json()["items"] == []


def test_all_protocols_give_the_same_list(served: Served) -> None:
    one = served.ask("GET", "/v1/recommend?user=u1&k=4").json()
    many = served.ask("POST", "/v1/models/recommend:predict", json={"instances": [{"user": "u1", "k": 4}, "nobody"]}).json()["predictions"]
    body = {"inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u1"]}], "parameters": {"k": 4}}
    tensors = served.ask("POST", "/v2/models/recommend/infer", json=body).json()["outputs"]
    assert many[0]["items"] == one["items"]
    assert next(tensor["data"] for tensor in tensors if tensor["name"] == "item_id") == [place["item_id"] for place in one["items"]]
    assert many[1]["retriever"] == "popular"


def test_binary_outputs_say_where_the_json_ends(served: Served) -> None:
    body = {"inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u1"]}], "parameters": {"binary_data_output": True}}
    answer = served.ask("POST", "/v2/models/recommend/infer", json=body)
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.content[:length])["model_version"] == served.digest


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", {"status": "alive"}),
        ("/v1/models", {"models": ["recommend"]}),
        ("/v1/models/recommend", {"name": "recommend", "ready": True}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models", {"models": ["recommend"]}),
        ("/v2/models/recommend/ready", {"name": "recommend", "ready": True}),
        ("/v2/models/recommend/versions/{digest}/ready", {"name": "recommend", "ready": True}),
    ],
)
def test_health_and_names_are_those_of_kserve(served: Served, path: str, expected: dict[str, Any]) -> None:
    answer = served.ask("GET", path.format(digest=served.digest))
    assert (answer.status_code, answer.json()) == (200, expected)
    head = served.ask("HEAD", path.format(digest=served.digest))
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(answer.content)))


def test_a_version_is_the_bundle_that_answers(served: Served) -> None:
    body = {"inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u1"]}]}
    for version, status in ((served.digest, 200), ("1", 404)):
        assert served.ask("POST", f"/v2/models/recommend/versions/{version}/infer", json=body).status_code == status
        assert served.ask("GET", f"/v2/models/recommend/versions/{version}").status_code == status
    assert served.ask("GET", "/v2/models/recommend").json()["versions"] == [served.digest]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "E404"),
        ("GET", "/v1/recommend/", 404, "E404"),
        ("GET", "/v2/models/other", 404, "E404"),
        ("POST", "/v1/models/other:predict", 404, "E404"),
        ("GET", "/v1/recommend?user=u1&k=0", 422, "E102"),
    ],
)
def test_what_is_not_there_is_said_to_be_so(served: Served, method: str, path: str, status: int, code: str) -> None:
    answer = served.ask(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) - {"error"} == {"code", "field", "message"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/recommend?user=u1", "GET"),
        ("/metrics", "GET"),
        ("/v2/health/live", "GET"),
        ("/v1/models/recommend", "GET"),
        ("/v1/models/recommend:predict", "POST"),
        ("/v2/models/recommend/infer", "POST"),
    ],
)
def test_a_method_that_does_nothing_is_told_which_does(served: Served, path: str, allowed: str) -> None:
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} - {allowed}:
        answer = served.ask(method, path)
        assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "E405", allowed)


def test_a_list_that_nobody_sees_is_not_logged(served: Served) -> None:
    assert served.ask("HEAD", "/v1/recommend?user=u1").status_code == 405
    assert served.rows() == []


def test_answers_are_not_kept_on_the_way(served: Served) -> None:
    assert served.ask("GET", "/v1/recommend?user=u1").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/v1/models/recommend:predict", "/v2/models/recommend/infer"])
def test_a_body_that_is_too_large_is_refused(served: Served, path: str) -> None:
    answer = served.ask("POST", path, content=b"x" * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "E413")
    part = {"type": "http.request", "body": b"x" * (MAX_BODY_BYTES // 2 + 1), "more_body": True}
    status, refusal = served.ask_part(path, part, part)
    assert (status, refusal["code"]) == (413, "E413")


def test_a_body_that_comes_in_parts_is_one(served: Served) -> None:
    parts = ({"type": "http.request", "body": part, "more_body": part != b"]}"} for part in (b'{"instances": [', b'"u1"', b"]}"))
    status, answer = served.ask_part("/v1/models/recommend:predict", *parts)
    assert (status, len(answer["predictions"])) == (200, 1)


def test_a_caller_who_leaves_before_the_end_is_shown_nothing(served: Served) -> None:
    whole = {"type": "http.request", "body": b'{"instances": ["u1"]}', "more_body": True}
    status, refusal = served.ask_part("/v1/models/recommend:predict", whole, {"type": "http.disconnect"})
    assert (status, refusal["code"], served.rows()) == (400, "E447", [])


def test_too_many_requests_at_once_are_refused_and_probes_are_not(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_queue, "MAX_CONCURRENCY", 0)
    answer = served.ask("GET", "/v1/recommend?user=u1")
    assert (answer.status_code, answer.json()["code"]) == (429, "E429")
    assert served.ask("GET", "/v2/health/ready").status_code == 200
    monkeypatch.setattr(request_queue, "MAX_CONCURRENCY", 1)
    assert [served.ask("GET", "/v1/recommend?user=u1&k=0").status_code for _ in range(2)] == [422, 422]


def test_a_fault_of_ours_is_a_500_without_its_details(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.store.known = None  # type: ignore[assignment]
    answer = served.ask("GET", "/v1/recommend?user=u1")
    assert (answer.status_code, answer.json()["code"]) == (500, "E500")
    assert "NoneType" not in answer.text
    assert "NoneType" in caplog.text


def test_scores_that_are_no_numbers_are_a_coded_500_and_no_empty_list(served: Served) -> None:
    found = served.predictor.recommender.bundle.table.codes
    found[3:] = np.nan
    answer = served.ask("GET", "/v1/recommend?user=u1")
    assert (answer.status_code, answer.json()["code"]) == (500, "E189")
    assert 'lodestar_faults_total{code="E189"} 1.0' in served.ask("GET", "/metrics").text


def test_every_place_of_every_answer_is_logged_with_the_digest(served: Served) -> None:
    answer = served.ask("GET", "/v1/recommend?user=u1&k=2&surface=cart").json()
    rows = served.rows()
    assert [row["item_id"] for row in rows] == [place["item_id"] for place in answer["items"]]
    assert {(row["request_id"], row["model_digest"], row["arm"], row["propensity"], row["surface"]) for row in rows} == {
        (answer["request_id"], served.digest, "control", 1.0, "cart")
    }


def test_metrics_count_and_never_name(served: Served) -> None:
    served.ask("GET", "/v1/recommend?user=u1")
    served.ask("GET", "/v1/recommend?user=a-very-secret-name&k=0")
    page = served.ask("GET", "/metrics").text
    assert 'lodestar_requests_total{route="/v1/recommend",status="200"} 1.0' in page
    assert 'lodestar_responses_total{retriever="personal"} 1.0' in page
    assert "secret" not in page
    assert "u1" not in page


def test_the_log_and_the_tensors_call_a_list_the_same(served: Served) -> None:
    body = {"id": "mine", "inputs": [{"name": "user", "datatype": "BYTES", "shape": [2], "data": ["u1", "u2"]}], "parameters": {"k": 1}}
    tensors = served.ask("POST", "/v2/models/recommend/infer", json=body).json()["outputs"]
    assert next(tensor["data"] for tensor in tensors if tensor["name"] == "request_id") == [row["request_id"] for row in served.rows()]
