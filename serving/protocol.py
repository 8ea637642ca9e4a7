"""HTTP/1.1 as uvicorn speaks it, with bounds on what comes before a body, and refusals in the same words as the application's."""

from http import HTTPStatus

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving import asks

MOST_URL_BYTES = 0xFFFF - 1  # what the parser can point into
MOST_HEAD_BYTES = 4 << 20  # read to the end and refused in peace up to here; a connection that sends more is closed


class Protocol(HttpToolsProtocol):
    """One connection."""

    _is_in_head = True
    _head_bytes = 0
    url = b""

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.send_400_response("")
                return
        super().data_received(data)

    def on_url(self, url: bytes) -> None:
        if len(self.url) <= MOST_URL_BYTES:
            super().on_url(url)

    def on_headers_complete(self) -> None:
        self._is_in_head, self._head_bytes = False, 0
        if len(self.url) > MOST_URL_BYTES:
            raise ValueError("the address is too long")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head = True
        super().on_message_complete()

    def send_400_response(self, _msg: str) -> None:
        """Called by uvicorn for whatever cannot be parsed; one word too many in an address is the caller's value, and not their HTTP."""
        if len(self.url) > MOST_URL_BYTES:
            status, code, message = asks.UNPROCESSABLE, asks.OUT_OF_RANGE, f"an address has at most {MOST_URL_BYTES:,} bytes"
        else:
            status, code, message = HTTPStatus.BAD_REQUEST, asks.NOT_HTTP, "this is not HTTP/1.1"
        body = orjson.dumps({"code": code, "field": "", "message": message})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
