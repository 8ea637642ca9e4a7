"""uvicorn's server with a drain that loses no request: readiness goes first, then every answer says that its connection closes.

uvicorn closes idle connections at once, and each on which a request is on its way at that moment is reset under its caller.
"""

import asyncio
import gc
import socket
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import uvicorn

from lodestar.safe_text import warn
from serving.limits import Load
from serving.protocol import Protocol

BACKLOG = 4096
# Gateways keep connections longer than servers usually do, and count one that is closed under them as a failed request.
KEEP_ALIVE_S = 620
# After the signal: until new connections are refused, until idle ones are closed, and until what is still on its way is given up.
LISTEN_S, IDLE_S, DRAIN_S = 3.0, 5.0, 10.0
LOOK_S = 0.05
SWITCH_S = 0.001  # after which a thread that ranks lets the event loop go on


class Server(uvicorn.Server):
    """Says `words` only once it ends as it should when told to: before, a signal finds it half-made."""

    def __init__(self, app: Any, load: Load, apps: Mapping[int, Any], words: str) -> None:
        config = uvicorn.Config(
            app,
            log_level="error",  # each refusal is counted, and not worth a line
            log_config=None,  # as all our processes log
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
        gc.freeze()  # what there is now stays, and is not to be looked through for each few requests
        sys.setswitchinterval(SWITCH_S)
        self._load, self._words = load, words

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start uvicorn's server and the application's lifespan, then write `words` to standard error: requests are answered now."""
        await super().startup(sockets)
        warn(self._words)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain: at most `DRAIN_S`, and no longer than there are connections."""
        self._load.is_draining = True
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._drained()
        for server in self.servers:
            server.close()
        for task in self.server_state.tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self.lifespan.shutdown()

    async def _drained(self) -> None:
        loop = asyncio.get_running_loop()
        told_s = loop.time()
        await asyncio.sleep(LOOK_S)  # who has connected before is accepted meanwhile
        while self.server_state.connections and (passed_s := loop.time() - told_s) < DRAIN_S:
            if passed_s > LISTEN_S:
                for server in self.servers:
                    server.close()
            if passed_s > IDLE_S:
                for connection in list(self.server_state.connections):
                    if isinstance(connection, Protocol) and connection.is_idle:
                        connection.transport.close()
            await asyncio.sleep(LOOK_S)
