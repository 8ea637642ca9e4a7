"""Random events in random foreign forms: a description, once its decisions are made, gives the same rows; random bytes a coded error."""

import contextlib
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from lodestar.data.address import Address
from lodestar.data.describe.describe_path import describe_path
from lodestar.errors import DataError, LodestarError
from tests.describing import candidates, declare, ingested
from tests.foreign_forms import Row, foreign

STARTS = (b"", b"PAR1", b"\x1f\x8b", b"\xff\xfe", b"[{", b'{"a": ', b"user_id,item_id\n", b"{'a': ")
NAMES = ("log.csv", "log.jsonl", "log.parquet", "log.dat", "log", "log.csv.gz", "events.csv")


def _answered(text: str, answers: Mapping[str, Any]) -> str:
    """The declaration with the right candidate of each decision."""
    chosen = []
    for line in candidates(text):
        key, _, value = line.partition(" = ")
        if key in {"time_zone", "columns"} or (key == "time_format" and value == json.dumps(answers[key])):
            chosen.append(f"{key} = {json.dumps(answers[key], ensure_ascii=False)}")
        elif key == "event_types":
            meant = {theirs.strip('"'): ours for theirs, ours in re.findall(r'([^\s{},"]+|"[^"]*") = "(\w+)"', value)}
            assert meant.items() <= answers[key].items()
            chosen.append(line)
    return "\n".join([*chosen, text])


def _rows(data: Path | str) -> list[Row]:
    return sorted((row["user_id"], row["item_id"], row["event_type"], row["event_time"]) for row in ingested(data))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**9))
def test_events_in_a_foreign_form_are_the_same_rows_once_decided_or_are_refused(seed: int) -> None:
    written = foreign(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log.csv").write_text(written.content)
        with contextlib.suppress(DataError):  # a refusal is never silent
            assert _rows(folder / "log.csv") == sorted(written.rows)
            event("read as it is")
        found = describe_path(Address(path=str(folder / "log.csv")), folder)
        event(f"{found.num_decisions} decisions")
        assert _rows(declare(folder, _answered(found.text, written.answers))) == sorted(written.rows)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=300), start=st.sampled_from(STARTS), name=st.sampled_from(NAMES))
def test_random_bytes_are_described_or_a_coded_error(content: bytes, start: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(start + content)
        for path in (Path(folder), Path(folder, name)):
            with contextlib.suppress(LodestarError):
                describe_path(Address(path=str(path)), Path(folder))
