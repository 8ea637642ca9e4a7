"""Whatever senders and disks make of rows: the collector answers or refuses, what it takes ingest takes, and ingest never stops."""

import gzip
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from lodestar import schema
from lodestar.data.ingest import append
from lodestar.data.readers.collector_parts import new_part
from serving.collector.intake import Intake, rows_of
from serving.requests import InvalidRequest

ROWS = {
    schema.EVENTS: {
        **{schema.USER_ID: "u1", schema.ITEM_ID: "i1", schema.EVENT_TYPE: "view", schema.EVENT_TIME: "2026-01-01T00:00:00Z"},
        **{schema.SESSION_ID: "s", schema.POSITION: 3, schema.VALUE: 1.5, schema.ATTRS: {"a": "b"}, schema.QUERY_TEXT: "é"},
    },
    schema.IMPRESSIONS: {
        **{schema.REQUEST_ID: "r", schema.USER_ID: "u1", schema.ITEM_ID: "i1", schema.POSITION: 1, schema.SHOWN_AT: 1_767_225_600},
        **{schema.SURFACE: "home", schema.MODEL_DIGEST: "d", schema.ARM: "control", schema.PROPENSITY: 0.5, schema.FEATURE_HASH: "h"},
    },
}
ZONES = ("Z", "+99:00", "")
VALUES: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: rng.choice([None, True, "", " ", "nan", "\0", "\u3000x", [], {}, [[]], {"a": {"b": 1}}, "x" * 9000, 2**63, 1e308, -0.0]),
    lambda rng: f"{rng.randrange(10_000):04}-{rng.randrange(14):02}-{rng.randrange(33):02}T{rng.randrange(26):02}:00:00{rng.choice(ZONES)}",
    lambda rng: rng.randrange(-(10**18), 10**18) // 10 ** rng.randrange(18),
    lambda rng: "".join(chr(rng.choice([9, 10, 34, 58, 92, 123, 955, 0x1F600, 0x2028])) for _ in range(rng.randrange(9))),
)
PIECES = (
    b"\x00",
    b"\xff",
    b"\n",
    b"\r\n",
    b'"',
    b"\\",
    b"{",
    b"[",
    b"}",
    b":",
    b",",
    b'":',
    b"NaN",
    b"1e400",
    b'"a":1,"a":2,',
    b"[" * 2000,
    b"\\ud800",
)


def drill(seed: int, cases: int) -> dict[str, object]:
    """Rows with odd values and bytes that were changed, as bodies and as parts; some parts are cut or no gzip."""
    rng = random.Random(seed)
    figures = {"accepted": 0, "refused_rows": 0, "refused_bodies": 0, "set_aside": 0}
    for _ in range(cases):
        table = rng.choice(list(ROWS))
        bodies = [_body(rng, table) for _ in range(20)]
        with tempfile.TemporaryDirectory() as folder:
            accepted = [_sent(table, body, figures) for body in bodies]
            lines = b"".join(lines for lines, _ in accepted)
            kept = _added(Path(folder, "sent"), table, gzip.compress(lines), may_drop=False, figures=figures)
            assert kept == len({_key(table, line) for line in lines.splitlines()}), "what a collector accepts, ingest accepts"
            packed = gzip.compress(b"\n".join(bodies))
            packed = rng.choice([packed, packed, packed[: rng.randrange(len(packed))], _changed(rng, packed)])
            _added(Path(folder, "raw"), table, packed, may_drop=True, figures=figures)
    return dict(figures)


def _body(rng: random.Random, table: schema.Table) -> bytes:
    row = {**ROWS[table], table.key[0]: f"k{rng.randrange(8)}"}
    for name in rng.sample(list(row), rng.randrange(3)):
        row[name] = rng.choice(VALUES)(rng)
    body = orjson.dumps(row)
    return body if rng.random() < 0.5 else _changed(rng, body)


def _changed(rng: random.Random, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(rng.randrange(1, 3)):
        here = rng.randrange(len(found) + 1)
        found[here : here + rng.randrange(3)] = rng.choice(PIECES)
    return bytes(found)


def _sent(table: schema.Table, body: bytes, figures: dict[str, int]) -> tuple[bytes, int]:
    try:
        sent = rows_of(body)
    except InvalidRequest:
        figures["refused_bodies"] += 1
        return b"", 0
    accepted = Intake(table).take(sent.rows, rejections=sent.rejections)
    figures["accepted"] += accepted.num_rows
    figures["refused_rows"] += len(accepted.rejected)
    return accepted.lines, accepted.num_rows


def _key(table: schema.Table, line: bytes) -> tuple[str, ...]:
    row = orjson.loads(line)
    return tuple(str(row[name]) for name in table.key)


def _added(folder: Path, table: schema.Table, part: bytes, *, may_drop: bool, figures: dict[str, int]) -> int:
    """Rows that ingest keeps of a part beside a good one; all are accounted for, whatever the part is."""
    good = Intake(schema.EVENTS).take([{**ROWS[schema.EVENTS], schema.EVENT_ID: f"good{place}"} for place in range(3)])
    for name, content in ((schema.EVENTS.name, gzip.compress(good.lines)), (table.name, part)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{new_part()}.jsonl.gz").write_bytes(content)
    report = append(str(folder), folder / "tables").tables[table.name]
    num_good = good.num_rows if table is schema.EVENTS else 0
    aside = {code: count for code, count in report.dropped.items() if code.startswith("E")}
    assert report.rows_in == report.rows_kept + sum(report.dropped.values()), report
    assert report.rows_kept >= num_good, report
    assert may_drop or set(aside) <= {"E120", "E174"}, report
    figures["set_aside"] += sum(aside.values())
    return report.rows_kept - num_good
