"""A damaged bundle is refused with a code before anyone is answered by it, wherever a bundle is opened."""

import shutil
from pathlib import Path

import pytest

from lodestar.bundle import bundle
from lodestar.engine.recommender import Recommender
from lodestar.errors import DataError
from tests import bundle_damage
from tests.bundle_damage_cases import DAMAGES


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_damage.whole(tmp_path_factory.mktemp("intact") / "bundle")


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "bundle"))


def test_the_bundle_is_whole_before_it_is_damaged(root: Path) -> None:
    bundle_damage.seal(root)
    assert len(Recommender(bundle.load(root)).recommend(["i1", "i2"], 5)) == 5


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_bundle_is_refused_with_a_code(root: Path, name: str) -> None:
    code, spoil = DAMAGES[name]
    spoil(root)
    with pytest.raises(DataError, match=f"^{code} "):
        Recommender(bundle.load(root))
