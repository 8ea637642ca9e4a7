"""A bundle goes out whole, to a folder or to S3, and twice is as good as once."""

from pathlib import Path

import pytest

from components.release import release
from lodestar import bundle, storage
from tests.factories import small_bundle


@pytest.fixture
def features(tmp_path: Path) -> Path:
    (tmp_path / "features" / "online").mkdir(parents=True)
    (tmp_path / "features" / "online" / "online.db").write_bytes(b"a store")
    return tmp_path / "features"


def test_a_folder_gets_the_bundle_and_its_online_store(features: Path, tmp_path: Path) -> None:
    made = small_bundle(tmp_path / "made")
    for _ in range(2):
        address = release(made, features, str(tmp_path / "out"), "")
        assert bundle.load(Path(address)).digest == bundle.load(made).digest
    assert (tmp_path / "out" / "online" / "online.db").read_bytes() == b"a store"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bundle", "online"]


def test_a_bucket_keeps_every_bundle_and_names_the_current_one(bucket: str, features: Path, tmp_path: Path) -> None:
    bundles = f"{bucket}/bundles"
    made = [small_bundle(tmp_path / "a"), small_bundle(tmp_path / "b", precision="int8")]
    addresses = [release(path, features, bundles, "") for path in (*made, made[1])]
    assert addresses == [f"{bundles}/versions/{storage.digest(path)}" for path in (*made, made[1])]
    assert storage.resolve(bundles) == addresses[1]
    for path, address in zip(made, addresses, strict=False):
        assert bundle.load(storage.download(address, tmp_path / "back" / path.name)).digest == bundle.load(path).digest
