"""The features that a benchmark works on: those of a folder, or of a small simulated shop where none is named."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lodestar.data.ingest import ingest
from lodestar.features.batch.build import build_features
from lodestar.recipes import get_recipe

SHOP = "simulator:users=400,items=200,events=20000"


@contextmanager
def features(folder: Path | None) -> Iterator[Path]:
    """The folder that `lodestar features build` wrote; if None, features of a small simulated shop, until the end."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        ingest(SHOP, root / "tables")
        build_features(root / "tables", root / "simulated-shop", get_recipe("shop"))
        yield root / "simulated-shop"
