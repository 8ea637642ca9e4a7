"""A head that asks for another protocol is served as HTTP/1.1, and what it has for a body is never taken for a request."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.collector_harness import collecting
from tests.contract.conftest import StartServing
from tests.contract.test_serving import connection_to

H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
ANY = b"connection: upgrade\r\nupgrade: x\r\n"
PREDICT, EVENTS = b"/v1/models/recommend:predict", b"/v1/events"
SMUGGLED = b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
ASKED = b"GET /v1/recommend?user=u1 HTTP/1.1\r\nhost: a\r\n"


@pytest.fixture(scope="module")
def predictor(made: Path, start_serving: StartServing) -> str:
    return start_serving("--bundle", made).address


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with collecting("--output", tmp_path_factory.mktemp("landing"), "--port", "0") as process:
        yield process.address


@pytest.fixture(params=[("predictor", PREDICT), ("collector", EVENTS)], ids=["predictor", "collector"])
def posted(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """A server's address, and where bodies are posted to."""
    name, path = request.param
    return request.getfixturevalue(name), path


def statuses(address: str, *pieces: bytes) -> list[int]:
    """Of the answers to what is sent piece by piece; a last request, whose answer is left out, ends the connection."""
    with connection_to(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, piece in enumerate(pieces):
            if number:
                with contextlib.suppress(TimeoutError):  # an answer to the piece before comes now, if it does
                    connection.settimeout(0.2)
                    connection.recv(1, socket.MSG_PEEK)
            connection.sendall(piece)
        connection.settimeout(5)
        connection.sendall(LAST)
        received = connection.makefile("rb").read()
    *found, _ = (int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:])
    return found


def head(path: bytes, length: int, more: bytes = ANY) -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n" % (path, more, length)


def test_a_body_is_no_request_when_it_comes_after_its_head(posted: tuple[str, bytes]) -> None:
    address, path = posted
    assert statuses(address, head(path, len(SMUGGLED)), SMUGGLED) == [422]


def test_a_body_is_no_request_where_another_piece_of_it_begins(posted: tuple[str, bytes]) -> None:
    address, path = posted
    start = head(path, (16 << 10) + len(SMUGGLED))
    behind = b" " * len(start)
    assert statuses(address, start + b" " * ((16 << 10) - len(start)) + SMUGGLED + behind) == [422]


def test_a_chunked_body_is_no_request(posted: tuple[str, bytes]) -> None:
    address, path = posted
    start = b"POST %b HTTP/1.1\r\nhost: a\r\n%btransfer-encoding: chunked\r\n\r\n" % (path, ANY)
    assert statuses(address, start, b"%x\r\n%b\r\n0\r\nupgrade: x\r\n\r\n" % (len(SMUGGLED), SMUGGLED)) == [422]


def test_a_body_behind_a_head_with_an_upgrade_is_read(predictor: str) -> None:
    body = json.dumps({"instances": ["u1"]}).encode()
    assert statuses(predictor, head(PREDICT, len(body), H2C), body) == [200]
    assert statuses(predictor, head(PREDICT, len(body), H2C) + body + ASKED + b"\r\n") == [200, 200]


@pytest.mark.parametrize("asks_for", [H2C, ANY, b"connection: upgrade\r\nupgrade: websocket\r\nUPGRADE: h2c\r\n"])
def test_what_follows_a_head_with_an_upgrade_is_answered(predictor: str, asks_for: bytes) -> None:
    upgrading, plain = ASKED + asks_for + b"\r\n", ASKED + b"\r\n"
    assert statuses(predictor, upgrading + plain + upgrading + plain) == [200] * 4


def test_a_tunnel_is_refused(posted: tuple[str, bytes]) -> None:
    address, _ = posted
    tunnel = b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n"
    with connection_to(address) as connection:
        connection.sendall(tunnel + SMUGGLED)
        received = connection.makefile("rb").read()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1


def expecting(path: bytes) -> bytes:
    return head(path, 4, b"expect: 100-continue\r\n")


def test_who_is_answered_without_the_body_it_offered_is_left(posted: tuple[str, bytes]) -> None:
    """The body may never come, and what comes in its place would be taken for it; with the body the connection goes on."""
    address, path = posted
    with connection_to(address) as connection:
        connection.settimeout(5)
        connection.sendall(expecting(b"/nope"))
        received = connection.makefile("rb").read()
    assert received.startswith(b"HTTP/1.1 404 ")
    assert b"connection: close" in received
    assert statuses(address, expecting(path), b"[1]\n") in ([100, 422], [100, 400])
