"""Ports of this machine that nothing listens on."""

import socket


def free_port() -> int:
    """A port that is free now; who is to listen on it hurries."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
