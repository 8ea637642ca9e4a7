"""Bind ports before loading, then run the HTTP server with the limits of every Lodestar server."""

import socket
from typing import Any, NamedTuple

from lodestar.errors import EnvironmentFault
from serving.http.connection_limits import Load, allow_connections


class Listeners(NamedTuple):
    """The sockets of a server: for clients, and optionally a separate one for operators (health and metrics)."""

    callers: socket.socket
    operators: socket.socket | None = None


def bind_socket(host: str, port: int, remedy: str) -> socket.socket:
    """Bind a TCP socket that does not listen yet; EnvironmentFault E503 if the port is in use or not allowed."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, TypeError, UnicodeError) as error:  # the last two: a name that cannot be encoded
        bound.close()
        raise _not_listening(f"{host}:{port}", error, remedy) from error
    return bound


def _not_listening(place: str, error: Exception, remedy: str) -> EnvironmentFault:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return EnvironmentFault("E503", f"cannot listen on {place} ({reason})", remedy=remedy)


def run(app: Any, load: Load, listeners: Listeners, who: str, path: str) -> None:
    """Serve until a signal; `who` and the URL of `path` are printed once requests are answered.

    On the operators' port `app.operators` is served, an application of health and metrics alone. EnvironmentFault E503 if another server
    has begun to listen on a port since it was bound.
    """
    from serving.http.uvicorn_server import BACKLOG, Server

    load.most_connections = allow_connections()
    words, apps = f"{who}, on {address(listeners.callers)}{path}", {}
    if listeners.operators is not None:
        words += f", metrics on {address(listeners.operators)}/metrics"
        apps[listeners.operators.getsockname()[1]] = app.operators
    sockets = [one for one in listeners if one is not None]
    for listener in sockets:
        try:
            # Only now, since to a TCP probe a listening port is a ready server.
            listener.listen(BACKLOG)
        except OSError as error:  # another socket has been bound to it as well, and listens
            raise _not_listening(address(listener), error, "Give each server and --metrics-port a port of its own.") from error
    Server(app, load, apps, f"{words}\n").run(sockets=sockets)


def address(listener: socket.socket) -> str:
    """The URL of a bound socket, `http://HOST:PORT`, with an IPv6 host in brackets."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
