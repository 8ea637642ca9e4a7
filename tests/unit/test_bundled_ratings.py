"""Ratings in a bundle: predictions by hand; and no user is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lodestar.bundle import bundle
from lodestar.bundle.ratings import RATINGS_FILE, Ratings, key
from lodestar.compression import variants
from tests.factories import small_bundle
from tests.unit.test_app import DIGITS, Served

USERS = ["u1", "anna@example.com", "zoe"]


def ratings(**changes: Any) -> Ratings:
    """Users' vectors are 1, 2 and -1, the items' their numbers by ten; all are mild but the second user."""
    given: dict[str, Any] = {
        "user_bias": np.array([0, 0.5, 0], dtype=np.float32),
        "user_vectors": np.array([[1.0], [2.0], [-1.0]], dtype=np.float32),
        "item_bias": np.array([0.25, *[0] * (DIGITS - 1)], dtype=np.float32),
        "item_vectors": (np.arange(DIGITS)[:, None] / 10).astype(np.float16),
        "global_mean": 3.0,
        "lowest": 1.0,
        "highest": 4.5,
    }
    return Ratings.from_users(USERS, **(given | changes))


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("u1", [3.25, 3.5, 4.1]),
        ("anna@example.com", [3.75, 4.5, 4.5]),  # no higher than any rating was
        ("zoe", [3.25, 2.5, 1.9]),
        ("nobody", [3.25, 3 + 0.5 * 2 / 3, 3 + 1.1 * 2 / 3]),  # like all together
    ],
)
def test_a_rating_is_the_usual_one_and_what_both_sides_add(user: str, expected: list[float]) -> None:
    made = ratings()
    again = Ratings.from_arrays(made.arrays())
    for one in (made, again):
        assert one.predict(user, np.array([0, 5, 11])) == pytest.approx(expected, abs=2e-3)


def test_no_user_is_named_in_a_bundle(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path, ratings=ratings())
    assert bundle.load(folder).ratings is not None
    content = b"".join(file.read_bytes() for file in folder.iterdir())
    assert not any(user.encode() in content for user in USERS[1:2])
    assert len({int(key(user)) for user in USERS}) == len(USERS)


def test_every_precision_keeps_the_ratings(tmp_path: Path) -> None:
    trained = bundle.load(small_bundle(tmp_path / "trained", dim=64, ratings=ratings()))
    (tmp_path / "made").mkdir()
    for made in variants.build(trained, tmp_path / "made"):
        assert made.ratings is not None
        assert made.ratings.predict("zoe", np.array([0, 5])) == pytest.approx([3.25, 2.5], abs=2e-3)
        assert RATINGS_FILE in made.info.files


def test_lists_say_how_an_item_would_be_rated(tmp_path: Path) -> None:
    served, plain = Served(tmp_path / "rated", ratings=ratings()), Served(tmp_path / "plain")
    listed = served.ask("GET", "/v1/recommend?user=u1&k=4").json()["items"]
    expected = [3 + 0.25 * (place["item_id"] == "i0") + int(place["item_id"][1:]) / 10 for place in listed]
    assert [place["rating"] for place in listed] == pytest.approx(expected, abs=2e-3)
    instances = {"instances": [{"user": "u1", "k": 4}, {"user": "zoe", "k": 1}]}
    first, second = served.ask("POST", "/v1/models/recommend:predict", json=instances).json()["predictions"]
    assert first["items"] == listed
    assert second["items"][0]["rating"] == pytest.approx(3.25, abs=2e-3)  # popular, and rated for her
    assert all("rating" not in place for place in plain.ask("GET", "/v1/recommend?user=u1").json()["items"])


@pytest.mark.parametrize("has_ratings", [True, False])
def test_the_open_protocol_gives_ratings_where_they_are_named(tmp_path: Path, has_ratings: bool) -> None:
    served = Served(tmp_path, ratings=ratings() if has_ratings else None)
    body: dict[str, Any] = {"inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u1"]}], "parameters": {"k": 4}}
    path = "/v2/models/recommend/infer"
    assert "rating" not in [tensor["name"] for tensor in served.ask("POST", path, json=body).json()["outputs"]]
    wanted = body | {"outputs": [{"name": "rating"}]}
    (tensor,) = served.ask("POST", path, json=wanted).json()["outputs"]
    listed = served.ask("GET", "/v1/recommend?user=u1&k=4").json()["items"]
    assert tensor == {
        "name": "rating",
        "datatype": "FP32",
        "shape": [1, 4],
        "data": [place["rating"] for place in listed] if has_ratings else [None] * 4,
    }
