"""What each role may do in the bucket, held by a server that enforces the policies: its own work goes through, the others' is refused."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import httpx
import pytest

from lodestar import storage
from lodestar.errors import EnvironmentFault
from tests.contract.conftest import _wait, free_port
from tests.contract.kustomize import OVERLAYS

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


@pytest.mark.parametrize("role", ROLES)
def test_keys_are_listed_only_where_they_are_read(role: str) -> None:
    statements = json.loads((POLICIES / f"{role}.json").read_text())["Statement"]
    listed = {
        entry.removesuffix("/*")
        for statement in statements
        if statement["Action"] == ["s3:ListBucket"]
        for entry in statement["Condition"]["StringLike"]["s3:prefix"]
    }
    assert listed == READS[role]
    assert not [statement for statement in statements if "*" in "".join(statement["Action"])]


def test_there_is_one_policy_for_each_role_that_has_keys() -> None:
    assert {file.stem for file in POLICIES.iterdir()} == set(ROLES)
