"""What each role may do in the bucket: its own work goes through, the others' is refused.

Two things hold it. A server of S3 (moto) enforces which action is allowed on which object, by the statements without their conditions, of
which it knows nothing; so to it a role that may list some prefix may list all. What the conditions on `s3:prefix` allow is worked out here,
as IAM documents StringLike, for each listing that the roles' work was seen to ask that server for, and for prefixes that are others'. No
policy is tried at Amazon's own IAM, nor at a store's that is not moto: a deployment does that with its own keys.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.client import BaseClient

from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from tests.contract.conftest import _wait
from tests.contract.kustomize import OVERLAYS
from tests.ports import free_port

POLICIES = OVERLAYS.parent / "policies"
ROLES = ("predictor", "collector", "trainer", "pipeline")
BUCKET = "s3://lodestar"
PREFIXES = ("events", "landing", "impressions", "artifacts", "bundles")
# What this server calls otherwise than Amazon's.
OWN_NAMES = {"s3:ListBucketMultipartUploads": "s3:ListMultipartUploads", "s3:PutObject": "s3:CreateMultipartUpload"}
READS = {"predictor": {"bundles"}, "collector": set[str](), "trainer": {"artifacts", "bundles"}, "pipeline": set(PREFIXES)}
WRITES = {"predictor": {"impressions"}, "collector": {"landing"}, "trainer": {"artifacts"}, "pipeline": {"artifacts", "bundles"}}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, str]]]:
    """Each role's access key and secret, at a server with something under every prefix."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "admin")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        _wait(port)
        boto3.client("s3").create_bucket(Bucket="lodestar")
        folder = tmp_path_factory.mktemp("some")
        (folder / "file").write_text("content")
        for prefix in PREFIXES:
            storage.put(b"content", f"{BUCKET}/{prefix}/object")
        storage.upload(folder, f"{BUCKET}/bundles/first")
        made = {role: _made(role) for role in ROLES}
        httpx.post(f"http://127.0.0.1:{port}/moto-api/reset-auth", content=b"0").raise_for_status()
        yield made
    finally:
        patch.undo()
        server.kill()
        server.wait()


def _made(role: str) -> tuple[str, str]:
    """A user with the role's policy, without conditions, of which this server knows nothing."""
    policy = json.loads((POLICIES / f"{role}.json").read_text())
    for statement in policy["Statement"]:
        statement.pop("Condition", None)
        statement["Action"] += [OWN_NAMES[action] for action in statement["Action"] if action in OWN_NAMES]
    iam = boto3.client("iam")
    iam.create_user(UserName=role)
    iam.put_user_policy(UserName=role, PolicyName=role, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=role)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture
def act(keys: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def become(role: str) -> None:
        for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), keys[role], strict=True):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the keys that it began with

    return become


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_and_writes_under_its_own_prefixes_alone(act: Callable[[str], None], role: str, prefix: str) -> None:
    act(role)
    works: list[tuple[bool, Callable[[], object]]] = [
        (prefix in READS[role], lambda: storage.get(f"{BUCKET}/{prefix}/object")),
        (prefix in WRITES[role], lambda: storage.put(b"content", f"{BUCKET}/{prefix}/{role}")),
    ]
    for allowed, work in works:
        if allowed:
            work()
        else:
            with pytest.raises(EnvironmentFault, match=r"E569.*(AccessDenied|403)"):
                work()


def test_a_predictor_fetches_a_bundle_and_a_pipeline_publishes_one(act: Callable[[str], None], tmp_path: Path) -> None:
    act("predictor")
    assert (storage.download(f"{BUCKET}/bundles/first", tmp_path / "bundle") / "file").read_text() == "content"
    act("pipeline")
    assert storage.upload(tmp_path / "bundle", f"{BUCKET}/bundles/second").startswith(f"{BUCKET}/bundles/second/versions/")


def test_a_trainer_hands_its_bundle_back_beside_the_artifacts(act: Callable[[str], None], tmp_path: Path) -> None:
    act("trainer")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights").write_text("w")
    storage.upload(tmp_path / "bundle", f"{BUCKET}/artifacts/run/bundle.staging")
    assert storage.get(f"{BUCKET}/artifacts/run/checkpoint.npz") is None
    with pytest.raises(EnvironmentFault):
        storage.upload(tmp_path / "bundle", f"{BUCKET}/bundles/mine")


def may_list(role: str, prefix: str | None) -> bool:
    """Whether the role's policy allows to list keys with the prefix, None for a request that names none.

    As IAM documents it: a statement allows where the action, the resource and each condition fit; in StringLike `*` is any characters,
    also `/`, and `?` one; a key that the request does not have fits nothing.
    """
    return any(
        statement["Effect"] == "Allow"
        and any(_is_like(action, "s3:ListBucket") for action in statement["Action"])
        and any(_is_like(resource, "arn:aws:s3:::lodestar") for resource in statement["Resource"])
        and all(_fits(operator, condition, prefix) for operator, condition in statement.get("Condition", {}).items())
        for statement in json.loads((POLICIES / f"{role}.json").read_text())["Statement"]
    )


def _fits(operator: str, condition: dict[str, list[str]], prefix: str | None) -> bool:
    assert (operator, list(condition)) == ("StringLike", ["s3:prefix"]), "this test knows no other condition"
    return prefix is not None and any(_is_like(pattern, prefix) for pattern in condition["s3:prefix"])


def _is_like(pattern: str, value: str) -> bool:
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(character, re.escape(character)) for character in pattern), value, re.DOTALL) is not None


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The prefixes of the listings that are asked for."""
    found: list[str | None] = []
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def recorded(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if operation in {"ListObjects", "ListObjectsV2", "ListObjectVersions"}:
            found.append(parameters.get("Prefix"))
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    return found


def test_each_listing_of_a_roles_work_is_one_that_its_condition_allows(
    act: Callable[[str], None], listed: list[str | None], tmp_path: Path
) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "file").write_text("content")
    work: dict[str, Callable[[], object]] = {
        "predictor": lambda: storage.download(f"{BUCKET}/bundles/first", tmp_path / "fetched"),
        "trainer": lambda: (
            storage.upload(tmp_path / "bundle", f"{BUCKET}/artifacts/run/bundle.staging"),
            storage.fetch(f"{BUCKET}/artifacts", tmp_path / "artifacts"),
        ),
        "pipeline": lambda: (
            storage.upload(tmp_path / "bundle", f"{BUCKET}/bundles/third"),
            storage.fetch(f"{BUCKET}/events", tmp_path / "events"),
        ),
    }
    for role, done in work.items():
        act(role)
        listed.clear()
        done()
        assert listed, role
        assert [prefix for prefix in listed if not may_list(role, prefix)] == [], role


@pytest.mark.parametrize("role", ROLES)
def test_keys_are_listed_only_where_they_are_read(role: str) -> None:
    for prefix in PREFIXES:
        for asked in (prefix, f"{prefix}/", f"{prefix}/a/b"):
            assert may_list(role, asked) == (prefix in READS[role]), asked
    others = (None, "", "/", "bundle", "others/", "Bundles/", "bundles2/", "artifacts.old/")
    assert [asked for asked in others if may_list(role, asked)] == []
    statements = json.loads((POLICIES / f"{role}.json").read_text())["Statement"]
    assert not [statement for statement in statements if "*" in "".join(statement["Action"])]


def test_there_is_one_policy_for_each_role_that_has_keys() -> None:
    assert {file.stem for file in POLICIES.iterdir()} == set(ROLES)
