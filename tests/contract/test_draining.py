"""What becomes of callers, and of the process, when it is told to stop."""

import re
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.contract.collector_harness import collecting
from tests.contract.conftest import StartServing
from tests.contract.test_serving import connection_to

CONNECTIONS, CALLERS = 256, 8
ASKED = b"GET /v1/recommend?user=u1&k=1 HTTP/1.1\r\nHost: test\r\n\r\n"
EVENT = b'{"user_id":"u1","event_type":"view","item_id":"i1","event_time":"2024-01-01T12:00:00Z"}'
SENT = b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b" % (len(EVENT), EVENT)
READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: test\r\n\r\n"
# A graph that never returns, as a damaged bundle may hold one.
STUCK = """
import threading
from lodestar.engine.recommender import Recommender
from serving import predictor
from serving.http import graceful_shutdown
graceful_shutdown.GRACE_S = 3.0
predictor.measure_inline_queries = lambda _: {short_asks}
Recommender.candidates = lambda *_: threading.Event().wait()"""

SLOW = """
import time
from lodestar.engine.recommender import Recommender
fast = Recommender.candidates
Recommender.candidates = lambda *given: (time.sleep(0.02), fast(*given))[1]"""


def answered(connection: socket.socket, request: bytes) -> tuple[int, bool]:
    """The status, and whether the connection is said to close; ConnectionError where there is no answer."""
    connection.sendall(request)
    content = b""
    while b"\r\n\r\n" not in content:
        content += _received(connection)
    head, _, body = content.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    while len(body) < int(length[1]):
        body += _received(connection)
    return int(head.split()[1]), b"connection: close" in head


def _received(connection: socket.socket) -> bytes:
    content = connection.recv(1 << 16)
    if not content:
        raise ConnectionResetError("closed without an answer")
    return content


class Callers:
    """Callers who ask over connections that they keep, until each is said to close."""

    def __init__(self, address: str, request: bytes) -> None:
        self.answers, self.lost = 0, 0
        self._request = request
        connections = [connection_to(address) for _ in range(CONNECTIONS)]
        self._threads = [threading.Thread(target=self._ask, args=(connections[first::CALLERS],)) for first in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _ask(self, open_: list[socket.socket]) -> None:
        while open_:
            for connection in list(open_):
                try:
                    status, closes = answered(connection, self._request)
                except ConnectionError:
                    self.lost, closes = self.lost + 1, True
                else:
                    assert status in {200, 202}
                    self.answers += 1
                if closes:
                    open_.remove(connection)
                    connection.close()

    def wait_for(self, answers: int) -> None:
        while self.answers < answers:
            time.sleep(0.01)

    def ended(self) -> None:
        for thread in self._threads:
            thread.join()


def test_no_request_on_a_kept_connection_is_lost_when_the_predictor_stops(made: Path, start_serving: StartServing) -> None:
    server = start_serving("--bundle", made)
    callers = Callers(server.address, ASKED)
    callers.wait_for(2 * CONNECTIONS)
    assert server.stop() == (0, "")
    callers.ended()
    assert callers.lost == 0


def test_no_event_on_a_kept_connection_is_lost_when_the_collector_stops(tmp_path: Path) -> None:
    with collecting("--output", tmp_path, "--port", "0") as collector:
        callers = Callers(collector.address, SENT)
        callers.wait_for(2 * CONNECTIONS)
        assert collector.stop() == (0, "")
        callers.ended()
    assert callers.lost == 0


def test_readiness_goes_first_and_every_answer_says_that_its_connection_closes(made: Path, start_serving: StartServing) -> None:
    server = start_serving("--bundle", made)
    probe, caller, late = (connection_to(server.address) for _ in range(3))
    with probe, caller, late:
        assert answered(probe, READY) == (200, False)
        assert answered(caller, ASKED) == (200, False)
        late.sendall(ASKED[:9])
        server.process.terminate()
        while answered(probe, READY)[0] == 200:
            pass
        with connection_to(server.address) as new:
            assert answered(new, READY) == (503, True)
        assert answered(caller, ASKED) == (200, True)
        assert answered(late, ASKED[9:]) == (200, True)
    assert server.ended() == (0, "")


def test_requests_that_wait_for_their_turn_are_all_answered_before_the_end(made: Path, start_serving: StartServing) -> None:
    server = start_serving("--bundle", made, before=f"exec({SLOW!r})")
    with connection_to(server.address) as connection:
        connection.sendall(ASKED * 15)
        connection.recv(1)
        server.process.terminate()
        content = connection.makefile("rb").read()
    assert content.count(b'"request_id"') == 15
    assert content.count(b"connection: close") == 1
    assert server.ended() == (0, "")


def test_a_signal_that_comes_twice_at_once_is_one(made: Path, start_serving: StartServing) -> None:
    """As `timeout` sends it, to its child and then to the group."""
    server = start_serving("--bundle", made, before=f"exec({SLOW!r})")
    with connection_to(server.address) as connection:
        connection.sendall(ASKED)
        connection.recv(1)
        for _ in range(2):
            server.process.terminate()
            time.sleep(0.05)
    assert server.ended() == (0, "")


@pytest.mark.parametrize(("short_asks", "number"), [(0, signal.SIGTERM), (9, signal.SIGTERM), (9, signal.SIGINT)])
def test_a_model_that_does_not_return_does_not_hold_the_process(
    made: Path, start_serving: StartServing, short_asks: int, number: signal.Signals
) -> None:
    """Whether it runs beside the event loop or in it."""
    before = f"exec({STUCK.format(short_asks=short_asks)!r})"
    server = start_serving("--bundle", made, before=before)
    with connection_to(server.address) as connection:
        connection.sendall(ASKED)
        time.sleep(0.3)
        code, said = server.stop(number)
    assert code == 5
    assert said.startswith("lodestar serve: E580 something did not end within 3 s")


def test_a_second_signal_ends_a_process_that_drains(made: Path, start_serving: StartServing) -> None:
    server = start_serving("--bundle", made)
    with connection_to(server.address) as connection:
        assert answered(connection, READY) == (200, False)
        connection.sendall(ASKED[:9])
        server.process.terminate()
        time.sleep(0.3)
        code, said = server.stop()
    assert (code, said) == (5, "lodestar serve: E580 told to stop twice; the process ends without it\n")


def test_operators_have_a_port_of_their_own(made: Path, start_serving: StartServing) -> None:
    server = start_serving("--bundle", made, "--metrics-port", "0")
    assert server.process.stderr is not None
    line = server.process.stderr.readline()
    callers, operators = re.findall(r"http://[^/]+", line)
    assert httpx.get(f"{callers}/metrics").status_code == 404
    assert httpx.get(f"{callers}/v2/health/ready").json() == {"ready": True}
    assert "lodestar_model_info" in httpx.get(f"{operators}/metrics").text
    assert httpx.get(f"{operators}/v2/health/ready").json() == {"ready": True}
    assert httpx.get(f"{operators}/v1/recommend?user=u1").status_code == 404
    assert httpx.post(f"{operators}/metrics").status_code == 405
    assert server.stop() == (0, "")
