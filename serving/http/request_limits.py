"""Limits of one connection's requests, and the error responses beyond them, after which the connection closes."""

from http import HTTPStatus
from typing import NamedTuple

import orjson

from lodestar.error_codes import http_status
from serving import requests

MAX_URL_BYTES = 0xFFFF - 1  # the range of the parser's offsets
MAX_HEAD_BYTES = 256 << 10  # of everything but the body: head, chunk headers and trailers
MAX_HEADERS = 128
MAX_MESSAGE_BYTES = 8 << 20  # applications refuse a body long before, and keep the connection
MAX_PIPELINED = 16
SLOW_S = 20  # for a request to arrive whole


class Refusal(NamedTuple):
    """An error response before the connection closes; `reason` is its label in the metrics."""

    reason: str
    code: str
    message: str

    def response(self) -> bytes:
        """The whole HTTP/1.1 response, JSON of `code`, `field` and `message`, after which the connection closes."""
        body, status = orjson.dumps({"code": self.code, "field": "", "message": self.message}), HTTPStatus(http_status(self.code))
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        return b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) + head + body


BUSY = Refusal("busy", requests.BUSY, "the server is busy; retry in a moment")
TOO_SLOW = Refusal("slow", requests.TOO_SLOW, f"a request must arrive whole within {SLOW_S} s")
HEAD_TOO_LARGE = Refusal(
    "head",
    requests.HEAD_TOO_LARGE,
    f"a request has at most {MAX_HEADERS} headers, and a head of at most {MAX_HEAD_BYTES:,} bytes",
)
BODY_TOO_LARGE = Refusal("body", requests.TOO_LARGE, f"a request has at most {MAX_MESSAGE_BYTES:,} bytes")
URL_TOO_LONG = Refusal("url", requests.URL_TOO_LONG, f"a URL has at most {MAX_URL_BYTES:,} bytes")
PIPELINED = Refusal(
    "pipelined",
    requests.PIPELINED,
    f"at most {MAX_PIPELINED} requests wait on a connection for their answers",
)
NOT_HTTP = Refusal("not_http", requests.NOT_HTTP, "this is not HTTP/1.1")
HOSTLESS = Refusal("not_http", requests.NOT_HTTP, "a request has exactly one Host header")
