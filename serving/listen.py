"""Listening: a port taken before there is anything to serve, and uvicorn with the bounds that hold for all our servers."""

import argparse
import signal
import socket
import sys
from types import FrameType
from typing import Any

from lodestar.errors import EnvironmentFault

BACKLOG = 1024
# Gateways keep connections longer than servers usually do, and count one that is closed under them as a failed request.
KEEP_ALIVE_S = 620
# With preStop's 5 s and the 10 that logs take to close this stays below the 30 s after which Kubernetes kills.
DRAIN_S = 10
MOST_CONNECTIONS = 4096  # beyond, uvicorn answers 503, probes too; how many may wait for an answer is the application's to say


def end_on_signals() -> None:
    """Being told to stop is no failure: uvicorn drains first and then raises the signal again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def bound(host: str, port: int, remedy: str) -> socket.socket:
    """A socket that has the port and does not listen yet; EnvironmentFault E503 where it cannot."""
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise EnvironmentFault("E503", f"cannot listen on {host}:{port} ({error.strerror})", remedy=remedy) from error
    return taken


def run(app: Any, listener: socket.socket, who: str, path: str) -> None:
    """Serve until told to stop; `who` serves, and the address of `path`, are said when there is somebody to answer."""
    import uvicorn

    from serving.protocol import Protocol

    class Server(uvicorn.Server):
        """Says where it is only once it ends as it should when told to: before, a signal finds it half-made."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            sys.stderr.write(f"{who}, on {_address(listener)}{path}\n")

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=MOST_CONNECTIONS,
    )
    # Only now: to a probe that merely connects, a port that listens is a server that is ready.
    listener.listen(BACKLOG)
    Server(config).run(sockets=[listener])


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def port(text: str) -> int:
    """A port from a command line."""
    number = int(text)
    if not 0 <= number <= 0xFFFF:
        raise argparse.ArgumentTypeError(f"{number} is no port; there are 0 (any that is free) to {0xFFFF}")
    return number
