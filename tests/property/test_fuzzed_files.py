"""Files that were cut, overwritten or made of nothing end in coded errors, never in another exception; LODESTAR_FUZZ_S says for how long.

What a file is made of is a good file of each kind and table, changed by random bytes, by pieces of itself and by what formats fear.
"""

import gzip
import io
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.data.ingest import validate
from lodestar.errors import LodestarError

SECONDS = float(os.environ.get("LODESTAR_FUZZ_S", "4"))
FEARED = [
    *(b"\x00", b'"', b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b",,,,", b"\t", b"|", b";", b"\\", b"{", b"}", b"[", b"null"),
    *(b"NaN", b"-inf", b"1e309", b"9" * 40, b"-0", b"0x10", b"1_000", b"\xc3", b"\xed\xa0\x80", b"\x1b[0m", b"'; DROP TABLE x", b"%s"),
    *(b"9999-12-31T23:59:60Z", b"0000-00-00", b"2025-01-01T00:00:00+99:99", b"1e18", b'{"a":' * 50, b"[" * 200, b'"\\ud800"', b"a" * 9000),
]
ROWS: list[dict[str, Any]] = [
    {
        **{
            "event_id": f"e{number}",
            "user_id": f"u{number % 6}",
            "item_id": "i1",
            "event_type": "purchase",
            "value": 1.5,
            "currency": "EUR",
        },
        **{"event_time": 1_735_689_600 + number, "position": 1, "attrs": {"a": "b"}, "query_text": 'say "é",\n|'},
        **{"tags": ["x", "y"], "embedding": [0.5, 1.0], "dim": 2, "kind": "text", "encoder": "e", "encoder_version": "1", "title": "T"},
        **{"item_type": "product", "created_at": "2025-01-01T00:00:00Z", "price": 2, "stock": 3, "is_active": True, "birth_year": 1990},
        **{"src_id": f"a{number}", "dst_id": f"a{number + 1}", "valid_from": "2025-01-01T00:00:00Z", "request_id": "r", "surface": "home"},
        **{"shown_at": "2025-01-01T00:00:00Z", "model_digest": "d", "arm": "control", "propensity": 0.5, "feature_hash": "h"},
    }
    for number in range(12)
]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict | bool) else str(value)


def _csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    quoted = ['"' + _text(value).replace('"', '""') + '"' for row in rows for value in row.values()]
    lines = [delimiter.join(rows[0])]
    lines += [delimiter.join(quoted[place : place + len(rows[0])]) for place in range(0, len(quoted), len(rows[0]))]
    return ("\n".join(lines) + "\n").encode()


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), content)
    return content.getvalue()


GOOD = [{name: row[name] for name in list(row)[:7]} for row in ROWS]
KINDS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".csv": _csv,
    ".tsv": lambda rows: _csv(rows, "\t"),
    ".jsonl": _jsonl,
    ".csv.gz": lambda rows: gzip.compress(_csv(rows)),
    ".jsonl.gz": lambda rows: gzip.compress(_jsonl(rows)),
    ".parquet": _parquet,
}


def _changed(content: bytes, rng: random.Random) -> bytes:
    """The content after a few changes, or something else altogether."""
    found = bytearray(content)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        here, there = sorted(rng.randrange(len(found) + 1) for _ in range(2))
        change = rng.randrange(6)
        if change == 0 and found:
            found[min(here, len(found) - 1)] = rng.randrange(256)
        elif change == 1:
            found[here:here] = rng.choice(FEARED)
        elif change == 2:
            found[here : here + rng.randrange(1, 30)] = rng.choice(FEARED)
        elif change == 3:
            del found[here : min(there, here + 200)]
        elif change == 4:
            found[here:here] = found[here : min(there, here + 400)]
        else:
            del found[there:]
    return bytes(found)


def _file(rng: random.Random, table: schema.Table, suffix: str) -> bytes:
    names = [name for name in ROWS[0] if name in table.names and rng.random() < 0.9] or ["user_id"]
    rng.shuffle(names)
    content = KINDS[suffix]([{name: row[name] for name in names} for row in ROWS[: rng.randrange(1, len(ROWS) + 1)]])
    if suffix.endswith(".gz") and rng.random() < 0.7:
        return gzip.compress(_changed(gzip.decompress(content), rng))
    return _changed(content, rng)


@pytest.mark.parametrize("suffix", KINDS)
def test_any_bytes_are_data_or_a_coded_error(suffix: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    rng, end, num_files, refused = random.Random(seed), time.monotonic() + SECONDS / len(KINDS), 0, 0
    first = [KINDS[suffix](GOOD), b"\xff" * 10]  # one that is accepted and one that is not, so that a run of any length has both
    while time.monotonic() < end or num_files < len(first):
        table = schema.EVENTS if num_files < len(first) else rng.choice([schema.EVENTS, *schema.TABLES.values()])
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        if table is not schema.EVENTS:
            (folder / "events.csv").write_bytes(_csv(GOOD))
        (folder / f"{table.name}{suffix}").write_bytes(content := first[num_files] if num_files < len(first) else _file(rng, table, suffix))
        num_files += 1
        try:
            validate(str(folder), quarantine=num_files > len(first) and rng.random() < 0.5)
        except LodestarError:
            refused += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}, file {num_files}: {table.name}{suffix} = {content[:5000]!r}") from error
    assert num_files > refused > 0
