"""What a platform engineer is promised: trained by a job, served from S3, a tenth of the requests to a new bundle, and all of them back."""

import json
import time
from collections import Counter
from pathlib import Path

import boto3
import httpx
import numpy as np
import pytest

from lodestar.bundle import bundle
from lodestar.data.split.filters import filtered_items
from lodestar.features.batch import feature_set
from lodestar.io import storage
from tests.cluster import objects
from tests.cluster.backend.driver import RunResult
from tests.cluster.steps import BUCKET, eventually, run

pytestmark = pytest.mark.cluster

REQUESTS, SHARE, TOLERANCE = 1000, 0.10, 0.03
LOGGED_S = 120


def digests(client: httpx.Client, count: int) -> dict[str, str]:
    """Request ids, with the digest of the bundle that answered."""
    found = {}
    for number in range(count):
        answer = client.get("/v1/recommend", params={"user": f"visitor-{number}", "k": 3})
        assert answer.status_code == 200, answer.text
        found[answer.json()["request_id"]] = answer.json()["model"]["digest"]
    return found


def logged() -> dict[str, str]:
    """Request ids of the impression log, with the digest that is written there."""
    bucket = boto3.resource("s3").Bucket(BUCKET.removeprefix("s3://"))
    lines = [line for part in bucket.objects.filter(Prefix="impressions/") for line in part.get()["Body"].read().splitlines()]
    return {row["request_id"]: row["model_digest"] for row in map(json.loads, lines)}


def test_a_known_user_gets_ten_items_with_titles_and_none_that_is_filtered(served: str, features: Path, client: httpx.Client) -> None:
    found = feature_set.load(features)
    interactions, users = found.interactions, np.arange(found.interactions.num_users)
    now_us = np.full(len(users), time.time_ns() // 1000)
    filtered = filtered_items(interactions, found.rules, users, np.diff(interactions.bounds()), now_us)
    user = int(filtered.lengths.argmax())
    seen = {found.items.ids[row] for row in filtered[user]}
    assert seen
    answer = client.get("/v1/recommend", params={"user": interactions.users[user], "k": 10}).json()
    assert (answer["retriever"], answer["model"]["digest"], len(answer["items"])) == ("personal", served, 10)
    assert all(place["title"] for place in answer["items"])
    assert not seen & {place["item_id"] for place in answer["items"]}


def test_an_unknown_user_gets_what_is_popular(served: str, client: httpx.Client) -> None:
    assert client.get("/v1/recommend", params={"user": "nobody"}).json()["retriever"] == "popular"


def test_the_open_inference_protocol_is_spoken_through_the_gateway(served: str, client: httpx.Client) -> None:
    assert client.get("/v2/models/recommend/ready").json() == {"name": "recommend", "ready": True}
    body = {"inputs": [{"name": "user", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}], "parameters": {"k": 4}}
    answer = client.post("/v2/models/recommend/infer", json=body).json()
    assert answer["model_version"] == served
    assert {tensor["name"]: tensor["shape"] for tensor in answer["outputs"]}["item_id"] == [2, 4]


def test_bad_requests_are_refused_through_the_gateway_as_well(served: str, client: httpx.Client) -> None:
    for query in ("user=u&k=0", "user=u&k=1000000", "k=3"):
        assert client.get(f"/v1/recommend?{query}").status_code == 422


def test_a_second_bundle_takes_a_tenth_and_the_first_takes_all_again(
    images: dict[str, str], served: str, prefix: str, first_run: RunResult, client: httpx.Client, tmp_path: Path
) -> None:
    """The second is what was trained: of the first's generation, and not compressed."""
    trained = objects.downloaded(first_run.uri("train", "bundle"), tmp_path / "second")
    second = bundle.load(trained).digest
    assert second != served
    address = storage.upload(trained, f"{prefix}/second")
    run(objects.rollout_pod(images["launcher"], "start", "--bundle", address, "--percent", f"{100 * SHARE:.0f}"))
    try:
        answered = digests(client, REQUESTS)
        assert abs(Counter(answered.values())[second] / REQUESTS - SHARE) <= TOLERANCE
        assert set(answered.values()) == {served, second}
        eventually(lambda: answered.keys() <= logged().keys(), LOGGED_S, lambda: "not every answer reached the impression log")
        in_log = logged()
        assert {request: in_log[request] for request in answered} == answered
    finally:
        run(objects.rollout_pod(images["launcher"], "rollback"))
    assert set(digests(client, 200).values()) == {served}
