"""A bundle goes out whole with what it reads, to a folder or to S3, and twice is as good as once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.release.release import release
from feature_repo import store
from lodestar.bundle import bundle
from lodestar.errors import DataError, EnvironmentFault, UsageError
from lodestar.io import storage
from lodestar.schema.store_keys import GENERATION
from serving.features.feature_client import SqliteFeatureClient
from tests.contract.conftest import ROOT, generation_of
from tests.factories import small_bundle
from tests.ports import free_port
from tests.unit.test_features import built

STARTED_AT = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("features"), [("u0", "i1", 10), ("u0", "i2", 20), ("u1", "i1", 30)])


def test_a_folder_gets_the_bundle_and_its_online_store(features: Path, tmp_path: Path) -> None:
    made = small_bundle(tmp_path / "made", features=generation_of(features))
    for _ in range(2):
        address = release(made, features, str(tmp_path / "out"), STARTED_AT)
        assert bundle.load(Path(address)).digest == bundle.load(made).digest
    current = tmp_path / "out" / "current"
    assert Path(address) == (current / "bundle").resolve()
    SqliteFeatureClient(current / "online" / "online.db", generation=generation_of(features))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["current", "releases"]
    assert not (features / store.ONLINE).exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"started_at": "yesterday"}', '{"started_at": "2026-01-01"}'])
def test_a_release_that_does_not_say_when_it_started_is_no_fault_of_the_caller(features: Path, tmp_path: Path, content: str) -> None:
    made = small_bundle(tmp_path / "made", features=generation_of(features))
    published = Path(release(made, features, str(tmp_path / "out"), STARTED_AT)).parent
    (published / "release.json").write_text(content)
    with pytest.raises(EnvironmentFault, match=f"E563 .*Move {published} away"):
        release(made, features, str(tmp_path / "out"), STARTED_AT)
    published.rename(tmp_path / "away")
    assert Path(release(made, features, str(tmp_path / "out"), STARTED_AT)).parent == published


def test_a_bucket_keeps_every_bundle_and_names_the_current_one(bucket: str, features: Path, tmp_path: Path) -> None:
    bundles, generation = f"{bucket}/bundles", generation_of(features)
    made = [small_bundle(tmp_path / "a", features=generation), small_bundle(tmp_path / "b", precision="int8", features=generation)]
    addresses = [release(path, features, bundles, STARTED_AT) for path in (*made, made[1])]
    assert addresses == [f"{bundles}/versions/{storage.digest(path)}" for path in (*made, made[1])]
    assert storage.resolve(bundles) == addresses[1]
    for path, address in zip(made, addresses, strict=False):
        assert bundle.load(storage.download(address, tmp_path / "back" / path.name)).digest == bundle.load(path).digest


def test_the_image_that_makes_features_can_release(features: Path, tmp_path: Path) -> None:
    """Without what only trains or serves: its image has neither."""
    made = small_bundle(tmp_path / "made", features=generation_of(features))
    paths = [str(path) for path in (made, features, tmp_path / "out")]
    program = f"""
import sys
for name in ("torch", "onnxruntime", "kubernetes", "kfp.kubernetes", "hiredis"):
    sys.modules[name] = None
from pathlib import Path
from components.release.release import release
bundle, features, destination = {paths!r}
print(release(Path(bundle), Path(features), destination, {STARTED_AT!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str((tmp_path / "out" / "current" / "bundle").resolve())


@pytest.mark.parametrize("named", ["f" * 16, "../../elsewhere"])
def test_a_bundle_goes_out_with_the_features_that_it_was_trained_on(features: Path, tmp_path: Path, named: str) -> None:
    made = small_bundle(tmp_path / "made", features=named)
    with pytest.raises(DataError, match=rf"E158.*{named}.*{generation_of(features)}"):
        release(made, features, str(tmp_path / "out"), STARTED_AT)
    other = shutil.copytree(features, tmp_path / "features")
    (other / GENERATION).write_text("../../elsewhere")  # which agree
    with pytest.raises(DataError, match="E158"):
        release(small_bundle(tmp_path / "agreed", features="../../elsewhere"), other, str(tmp_path / "out"), STARTED_AT)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("started_at", ["yesterday", "2026-01-01T00:00:00"])
def test_when_a_run_started_is_a_time_with_its_offset(started_at: str, features: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"2026-01-31T06:00:00Z"):
        release(small_bundle(tmp_path / "made", features=generation_of(features)), features, str(tmp_path / "out"), started_at)


def test_a_redis_that_does_not_answer_stops_the_release_before_the_bundle_moves(
    bucket: str, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination, generation = f"{bucket}/{tmp_path.name}", generation_of(features)
    made = [small_bundle(tmp_path / "a", features=generation), small_bundle(tmp_path / "b", precision="int8", features=generation)]
    address = release(made[0], features, destination, STARTED_AT)
    monkeypatch.setenv("LODESTAR_REDIS", f"127.0.0.1:{free_port()}")
    with pytest.raises(EnvironmentFault, match=r"E553.*LODESTAR_REDIS"):
        release(made[1], features, destination, STARTED_AT)
    assert storage.resolve(destination) == address


def test_without_a_destination_nothing_is_published(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor published online, which a Redis that does not answer would refuse."""
    monkeypatch.setenv("LODESTAR_REDIS", f"127.0.0.1:{free_port()}")
    assert release(small_bundle(tmp_path / "made", features=generation_of(features)), features, "", STARTED_AT) == ""
