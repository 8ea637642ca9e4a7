"""A log of any years that the contract accepts is published, served and compared with history as others are."""

from datetime import timedelta
from pathlib import Path

from feature_repo.materialise import EARLIEST
from feature_repo.stores.time_us import microseconds
from lodestar import schema
from lodestar.data.contract import rules
from lodestar.schema.time_units import DAY_US
from tests.contract.conftest import StartServing, publish
from tests.contract.test_skew import logged, proof
from tests.unit.test_features import built


def test_a_log_of_1965_is_served_as_others_are(start_serving: StartServing, tmp_path: Path) -> None:
    publish(built(tmp_path, [("u0", "i1", 10), ("u1", "i2", 20), ("u1", "i3", 30), ("u2", "i2", 40)], start_us=-5 * 365 * DAY_US))
    (tmp_path / "log").mkdir()
    served = logged(tmp_path, start_serving, tmp_path / "log" / "feature-log.jsonl")
    assert [len(row[schema.RECENT_ITEMS]) for row in served] == [1, 2, 1, 0] * 2
    found = proof(tmp_path, served, tmp_path / "feature-log.jsonl")
    assert (found.requests, found.identical, found.differences) == (8, 8, ())
    assert found.oldest > timedelta(days=60 * 365)


def test_online_rows_are_written_from_the_first_time_that_a_log_may_have() -> None:
    assert microseconds(EARLIEST) == rules.EARLIEST_US
