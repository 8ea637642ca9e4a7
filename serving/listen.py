"""Listening: ports taken before there is anything to serve, and then a server with the bounds that hold for all of ours."""

import argparse
import socket
from typing import Any, NamedTuple

from lodestar.errors import EnvironmentFault
from serving.limits import Load, allow_connections


class Listeners(NamedTuple):
    """The sockets of a server: callers', and operators' where those have a port of their own."""

    callers: socket.socket
    operators: socket.socket | None = None


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


def run(app: Any, load: Load, listeners: Listeners, who: str, path: str) -> None:
    """Serve until told to stop; `who` serves, and the address of `path`, are said when there is somebody to answer.

    On the operators' port `app.operators` answers, an application of health and metrics alone.
    """
    from serving.server import BACKLOG, Server

    load.most_connections = allow_connections()
    words, apps = f"{who}, on {address(listeners.callers)}{path}", {}
    if listeners.operators is not None:
        words += f", metrics on {address(listeners.operators)}/metrics"
        apps[listeners.operators.getsockname()[1]] = app.operators
    sockets = [one for one in listeners if one is not None]
    for listener in sockets:
        # Only now: to a probe that merely connects, a port that listens is a server that is ready.
        listener.listen(BACKLOG)
    Server(app, load, apps, f"{words}\n").run(sockets=sockets)


def address(listener: socket.socket) -> str:
    """The URL of a bound socket, `http://HOST:PORT`, with an IPv6 host in brackets."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def port(text: str) -> int:
    """A port from a command line."""
    number = int(text)
    if not 0 <= number <= 0xFFFF:
        raise argparse.ArgumentTypeError(f"{number} is no port; there are 0 (any that is free) to {0xFFFF}")
    return number
