"""A bundle of which a file is cut off is refused with a code before anyone is answered by it, whether the file is sealed so or not."""

from pathlib import Path

import pytest

from lodestar.bundle import bundle
from lodestar.engine.recommender import Recommender
from lodestar.errors import DataError
from tests import bundle_damage
from tests.bundle_damage_cases import CUT


@pytest.mark.parametrize("name", CUT)
def test_a_bundle_cut_off_is_refused_with_a_code(tmp_path: Path, name: str) -> None:
    code, spoil = CUT[name]
    root = bundle_damage.whole(tmp_path / "bundle")
    spoil(root)
    with pytest.raises(DataError, match=f"^{code} "):
        Recommender(bundle.load(root))
