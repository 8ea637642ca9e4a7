"""uvicorn's server with a drain that loses no request: readiness fails first, then every response closes its connection.

uvicorn by itself closes idle connections at once, which resets those on which a request is already under way.
"""

import asyncio
import gc
import socket
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import uvicorn

from lodestar.process.safe_text import write_stderr
from serving.http.connection_limits import Load
from serving.http.http_protocol import Protocol

BACKLOG = 4096
# Gateways keep connections longer than servers usually do, and count a connection that the server closes as a failed request.
KEEP_ALIVE_S = 620
# After the signal: new connections are refused, idle ones closed, and requests under way aborted.
LISTEN_S, IDLE_S, DRAIN_S = 3.0, 5.0, 10.0
POLL_S = 0.05
SWITCH_S = 0.001  # thread switch interval, so that ranking threads do not block the event loop


class Server(uvicorn.Server):
    """A uvicorn server with a graceful drain; `words` are printed once it handles signals and requests."""

    def __init__(self, app: Any, load: Load, apps: Mapping[int, Any], words: str) -> None:
        config = uvicorn.Config(
            app,
            log_level="error",  # refusals are counted in metrics, not logged
            log_config=None,  # logging is set up by the process
            access_log=False,
            loop="uvloop",
            http=partial(Protocol, load, apps),  # type: ignore[arg-type]  # it is only called
            ws="none",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        super().__init__(config)
        gc.freeze()  # loaded objects are permanent, and need not be traversed by every collection
        sys.setswitchinterval(SWITCH_S)
        self._load, self._words = load, words

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start uvicorn's server and the application's lifespan, then print `words` to standard error: requests are answered now."""
        await super().startup(sockets)
        write_stderr(self._words)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain for at most `DRAIN_S` seconds, or until no connection is left."""
        self._load.is_draining = True
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._drain()
        for server in self.servers:
            server.close()
        for task in self.server_state.tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self.lifespan.shutdown()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        await asyncio.sleep(POLL_S)  # connections in the backlog are accepted meanwhile
        while self.server_state.connections and (passed_s := loop.time() - start_s) < DRAIN_S:
            if passed_s > LISTEN_S:
                for server in self.servers:
                    server.close()
            if passed_s > IDLE_S:
                for connection in list(self.server_state.connections):
                    if isinstance(connection, Protocol) and connection.is_idle:
                        connection.transport.close()
            await asyncio.sleep(POLL_S)
