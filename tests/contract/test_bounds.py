"""What one caller may send and hold, and what all of them may together: who passes a bound is told, and nobody else notices."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.collector_harness import collecting
from tests.contract.conftest import StartServing
from tests.contract.test_draining import ASKED, READY, answered
from tests.contract.test_serving import connection_to
from tests.factories import small_bundle

PREDICT = "/v1/models/recommend:predict"
SMALL = """
from serving.http import connection_limits as limits, http_protocol as protocol
limits.MAX_CONNECTIONS = 24
limits.MAX_WAITING_BYTES, limits.MAX_UNREAD_BYTES = 1 << 20, 4 << 20
protocol.UNREAD_S = 0.5"""


@pytest.fixture(scope="module")
def bundle_of_many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("many") / "bundle", num_items=1000)


@pytest.fixture(scope="module")
def address(bundle_of_many: Path, start_serving: StartServing) -> str:
    return start_serving("--bundle", bundle_of_many).address


@pytest.fixture(scope="module")
def small_address(bundle_of_many: Path, start_serving: StartServing) -> str:
    """Of a server whose sums are small."""
    return start_serving("--bundle", bundle_of_many, before=f"exec({SMALL!r})").address


def sent(address: str, content: bytes) -> tuple[list[bytes], dict[str, str]]:
    """The status lines that come back until the connection ends, and the last body."""
    with connection_to(address) as connection:
        connection.sendall(content)
        received = connection.makefile("rb").read()
    lines = [line for line in received.split(b"\r\n") if b"HTTP/1.1 " in line]
    return [line[line.index(b"HTTP/1.1 ") :] for line in lines], json.loads(received.rpartition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("count", [129, 180_000])
def test_a_head_of_too_many_headers_is_refused(address: str, count: int) -> None:
    lines, refusal = sent(address, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * count + b"\r\n")
    assert [line.split()[1] for line in lines] == [b"431"]
    assert refusal["code"] == "E431"


@pytest.mark.parametrize("hosts", [b"", b"host: a\r\nhost: a\r\n"])
def test_a_head_that_does_not_name_one_host_is_refused(address: str, hosts: bytes) -> None:
    lines, refusal = sent(address, b"GET / HTTP/1.1\r\n" + hosts + b"\r\n")
    assert [line.split()[1] for line in lines] == [b"400"]
    assert (refusal["code"], "Host" in refusal["message"]) == ("E400", True)
    with connection_to(address) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 ")


def test_a_head_of_many_headers_is_accepted(address: str) -> None:
    with connection_to(address) as connection:
        assert answered(connection, b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 127 + b"\r\n") == (200, False)


def test_what_follows_a_chunked_body_is_bounded_as_a_head_is(address: str) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n".encode()
    lines, refusal = sent(address, head + b"a: b\r\n" * 150_000)
    assert [line.split()[1] for line in lines] == [b"431"]
    assert refusal["code"] == "E431"


def test_too_many_requests_in_a_row_are_refused_after_the_answers_that_are_owed(address: str) -> None:
    lines, refusal = sent(address, ASKED * 1000)
    statuses = [line.split()[1] for line in lines]
    assert statuses[-1] == b"429"
    assert set(statuses[:-1]) == {b"200"}
    assert 16 < len(statuses) <= 300
    assert refusal["code"] == "E443"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"instances": [' + b"[" * 300 + b"]" * 300 + b"]}", "E441"),
        (b'{"instances": ' + b"[" * 300_000 + b"]" * 300_000 + b"}", "E442"),
        (b'{"instances": [' + b"[]," * 100_000 + b"[]]}", "E442"),
        (b'{"instances": ["u1"], "parameters": ' + b'{"a":' * 500 + b"1" + b"}" * 501, "E441"),
    ],
)
@pytest.mark.parametrize("path", [PREDICT, "/v2/models/recommend/infer"])
def test_json_that_is_deep_or_in_pieces_is_refused(address: str, path: str, body: bytes, code: str) -> None:
    answer = httpx.post(f"{address}{path}", content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_rows_that_are_deep_or_in_pieces_are_refused(tmp_path: Path) -> None:
    with collecting("--output", tmp_path, "--port", "0") as collector:
        for body, code in ((b'[{"attrs": ' + b'{"a":' * 300 + b"1" + b"}" * 301 + b"]", "E441"), (b"[" + b"[]," * 30_000 + b"[]]", "E442")):
            answer = httpx.post(f"{collector.address}/v1/events", content=body)
            assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_requests_that_never_come_whole_take_nobodys_turn(address: str) -> None:
    with many(address, 300, f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{{".encode()):
        assert httpx.get(f"{address}/v1/recommend?user=u1").status_code == 200


def test_after_an_upgrade_that_is_not_made_the_connection_goes_on(address: str) -> None:
    with connection_to(address) as connection:
        upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
        assert answered(connection, ASKED[:-2] + upgrade) == (200, False)
        assert answered(connection, ASKED) == (200, False)


@contextlib.contextmanager
def many(address: str, count: int, content: bytes) -> Iterator[list[socket.socket]]:
    """Connections that send something and then nothing."""
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(count):
            connections.append(stack.enter_context(connection_to(address)))
            with contextlib.suppress(ConnectionError):
                connections[-1].sendall(content)
        yield connections


@pytest.mark.parametrize("content", [b"", b"GET /", READY, f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{{".encode()])
def test_connections_that_give_nothing_to_do_keep_nobody_out(small_address: str, content: bytes) -> None:
    """Neither silent ones nor those that stop in the midst, nor those that are kept without need."""
    with many(small_address, 100, content), connection_to(small_address) as caller:
        assert answered(caller, READY) == (200, False)
        assert answered(caller, ASKED) == (200, False)


def test_bodies_that_never_end_are_given_up_oldest_first(small_address: str) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n".encode()
    with many(small_address, 3, b"") as connections:
        for connection in connections:
            connection.sendall(head)
            time.sleep(0.02)  # or they are equally old
        for connection in connections:
            connection.sendall(b" " * 399_000)
        answer = connections[0].makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"E444"' in answer
        connections[2].sendall(b" " * 1000)
        assert connections[2].recv(12) == b"HTTP/1.1 422"


def test_who_does_not_read_the_answers_is_left(small_address: str) -> None:
    host, _, port = small_address.removeprefix("http://").partition(":")
    with socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.connect((host, int(port)))
        deadline = time.monotonic() + 20
        while 'refused_total{reason="unread"}' not in httpx.get(f"{small_address}/metrics").text:
            assert time.monotonic() < deadline
            with contextlib.suppress(ConnectionError):
                greedy.sendall(b"GET /v1/recommend?user=u1&k=1000 HTTP/1.1\r\nHost: test\r\n\r\n")


def test_large_requests_without_a_body_wait_for_one_another(address: str) -> None:
    """All come before the first is answered, and so within the sixteen that may wait."""
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(connection_to(address)) for _ in range(12)]
        for number, caller in enumerate(callers):
            caller.sendall(f"GET /v1/recommend?user=u{number}&k=1000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        received = [caller.makefile("rb").read() for caller in callers]
    assert {answer.split(b" ", 2)[1] for answer in received} == {b"200"}
