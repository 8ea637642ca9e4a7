"""Taking events in over HTTP: CPU time of the server per event, ours as a share of FastAPI with pydantic.

Both do the same work: the same rows are checked by the same rules of the contract, become JSON lines with ingested_at, and are on the
disk before the answer; the peer writes them by our own journal, so that only the way from socket to line differs. Senders keep their
connections, servers take turns, and medians of rounds are compared. CPU is that of all threads of the server's process.

    python benchmarks/collector.py [--rounds N]     published: --rounds 11
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))  # or this file is found in place of the package whose name it has

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring.requirements import require
from benchmarks.measuring.server import HOST, Server, free_port, running
from lodestar import schema

OURS, PEER = "ours", "fastapi"
SENDERS, WARM_UP = 32, 20
REQUESTS = {1: 40, 100: 4}  # rows of a request: how many requests each sender makes in a round


def main() -> None:
    """Print CPU time per event and events per second of both servers by request size, medians of ROUNDS; with arguments, be the peer."""
    if sys.argv[2:] and not sys.argv[1].startswith("-"):
        serve_as_fastapi(*sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    rounds = parser.parse_args().rounds
    require("fastapi", "pydantic", "uvicorn", "orjson")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {name: stack.enter_context(started(name, Path(folder, name))) for name in (OURS, PEER)}
        check_equal(servers)
        for num_rows, count in REQUESTS.items():
            request = request_of([event(number) for number in range(num_rows)])
            measured: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
            for server in servers.values():
                a_round(server, request, WARM_UP)
            for _ in range(rounds):
                for name, server in servers.items():
                    measured[name].append(a_round(server, request, count))
            report(num_rows, num_rows * count * SENDERS, measured)


def a_round(server: Server, request: bytes, count: int) -> tuple[float, float]:
    """CPU seconds of the server, and seconds, for `count` requests of each sender, all at once."""
    with ThreadPoolExecutor(SENDERS) as pool:
        cpu_s, start = server.cpu_s(), time.perf_counter()
        for sender in [pool.submit(send, server, place, request, count) for place in range(SENDERS)]:
            sender.result()
    return server.cpu_s() - cpu_s, time.perf_counter() - start


def report(num_rows: int, num_events: int, measured: dict[str, list[tuple[float, float]]]) -> None:
    """Print each server's medians (CPU seconds, wall seconds) per event, and ours as a ratio to the peer's."""
    medians = {name: [statistics.median(column) for column in zip(*rounds, strict=True)] for name, rounds in measured.items()}
    for name, (cpu_s, elapsed_s) in medians.items():
        ratio = f"{medians[PEER][0] / cpu_s:4.1f} x less CPU than {PEER}" if name == OURS else ""
        cost, rate = 1e6 * cpu_s / num_events, num_events / elapsed_s
        print(f"{num_rows:4d} events a request  {name:8s} {cost:7.1f} us CPU an event  {rate:8,.0f} events/s  {ratio}")


def event(number: int) -> dict[str, Any]:
    """One valid row of the events table; ids repeat with different periods, so that no two neighbours are alike."""
    return {
        schema.EVENT_ID: f"e{number}",
        schema.USER_ID: f"u{number % 97}",
        schema.SESSION_ID: f"s{number % 89}",
        schema.EVENT_TYPE: ("view", "click", "purchase")[number % 3],
        schema.EVENT_TIME: "2024-05-01T12:00:00.125Z",
        schema.ITEM_ID: f"i{number % 83}",
        schema.POSITION: number % 10,
        schema.SURFACE: "home",
        schema.DEVICE: "phone",
        schema.VALUE: 9.5,
        schema.CURRENCY: "EUR",
        schema.ATTRS: {"campaign": "spring"},
    }


def request_of(rows: list[dict[str, Any]]) -> bytes:
    """The bytes of one HTTP/1.1 request that sends these rows as a JSON array."""
    body = json.dumps(rows).encode()
    head = f"POST /v1/events HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def send(server: Server, place: int, request: bytes, count: int) -> None:
    """Send the request `count` times over one kept connection; RuntimeError unless every status is 202."""
    for _ in range(count):
        status, content = server.answer(request, place)
        if status != 202:
            raise RuntimeError(f"the answer was {status} {content[:200]!r}")


def check_equal(servers: dict[str, Server]) -> None:
    """Equal verdicts first, on what a row needs: a bad cell of another column is null with us, and refuses the row there."""
    now = datetime.now(UTC)
    bad: list[dict[str, Any]] = [
        {schema.EVENT_TYPE: "veiw"},
        {schema.EVENT_TYPE: "search"},
        {schema.EVENT_TIME: "2024-05-01T12:00:00"},
        {schema.EVENT_TIME: (now + timedelta(hours=1)).isoformat()},
        {schema.USER_ID: "x" * 129, schema.SESSION_ID: None},
        {schema.ITEM_ID: "x" * 129},
    ]
    for change in ({}, *bad):
        request = request_of([{**event(0), **change}])
        found = {server.answer(request)[0] for server in servers.values()}
        if found != {422 if change else 202}:
            raise RuntimeError(f"the servers answer {change} by {found}")


@contextmanager
def started(name: str, landing: Path) -> Iterator[Server]:
    """Context manager: one of the servers in a process of its own, which writes below `landing`."""
    port = free_port()
    ours = ["-m", "serving.collector", "--output", str(landing), "--host", HOST, "--port", str(port)]
    with running(ours if name == OURS else [__file__, str(landing), str(port)], port, connections=SENDERS) as server:
        yield server


def event_as_pydantic() -> type:
    """A row of events as pydantic's documentation has one written."""
    from typing import Annotated

    from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

    def not_in_future(timestamp: datetime) -> datetime:
        if timestamp > datetime.now(UTC) + timedelta(minutes=5):
            raise ValueError("the time is in the future")
        return timestamp

    identifier = Annotated[str, StringConstraints(min_length=1, max_length=128)]
    text = Annotated[str, StringConstraints(max_length=8192)]
    kinds = {str(kind): needs for kind, needs in schema.REQUIRED_COLUMNS.items()}

    class Event(BaseModel):
        model_config = ConfigDict(extra="ignore")
        event_id: identifier
        user_id: identifier | None = None
        event_type: schema.EventType
        event_time: Annotated[AwareDatetime, AfterValidator(not_in_future)]
        item_id: identifier | None = None
        session_id: text | None = None
        target_user_id: text | None = None
        query_id: text | None = None
        query_text: text | None = None
        request_id: text | None = None
        position: Annotated[int, Field(ge=0)] | None = None
        surface: text | None = None
        device: text | None = None
        value: Annotated[float, Field(allow_inf_nan=False)] | None = None
        currency: text | None = None
        rating: Annotated[float, Field(ge=1, le=5)] | None = None
        dwell_s: Annotated[float, Field(ge=0)] | None = None
        progress: Annotated[float, Field(ge=0, le=1)] | None = None
        source: text | None = None
        attrs: Annotated[dict[str, str | int | float | bool | None], Field(max_length=64)] | None = None

        @model_validator(mode="after")
        def has_what_it_needs(self) -> "Event":
            if self.user_id is None and self.session_id is None:
                raise ValueError("nobody is named")
            for name in kinds[self.event_type]:
                if getattr(self, name) is None:
                    raise ValueError(f"{name} is needed")
            return self

    return Event


def serve_as_fastapi(landing: str, port: str) -> None:
    """The peer: a model per row as its documentation writes them, and orjson for lines."""
    from typing import Annotated

    import orjson
    import uvicorn
    from fastapi import FastAPI
    from pydantic import Field

    from serving.collector.journal import Journal
    from serving.collector.landing import Landing, open_spool

    event: Any = event_as_pydantic()
    app = FastAPI()
    spool = open_spool(Landing(landing), Path(landing, ".spool"), 30.0, lambda _: None)
    journal = Journal(spool)

    @app.post("/v1/events", status_code=202)
    async def events(rows: Annotated[list[event], Field(max_length=1000)]) -> dict[str, int]:
        said_at = datetime.now(UTC).isoformat(timespec="microseconds")
        lines = [
            orjson.dumps({**row.model_dump(exclude_none=True), schema.INGESTED_AT: said_at}, option=orjson.OPT_APPEND_NEWLINE)
            for row in rows
        ]
        await journal.keep(schema.EVENTS.name, b"".join(lines))
        return {"accepted": len(rows)}

    uvicorn.run(app, host=HOST, port=int(port), log_level="error", access_log=False, loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
