"""A server in a process of its own, bare connections to it, and what it takes."""

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring.requirements import skip

HOST, START_LIMIT_S, STORE_TIMEOUT_S = "127.0.0.1", 120, 60.0
# `python -m serving` on a machine that does other work as well.
SERVING = ("-c", "from benchmarks.measuring.server import serve; serve()")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server, and connections to it, bare: an HTTP library takes longer than what it would measure."""

    pid: int
    port: int
    connections: list[socket.socket]

    def ask(self, request: bytes) -> bytes:
        """What is answered, which must be a success."""
        status, content = self.answer(request)
        if status != 200:
            raise RuntimeError(f"{request!r} was answered by {status} {content[:200]!r}")
        return content

    def answer(self, request: bytes, place: int = 0) -> tuple[int, bytes]:
        """Status and body, by one of the connections; by a new one where the server has closed it, since it was silent for long."""
        try:
            return answer_to(self.connections[place], request)
        except ConnectionError:
            self.connections[place].close()
            self.connections[place] = _connect(self.port)
            return answer_to(self.connections[place], request)

    def cpu_s(self) -> float:
        """CPU seconds so far, of all threads, by the clock that clock_getcpuclockid(3) names: /proc counts in steps of 10 ms."""
        return time.clock_gettime(~self.pid << 3 | 2)

    def rss_mb(self) -> float:
        """Resident memory of the server's process in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def answer_to(connection: socket.socket, request: bytes) -> tuple[int, bytes]:
    """Status and body."""
    connection.sendall(request)
    head, _, content = connection.recv(1 << 16).partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError("the server has closed the connection")
    length = re.search(rb"content-length: (\d+)", head)
    if length is None:
        raise RuntimeError(f"{request!r} was answered by {head!r}")
    while len(content) < int(length[1]):
        content += connection.recv(1 << 16)
    return int(head.split()[1]), content


@contextmanager
def running(arguments: Sequence[str], port: int, connections: int = 1) -> Iterator[Server]:
    """A server that Python is given these arguments for, until the end."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Server(pid=process.pid, port=port, connections=[_connected(port, process) for _ in range(connections)])
    finally:
        process.terminate()
        process.wait()


def wait_longer() -> None:
    """Let reads of online features take a minute, in this process: 50 ms are right for a request, and a busy machine needs more at times.

    To be called before `serving.features.feature_client` is imported, which takes its limit from here.
    """
    import serving.features.redis

    serving.features.redis.TIMEOUT_S = serving.features.redis.CONNECT_S = serving.features.redis.STUCK_S = STORE_TIMEOUT_S


def serve() -> None:
    """`python -m serving` whose reads of online features may take a minute."""
    wait_longer()
    from serving.__main__ import main

    sys.exit(main(sys.argv[1:]))


@contextmanager
def redis() -> Iterator[int]:
    """The port of a Redis that keeps nothing, until the end."""
    if shutil.which("redis-server") is None:
        skip("redis-server: apt-get install redis-server")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", HOST, "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _connected(port, process).close()
        yield port
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A TCP port of this host that no server listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _connected(port: int, process: "subprocess.Popen[bytes]") -> socket.socket:
    """A connection, as soon as there can be one."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return _connect(port)
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise RuntimeError("the server did not start")


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port), timeout=START_LIMIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
