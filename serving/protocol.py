"""HTTP/1.1 as uvicorn speaks it, with bounds on what it leaves open: how long a head is, and how long a caller may take to send.

uvicorn has no settings for these, so its connection is extended here; refusals are in the same words as the application's.
"""

from asyncio import TimerHandle, Transport
from http import HTTPStatus

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving import asks

MOST_URL_BYTES = 0xFFFF - 1  # what the parser can point into
MOST_HEAD_BYTES = 4 << 20  # read to the end and refused in peace up to here; a connection that sends more is closed
SLOW_S = 30  # for a request to arrive whole


class Protocol(HttpToolsProtocol):
    """One connection."""

    _is_in_head = True
    _is_whole = False
    _head_bytes = 0
    _slow: TimerHandle | None = None
    url = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A connection that never sends anything is as one that is kept for later."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.send_400_response("")
                return
        self._is_whole = False
        super().data_received(data)
        if self._is_whole:
            self._in_time()
        elif self._slow is None:
            self._slow = self.loop.call_later(SLOW_S, self.transport.close)

    def on_message_begin(self) -> None:
        self._is_whole = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if len(self.url) <= MOST_URL_BYTES:
            super().on_url(url)

    def on_headers_complete(self) -> None:
        self._is_in_head, self._head_bytes = False, 0
        if len(self.url) > MOST_URL_BYTES:
            raise ValueError("the address is too long")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head = self._is_whole = True
        super().on_message_complete()

    def send_400_response(self, _message: str) -> None:
        """Called by uvicorn for whatever cannot be parsed; a value too long for an address is the caller's, and not their HTTP."""
        status, code, message = int(HTTPStatus.BAD_REQUEST), asks.NOT_HTTP, "this is not HTTP/1.1"
        if len(self.url) > MOST_URL_BYTES:
            status, code, message = asks.UNPROCESSABLE, asks.OUT_OF_RANGE, f"an address has at most {MOST_URL_BYTES:,} bytes"
        elif self._head_bytes > MOST_HEAD_BYTES:
            status, code = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, asks.HEAD_TOO_LARGE
            message = f"headers have at most {MOST_HEAD_BYTES:,} bytes"
        body = orjson.dumps({"code": code, "field": "", "message": message})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()

    def _in_time(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
