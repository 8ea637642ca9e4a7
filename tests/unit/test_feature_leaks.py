"""Our feature views say nothing that was not known at the time, on ordinary days and as clocks go back."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lodestar import schema
from lodestar.monitoring.leaks import find_leaks, sample_cutoffs
from lodestar.schema.time_units import SECOND_US
from tests.factories import EPOCH_US
from tests.unit.test_leaks import log

NUM_CUTOFFS = 4
# The night in which clocks go back in Europe: an hour that local time has twice.
AUTUMN_US = int(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()) * SECOND_US


@pytest.mark.parametrize("start_us", [EPOCH_US, AUTUMN_US])
@pytest.mark.parametrize("seed", [0, 1])
def test_our_views_say_nothing_that_was_not_known(tmp_path: Path, start_us: int, seed: int) -> None:
    found = log(tmp_path / "tables", start_us, seed)
    result = find_leaks(found, sample_cutoffs(found, NUM_CUTOFFS, seed))
    assert result.leaks == ()
    assert result.num_cutoffs == NUM_CUTOFFS
    assert result.rows > NUM_CUTOFFS
    assert set(result.views) == set(schema.VIEWS)
