"""Every code of an HTTP answer comes with the status of its row in the table: from the predictor, the collector and the connection."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from lodestar import schema
from lodestar.error_codes import CODES
from serving import request_queue
from serving.spool import Spool
from tests.contract.conftest import StartServing
from tests.contract.test_bounds import sent
from tests.contract.test_draining import ASKED
from tests.contract.test_serving import connection_to
from tests.unit.test_app import Served
from tests.unit.test_collector import EVENT, Collected

Answer = tuple[int, str]
PREDICT = "/v1/models/recommend:predict"
SMALL = """
from serving.http import connection_limits, request_limits
connection_limits.MAX_WAITING_BYTES = 1 << 18
request_limits.SLOW_S = 0.5"""
FUTURE = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def recommend(query: str) -> Callable[[Served], Answer]:
    """GET a recommendation list."""
    return lambda served: answer(served.ask("GET", f"/v1/recommend?{query}"))


def predict(body: bytes) -> Callable[[Served], Answer]:
    """POST a v1 request."""
    return lambda served: answer(served.ask("POST", PREDICT, content=body))


def answer(found: Any) -> Answer:
    """Status and code of an answer."""
    return found.status_code, found.json()["code"]


def full(served: Served) -> Answer:
    """An answer while too many requests wait."""
    with pytest.MonkeyPatch.context() as few:
        few.setattr(request_queue, "MAX_CONCURRENCY", 0)
        return recommend("user=u1")(served)


def broken(served: Served) -> Answer:
    """An answer of a predictor whose feature client fails in an unknown way."""
    served.store.known = None  # type: ignore[assignment]
    return recommend("user=u1")(served)


def overflowing(served: Served) -> Answer:
    """An answer of a bundle whose scores are not finite."""
    served.predictor.recommender.bundle.table.codes[3:] = np.nan
    return recommend("user=u1")(served)


def left(served: Served) -> Answer:
    """What a client would have got that has left."""
    whole = {"type": "http.request", "body": b'{"instances": ["u1"]}', "more_body": True}
    status, refusal = served.ask_part(PREDICT, whole, {"type": "http.disconnect"})
    return status, refusal["code"]


PREDICTOR: dict[str, Callable[[Served], Answer]] = {
    "E101": recommend("k=3"),
    "E102": recommend("user=u1&k=0"),
    "E103": recommend("user="),
    "E104": recommend("user=%ff"),
    "E107": recommend("user=u1&k=ten"),
    "E173": recommend("user=u1&user=u2"),
    "E189": overflowing,
    "E404": lambda served: answer(served.ask("GET", "/nowhere")),
    "E405": lambda served: answer(served.ask("POST", "/v1/recommend")),
    "E413": predict(b"x" * (2 << 20)),
    "E429": full,
    "E440": predict(b"{"),
    "E441": predict(b'{"instances": ' + b"[" * 99 + b"]" * 99 + b"}"),
    "E442": predict(b"[" * 20_001),
    "E446": recommend("user=u1&kk=3"),
    "E447": left,
    "E500": broken,
}


def event(**changes: Any) -> Callable[[Collected], Answer]:
    """POST an event."""
    return lambda collected: answer(collected.post({**EVENT, **changes}))


def spool_full(collected: Collected) -> Answer:
    """An answer while the spool is full."""
    with pytest.MonkeyPatch.context() as small:
        small.setattr(Spool, "is_full", True)
        return answer(collected.post(EVENT))


COLLECTOR: dict[str, Callable[[Collected], Answer]] = {
    "E105": event(**{schema.EVENT_TIME: FUTURE}),
    "E106": event(**{schema.EVENT_TIME: "2026-01-31"}),
    "E109": lambda collected: answer(collected.post(b"5")),
    "E110": event(**{schema.EVENT_TYPE: "veiw"}),
    "E111": event(**{schema.EVENT_TYPE: "rating"}),
    "E112": event(**{schema.EVENT_TIME: 5}),
    "E170": event(**{schema.EVENT_TYPE: "search", schema.QUERY_TEXT: "x" * 9000}),
    "E201": lambda collected: answer(collected.post(b"[]")),
    "E401": lambda collected: answer(collected.post(EVENT, headers={"authorization": "Bearer wrong"})),
    "E445": spool_full,
}


def refused(content: bytes) -> Callable[[str], Answer]:
    """The last answer before the server closes a connection on which it has received this."""

    def last(address: str) -> Answer:
        lines, refusal = sent(address, content)
        return int(lines[-1].split()[1]), refusal["code"]

    return last


def slow(address: str) -> Answer:
    """The answer to a request that stops in the middle."""
    with connection_to(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost:")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), orjson.loads(body)["code"]


CONNECTION: dict[str, Callable[[str], Answer]] = {
    "E400": refused(b"nonsense\r\n\r\n"),
    "E408": slow,
    "E414": refused(b"GET /?user=" + b"u" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "E431": refused(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n"),
    "E443": refused(ASKED * 1000),
    "E444": refused(f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n".encode() + b" " * 300_000),
}


@pytest.fixture
def collected(tmp_path: Path) -> Iterator[Collected]:
    made = Collected(tmp_path)
    yield made
    made.spool.close()


@pytest.fixture(scope="module")
def address(made: Path, start_serving: StartServing) -> str:
    return start_serving("--bundle", made, before=f"exec({SMALL!r})").address


@pytest.mark.parametrize("code", PREDICTOR)
def test_the_predictor_answers_with_the_status_of_the_table(code: str, tmp_path: Path) -> None:
    assert PREDICTOR[code](Served(tmp_path)) == (CODES[code].http_status, code)


@pytest.mark.parametrize("code", COLLECTOR)
def test_the_collector_answers_with_the_status_of_the_table(code: str, collected: Collected, tmp_path: Path) -> None:
    asked = Collected(tmp_path / "with a key", key="secret" * 5) if code == "E401" else collected
    assert COLLECTOR[code](asked) == (CODES[code].http_status, code)
    asked.spool.close()


@pytest.mark.parametrize("code", CONNECTION)
def test_a_connection_is_refused_with_the_status_of_the_table(code: str, address: str) -> None:
    assert CONNECTION[code](address) == (CODES[code].http_status, code)


def test_every_code_with_a_status_is_answered_above() -> None:
    assert {*PREDICTOR, *COLLECTOR, *CONNECTION} == {code for code, row in CODES.items() if row.http_status is not None}
    assert len(PREDICTOR) + len(COLLECTOR) + len(CONNECTION) == len({*PREDICTOR, *COLLECTOR, *CONNECTION})
