"""A store that does not answer is said with its address by everything that asks it."""

import inspect
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from lodestar.data.version import data_version
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.io.s3 import s3_objects

ADDRESS = "s3://b/bundles"
ASKED: dict[str, Callable[[Path], object]] = {
    "upload": lambda folder: storage.upload(folder, ADDRESS),
    "refuse_older": lambda folder: storage.refuse_older(folder, ADDRESS, "2026-01-01T00:00:00Z"),
    "download": lambda folder: storage.download(ADDRESS, folder / "back"),
    "resolve": lambda _: storage.resolve(ADDRESS),
    "remove": lambda _: storage.remove(ADDRESS),
    "fetch": lambda folder: storage.fetch(ADDRESS, folder),
    "listed": lambda folder: storage.listed(f"{ADDRESS}/*.csv", folder),
    "put": lambda _: storage.put(b"", ADDRESS),
    "get": lambda _: storage.get(ADDRESS),
    "ensure_local": lambda folder: storage.ensure_local(ADDRESS, folder),
}
NEVER_ASKS = {"is_remote", "is_pattern"}


@pytest.fixture(autouse=True)
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    once = boto3.client("s3", endpoint_url="http://127.0.0.1:1", config=Config(retries={"total_max_attempts": 1}))
    monkeypatch.setattr(s3_objects, "_client", lambda *_: once)


@pytest.mark.parametrize("name", ASKED)
def test_a_store_that_does_not_answer_is_said_with_its_address(name: str, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match=f"E569 {ADDRESS}.*AWS_ENDPOINT_URL"):
        ASKED[name](tmp_path)


def test_nothing_that_asks_a_store_is_left_out() -> None:
    own = {name for name, one in vars(storage).items() if inspect.isfunction(one) and one.__module__ == storage.__name__}
    assert {name for name in own if not name.startswith("_")} - NEVER_ASKS == set(ASKED)


def test_which_data_lie_in_a_store_that_does_not_answer_is_said_so_too() -> None:
    with pytest.raises(EnvironmentFault, match=r"E569 s3://nobucket/events/\*\.csv"):
        data_version("s3://nobucket/events/*.csv")
