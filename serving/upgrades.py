"""Heads that ask for another protocol, by `Upgrade` or with CONNECT: served as the HTTP/1.1 that they are, as RFC 9110 (7.8) allows.

llhttp takes whatever follows such a head for the other protocol, its body too, and httptools goes on behind it as if that were the next
request, so that what one caller sends as a body another's proxy would take for a request. Here a parser anew gets the same head without
the field `Upgrade`, and then what followed it.
"""

from typing import Any, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

UPGRADE, CONNECT = b"upgrade", b"CONNECT"


class Connection(Protocol):
    """What is told what a parser finds, and has what it found last."""

    parser: Any
    url: bytes
    headers: list[tuple[bytes, bytes]]


def feed(connection: Connection, content: bytes) -> None:
    """Parse what came on a connection; HttpParserError where it is not HTTP/1.1, or asks for a tunnel."""
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
    """The head that was just parsed: its fields hold neither line ends nor anything else that the parser has not taken already."""
    method = connection.parser.get_method()
    if method == CONNECT:
        raise HttpParserError("nothing here is a tunnel")
    fields = [b"%b: %b\r\n" % field for field in connection.headers if field[0] != UPGRADE]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, connection.url, connection.parser.get_http_version().encode(), b"".join(fields))
