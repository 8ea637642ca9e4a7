"""Outliers among events: declared and fitted bounds, bursts of one user; every effect is counted, and later data do not move bounds."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.data.declaration.parse import parse
from lodestar.data.ingest import append, ingest
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError
from tests.factories import write_files

HEADER = "user_id,item_id,event_type,event_time,dwell_s\n"


def _values(root: Path) -> list[float]:
    tables = Tables(root=root)
    return [value for path in tables.paths(schema.EVENTS) for value in pq.read_table(path)["dwell_s"].to_pylist()]


def _log(values: list[float], day: int = 1) -> str:
    return HEADER + "".join(
        f"u{n % 7},i{n},dwell,2026-01-{day:02}T00:{n // 60:02}:{n % 60:02}Z,{value}\n" for n, value in enumerate(values)
    )


@pytest.mark.parametrize(
    ("rule", "kept", "dropped"),
    [("drop", [10.0] * 18, 2), ("clip", [10.0] * 18 + [50.0, 1.0], 0), ("keep", [10.0] * 18 + [900.0, 0.1], 0)],
)
def test_values_beyond_bounds_are_dropped_clipped_or_kept_and_counted(tmp_path: Path, rule: str, kept: list[float], dropped: int) -> None:
    declared = f"[events]\nfiles = 'log.csv'\n[outliers.dwell_s]\nlow = 1\nhigh = 50\nrule = '{rule}'"
    data = write_files(tmp_path / "data", {"log.csv": _log([10.0] * 18 + [900.0, 0.1]), "dataset.toml": declared})
    report = ingest(str(data), tmp_path / "tables").tables["events"]
    assert sorted(_values(tmp_path / "tables")) == sorted(kept)
    assert sum(report.dropped.values()) == dropped
    assert report.rows_in == report.rows_kept + dropped
    assert any(note.startswith("2 outliers of dwell_s (below 1 or above 50)") for note in report.notes)


def test_a_quantile_is_fitted_on_the_earliest_events_and_holds_for_later_ones(tmp_path: Path) -> None:
    declared = "[events]\nfiles = '*.csv'\n[outliers.dwell_s]\nquantile = 0.5\nfitted_on = 0.5\nrule = 'clip'"
    data = write_files(tmp_path / "data", {"a.csv": _log([*map(float, range(1, 11)), *[1000.0] * 10]), "dataset.toml": declared})
    append(str(data), tmp_path / "tables")
    # The median of the earliest half, 1 to 10, whatever the later half is.
    assert max(_values(tmp_path / "tables")) == pytest.approx(5.5)
    write_files(data, {"b.csv": _log([2000.0] * 20, day=2)})
    append(str(data), tmp_path / "tables")
    assert max(_values(tmp_path / "tables")) == pytest.approx(5.5)


@pytest.mark.parametrize(("rule", "rows"), [("clip", 6 + 3), ("drop", 6)])
def test_a_burst_of_one_user_is_clipped_or_dropped(tmp_path: Path, rule: str, rows: int) -> None:
    people = "".join(f"u{n},i{n},view,2026-01-01T00:00:00Z,\n" for n in range(6))
    burst = "".join(f"bot,i{n},view,2026-01-01T00:00:{n:02}Z,\n" for n in range(20))
    declared = f"[events]\nfiles = 'log.csv'\n[outliers.events_per_minute]\nhigh = 3\nrule = '{rule}'"
    data = write_files(tmp_path / "data", {"log.csv": HEADER + people + burst, "dataset.toml": declared})
    report = ingest(str(data), tmp_path / "tables").tables["events"]
    assert report.rows_kept == rows
    assert report.rows_in == rows + report.dropped["outlier of events_per_minute"]


@pytest.mark.parametrize(
    "section",
    [
        "outliers.dwell = {high = 1}",
        "outliers.dwell_s = {}",
        "outliers.events_per_minute = {quantile = 0.5}",
        "outliers.surface = {high = 1}",
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(section: str) -> None:
    with pytest.raises(DataError, match="E141"):
        parse(section.encode())
