"""Files that are added one by one, in any order, are the tables that they are together."""

import shutil
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestar.data.ingest import append, ingest
from tests.unit.test_append import contents, save, views

rows = st.lists(st.sampled_from(views(1, "x", "y", users=3) + views(2, "x", users=2)), max_size=12)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(rows, min_size=1, max_size=3), order=st.randoms(use_true_random=False))
def test_files_together_or_one_by_one_in_any_order_give_the_same_tables(files: list[list[str]], order: Any, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    paths = [save(tmp_path / "events" / f"{number}.csv", *views(3, "z"), *own) for number, own in enumerate(files)]
    ingest(str(tmp_path), tmp_path / "at once")
    order.shuffle(paths)
    for path in paths:
        append(str(path), tmp_path / "store")
    assert contents(tmp_path / "store") == contents(tmp_path / "at once")
