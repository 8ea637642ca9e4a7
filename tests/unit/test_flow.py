"""What is written to a connection: an answer's head and body by one call, and nothing is kept back at its end."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from serving.http.flow_control import QuietTransport

HEAD, BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"{}"


class Recorded:
    """A transport that keeps what each call wrote."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.is_closed = False

    def write(self, content: bytes) -> None:
        self.calls.append(content)

    def writelines(self, contents: Iterable[bytes]) -> None:
        self.calls.append(b"".join(contents))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = write_eof = get_write_buffer_size = close


def quiet() -> tuple[Recorded, QuietTransport]:
    found = Recorded()
    return found, QuietTransport(cast(Any, found))


def test_a_head_and_its_body_are_one_call_and_what_follows_another() -> None:
    found, transport = quiet()
    for content in (HEAD, BODY, b"more", HEAD, BODY):
        transport.write(content)
    assert found.calls == [HEAD + BODY, b"more", HEAD + BODY]


@pytest.mark.parametrize("end", [QuietTransport.flush, QuietTransport.close, QuietTransport.write_eof])
def test_a_head_without_a_body_is_written_when_the_answer_ends(end: Callable[[QuietTransport], None]) -> None:
    found, transport = quiet()
    transport.write(HEAD)
    assert found.calls == []
    end(transport)
    end(transport)
    assert found.calls == [HEAD]


def test_a_caller_who_waits_to_send_is_told_at_once() -> None:
    found, transport = quiet()
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert found.calls == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_nothing_is_written_to_a_connection_that_closes() -> None:
    found, transport = quiet()
    transport.write(HEAD)
    found.close()
    transport.write(BODY)
    transport.write(BODY)
    assert found.calls == []
