"""Requests with an `Upgrade` header are served as HTTP/1.1, as RFC 9110 (7.8) allows; CONNECT is refused.

llhttp treats everything after such a head as the other protocol, its body too, and httptools continues behind it as if it were the next
request, which allows request smuggling through a proxy. Here a new parser gets the same head without the `Upgrade` header, and then the
rest.
"""

from typing import Any, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

UPGRADE, CONNECT = b"upgrade", b"CONNECT"


class Connection(Protocol):
    """The callbacks' owner: a connection with its parser, and the URL and headers parsed last."""

    parser: Any
    url: bytes
    headers: list[tuple[bytes, bytes]]


def feed(connection: Connection, content: bytes) -> None:
    """Parse received bytes of a connection; HttpParserError if they are not HTTP/1.1, or a CONNECT request."""
    while True:
        try:
            connection.parser.feed_data(content)
        except HttpParserUpgrade as stopped:
            content = content[stopped.args[0] :]
        else:
            return
        head = _without_upgrade(connection)
        connection.parser = HttpRequestParser(connection)
        connection.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        connection.parser.feed_data(head)


def _without_upgrade(connection: Connection) -> bytes:
    """The parsed head without `Upgrade`; its fields were accepted by the parser, so they contain no line ends."""
    method = connection.parser.get_method()
    if method == CONNECT:
        raise HttpParserError("CONNECT is not supported")
    fields = [b"%b: %b\r\n" % field for field in connection.headers if field[0] != UPGRADE]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, connection.url, connection.parser.get_http_version().encode(), b"".join(fields))
