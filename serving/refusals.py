"""What one caller may send, and what is said to who sends more before the connection closes."""

from http import HTTPStatus
from typing import NamedTuple

import orjson

from serving import asks

MOST_URL_BYTES = 0xFFFF - 1  # what the parser can point into
MOST_HEAD_BYTES = 256 << 10  # of all that is no body: the head, the frames of chunks and what follows the last
MOST_HEADERS = 128
MOST_MESSAGE_BYTES = 8 << 20  # an application refuses a body long before, and the caller may go on with the next request
MOST_PIPELINED = 16
SLOW_S = 20  # for a request to arrive whole


class Refusal(NamedTuple):
    """What a caller is told before the connection closes; `reason` is what the metrics call it."""

    reason: str
    status: int
    code: str
    message: str

    def response(self) -> bytes:
        """The whole HTTP/1.1 response, JSON of `code`, `field` and `message`, after which the connection closes."""
        body, status = orjson.dumps({"code": self.code, "field": "", "message": self.message}), HTTPStatus(self.status)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        return b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) + head + body


BUSY = Refusal("busy", HTTPStatus.SERVICE_UNAVAILABLE, asks.BUSY, "too much is under way; ask again in a moment")
TOO_SLOW = Refusal("slow", HTTPStatus.REQUEST_TIMEOUT, asks.TOO_SLOW, f"a request arrives whole within {SLOW_S} s")
HEAD_TOO_LARGE = Refusal(
    "head",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    asks.HEAD_TOO_LARGE,
    f"a request has at most {MOST_HEADERS} headers, and beside its body at most {MOST_HEAD_BYTES:,} bytes",
)
BODY_TOO_LARGE = Refusal("body", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, asks.TOO_LARGE, f"nothing has more than {MOST_MESSAGE_BYTES:,} bytes")
URL_TOO_LONG = Refusal("url", asks.UNPROCESSABLE, asks.OUT_OF_RANGE, f"an address has at most {MOST_URL_BYTES:,} bytes")
PIPELINED = Refusal(
    "pipelined", HTTPStatus.TOO_MANY_REQUESTS, asks.PIPELINED, f"at most {MOST_PIPELINED} requests wait on a connection for their answers"
)
NOT_HTTP = Refusal("not_http", HTTPStatus.BAD_REQUEST, asks.NOT_HTTP, "this is not HTTP/1.1")
HOSTLESS = Refusal("not_http", HTTPStatus.BAD_REQUEST, asks.NOT_HTTP, "name the host once: a head has one field Host")
